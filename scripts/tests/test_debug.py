# SPDX-License-Identifier: GPL-2.0-or-later
"""Suite debug: leaks, faults and what a test may do under them."""

import types
import unittest
from dataclasses import replace

from ccad_tool import guest, kernel, machine, testcmd
from ccad_tool.suites import LONG, ORDER, debug, inguest
from test_runs import WARN, Base, FakeGuest

LEAK = """unreferenced object 0xffff888004c26000 (size 96):
  comm "sh", pid 1, jiffies 4294892296
  hex dump (first 32 bytes):
    00 00 00 00
  backtrace (crc 0):
    ccad_open+0x12/0x34
    uacce_fops_open+0x1/0x2
"""
OK = guest.Result("exit", 0)


class Modes(Base):
    def run_in(self, mode, programs):
        ctx = self.context().variant(mode)
        runner = inguest.Runner(ctx, "cdm")
        for p in programs:
            runner.run(inguest.Test("mm/cdm", p))
        runner.stop(well=True)
        return self.got

    def test_prefix_is_part_of_the_name_that_k_chooses(self):
        ctx = self.context(name="faults.cdm.pol").variant(testcmd.Mode(prefix="faults.cdm."))
        self.assertTrue(ctx.selected("policy"))
        self.assertFalse(ctx.selected("migrate"))

    def test_matches_of_a_variant_are_counted(self):
        ctx = self.context()
        ctx.variant(testcmd.Mode(prefix="x.")).add("a", "pass")
        self.assertEqual((ctx.matched, self.got), (1, [("x.a", "pass")]))

    def test_another_kernel_has_parts_of_its_own(self):
        ctx = self.context()
        ctx._parts = "made"
        self.assertIsNone(ctx.variant(testcmd.Mode(fragments=kernel.DEBUG))._parts)
        self.assertEqual(ctx.variant(testcmd.Mode(slow=2))._parts, "made")

    def test_no_leak(self):
        self.script(**{"./a": (OK, "1..1\nok 1 one\n", "")})
        got = self.run_in(replace(debug.DEBUG, after=debug.look_after), ["a"])
        self.assertEqual(got, [("a.one", "pass"), ("cdm-boot1.kmemleak", "pass")])

    def test_leak_fails_the_run(self):
        self.script(**{"./a": (OK, "1..1\nok 1 one\n", ""), "kmemleak": (OK, LEAK, "")})
        got = self.run_in(replace(debug.DEBUG, after=debug.look_after), ["a"])
        self.assertEqual(got[1], ("cdm-boot1.kmemleak", "fail"))
        self.assertIn("ccad_open", debug.judge_leaks(OK, LEAK)[1])

    def test_kmemleak_or_lockdep_that_gave_up(self):
        gone = guest.Result("exit", 3), "", ""
        self.script(**{"kmemleak": gone, "lockdep_stats": gone, "./a": (OK, "1..1\nok 1 one\n", "")})
        got = self.run_in(replace(debug.DEBUG, after=debug.look_after), ["a"])
        self.assertEqual(got[1:], [("cdm-boot1.kmemleak", "fail"), ("cdm-boot1.lockdep", "fail")])

    def test_under_faults_a_test_may_fail_and_the_kernel_may_not(self):
        self.script(**{"./a": (guest.Result("exit", 1), "1..1\nnot ok 1 one\n", ""),
                       "./b": (OK, "1..1\nok 1 two\n", WARN),
                       "./c": (guest.Result("timeout", 124, "still running"), "", "")})
        got = self.run_in(testcmd.Mode(may_fail=True), ["a", "b", "c"])
        self.assertEqual(got, [("a", "pass"), ("b", "pass"), ("b.kernel-log", "splat"), ("c", "hang")])

    def test_after_faults_the_device_has_to_work_without_them(self):
        self.script(**{"./sva": (guest.Result("exit", 1), "1..1\nnot ok 1 copy\n", ""),
                       "./policy": (OK, "1..1\nok 1 bind\n", ""),
                       "./a": (guest.Result("exit", 1), "1..1\nnot ok 1 one\n", "")})
        got = self.run_in(replace(debug.DEBUG, prefix="faults.", command=debug.inject, may_fail=True,
                                  after=debug.look_after_faults), ["a"])
        self.assertEqual(got, [("faults.a", "pass"), ("faults.usable-after.policy.bind", "pass"),
                               ("faults.usable-after.sva.copy", "fail"),
                               ("faults.cdm-boot1.kmemleak", "pass")])
        ran = FakeGuest.made[0].ran
        self.assertEqual(["make-it-fail" in c for c in ran if "./a" in c or "./sva" in c], [True, False])

    def test_a_device_that_is_told_to_go_wrong_is_not_asked(self):
        chosen = [t.program for t in debug.usable(machine.Options(device_args="x-seed=1"))]
        self.assertEqual(chosen, ["policy"])
        self.assertEqual(len(debug.usable(machine.Options())), 2)


class Faults(unittest.TestCase):
    def test_every_program_has_its_own_and_every_run_the_same(self):
        a, b = (debug.inject(inguest.Test("c", p), "x") for p in ("a", "b"))
        self.assertNotEqual(a, b)
        self.assertEqual(a, debug.inject(inguest.Test("c", "a"), "x"))
        self.assertTrue(a.endswith("\nx"))

    def test_only_the_tasks_of_the_test(self):
        text = debug.inject(inguest.Test("c", "a"), "x")
        self.assertEqual(text.count("task-filter"), 2)


class Choice(unittest.TestCase):
    def chosen(self, **args):
        known = dict(suites=[], full=False, kernel_tree=None)
        return testcmd.choose(types.SimpleNamespace(**{**known, **args}))

    def test_long_suites_when_asked_for(self):
        self.assertFalse(set(LONG) & set(self.chosen()))
        self.assertEqual(self.chosen(full=True), list(ORDER))
        self.assertIn("boot", self.chosen())
        self.assertEqual(self.chosen(suites=["debug"]), ["debug"])
        self.assertEqual(self.chosen(kernel_tree="x"), ["kunit", "cdm", "driver"])


class Config(unittest.TestCase):
    def test_debug_config_has_what_it_is_for(self):
        got = kernel.wanted(kernel.DEBUG[1].read_text())
        for name in ("KASAN", "PROVE_LOCKING", "PROVE_RCU", "DEBUG_VM", "DEBUG_ATOMIC_SLEEP",
                     "DEBUG_KMEMLEAK", "FAILSLAB", "FAIL_PAGE_ALLOC"):
            self.assertEqual(got[f"CONFIG_{name}"], "y", name)


if __name__ == "__main__":
    unittest.main()
