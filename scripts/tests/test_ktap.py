# SPDX-License-Identifier: GPL-2.0-or-later
"""KTAP in all the shapes that programs of the guest and qtests print."""

import unittest

from ccad_tool import ktap

HARNESS = """\
TAP version 13
1..3
# Starting 3 tests from 2 test cases.
#  RUN           global.one ...
#            OK  global.one
ok 1 global.one
#  RUN           fix.var.two ...
# two.c:12:two:Expected 1 (1) == 2 (2)
# two: Test terminated by assertion
#          FAIL  fix.var.two
not ok 2 fix.var.two
ok 3 fix.var.three # SKIP no node
# FAILED: 2 / 3 tests passed.
# Totals: pass:1 fail:1 xfail:0 xpass:0 skip:1 error:0
"""

KUNIT = """\
KTAP version 1
1..1
    KTAP version 1
    # Subtest: zones
    # module: zones
    1..2
    # first: pass:1 fail:0 skip:0 total:1
    ok 1 first
        KTAP version 1
        # Subtest: second
        ok 1 a
        not ok 2 b
    not ok 2 second
# zones: pass:1 fail:1 skip:0 total:2
not ok 1 zones
"""

GLIB = """\
TAP version 13
# random seed: R02S0
1..2
# Start of x86_64 tests
ok 1 /x86_64/ccad/identity
# slow test /x86_64/ccad/stress executed in 1.2 secs
ok 2 /x86_64/ccad/stress
# End of x86_64 tests
"""


def brief(cases):
    return [(c.name, c.status) for c in cases]


class Parse(unittest.TestCase):
    def test_harness(self):
        cases, problems = ktap.parse(HARNESS)
        self.assertEqual(brief(cases), [("global.one", "pass"), ("fix.var.two", "fail"),
                                        ("fix.var.three", "skip")])
        self.assertEqual(problems, [])
        self.assertIn("# two.c:12:two:Expected 1 (1) == 2 (2)", cases[1].output)
        self.assertEqual(cases[2].detail, "no node")

    def test_kunit_leaves(self):
        cases, problems = ktap.parse(KUNIT)
        self.assertEqual(brief(cases), [("zones.first", "pass"), ("zones.second.a", "pass"),
                                        ("zones.second.b", "fail")])
        self.assertEqual(problems, [])

    def test_glib(self):
        cases, problems = ktap.parse(GLIB)
        self.assertEqual([c.name for c in cases], ["/x86_64/ccad/identity", "/x86_64/ccad/stress"])
        self.assertEqual(problems, [])

    def test_parent_that_fails_alone(self):
        cases, _ = ktap.parse("KTAP version 1\n1..1\n  1..1\n  ok 1 a\nnot ok 1 p\n")
        self.assertEqual(brief(cases), [("p.a", "pass"), ("p", "fail")])

    def test_plan(self):
        _, problems = ktap.parse("1..3\nok 1 a\nok 2 b\n")
        self.assertEqual(problems, ["planned 3, saw 2"])

    def test_bail_out(self):
        _, problems = ktap.parse("1..1\nBail out! no memory\n")
        self.assertIn("bailed out: no memory", problems)

    def test_skip_all(self):
        cases, problems = ktap.parse("TAP version 13\n1..0 # SKIP no node\n")
        self.assertEqual([(c.status, c.detail) for c in cases], [("skip", "no node")])
        self.assertEqual(problems, [])

    def test_directives(self):
        cases, _ = ktap.parse("not ok 1 a # XFAIL known\nok 2 b # XPASS\nok 3 c # skip\n"
                              "not ok 4 d # TIMEOUT 45 seconds\n")
        self.assertEqual([c.status for c in cases], ["skip", "fail", "skip", "fail"])

    def test_words_that_are_no_result(self):
        cases, _ = ktap.parse("okay then\nok\nnot okay\nI am ok 1 a\n")
        self.assertEqual(cases, [])


class Judge(unittest.TestCase):
    def test_exit_code_alone(self):
        for code, status in ((0, "pass"), (4, "skip"), (1, "fail"), (139, "fail")):
            case, = ktap.judge("t", "some words\n", code)
            self.assertEqual(case.status, status, code)

    def test_died_after_its_last_result(self):
        cases = ktap.judge("t", "1..1\nok 1 a\n", 139)
        self.assertEqual(brief(cases), [("a", "pass"), ("t", "fail")])
        self.assertIn("139", cases[1].detail)

    def test_died_before_the_plan_was_met(self):
        cases = ktap.judge("t", "1..2\nok 1 a\n", 1)
        self.assertEqual([c.status for c in cases], ["pass", "fail"])

    def test_failure_hidden_by_exit_code(self):
        cases = ktap.judge("t", HARNESS, 0)
        self.assertIn("exit code 0 though a case failed", cases[-1].detail)

    def test_honest(self):
        self.assertEqual(len(ktap.judge("t", HARNESS, 1)), 3)


if __name__ == "__main__":
    unittest.main()
