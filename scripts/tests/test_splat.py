# SPDX-License-Identifier: GPL-2.0-or-later
"""What in a kernel's log counts as a complaint."""

import pathlib
import tempfile
import unittest

from ccad_tool import splat

BAD = {
    "[    1.0] Kernel panic - not syncing: sysrq triggered crash": ("panic", True),
    "[    1.0] WARNING: CPU: 1 PID: 33 at mm/page_alloc.c:5000 f+0x1/0x2": ("WARN", False),
    "[    1.0] WARNING: mm/mempolicy.c:12 at f+0x1/0x2, CPU#0: sh/1": ("WARN", False),
    "[    1.0] WARNING: possible circular locking dependency detected": ("WARN", False),
    "[    1.0] BUG: KASAN: slab-use-after-free in f+0x1/0x2": ("KASAN", False),
    "[    1.0] BUG: kernel NULL pointer dereference, address: 0000000000000008": ("BUG", False),
    "[    1.0] BUG: sleeping function called from invalid context at mm/a.c:1": ("BUG", False),
    "[    1.0] kernel BUG at mm/rmap.c:100!": ("BUG", True),
    "[    1.0] Oops: general protection fault, probably for": ("oops", True),
    "[  120.0] INFO: task ccad-demo:77 blocked for more than 120 seconds.": ("hung task", True),
    "[   60.0] rcu: INFO: rcu_preempt self-detected stall on CPU": ("RCU stall", True),
    "[   60.0] watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [a:1]": ("soft lockup", True),
    "[    1.0][   T33] UBSAN: array-index-out-of-bounds in mm/a.c:1:2": ("UBSAN", False),
    "[    1.0] page: refcount:0 Bad page state in process a  pfn:1": None,
    "[    1.0] BUG: Bad page state in process a  pfn:00001": ("BUG", False),
}
GOOD = (
    "[    1.0] ccad: begin cdm:BUG: not one",
    "BUG: a program wrote this to the console",
    "[    1.0] PCI: Using configuration type 1 for base access",
    "[    1.0] ACPI: INT_SRC_OVR (bus 0 bus_irq 0 global_irq 2 dfl dfl)",
    "[    1.0] x86/mm: Checked W+X mappings: passed, no W+X pages found.",
)


class Find(unittest.TestCase):
    def test_complaints(self):
        for line, want in BAD.items():
            if want is None:
                self.assertIsNotNone(splat.find(line), line)
                continue
            got = splat.find(line)
            self.assertIsNotNone(got, line)
            self.assertEqual(got[:2], want, line)

    def test_others(self):
        for line in GOOD:
            self.assertIsNone(splat.find(line), line)


class Watch(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.log = pathlib.Path(self.dir.name) / "serial.log"
        self.watch = splat.Watch(self.log)

    def tearDown(self):
        self.dir.cleanup()

    def write(self, text):
        with open(self.log, "a", encoding="utf-8") as f:
            f.write(text)

    def test_line_in_two_pieces(self):
        self.assertEqual(self.watch.poll(), [])
        self.write("[    1.0] hello\r\n[    2.0] WARN")
        self.assertEqual(self.watch.poll(), [])
        self.write("ING: CPU: 0 PID: 1 at a.c:1\r\n")
        found = self.watch.poll()
        self.assertEqual([(s.what, s.number) for s in found], [("WARN", 2)])
        self.assertEqual(self.watch.poll(), [])

    def test_one_report_is_one_splat(self):
        self.write("[ 1.0] WARNING: CPU: 0 PID: 1 at a.c:1\n" + "[ 1.0] x\n" * 5
                   + "[ 1.0] BUG: and more of it\n" + "[ 1.0] x\n" * 60
                   + "[ 2.0] WARNING: CPU: 0 PID: 1 at b.c:1\n")
        self.assertEqual(len(self.watch.poll()), 2)

    def test_fatal_is_never_swallowed(self):
        self.write("[ 1.0] WARNING: CPU: 0 PID: 1 at a.c:1\n[ 1.0] Kernel panic - not syncing: x\n")
        self.assertTrue(any(s.fatal for s in self.watch.poll()))

    def test_marks(self):
        self.write("[ 1.0] ccad: mark 7\n")
        self.watch.poll()
        self.assertEqual(self.watch.marks, {"7"})

    def test_plugs(self):
        self.write("[ 1.0] ccad: plug\n[ 2.0] ccad: plugs and other words\n[ 3.0] ccad: pl")
        self.watch.poll()
        self.write("ug\n")
        self.watch.poll()
        self.assertEqual(self.watch.plugs, 2)


if __name__ == "__main__":
    unittest.main()
