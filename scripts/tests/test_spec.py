# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/specs/ccad.rst says what the hardware header says, all of it."""

import collections
import re
import unittest

from ccad_tool import spec
from ccad_tool.util import Fail

HEADER = spec.HEADER.read_text()


class Spec(unittest.TestCase):
    def setUp(self):
        self.page = spec.PAGE.read_text()
        self.text, self.names = spec.render(self.page, HEADER)

    def test_tables_are_up_to_date(self):
        self.assertEqual(self.page, self.text, "run python3 scripts/ccad_tool/spec.py")

    def test_everything_is_there_once(self):
        want = {d.name for d in spec.defines(HEADER)}
        want |= {f"struct {name}" for name in spec.structs(HEADER)}
        self.assertEqual(want - set(self.names), set(), "not on the page")
        twice = [n for n, k in collections.Counter(self.names).items() if k > 1]
        self.assertEqual(twice, [])

    def test_no_name_of_its_own(self):
        known = set(re.findall(r"\bCCAD_\w+", HEADER))
        for name in re.findall(r"\bCCAD_[A-Z0-9_]*[A-Z0-9]\b", self.page):
            self.assertTrue(name in known or any(k.startswith(name + "_") for k in known), name)


class Tables(unittest.TestCase):
    HEADER = """
#define CCAD_REG_A\t\t0x010\t/* RW u32, what is written
\t\t\t\t * on two lines */
#define   CCAD_A_ON\t\t0x1
#define CCAD_MAX(n)\t\t(n)
/**
 * struct ccad_pair - two of them
 * @first: before
 *\tthe other
 * @second: after
 */
struct ccad_pair {
\t__u8 first;
\t__u64 second;
};
"""

    def test_defines(self):
        a, on = spec.defines(self.HEADER)
        self.assertEqual((a.name, a.value, a.nested), ("CCAD_REG_A", "0x010", False))
        self.assertEqual(a.meaning, "RW u32, what is written on two lines")
        self.assertEqual((on.name, on.nested), ("CCAD_A_ON", True))

    def test_struct(self):
        lines, names = spec.table("struct ccad_pair", self.HEADER)
        self.assertEqual(names, {"struct ccad_pair"})
        self.assertEqual(lines[3].split(None, 3), ["0x00", "8", "first", "before the other"])
        self.assertEqual(lines[4].split(), ["0x01", "64", "second", "after"])

    def test_page(self):
        page = "text\n.. ccad_hw.h: CCAD_REG_A\nold\n.. end\nmore\n"
        text, names = spec.render(page, self.HEADER)
        self.assertEqual(names, ["CCAD_A_ON", "CCAD_REG_A"])
        self.assertIn("\\      0x1   CCAD_A_ON  \\\n", text)
        self.assertNotIn("old", text)
        self.assertTrue(text.endswith("\n.. end\nmore\n"))
        self.assertEqual(spec.render(text, self.HEADER)[0], text)

    def test_faults(self):
        for page in (".. ccad_hw.h: CCAD_REG_B\n.. end\n", ".. ccad_hw.h: CCAD_REG_A\n",
                     ".. ccad_hw.h: struct ccad_none\n.. end\n"):
            with self.assertRaises(Fail):
                spec.render(page, self.HEADER)
        with self.assertRaises(Fail):
            spec.defines("#define CCAD_X (1 << 2)\n".replace("(1 << 2)", "X+1"))


if __name__ == "__main__":
    unittest.main()
