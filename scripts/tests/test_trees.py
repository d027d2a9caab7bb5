# SPDX-License-Identifier: GPL-2.0-or-later
"""Patched trees: what changes, what does not, what comes back."""

import os
import pathlib
import tarfile
import tempfile
import unittest
from unittest import mock

from ccad_tool import progress, trees
from ccad_tool.util import Fail

PATCH = """\
From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
Subject: [PATCH] one

---
diff --git a/hw/a.c b/hw/a.c
--- a/hw/a.c
+++ b/hw/a.c
@@ -1,2 +1,2 @@
 one
-two
+TWO
diff --git a/hw/new.c b/hw/new.c
new file mode 100644
--- /dev/null
+++ b/hw/new.c
@@ -0,0 +1 @@
+new
diff --git a/hw/gone.c b/hw/gone.c
deleted file mode 100644
--- a/hw/gone.c
+++ /dev/null
@@ -1 +0,0 @@
-gone
"""


class Trees(unittest.TestCase):
    def setUp(self):
        self.tmp = tempfile.TemporaryDirectory()
        self.top = pathlib.Path(self.tmp.name)
        self.env = mock.patch.dict(os.environ, CCAD_CACHE=str(self.top / "cache"))
        self.env.start()
        self.quiet = mock.patch.object(progress, "say")
        self.quiet.start()
        src = self.top / "qemu-11.1.9"
        (src / "hw").mkdir(parents=True)
        (src / "VERSION").write_text("11.1.9\n")
        (src / "hw/a.c").write_text("one\ntwo\n")
        (src / "hw/gone.c").write_text("gone\n")
        (src / "hw/other.c").write_text("other\n")
        self.src = src
        self.tarball = self.top / "qemu.tar.xz"
        with tarfile.open(self.tarball, "w:xz") as t:
            t.add(src, arcname=src.name)
        self.patch = self.top / "0001-one.patch"
        self.patch.write_text(PATCH)

    def tearDown(self):
        self.quiet.stop()
        self.env.stop()
        self.tmp.cleanup()

    def tree(self, origin=None):
        t = trees.Tree("QEMU", origin or self.tarball)
        t.prepare()
        return t

    def stamp(self, t, rel):
        return (t.tree / rel).stat().st_mtime_ns

    def test_apply_and_take_back(self):
        t = self.tree()
        other = self.stamp(t, "hw/other.c")
        t.apply([self.patch], [("hw/ccad/x.c", b"x\n")])
        self.assertEqual((t.tree / "hw/a.c").read_text(), "one\nTWO\n")
        self.assertEqual((t.tree / "hw/new.c").read_text(), "new\n")
        self.assertEqual((t.tree / "hw/ccad/x.c").read_text(), "x\n")
        self.assertFalse((t.tree / "hw/gone.c").exists())
        self.assertEqual(self.stamp(t, "hw/other.c"), other)
        t.apply([])
        self.assertEqual((t.tree / "hw/a.c").read_text(), "one\ntwo\n")
        self.assertEqual((t.tree / "hw/gone.c").read_text(), "gone\n")
        self.assertFalse((t.tree / "hw/new.c").exists())
        self.assertFalse((t.tree / "hw/ccad/x.c").exists())

    def test_nothing_changed_touches_nothing(self):
        t = self.tree()
        t.apply([self.patch], [("hw/x.c", b"x\n")])
        before = [self.stamp(t, r) for r in ("hw/a.c", "hw/new.c", "hw/x.c")]
        self.assertEqual(self.tree().apply([self.patch], [("hw/x.c", b"x\n")]), 0)
        self.assertEqual([self.stamp(t, r) for r in ("hw/a.c", "hw/new.c", "hw/x.c")], before)

    def test_one_changed_file(self):
        t = self.tree()
        t.apply([self.patch], [("hw/x.c", b"x\n"), ("hw/y.c", b"y\n")])
        a, y = self.stamp(t, "hw/a.c"), self.stamp(t, "hw/y.c")
        self.assertEqual(t.apply([self.patch], [("hw/x.c", b"X\n"), ("hw/y.c", b"y\n")]), 1)
        self.assertEqual((self.stamp(t, "hw/a.c"), self.stamp(t, "hw/y.c")), (a, y))

    def test_interrupted_update_is_finished(self):
        t = self.tree()
        with mock.patch.object(trees, "write_if_changed", side_effect=_dies_at("hw/new.c")):
            with self.assertRaises(KeyboardInterrupt):
                t.apply([self.patch])
        t.apply([])
        self.assertEqual((t.tree / "hw/a.c").read_text(), "one\ntwo\n")
        self.assertTrue((t.tree / "hw/gone.c").exists())

    def test_patch_that_does_not_apply(self):
        self.patch.write_text(PATCH.replace("-two", "-three"))
        t = self.tree()
        with self.assertRaises(Fail) as e:
            t.apply([self.patch])
        self.assertIn("0001-one.patch does not apply", e.exception.what)
        self.assertEqual((t.tree / "hw/a.c").read_text(), "one\ntwo\n")

    def test_users_tree_is_followed_and_never_written(self):
        t = self.tree(self.src)
        t.apply([self.patch])
        self.assertEqual((self.src / "hw/a.c").read_text(), "one\ntwo\n")
        (self.src / "hw/a.c").write_text("one\ntwo\nthree\n")
        (self.src / "hw/other.c").unlink()
        self.patch.write_text(PATCH.replace("@@ -1,2 +1,2 @@\n one\n-two\n+TWO\n",
                                            "@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n"))
        t = self.tree(self.src)
        t.apply([self.patch])
        self.assertEqual((t.tree / "hw/a.c").read_text(), "one\nTWO\nthree\n")
        self.assertFalse((t.tree / "hw/other.c").exists())

    def test_not_a_source_tree(self):
        with self.assertRaises(Fail):
            trees.Tree("QEMU", self.top / "nowhere")
        (self.src / "VERSION").unlink()
        with self.assertRaises(Fail) as e:
            self.tree(self.src)
        self.assertIn("not a source tree of QEMU", e.exception.what)


def _dies_at(rel):
    real = trees.write_if_changed

    def write(path, *args):
        if str(path).endswith(rel):
            raise KeyboardInterrupt
        return real(path, *args)
    return write


class Series(unittest.TestCase):
    def test_order_and_comments(self):
        with tempfile.TemporaryDirectory() as d:
            d = pathlib.Path(d)
            self.assertEqual(trees.series(d), [])
            (d / "b.patch").touch()
            (d / "a.patch").touch()
            (d / "series").write_text("# head\nb.patch # why\n\na.patch\n")
            self.assertEqual([p.name for p in trees.series(d)], ["b.patch", "a.patch"])
            (d / "series").write_text("c.patch\n")
            with self.assertRaises(Fail):
                trees.series(d)


if __name__ == "__main__":
    unittest.main()
