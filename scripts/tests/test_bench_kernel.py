# SPDX-License-Identifier: GPL-2.0-or-later
"""ccad bench kernel: rows, and the comparison of machine code."""

import pathlib
import re
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
    SWITCH = """\
int handle(int), other(int);
static int table[] = { 0, 1, 2, 3 };
int *entry(int i) { return &table[i]; }
int get(void) { return table[1]; }
const char *say(void) { return "text"; }
int pick(int a)
{
	switch (a) {
	case 0: return handle(1);
	case 1: return handle(7) + 3;
	case 2: return handle(9) + 8;
	case 3: return handle(2) - 8;
	case 4: return other(5);
	case 5: return handle(4) * 9;
	}
	return 0;
}
static int (*const calls[])(int) = { handle, other };
int call(int i) { return calls[i & 1](i); }
"""

    def setUp(self):
        tmp = tempfile.TemporaryDirectory()
        self.addCleanup(tmp.cleanup)
        self.top = pathlib.Path(tmp.name)

    def build(self, name, text, *options):
        (self.top / f"{name}.c").write_text(text)
        out = self.top / f"{name}.o"
        subprocess.run(["gcc", "-O2", "-c", *options, "-o", out, self.top / f"{name}.c"], check=True)
        return out

    def differ(self, old, new, *options):
        """Functions that differ when a piece of SWITCH is another."""
        self.assertIn(old, self.SWITCH)
        pair = (self.build("a", self.SWITCH, *options),
                self.build("b", self.SWITCH.replace(old, new), *options))
        got = objects.differing(*pair)
        self.assertEqual(objects.differing_sections(*pair), [".text"] if got else [])
        return got

    def test_differing_functions(self):
        text = "int g2(void);\nint f(int a) { return a + 1; }\nint g(int a) { return a * 3; }\n"
        a = self.build("a", text)
        b = self.build("b", text + "\nchar *unused = \"data\";\n")
        c = self.build("c", text.replace("* 3", "* 5 + g2() * a"))
        self.assertEqual(objects.differing_sections(a, b), [])
        self.assertEqual(objects.differing(a, b), [])
        self.assertEqual(objects.differing_sections(a, c), [".text"])
        self.assertEqual(objects.differing(a, c), ["g"])
        self.assertEqual(objects.instructions(a).keys(), {"f", "g"})
        self.assertGreater(objects.instructions(c)["g"], objects.instructions(a)["g"])

    def test_what_the_code_refers_to(self):
        for options in ((), ("-fno-pic", "-mcmodel=kernel")):
            with self.subTest(options):
                self.assertEqual(self.differ("handle(2)", "other(2)", *options), ["pick"])
                self.assertEqual(self.differ("table[1]", "table[2]", *options), ["get"])
                self.assertEqual(self.differ('"text"', '"test"', *options), ["say"])
                self.assertEqual(self.differ("{ handle, other }", "{ other, handle }", *options), ["call"])

    def test_entries_of_a_jump_table(self):
        for go, entry in (("jmp *.Ltable(,%rdi,8)", ".quad {}"),
                          ("lea .Ltable(%rip), %rdx; movslq (%rdx,%rdi,4), %rax; add %rdx, %rax; jmp *%rax",
                           ".long {} - .Ltable")):
            with self.subTest(go):
                def build(name, entries, behind="behind", constant=8, entry=entry, go=go):
                    table = "\n".join(entry.format(e) for e in entries)
                    return self.build(
                        name, f".type pick, @function\npick: {go}\n.La: ret\n.Lb: nop; ret\n"
                        f".size pick, . - pick\n.type {behind}, @function\n{behind}: mov .Lnext, %eax; ret\n"
                        f".size {behind}, . - {behind}\n.section .rodata\n.long 7\n.Ltable: {table}\n"
                        f".Lnext: .long {constant}\n", "-xassembler")
                a = build("a", (".La", ".Lb"))
                self.assertEqual(objects.differing(a, build("b", (".Lb", ".La"))), ["pick"])
                self.assertEqual(objects.differing(a, build("b", (".La", ".Lb", ".La"))), ["pick"])
                self.assertEqual(objects.differing(a, build("b", (".La", ".Lb"), "other")),
                                 ["behind", "other"])
                self.assertEqual(objects.differing(a, build("b", (".La", ".Lb"), constant=9)), ["behind"])

    def test_an_operand_behind_the_address(self):
        text = "static int p, q, r;\nvoid fp(void) { p = 5; }\nvoid fq(void) { q = 5; }\n" \
               "void fr(void) { r = 5; }\nint sum(void) { return p + q + r; }\n"
        a = self.build("a", text)
        for name in "pqr":
            b = self.build("b", re.sub(rf"\b{name}\b", "other", text))
            self.assertEqual(objects.differing(a, b), [f"f{name}", "sum"])

    def test_where_it_lies_does_not_matter(self):
        more = ('static int front[] = { 9, 8, 7 };\nint *first(int i) { return &front[i]; }\n'
                'const char *early(void) { return "early"; }\n')
        for options in ((), ("-fno-pic", "-mcmodel=kernel")):
            with self.subTest(options):
                a = self.build("a", self.SWITCH, *options)
                b = self.build("b", more + self.SWITCH, *options)
                self.assertEqual(objects.differing(a, b), ["early", "first"])

    def test_statics_are_numbered_anew(self):
        body = "{ static int seen; return seen++; }\n"
        a = self.build("a", f"int f(void) {body}int g(void) {body}")
        b = self.build("b", f"int f(void) {body}int g(void) {body}"
                            "int e(void) { static int more; return more++; }\n")
        self.assertEqual(objects.differing(a, b), ["e"])

    def test_a_difference_misses_the_goal(self):
        text = "int g(void), h(void);\nint f(void) { return g() + 1; }\nint i(void) { return h() + 2; }\n"
        name = bench_kernel.ALLOCATOR[0]
        swapped = text.splitlines(keepends=True)
        swapped = "".join((swapped[0], swapped[2], swapped[1]))
        for off, missed in ((text, []), (text.replace("g() +", "h() +"), ["functions", "sections"]),
                            (swapped, ["sections"])):
            dirs = {}
            for kernel, source in ((bench_kernel.UNPATCHED, text), (bench_kernel.OFF, off),
                                   (bench_kernel.ON, text)):
                dirs[kernel] = self.top / kernel
                (dirs[kernel] / name).parent.mkdir(parents=True, exist_ok=True)
                self.build("a", source).rename(dirs[kernel] / name)
            rows = bench_kernel.object_rows(dirs, [name])
            self.assertEqual([r["unit"] for r in rows if bench_rows.missed(r)], missed)


if __name__ == "__main__":
    unittest.main()
