# SPDX-License-Identifier: GPL-2.0-or-later
"""The configurations of `ccad series check`: what is built, which warnings count."""

import pathlib
import tempfile
import unittest

from ccad_tool import series_matrix


class Matrix(unittest.TestCase):
    def test_builds(self):
        with tempfile.TemporaryDirectory() as d:
            top = pathlib.Path(d)
            (top / "drivers/x/y").mkdir(parents=True)
            (top / "drivers/Makefile").write_text("obj-$(CONFIG_X) += x/\n")
            (top / "drivers/x/Makefile").write_text("obj-y += y/\n")
            (top / "drivers/x/y/Makefile").write_text(
                "obj-$(CONFIG_Y) += z.o\nz-y := a.o\nobj-$(CONFIG_B) += b.o\n")
            on = {"CONFIG_X": "y", "CONFIG_Y": "y", "CONFIG_B": "n"}
            self.assertTrue(series_matrix.builds(top, "drivers/x/y/a.o", on))
            self.assertFalse(series_matrix.builds(top, "drivers/x/y/b.o", on))
            self.assertFalse(series_matrix.builds(top, "drivers/x/y/included.o", on))
            self.assertFalse(series_matrix.builds(top, "drivers/x/y/a.o", {**on, "CONFIG_X": "n"}))

    def test_builds_by_the_makefile_above(self):
        with tempfile.TemporaryDirectory() as d:
            top = pathlib.Path(d)
            (top / "mm/tests").mkdir(parents=True)
            (top / "mm/Makefile").write_text("obj-$(CONFIG_T) += tests/a.o \\\n\ttests/b.o\n")
            self.assertTrue(series_matrix.builds(top, "mm/tests/b.o", {"CONFIG_T": "y"}))
            self.assertFalse(series_matrix.builds(top, "mm/tests/b.o", {}))
            self.assertFalse(series_matrix.builds(top, "mm/tests/c.o", {"CONFIG_T": "y"}))

    def test_builds_only_with_another_option(self):
        text = ("ifdef CONFIG_M\nobj-y += a.o\nelse\nobj-y += b.o\nendif\n"
                "ifeq ($(X),y)\nobj-y += c.o\nendif\n")
        on = series_matrix.conditional(text, {"CONFIG_M": "y"}).split()
        off = series_matrix.conditional(text, {}).split()
        self.assertEqual([o for o in on if ".o" in o], ["a.o", "c.o"])
        self.assertEqual([o for o in off if ".o" in o], ["b.o", "c.o"])

    def test_warnings_that_were_there_before(self):
        text = ("mm/a.c:10:2: warning: new\n../mm/a.c:20: warning: old [-Wold]\n"
                "mm/a.c: In function 'f':\nmm/a.c:30:1: error: bad\n")
        got = series_matrix.warnings_of(text, pathlib.Path("/x"))
        self.assertEqual(got, [("mm/a.c", "new"), ("mm/a.c", "old [-Wold]"), ("mm/a.c", "bad")])
        self.assertEqual(series_matrix.minus(got, [("mm/a.c", "old [-Wold]")]),
                         [("mm/a.c", "new"), ("mm/a.c", "bad")])
        self.assertEqual(series_matrix.minus(got + got[:1], got), got[:1])

    def test_names_are_unique(self):
        names = [c.name for c in series_matrix.MATRIX]
        self.assertEqual(len(names), len(set(names)))


if __name__ == "__main__":
    unittest.main()
