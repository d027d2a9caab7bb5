# SPDX-License-Identifier: GPL-2.0-or-later
"""ccad bench kernel: rows, and the comparison of machine code."""

import pathlib
import subprocess
import tempfile
import unittest

from ccad_tool import bench_kernel, bench_rows, machine, objects
from ccad_tool.util import Fail


class Rows(unittest.TestCase):
    def test_ratio_and_goal(self):
        r = bench_rows.row("a", 1001, "instructions", "b", 1000, 1.0005)
        self.assertEqual(r["ratio"], 1.001)
        self.assertTrue(bench_rows.missed(r))
        self.assertFalse(bench_rows.missed(bench_rows.row("a", 1001, "i", "b", 1000, 1.001)))
        self.assertTrue(bench_rows.missed(bench_rows.row("a", 9, "i", "b", 10, -1.0)))
        self.assertFalse(bench_rows.missed(bench_rows.row("a", 10, "i", "b", 10, -1.0)))
        self.assertFalse(bench_rows.missed(bench_rows.row("a", 10, "i")))
        self.assertIsNone(bench_rows.row("a", 10, "i", "b", 0)["ratio"])

    def test_table(self):
        lines = bench_rows.table([bench_rows.row("one", 1000.5, "instructions", "two", 1000, 1.0, 0.00012),
                             bench_rows.row("three", 7, "functions")])
        self.assertEqual(len(lines), 3)
        self.assertIn("misses the goal", lines[1])
        self.assertIn("0.012 %", lines[1])
        self.assertNotIn("misses", lines[2])

    def test_kernel_rows(self):
        got = bench_kernel.rows_of({
            ("unpatched", False): {"fault-4k": [100.0, 100.0]},
            ("unpatched", True): {"fault-4k": [200.0]},
            ("off", False): {"fault-4k": [100.0]},
            ("on", False): {"fault-4k": [100.0, 101.0, 100.0]},
            ("on", True): {"fault-4k": [202.0]}})
        self.assertEqual([r["ratio"] for r in got], [1.0, 1.0, 1.01])
        self.assertEqual([bench_rows.missed(r) for r in got], [False, False, True])
        self.assertEqual(got[1]["spread"], 0.01)

    def test_a_kernel_alone_has_no_yardstick(self):
        got = bench_kernel.rows_of({("on", True): {"migrate": [5.0]}})
        self.assertEqual([(r["value"], r["yardstick"], r["ratio"]) for r in got], [(5.0, None, None)])

    def test_evacuation_is_in_bytes_per_instruction(self):
        got = bench_kernel.evacuation_rows({"empty-4k": [0.5], "offline-4k": [0.8]},
                                           {"offline-4k": [1.0]})
        self.assertEqual([(r["value"], r["yardstick_value"], r["ratio"]) for r in got],
                         [(2.0, 1.0, 2.0), (1.25, 1.0, 1.25)])

    def test_counting_wants_one_processor(self):
        with self.assertRaises(Fail):
            machine.check(machine.Options(icount=True, cpus=2))
        machine.check(machine.Options(icount=True, cpus=1))

    def test_size_of_a_second_device(self):
        with self.assertRaises(Fail):
            machine.check(machine.Options(second_cdm="100M"))
        machine.check(machine.Options(second_cdm="128M"))


class Objects(unittest.TestCase):
    def build(self, where, name, text):
        (where / f"{name}.c").write_text(text)
        out = where / f"{name}.o"
        subprocess.run(["gcc", "-O2", "-c", "-o", out, where / f"{name}.c"], check=True)
        return out

    def test_differing_functions(self):
        text = "int g2(void);\nint f(int a) { return a + 1; }\nint g(int a) { return a * 3; }\n"
        with tempfile.TemporaryDirectory() as d:
            top = pathlib.Path(d)
            a = self.build(top, "a", text)
            b = self.build(top, "b", text + "\nchar *unused = \"data\";\n")
            c = self.build(top, "c", text.replace("* 3", "* 5 + g2() * a"))
            self.assertTrue(objects.same_code(a, b))
            self.assertEqual(objects.differing(a, b), [])
            self.assertFalse(objects.same_code(a, c))
            self.assertEqual(objects.differing(a, c), ["g"])
            self.assertEqual(objects.instructions(a).keys(), {"f", "g"})
            self.assertGreater(objects.instructions(c)["g"], objects.instructions(a)["g"])


if __name__ == "__main__":
    unittest.main()
