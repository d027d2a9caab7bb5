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


def tables(page):
    """The simple tables of the page as lists of rows; the first one has the heads."""
    lines = page.splitlines()
    rules = [i for i, line in enumerate(lines) if re.fullmatch(r"=+( +=+)+", line)]
    for top, middle, end in zip(rules[::3], rules[1::3], rules[2::3]):
        starts = [m.start() for m in re.finditer("=+", lines[top])]
        rows = []
        for line in lines[top + 1:middle] + lines[middle + 1:end]:
            cells = [line[a:b].strip() for a, b in zip(starts, starts[1:] + [None])]
            if cells[0]:
                rows.append(cells)
            else:       # the line above goes on
                rows[-1] = [f"{a} {b}".strip() for a, b in zip(rows[-1], cells)]
        yield rows


class Code(unittest.TestCase):
    """Tables of the page that are not the header's, against the code."""

    def setUp(self):
        self.tables = {tuple(t[0]): t[1:] for t in tables(spec.PAGE.read_text())}
        self.shim = spec.PAGE.parent
        self.device = (self.shim / "ccad.c").read_text()

    def options(self):
        return {name.strip("`"): (default, meaning)
                for name, default, meaning in self.tables["option", "default", "meaning"]}

    def test_defaults(self):
        text = self.device[self.device.index("ccad_properties[]"):]
        text = text[:text.index("};")]
        said = {("BOOL", "false"): "off", ("BOOL", "true"): "on", ("UINT32", "CCAD_DVSEC_PXM_NONE"): "none"}
        want = {}
        for kind, name, default in re.findall(
                r'DEFINE_PROP_(\w+)\("([\w-]+)", CcadState,\s*[\w.]+,(?:\s*TYPE_\w+,)?\s*([\w ]+?)\s*\*?\)', text):
            want[name] = said.get((kind, default), "(required)" if kind == "LINK" else default)
        self.assertEqual(len(want), text.count("DEFINE_PROP"))
        self.assertEqual({n: d for n, (d, _) in self.options().items()}, want)

    def test_limits(self):
        """Also of what -device ccad,help says."""
        core = (spec.HEADER.parents[1] / "core" / "capi.cpp").read_text()
        text = self.device[self.device.index("ccad_descriptions[]"):]
        helps = {m[1]: re.sub(r'"\s*"', "", m[2]) for m in
                 re.finditer(r'\{ "([\w-]+)", ("(?:[^"]|"\s*")*") \}', text)}
        options = self.options()
        self.assertEqual(set(helps), set(options))
        checks = re.findall(r'"([\w-]+) must (not be 0|be (?:a power of two from )?(\d+) to (\d+))"', core)
        self.assertGreater(len(checks), 15)
        for name, what, low, high in checks:
            if name == "vectors":       # the shim's own
                continue
            for said in (options[name][1], helps[name]):
                with self.subTest(name, said=said):
                    if high == "1000000":
                        self.assertIn("of a million", said)
                    elif not low:
                        self.assertIn("not 0", said)
                    else:
                        self.assertRegex(said, rf"(\b{low}|up) to {high}\b")

    def test_capabilities(self):
        code = (self.shim / "ccad.h").read_text()
        offsets = {n: int(v, 16) for n, v in
                   re.findall(r"#define CCAD_(\w+)_OFFSET\s+(0x\w+)", code)}
        ids = {"ATS": 0x0f, "PASID": 0x1b, "PRI": 0x13, "DVSEC": 0x23, "AER": 0x01}
        rows = self.tables["offset", "ID", "capability"]
        self.assertEqual([(int(o, 16), int(i, 16)) for o, i, _ in rows],
                         sorted((offsets[n], ids[n]) for n in offsets))
        bits = re.search(r"#define CCAD_PASID_BITS\s+(\d+)", code)[1]
        self.assertIn(f"{bits} bits", rows[1][2])

    def test_errors(self):
        names = {"PCI_ERR_UNC_POISON_TLP": ("Poisoned TLP Received", "fatal"),
                 "PCI_ERR_UNC_INTN": ("Uncorrectable Internal", "fatal"),
                 "PCI_ERR_COR_INTERNAL": ("Corrected Internal", "")}
        code = (self.shim / "ccad-aer.c").read_text()
        found = re.findall(r"\.status = (PCI_ERR_\w+)(,\s*\.flags = PCIE_AER_ERR_IS_CORRECTABLE)?", code)
        rows = self.tables["error", "severity", "reported when"]
        self.assertEqual([r[0] for r in rows], [names[f][0] for f, _ in found])
        for (status, corrected), row in zip(found, rows):
            self.assertEqual(not corrected, "fatal" in row[1], row)

    def test_statistics(self):
        """As properties, and in query-ccad."""
        want = [d.name[len("CCAD_STAT_"):].lower().replace("_", "-") for d in spec.defines(HEADER)
                if d.name.startswith("CCAD_STAT_") and d.name != "CCAD_STAT_COUNT"]
        page = spec.PAGE.read_text()
        part = page[page.index("The statistics of the device are"):page.index("``id=ccad0``")]
        self.assertEqual(re.findall(r"``stat-([\w-]+)``", part), want)


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
