# SPDX-License-Identifier: GPL-2.0-or-later
"""Suite regress: an invented difference is reported, an explained one is not."""

import unittest

from ccad_tool.suites import regress
from ccad_tool.suites.regress import ABSENT, WITH, WITHOUT
from ccad_tool.util import Fail

VMTESTS = """TAP version 13
# --------------------
# running ./cow
# --------------------
# TAP version 13
# 1..2
# ok 1 Basic COW in parent at 0x7f0012345000
# not ok 2 vmsplice() took 31 ms
# # Totals: pass:1 fail:1
# [FAIL]
not ok 1 cow # exit=1
# SUMMARY: PASS=0 SKIP=0 FAIL=1
1..1
"""


class Results(unittest.TestCase):
    def test_exit_code_and_tap_also_of_what_it_starts(self):
        self.assertEqual(regress.results_of("mm:ksft_cow.sh", VMTESTS, "exit", 1), {
            "mm:ksft_cow.sh": "fail",
            "mm:ksft_cow.sh: cow": "fail",
            "mm:ksft_cow.sh: cow: Basic COW in parent at 0x": "pass",
            "mm:ksft_cow.sh: cow: vmsplice() took TIME": "fail"})

    def test_two_cases_of_one_name(self):
        got = regress.results_of("c:p", "1..2\nok 1 a\nnot ok 2 a\n", "exit", 1)
        self.assertEqual((got["c:p: a"], got["c:p: a #2"]), ("pass", "fail"))

    def test_end_that_is_no_exit(self):
        self.assertEqual(regress.results_of("c:p", "", "timeout", 124), {"c:p": "timeout"})
        self.assertEqual(regress.results_of("c:p", "", "exit", 4), {"c:p": "skip"})


class Compare(unittest.TestCase):
    base = {"c:p": "pass", "c:p: a": "pass", "c:p: b": "skip"}

    def judge(self, base, other, known=""):
        return regress.judge("c:p", WITH, base, other, regress.read_known(known))

    def test_the_same(self):
        self.assertEqual(self.judge([self.base], [dict(self.base)])[0], "pass")

    def test_invented_difference(self):
        """The control: each kind of change of any case is a failure that names it."""
        for case, to in (("c:p: a", "fail"), ("c:p: b", "pass"), ("c:p", "splat"), ("c:p", "timeout")):
            status, detail, output = self.judge([self.base], [{**self.base, case: to}])
            self.assertEqual(status, "fail")
            self.assertIn(f"{case}: {self.base[case]} -> {to}", output)

    def test_case_that_is_no_longer_there_or_new(self):
        less = {k: v for k, v in self.base.items() if k != "c:p: a"}
        self.assertEqual(regress.differences([self.base], [less]), [("c:p: a", "pass", ABSENT)])
        self.assertEqual(regress.differences([less], [self.base]), [("c:p: a", ABSENT, "pass")])

    def test_counts_when_no_result_was_seen_on_both(self):
        bad = {**self.base, "c:p: a": "fail"}
        self.assertEqual(self.judge([self.base, self.base], [bad, bad])[0], "fail")
        self.assertEqual(self.judge([self.base, bad], [bad, bad])[0], "pass")
        self.assertEqual(self.judge([self.base, self.base], [bad, self.base])[0], "pass")

    def test_explained(self):
        bad = {**self.base, "c:p: a": "skip"}
        self.assertEqual(self.judge([self.base], [bad], "differs | with-node | c:p: a | pass -> skip | so"),
                         ("pass", "1 explained", "c:p: a: pass -> skip, explained: so"))
        for line in ("differs | without-node | c:p: a | pass -> skip | another kernel",
                     "differs | with-node | c:p: a | pass -> fail | another change",
                     "differs | * | c:p: b | pass -> skip | another case"):
            self.assertEqual(self.judge([self.base], [bad], line)[0], "fail", line)

    def test_one_that_is_explained_hides_no_other(self):
        bad = {**self.base, "c:p: a": "skip", "c:p: b": "fail"}
        status, detail, _ = self.judge([self.base], [bad], "differs | * | c:p: a | pass -> skip | so")
        self.assertEqual(status, "fail")
        self.assertIn("c:p: b", detail)


class List(unittest.TestCase):
    def test_the_list_is_well_formed(self):
        known = regress.read_known(regress.KNOWN.read_text())
        self.assertTrue(all(k.reason for k in known))

    def test_line_without_a_reason(self):
        for line in ("leave-out | mm:x", "leave-out | mm:x | ", "differs | with-node | c | pass -> skip |",
                     "differs | nowhere | c | pass -> skip | r", "differs | * | c | pass | r", "x"):
            with self.assertRaises(Fail, msg=line):
                regress.read_known(line)

    def test_part_of_a_program_that_is_left_out(self):
        known = regress.read_known("leave-out | mm:all.sh | slow\nrun | mm:one -s 3 | of all.sh\n")
        self.assertEqual(regress.chosen(["mm:all.sh", "mm:x"], known), ["mm:all.sh", "mm:x", "mm:one -s 3"])
        self.assertIsNone(regress.left_out("mm:one -s 3", known))

    def test_left_out_by_pattern(self):
        known = regress.read_known("# c\n\nleave-out | mm:ksft_v*.sh | no modules\n")
        self.assertEqual(regress.left_out("mm:ksft_vmalloc.sh", known), "no modules")
        self.assertIsNone(regress.left_out("mm:ksft_cow.sh", known))
        self.assertEqual(regress.explain([("mm:ksft_vmalloc.sh", "pass", "fail")], WITHOUT, known)[0], [])


if __name__ == "__main__":
    unittest.main()
