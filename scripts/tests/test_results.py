# SPDX-License-Identifier: GPL-2.0-or-later
"""Results: the last line, the exit code, JUnit XML; settings and lists of self-tests."""

import contextlib
import io
import pathlib
import tempfile
import unittest
import xml.etree.ElementTree as ET
from types import SimpleNamespace

from ccad_tool import doctor, machine, results
from ccad_tool.suites import inguest
from ccad_tool.util import Fail, parse_size


class Results(unittest.TestCase):
    def finish(self, *adds):
        out = io.StringIO()
        with tempfile.TemporaryDirectory() as d, contextlib.redirect_stdout(out):
            r = results.Results(d)
            for a in adds:
                r.add(*a)
            code = r.finish()
            xml = ET.parse(pathlib.Path(d) / "junit.xml").getroot()
        return code, out.getvalue().splitlines(), xml

    def test_good(self):
        code, lines, _ = self.finish(("core", "a", "pass"), ("core", "b", "skip", 0, "why"))
        self.assertEqual((code, lines[-1]), (0, "1 passed, 0 failed, 1 skipped"))
        self.assertEqual(lines[0], "KTAP version 1")
        self.assertIn("ok 2 core: b # SKIP why", lines)
        self.assertIn("1..2", lines)

    def test_nothing_ran(self):
        self.assertEqual(self.finish()[0], 1)
        self.assertEqual(self.finish(("core", "b", "skip"))[0], 1)

    def test_three_ways_to_fail(self):
        code, lines, xml = self.finish(("cdm", "a", "fail", 0, "x"), ("cdm", "b", "hang", 0, "45 s"),
                                       ("cdm", "c", "splat", 0, "WARN \x00\x1b"), ("cdm", "d", "pass"))
        self.assertEqual((code, lines[-1]), (1, "1 passed, 3 failed"))
        suite = xml.find("testsuite")
        self.assertEqual((suite.get("failures"), suite.get("errors")), ("1", "2"))
        self.assertEqual([e.get("type") for e in suite.iter("error")], ["hang", "splat"])
        self.assertTrue(any(t.startswith("# hang: cdm: b") for t in lines))
        self.assertTrue(any(t.startswith("# kernel: cdm: c") for t in lines))


class InGuest(unittest.TestCase):
    def test_settings(self):
        got = inguest.read_settings("# c\ntimeout=600\nkernel_args=ccad.memory=ordinary\n\nmemory = 2G\n")
        self.assertEqual(got, {"timeout": "600", "kernel_args": "ccad.memory=ordinary", "memory": "2G"})

    def test_find(self):
        with tempfile.TemporaryDirectory() as d:
            d = pathlib.Path(d)
            (d / "mm/cdm").mkdir(parents=True)
            (d / "kselftest-list.txt").write_text("mm/cdm:a\nmm/cdm:b.sh\ndrivers/ccad:c\n")
            (d / "mm/cdm/settings").write_text("timeout=600\n")
            (d / "mm/cdm/b.sh.settings").write_text("kernel_args=ccad.memory=ordinary\n")
            a, b = inguest.find(d, ("mm/cdm",))
        self.assertEqual((a.program, a.timeout), ("a", 600.0))
        self.assertEqual(b.settings["timeout"], "600")
        self.assertNotEqual(a.guest_key(), b.guest_key())

    def test_arguments_of_qemu(self):
        """Those of the test come first, the user's can still say otherwise."""
        test = inguest.Test("mm/cdm", "a", inguest.read_settings("qemu_args=-numa hmat-lb,target=2\n"))
        ctx = SimpleNamespace(args=SimpleNamespace(memory=None, cpus=None, cdm_size=None, kernel_arg=None,
                                                   qemu_arg=["-m 2G"]),
                              mode=SimpleNamespace(memory=0, kernel_args=[]))
        args = [a for text in inguest.options_for(ctx, test).qemu_args for a in machine.split_args(text)]
        self.assertEqual(args, ["-numa", "hmat-lb,target=2", "-m", "2G"])
        self.assertNotEqual(test.guest_key(), inguest.Test("mm/cdm", "b").guest_key())

    def test_names(self):
        self.assertEqual([inguest.full_name("sva", c) for c in ("sva.stack", "", "sva", "life.kill", "svalbard.x")],
                         ["sva.stack", "sva", "sva", "sva.life.kill", "sva.svalbard.x"])

    def test_cases_of_a_harness_program(self):
        text = ("# FIXTURE           VARIANT                   TEST\n"
                "global                                         alone\n"
                "-----\n"
                "sva                  small                     read\n"
                "                     huge                      write\n"
                "                                               a_very_long_name_of_a_test_case\n")
        self.assertEqual(inguest.harness_cases(text),
                         ["global.alone", "sva.small.read", "sva.small.write",
                          "sva.small.a_very_long_name_of_a_test_case", "sva.huge.read",
                          "sva.huge.write", "sva.huge.a_very_long_name_of_a_test_case"])
        self.assertEqual(inguest.harness_cases("no such option\n"), [])

    def test_said_of_a_case(self):
        lines = ["# areas.c:112:cma:Expected 0 (0) == ret (-12)", "# areas.c:130:kfence_pool:no",
                 "# cma: Test terminated unexpectedly by signal 9", "# cma_other: Test terminated by timeout"]
        self.assertEqual(inguest.said_of("areas.cma", lines), [lines[0], lines[2]])


class Machine(unittest.TestCase):
    def test_refused_with_a_remedy(self):
        for bad in ({"cdm_size": "300M"}, {"cdm_size": "64M"}, {"cdm_size": "x"}, {"distance": 10},
                    {"distance": 255}, {"cpus": 0}, {"cpus": 17}, {"memory": "64M"},
                    {"memory": "1073741825"}, {"memory": "1500K"}, {"memory": "524800K"}):
            with self.assertRaises(Fail) as e:
                machine.check(machine.Options(**bad))
            self.assertTrue(e.exception.remedy, bad)
        machine.check(machine.Options())

    def test_sizes(self):
        self.assertEqual([parse_size(t) for t in ("1G", "512M", "4096", "1GiB", "2k")],
                         [1 << 30, 512 << 20, 4096, 1 << 30, 2048])


class Doctor(unittest.TestCase):
    GOOD = """\
ecap 1ca3d0f5d2f0df
cap 119c40660206f0462
la57 0
gbpages 1
possible 0-1
has_memory 0
coherent 1
device 0000:01:00.0
driver ccad
iommu_group 7
ats_cap 0060
ats_ctl 8000
pasid_cap 1404
pasid_ctl 0001
pri_ctl 0001
pri_status 8100
dvsec 1
bind ok
"""

    def judge(self, text):
        out = io.StringIO()
        r = doctor.Report()
        with contextlib.redirect_stdout(out):
            doctor.judge(r, doctor.parse(text), "LOG")
        return r.bad, out.getvalue()

    def good(self):
        ecap = 1 << 43 | 1 << 47 | 1 << 48 | 1 << 40 | 1 << 29 | 1 << 2
        return (self.GOOD.replace("1ca3d0f5d2f0df", f"{ecap:x}")
                .replace("119c40660206f0462", f"{1 << 56:x}"))

    def test_all_there(self):
        bad, text = self.judge(self.good())
        self.assertEqual(bad, 0, text)

    def test_each_missing_capability_is_named(self):
        ecap = int(self.good().split()[1], 16)
        for bit, name in ((43, "SMTS"), (47, "FLTS"), (48, "SMPWC"), (40, "PASID"), (29, "PRS"), (2, "DT")):
            bad, text = self.judge(self.good().replace(f"ecap {ecap:x}", f"ecap {ecap & ~(1 << bit):x}"))
            self.assertEqual(bad, 1, name)
            self.assertRegex(text, rf"MISSING .*{name}[^\n]*\n +remedy: \S")
        for old, new, name in (("la57 0", "la57 1", "LA57"), ("possible 0-1", "possible 0", "node 1 is possible"),
                               ("pri_status 8100\n", "", "PRI"), ("pri_status 8100", "pri_status 0100", "PRG"),
                               ("ats_cap 0060", "ats_cap 0000", "aligned"), ("driver ccad", "driver", "driver"),
                               ("coherent 1", "coherent missing", "has_coherent_memory"),
                               ("bind ok", "bind No such device", "No such device")):
            bad, text = self.judge(self.good().replace(old, new))
            self.assertEqual(bad, 1, text)
            self.assertRegex(text, rf"MISSING .*{name}")

    def test_node_lists(self):
        self.assertTrue(doctor.node_in(1, "0-1"))
        self.assertTrue(doctor.node_in(4, "0,2-5"))
        self.assertFalse(doctor.node_in(1, "0,2-5"))
        self.assertFalse(doctor.node_in(1, ""))


if __name__ == "__main__":
    unittest.main()
