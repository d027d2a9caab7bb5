# SPDX-License-Identifier: GPL-2.0-or-later
"""Machine code of kernel objects: what two builds of one source file have in common.

Code is compared as it is before linking, together with its relocations.  What
these refer to is named in a way that does not depend on where the rest of the
object has put it: code by function and offset, variables by their names,
constants (strings, tables of a switch, static const) by what is in them.
"""

import bisect
import functools
import re
import struct

from . import store

PROGBITS, SYMTAB, RELA, NOBITS = 1, 2, 4, 8
WRITE, ALLOC, EXEC, MERGE, STRINGS = 1, 2, 4, 0x10, 0x20
OBJECT, FUNC = 1, 2
X86_64 = 62
ABSOLUTE = 0xff00       # section numbers from here on are none
# Relative to the end of the instruction, which the addend makes up for
PC_RELATIVE = {2, 4, 9, 22, 41, 42}


class Section:
    def __init__(self, name, head, data):
        self.name = name
        _, self.type, self.flags, _, at, self.size, self.link, self.info, _, self.entsize = head
        self.data = b"" if self.type == NOBITS else data[at:at + self.size]
        self.relocations = []           # (offset, type, symbol, addend), in order
        self.symbols = []               # those with a size: (value, size, name), in order
        self.code = bool(self.flags & EXEC)
        self.constant = self.type == PROGBITS and bool(self.flags & ALLOC) and not self.code and (
            not self.flags & WRITE or name.startswith(".data.rel.ro"))

    def between(self, start, end):
        at = bisect.bisect_left(self.relocations, (start,))
        while at < len(self.relocations) and self.relocations[at][0] < end:
            yield self.relocations[at]
            at += 1


class Object:
    """An object file of x86-64."""

    def __init__(self, path):
        with open(path, "rb") as f:
            data = f.read()
        if data[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<H", data, 18)[0] != X86_64:
            raise ValueError(f"{path}: not an object of x86-64")
        shoff, = struct.unpack_from("<Q", data, 40)
        size, count, names_at = struct.unpack_from("<HHH", data, 58)
        heads = [struct.unpack_from("<IIQQQQIIQQ", data, shoff + i * size) for i in range(count)]
        names = data[heads[names_at][4]:][:heads[names_at][5]] if count else b""
        self.path = path
        self.sections = [Section(_string(names, h[0]), h, data) for h in heads]
        self.symbols = []               # (name, type, section number, value, size)
        self._read_symbols()
        self._read_relocations()

    def _read_symbols(self):
        table = next((s for s in self.sections if s.type == SYMTAB), None)
        if not table:
            return
        strings = self.sections[table.link].data
        for name, info, _, section, value, size in struct.iter_unpack("<IBBHQQ", table.data):
            name = _string(strings, name)
            self.symbols.append((name, info & 15, section, value, size))
            if info & 15 in (OBJECT, FUNC) and size and 0 < section < ABSOLUTE:
                self.sections[section].symbols.append((value, size, name))
        for s in self.sections:
            s.symbols.sort()

    def _read_relocations(self):
        for r in self.sections:
            if r.type == RELA:
                self.sections[r.info].relocations = sorted(
                    (offset, info & 0xffffffff, info >> 32, addend)
                    for offset, info, addend in struct.iter_unpack("<QQq", r.data))

    @functools.cached_property
    def ends(self):
        """{section: where its instructions begin, in order}"""
        out = {}
        for section, _, address, _ in _disassembly(self.path):
            out.setdefault(section, []).append(address)
        return out

    @functools.cached_property
    def ranks(self):
        """{name of a local static: its number among those of the same name}

        The compiler numbers all of them together, so that one more is another
        number for those of other functions."""
        names = sorted({n for s in self.sections for _, _, n in s.symbols if _NUMBERED.match(n)},
                       key=lambda n: int(_NUMBERED.match(n)[2]))
        seen, out = {}, {}
        for n in names:
            base = _NUMBERED.match(n)[1]
            out[n] = seen[base] = seen.get(base, -1) + 1
        return out

    @functools.cached_property
    def bounds(self):
        """{number of a section of constants: where something begins, in order}"""
        out = {i: {0, s.size, *(v for v, _, _ in s.symbols)}
               for i, s in enumerate(self.sections) if s.constant}
        for s in self.sections:
            if s.code or s.constant:
                for r in s.relocations:
                    section, offset = self._target(s, r, 0)
                    if section in out and 0 <= offset < self.sections[section].size:
                        out[section].add(offset)
        return {i: sorted(b) for i, b in out.items()}

    def _target(self, where, relocation, start):
        """(number of the section or name of the symbol, offset) that a relocation refers to.

        start: of the table that it is in, if it is in one; entries of tables
        that are relative to the table have their own distance in the addend."""
        offset, kind, symbol, addend = relocation
        if kind in PC_RELATIVE:
            if where.code:
                starts = self.ends.get(where.name, [])
                at = bisect.bisect_right(starts, offset)
                addend += (starts[at] if at < len(starts) else where.size) - offset
            else:
                addend -= offset - start
        name, _, section, value, _ = self.symbols[symbol]
        if 0 < section < ABSOLUTE:
            return section, value + addend
        return name, addend

    def _around(self, section, offset):
        """The symbol with a size that an offset is in, or None."""
        return min(((v, n, size) for v, size, n in section.symbols if v <= offset < v + size),
                   key=lambda t: (t[2], t[1]), default=None)

    def _name(self, number, offset, inside):
        """What is at an offset, by another name than its number there."""
        if isinstance(number, str):
            return number, offset
        s = self.sections[number]
        if s.constant and 0 <= offset < s.size:
            return self._constant(number, offset, inside)
        symbol = self._around(s, offset)
        if not symbol:
            return s.name, offset
        value, name, _ = symbol
        if name in self.ranks:
            name = _NUMBERED.match(name)[1], self.ranks[name]
        return name, offset - value

    def _constant(self, number, offset, inside):
        s = self.sections[number]
        symbol = self._around(s, offset)
        if s.flags & STRINGS and s.entsize == 1:
            return s.data[offset:s.data.index(b"\0", offset)], 0
        if symbol:
            start, end = symbol[0], symbol[0] + symbol[2]
        elif s.flags & MERGE and s.entsize:
            start = offset - offset % s.entsize
            end = start + s.entsize
        else:
            at = bisect.bisect_right(self.bounds[number], offset)
            start, end = self.bounds[number][at - 1], self.bounds[number][at]
        if (number, start) in inside:
            return "itself", offset - start
        data, relocations = self.part(s, start, end, inside | {(number, start)})
        # What follows it is aligned
        return data if symbol or relocations else data.rstrip(b"\0"), relocations, offset - start

    def part(self, section, start, end, inside=frozenset()):
        """(bytes, ((offset, type, what it refers to), ...)) of a part of a section."""
        return section.data[start:end], tuple(
            (r[0] - start, r[1], self._name(*self._target(section, r, start), inside))
            for r in section.between(start, end))


_NUMBERED = re.compile(r"(.+)\.(\d+)$")


def _string(strings, at):
    return strings[at:strings.index(b"\0", at)].decode()


def code(path):
    """{section: (bytes, relocations)} of the executable text."""
    o = Object(path)
    return {s.name: o.part(s, 0, s.size) for s in o.sections if s.code and s.size}


def functions(path):
    """{function: its (bytes, relocations)} of an object."""
    o = Object(path)
    return {name: o.part(o.sections[section], value, value + size)
            for name, kind, section, value, size in o.symbols
            if kind == FUNC and size and 0 < section < ABSOLUTE}


def differing(a, b):
    """Functions that differ between two objects, or that one alone has."""
    fa, fb = functions(a), functions(b)
    return sorted(n for n in fa.keys() | fb.keys() if fa.get(n) != fb.get(n))


def differing_sections(a, b):
    """Sections of code that differ, in the order of what is in them too."""
    ca, cb = code(a), code(b)
    return sorted(n for n in ca.keys() | cb.keys() if ca.get(n) != cb.get(n))


_SECTION = re.compile(r"^Disassembly of section (.+):$")
_FUNCTION = re.compile(r"^[0-9a-f]+ <([^>]+)>:$")
_INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s")


def _disassembly(path):
    """(section, function, address, instruction) of an object's code."""
    text = store.output(["objdump", "-d", "--no-show-raw-insn", path])
    section = function = None
    for line in text.splitlines():
        if m := _SECTION.match(line):
            section, function = m[1], None
        elif m := _FUNCTION.match(line):
            function = m[1]
        elif m := _INSTRUCTION.match(line):
            yield section, function, int(m[1], 16), line.split("\t", 1)[1] if "\t" in line else ""


def instructions(path):
    """{function: number of instructions}, padding left out."""
    out = {}
    for _, name, _, what in _disassembly(path):
        if name:
            out.setdefault(name, 0)
            if not re.match(r"(nop|data16|cs nop|xchg\s+%ax,%ax|int3)", what):
                out[name] += 1
    return out
