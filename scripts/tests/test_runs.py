# SPDX-License-Identifier: GPL-2.0-or-later
"""How runs in the guest end: exit codes, and which test a splat or a hang belongs to."""

import pathlib
import tempfile
import types
import unittest
from unittest import mock

from ccad_tool import boot, cli, guest, progress, splat, testcmd
from ccad_tool.suites import inguest, kunit, migrate
from ccad_tool.util import Fail

WARN = "[    9.0] WARNING: CPU: 0 PID: 1 at mm/a.c:1 f+0x1/0x2\n"
REAL = guest.Guest


class FakeGuest:
    """Says what it is told to: {part of the command: (result, output, what the kernel says)}."""

    script = {}
    made = []
    nodes = "1\nccad-0\n"
    fails = None                # NotUp, instead of being ready

    def __init__(self, options=None, *_):
        self.options = options
        self.tmp = tempfile.TemporaryDirectory()
        self.log = pathlib.Path(self.tmp.name) / "serial.log"
        self.qemu_log = pathlib.Path(self.tmp.name) / "qemu.log"
        self.log.touch()
        self.qemu_log.touch()
        self.watch = splat.Watch(self.log)
        self.went = False
        self.ran = []
        FakeGuest.made.append(self)

    def start(self):
        pass

    def wait_ready(self, *_):
        if self.fails:
            raise self.fails

    def run(self, command, out, err, timeout=None, stdin=None, env=(), tty=None):
        if command == inguest.LOOK:
            out(self.nodes.encode())
            return guest.Result("exit", 0)
        self.ran.append(command)
        for part, (result, text, log) in self.script.items():
            if part in command:
                out(text.encode())
                with open(self.log, "a", encoding="utf-8") as f:
                    f.write(log)
                return result
        return guest.Result("exit", 0)

    def log_line(self, text):
        pass

    def sync(self, limit=10):
        self.watch.poll()
        return True

    def quit(self, limit=10):
        return True

    def kill(self):
        pass


class Base(unittest.TestCase):
    def setUp(self):
        FakeGuest.made = []
        self.tmp = tempfile.TemporaryDirectory()
        for p in (mock.patch.object(progress, "say"), mock.patch.object(guest, "Guest", FakeGuest)):
            p.start()
            self.addCleanup(p.stop)
        self.addCleanup(self.tmp.cleanup)

    def script(self, **kw):
        FakeGuest.script = kw

    def context(self, **args):
        """What a suite gets; its results are in self.got as (name, status)."""
        self.got = []
        known = dict(full=False, list=False, name=None, memory=None, cpus=None, cdm_size=None,
                     kernel_arg=None, qemu_arg=None)
        ctx = testcmd.Context(types.SimpleNamespace(**{**known, **args}), types.SimpleNamespace(
            add=lambda suite, name, status, *a: self.got.append((name, status)),
            log_path=lambda n: pathlib.Path(self.tmp.name) / n))
        ctx.suite = "cdm"
        ctx.parts = lambda: (types.SimpleNamespace(qemu=None, kernel=None, rootfs=None), "tcg")
        return ctx


class ExitCodes(Base):
    def code(self, result, log=""):
        self.script(x=(result, "", log))
        return boot.execute(FakeGuest(), "x", None)

    def test_of_the_command(self):
        for code in (0, 1, 7, 137):
            self.assertEqual(self.code(guest.Result("exit", code)), code)

    def test_timeout(self):
        self.assertEqual(self.code(guest.Result("timeout", 124, "still running")), 124)

    def test_kernel_complained_though_the_command_was_content(self):
        self.assertEqual(self.code(guest.Result("exit", 0), WARN), 255)

    def test_complaint_wins_over_timeout(self):
        self.assertEqual(self.code(guest.Result("timeout", 124, "still running"), WARN), 255)

    def test_empty_command_is_refused(self):
        for command in ("", " "):
            args = cli.parser().parse_args(["boot", "--exec", command])
            with mock.patch.object(boot, "Parts", side_effect=AssertionError), self.assertRaises(Fail) as e:
                boot.main(args)
            self.assertTrue(e.exception.remedy)

    def test_kernel_died(self):
        self.assertEqual(self.code(guest.Result("dead", 255, "went down")), 255)
        self.assertEqual(self.code(guest.Result("splat", 255, "panic")), 255)


class Attribution(Base):
    def run_tests(self, programs):
        ctx = self.context()
        runner = inguest.Runner(ctx, "cdm")
        for p in programs:
            runner.run(p if isinstance(p, inguest.Test) else inguest.Test("mm/cdm", p))
        runner.stop()
        return self.got

    def ok(self, name):
        return guest.Result("exit", 0), f"1..1\nok 1 {name}\n", ""

    def test_one_boot_for_all(self):
        self.script(**{"./a": self.ok("one"), "./b": self.ok("two")})
        self.assertEqual(self.run_tests(["a", "b"]), [("a.one", "pass"), ("b.two", "pass")])
        self.assertEqual(len(FakeGuest.made), 1)

    def test_splat_is_of_the_test_that_ran_and_the_rest_goes_on(self):
        self.script(**{"./a": self.ok("one"),
                       "./b": (guest.Result("exit", 0), "1..1\nok 1 two\n", WARN),
                       "./c": self.ok("three")})
        self.assertEqual(self.run_tests(["a", "b", "c"]),
                         [("a.one", "pass"), ("b.two", "pass"), ("b.kernel-log", "splat"),
                          ("c.three", "pass")])
        self.assertEqual(len(FakeGuest.made), 2)
        self.assertIn("./c", FakeGuest.made[1].ran[0])

    def test_hang_keeps_what_was_done_before(self):
        self.script(**{"./a": (guest.Result("timeout", 124, "still running"), "1..2\nok 1 one\n", ""),
                       "./b": self.ok("two")})
        self.assertEqual(self.run_tests(["a", "b"]),
                         [("a.one", "pass"), ("a", "hang"), ("b.two", "pass")])
        self.assertEqual(len(FakeGuest.made), 2)

    def test_guest_that_died_is_neither(self):
        self.script(**{"./a": (guest.Result("dead", 255, "went down"), "", "")})
        self.assertEqual(self.run_tests(["a"]), [("a", "dead")])

    def test_panic(self):
        self.script(**{"./a": (guest.Result("splat", 255, "panic"), "1..1\n",
                               "[ 1.0] Kernel panic - not syncing: x\n")})
        self.assertEqual(self.run_tests(["a"]), [("a.kernel-log", "splat")])

    def test_guest_of_another_kind(self):
        self.script(**{"./a": self.ok("one"), "./b": self.ok("two")})
        other = inguest.Test("mm/cdm", "b", {"kernel_args": "ccad.memory=ordinary"})
        self.run_tests(["a", other, inguest.Test("mm/cdm", "b", {"boot": "own"})])
        self.assertEqual(len(FakeGuest.made), 3)


class Boots(Base):
    """What a guest is when it is up, and how it fails to be."""

    def run_test(self, settings=None, nodes=FakeGuest.nodes, **args):
        self.script(**{"./a": (guest.Result("exit", 4), "1..0 # SKIP no coherent node\n", "")})
        runner = inguest.Runner(self.context(**args), "cdm")
        with mock.patch.object(FakeGuest, "nodes", nodes):
            runner.run(inguest.Test("mm/cdm", "a", settings or {}))
        runner.stop()
        return self.got

    def test_lost_node_is_no_success(self):
        for nodes in ("\n", "\nccad-0\n", "1\n", "", "ccad-0\n"):
            self.assertIn(("cdm-boot1.nodes", "fail"), self.run_test(nodes=nodes), nodes)
        self.assertEqual(self.run_test(), [("a", "skip")])

    def test_second_node(self):
        settings = {"second_cdm": "128M", "second": "256M"}
        for nodes in ("1-2", "1,3"):
            self.assertEqual(self.run_test(settings, f"{nodes}\nccad-0\nccad-1\n"), [("a", "skip")])
        for text in ("1\nccad-0\nccad-1\n", "1-2\nccad-0\n", "1\nccad-0\n"):
            self.assertIn(("cdm-boot1.nodes", "fail"), self.run_test(settings, text))

    def test_a_guest_asked_for_without_it(self):
        skip = [("a", "skip")]
        self.assertEqual(self.run_test({"kernel_args": "ccad.memory=ordinary"}, "\n"), skip)
        self.assertEqual(self.run_test(nodes="\n", kernel_arg=["ccad.memory=none"]), skip)
        self.assertEqual(self.run_test(nodes="\n", kernel_arg=["intel_iommu=off"]), skip)
        self.assertNotEqual(self.run_test(nodes="\n", kernel_arg=["loglevel=8"]), skip)

    def test_hang_and_death(self):
        for why in ("hang", "dead"):
            with mock.patch.object(FakeGuest, "fails", guest.NotUp(why, "what", "remedy")):
                self.assertEqual(self.run_test(), [("a.boot", why)])
                ctx = self.context()
                kunit.run(ctx)
                self.assertEqual(self.got, [("boot", why)])

    def test_which_it_is(self):
        g = REAL.__new__(REAL)
        g.options, g.ready, g.watch = types.SimpleNamespace(gdb=False), False, FakeGuest().watch
        g.stopped = g.went = False
        g.log = g.qemu_log = FakeGuest().log
        g._step = lambda end: None
        with self.assertRaises(guest.NotUp) as e:
            g.wait_ready(0.01)
        self.assertEqual(e.exception.why, "hang")
        g.went = True
        with self.assertRaises(guest.NotUp) as e:
            g.wait_ready(5)
        self.assertEqual(e.exception.why, "dead")

    def test_no_room_for_the_scratch_disk(self):
        g = REAL.__new__(REAL)
        with tempfile.TemporaryDirectory() as d:
            g.scratch_from, g.dir = pathlib.Path(d) / "absent", pathlib.Path(d)
            with self.assertRaises(Fail) as e:
                g.start()
        self.assertTrue(e.exception.remedy)


class Migrate(unittest.TestCase):
    def judged(self, why="exit", code=0, moves=migrate.MOVES, words=("queue", "sva"), splats=()):
        g = types.SimpleNamespace(moves=moves, watch=types.SimpleNamespace(splats=list(splats)))
        return migrate._judge(g, guest.Result(why, code, ""), words)[0]

    def test_what_is_a_success(self):
        self.assertEqual(self.judged(), "pass")
        self.assertEqual(self.judged(code=1), "fail")
        self.assertEqual(self.judged(moves=migrate.MOVES - 1), "fail")
        self.assertEqual(self.judged(words=("queue",)), "fail")
        self.assertEqual(self.judged(why="timeout"), "hang")
        self.assertEqual(self.judged(why="dead"), "dead")
        self.assertEqual(self.judged(splats=("BUG",)), "splat")


if __name__ == "__main__":
    unittest.main()
