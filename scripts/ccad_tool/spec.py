# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables of docs/specs/ccad.rst that say what the hardware header says.

Each stands between two comments of the page,

    .. ccad_hw.h: CCAD_REG_ID to CCAD_REG_CLOCK
    .. end

for all that the header defines from the first name to the last one, or
"struct NAME" for the fields of a structure.  As a program this brings the
tables up to date; scripts/tests/test_spec.py checks that they are.
"""

import re
import sys
import textwrap
from dataclasses import dataclass, field

if __package__:
    from .util import ROOT, Fail
else:
    sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1]))
    from ccad_tool.util import ROOT, Fail

HEADER = ROOT / "qemu-device" / "include" / "ccad_hw.h"
PAGE = ROOT / "qemu-device" / "qemu" / "ccad.rst"
WIDTH = 79
_BEGIN = re.compile(r"^\.\. ccad_hw\.h: (.+)$")
_END = ".. end"
_SIZES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8}


@dataclass
class Define:
    name: str
    value: str
    meaning: str
    nested: bool        # a value of the register above


@dataclass
class Struct:
    name: str
    fields: list = field(default_factory=list)  # (offset, bits, name, meaning)


def _plain(comment):
    """A comment of the header as text of the page."""
    text = " ".join(re.sub(r"^\s*\*", "", line).strip() for line in comment.splitlines())
    return re.sub(r"@(?=\w)", "", text).replace("_*", "\\_\\*").strip()


def defines(text):
    """All constants of the header, in its order."""
    out = []
    for m in re.finditer(r"^#define([ \t]+)(CCAD_\w+)[ \t]+(\S+)[ \t]*(?:/\*(.*?)\*/)?[ \t]*$",
                         text, re.M | re.S):
        indent, name, value, comment = m.groups()
        if not re.fullmatch(r"0x[0-9a-fA-F]+|\d+", value):
            raise Fail(f"{HEADER.name}: {name} is {value}, no plain number")
        out.append(Define(name, value, _plain(comment or ""), len(indent) > 1))
    return out


def structs(text):
    """The structures with their fields, by name."""
    out = {}
    for m in re.finditer(r"/\*\*\n \* struct (\w+).*?\*/\nstruct \1 \{\n(.*?)\n\};", text, re.S):
        docs = {}
        for d in re.finditer(r"^ \* @(\w+): (.*?)(?=^ \* @|^ \*/)", m[0], re.M | re.S):
            docs[d[1]] = _plain(d[2])
        s, offset = Struct(m[1]), 0
        for kind, name in re.findall(r"__(u\d+) (\w+);", m[2]):
            s.fields.append((offset, 8 * _SIZES[kind], name, docs[name]))
            offset += _SIZES[kind]
        out[s.name] = s
    return out


def _table(heads, rows):
    """A simple table; the last column takes as many lines as it needs."""
    widths = [max(len(h), *(len(r[i]) for r in rows)) for i, h in enumerate(heads[:-1])]
    room = max(30, WIDTH - sum(widths) - len(widths))
    rule = " ".join("=" * w for w in widths + [room])
    lines = [rule, " ".join(h.ljust(w) for h, w in zip(heads, widths + [0])), rule]
    for row in rows:
        parts = textwrap.wrap(row[-1], room, break_on_hyphens=False) or ["\\"]
        lines.append(" ".join(c.ljust(w) for c, w in zip(row, widths)) + " " + parts[0])
        pad = " " * (sum(widths) + len(widths))
        lines += [pad + p for p in parts[1:]]
    return [line.rstrip() for line in lines + [rule]]


def table(what, header):
    """The lines of the table that a page asks for, and the names in it."""
    if what.startswith("struct "):
        s = structs(header).get(what[7:])
        if not s:
            raise Fail(f"{PAGE.name}: {HEADER.name} documents no {what}")
        rows = [(f"0x{o:02x}", str(b), n, m) for o, b, n, m in s.fields]
        return _table(("offset", "bits", "field", "meaning"), rows), {what}
    m = re.fullmatch(r"(\w+)(?: to (\w+))?", what)
    known = defines(header)
    names = [d.name for d in known]
    if not m or not {m[1], m[2] or m[1]} <= set(names):
        raise Fail(f"{PAGE.name}: {HEADER.name} does not define '{what}'")
    first, last = names.index(m[1]), names.index(m[2] or m[1])
    while last + 1 < len(known) and known[last + 1].nested:
        last += 1
    part = known[first:last + 1]
    if any(d.nested for d in part):
        rows = [("\\", d.value, d.name, d.meaning) if d.nested else
                (d.value, "", d.name, d.meaning) for d in part]
        heads = ("offset", "value", "name", "meaning")
    else:
        rows = [(d.value, d.name, d.meaning) for d in part]
        heads = ("value", "name", "meaning")
    return _table(heads, rows), {d.name for d in part}


def render(page, header):
    """The page with its tables as the header has it, and the names in them."""
    out, names, lines = [], [], iter(page.splitlines())
    for line in lines:
        out.append(line)
        m = _BEGIN.match(line)
        if not m:
            continue
        got, here = table(m[1], header)
        names += sorted(here)
        out += ["", *got, "", _END]
        for skipped in lines:
            if skipped == _END:
                break
        else:
            raise Fail(f"{PAGE.name}: no '{_END}' after '{line}'")
    return "\n".join(out) + "\n", names


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(), HEADER.read_text())[0])
