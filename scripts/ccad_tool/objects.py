# SPDX-License-Identifier: GPL-2.0-or-later
"""Machine code of kernel objects: what two builds of one source file have in common."""

import re
import struct

from . import store


def sections(data):
    """[(name, type, bytes, info)] of an ELF64 object, in order."""
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF object")
    shoff, = struct.unpack_from("<Q", data, 40)
    size, count, names_at = struct.unpack_from("<HHH", data, 58)
    heads = [struct.unpack_from("<IIQQQQIIQQ", data, shoff + i * size) for i in range(count)]
    if count == 0:
        return []
    strings = data[heads[names_at][4]:heads[names_at][4] + heads[names_at][5]]

    def name(at):
        return strings[at:strings.index(b"\0", at)].decode()

    nobits = 8
    return [(name(h[0]), h[1], b"" if h[1] == nobits else data[h[4]:h[4] + h[5]], h[6])
            for h in heads]


def code(path):
    """{section: bytes} of the executable text."""
    with open(path, "rb") as f:
        found = sections(f.read())
    return {n: b for n, t, b, _ in found if t == 1 and re.match(r"\.(init\.|exit\.|ref\.)?text", n)}


def functions(path):
    """{function: its code} of an object."""
    with open(path, "rb") as f:
        found = sections(f.read())
    symtab = next((s for s in found if s[1] == 2), None)
    if not symtab:
        return {}
    strtab = next(s for s in found if s[0] == ".strtab")[2]
    out = {}
    for at in range(0, len(symtab[2]), 24):
        name, info, _, section, value, size = struct.unpack_from("<IBBHQQ", symtab[2], at)
        if info & 15 == 2 and size and section < len(found):
            n = strtab[name:strtab.index(b"\0", name)].decode()
            out[n] = found[section][2][value:value + size]
    return out


def differing(a, b):
    """Functions whose code differs between two objects, or that one alone has."""
    fa, fb = functions(a), functions(b)
    return sorted(n for n in fa.keys() | fb.keys() if fa.get(n) != fb.get(n))


def same_code(a, b):
    return code(a) == code(b)


_FUNCTION = re.compile(r"^[0-9a-f]+ <([^>]+)>:$")
_INSTRUCTION = re.compile(r"^\s*[0-9a-f]+:\s")


def instructions(path):
    """{function: number of instructions}, padding left out."""
    text = store.output(["objdump", "-d", "--no-show-raw-insn", path])
    out, name = {}, None
    for line in text.splitlines():
        m = _FUNCTION.match(line)
        if m:
            name = m[1]
            out[name] = 0
        elif name and _INSTRUCTION.match(line):
            what = line.split("\t", 1)[1] if "\t" in line else ""
            if not re.match(r"(nop|data16|cs nop|xchg\s+%ax,%ax|int3)", what):
                out[name] += 1
    return out
