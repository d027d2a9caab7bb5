#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Write the seeds of the fuzzers: what the unit tests do, as inputs.

    corpus.py [DIR]     into DIR/registers, DIR/descriptors, DIR/rings (corpus)

The encoding is that of input.hpp, software.cpp and the targets.  Inputs that
a fuzzer has found are in the same directories under their hash.
"""

import pathlib
import struct
import sys

NOP, FENCE, COPY, FILL, CRC, COMPARE, REDUCE, ADD, SWAP, GATHER, LIST, PACK, UNPACK, PAGES = range(14)
RO, UNMAP, NOTHING, LARGE = 2, 4, 8, 24     # kinds of mappings


def addr(page=0, offset=None, region=0):
    if offset is None:
        return bytes([page << 3 | region])
    assert region < 2
    return bytes([page << 3 | 4 | region]) + struct.pack("<H", offset)


def large(page=0, offset=0):
    return bytes([page << 3 | 6]) + struct.pack("<H", offset)


def raw(va):
    return b"\x07" + struct.pack("<Q", va)


def length(n):
    if n < 64:
        return bytes([n])
    if n % 8 == 0 and n < 512:
        return bytes([0x40 | n // 8])
    pages = (n + 128) // 4096
    if pages < 24 and -128 <= n - pages * 4096 < 128:
        return bytes([0x80 | pages, n - pages * 4096 + 128])
    return b"\xc0" + struct.pack("<Q", n)


def desc(opcode, src=addr(), dst=addr(), n=0, arg=0, arg2=None, flags=0, high=None):
    shape, tail = flags, struct.pack("<H", arg) if isinstance(arg, int) and arg < 65536 else b""
    if isinstance(arg, bytes):
        shape, tail = shape | 16, arg
    elif not tail:
        shape, tail = shape | 8, struct.pack("<Q", arg)
    if arg2 is not None:
        shape, tail = shape | 32, tail + struct.pack("<H", arg2)
    if high is not None:
        shape, tail = shape | 64, tail + bytes([high])
    return bytes([shape, opcode]) + src + dst + length(n) + tail


def mapping(where, frame=0, kind=0, pasid=1):
    return bytes([kind | pasid]) + where + bytes([frame])


def pages(*pairs, how=0, src=addr()):
    """COPY_PAGES with its list, by number of frame; how: 0x40 of 8 KiB."""
    n = next(n for n in range(how, 256) if n % 7 == len(pairs) and n & 0x40 == how & 0x40)
    return desc(PAGES, src) + bytes([n]) + bytes(f for pair in pairs for f in pair)


PHYSICAL = 0x10     # with machine


def descriptors(*steps, machine=0, how=0, maps=()):
    """how: bits 0-1 window, 2 short answers, 3-4 page requests; steps: bytes of desc or mapping."""
    maps = list(maps)
    groups = max(1, -(-len(maps) // 3))
    want = 3 * groups
    maps += [mapping(addr(15))] * (want - len(maps))
    out = bytes([machine, how | groups << 5]) + b"".join(maps)
    for s in steps:
        out += s if s[:1] == b"\xe0" else b"\0" + s + b"\0"
    return out


def remap(*args, **kw):
    return b"\xe0" + mapping(*args, **kw)


PAGES4 = [mapping(addr(i), 8 + i) for i in range(4)] + [mapping(addr(i, region=1), 28 + i) for i in range(4)]

DESCRIPTORS = {
    "nop": descriptors(desc(NOP), desc(FENCE), desc(NOP, flags=1)),
    "copy": descriptors(desc(FILL, dst=addr(), n=8192, arg=0x0123456789abcdef),
                        desc(COPY, addr(0, 5), addr(0, 3, 1), 5000), maps=PAGES4),
    "copy-local": descriptors(desc(COPY, addr(), addr(0, region=1), 16384), maps=PAGES4, machine=1),
    "fill": descriptors(desc(FILL, dst=addr(0, 1), n=300, arg=0x1122334455667788),
                        desc(FILL, dst=addr(2), n=4096, arg=0x5a5a), maps=PAGES4),
    "crc": descriptors(desc(FILL, dst=addr(), n=64, arg=7), desc(CRC, addr(0, 1), n=63),
                       desc(CRC, addr(), n=8192, arg=1), desc(CRC, addr(), n=0, arg=9), maps=PAGES4),
    "fault": descriptors(desc(COPY, addr(3), addr(0, region=1), 8192), desc(CRC, addr(4, 4095), n=2),
                         desc(FILL, dst=addr(0, region=2), n=100), maps=PAGES4, how=0x08),
    "demand": descriptors(desc(COPY, addr(3), addr(3, region=1), 16384), desc(FILL, dst=addr(9), n=8192, flags=2),
                          maps=PAGES4),
    "refused": descriptors(desc(CRC, addr(3), n=8192), maps=PAGES4, how=0x18),
    "bus-error": descriptors(desc(CRC, addr(), n=8192), desc(COPY, addr(), addr(3), 64),
                             maps=[mapping(addr()), mapping(addr(1), 0, NOTHING)]),
    "large": descriptors(desc(FILL, dst=large(0, 9), n=65536, arg=0x33), desc(CRC, large(15), n=8192),
                         maps=[mapping(addr(), 0, LARGE)]),
    "read-only": descriptors(desc(FILL, dst=addr(), n=8), desc(CRC, addr(), n=8), maps=[mapping(addr(), 0, RO)]),
    "short-windows": descriptors(desc(COPY, addr(), addr(0, region=1), 700), maps=PAGES4, how=0x07),
    "aliases": descriptors(desc(COPY, addr(), addr(1), 4096), maps=[mapping(addr(), 3), mapping(addr(1), 3)]),
    "overlap": descriptors(desc(COPY, addr(), addr(0, 10), 20), desc(COPY, addr(), addr(1), 4096), maps=PAGES4),
    "wrap": descriptors(desc(CRC, raw(2**64 - 8), n=16), desc(FILL, dst=raw(2**64 - 8), n=8),
                        desc(COPY, raw(2**63), addr(), 2**63), maps=PAGES4),
    "reserved": descriptors(bytes([0x80, 3]) + addr() + addr() + length(8) + struct.pack("<H", 0) + b"\xff\x10\x80\1\1",
                            desc(0x8f), maps=PAGES4),
    "unmapped-later": descriptors(desc(CRC, addr(), n=4096), remap(addr(), 0, UNMAP), desc(CRC, addr(), n=4096),
                                  remap(addr(), 30), desc(FILL, dst=addr(), n=4096, arg=1), maps=PAGES4),
    "compare": descriptors(desc(COMPARE, addr(), addr(0, region=1), 5000), desc(FILL, dst=addr(1), n=1, arg=1),
                           desc(COMPARE, addr(), addr(0, region=1), 5000), maps=PAGES4),
    "reduce": descriptors(*[desc(REDUCE, addr(), n=4096, arg=what | kind << 8) for what in range(3)
                            for kind in range(2)], maps=PAGES4),
    "atomics": descriptors(desc(ADD, dst=addr(), n=8, arg=5), desc(ADD, dst=addr(), n=4, arg=5),
                           desc(SWAP, dst=addr(), n=8, arg=5, arg2=9), desc(ADD, dst=addr(0, 4), n=8, arg=1),
                           maps=PAGES4),
    "gather": descriptors(desc(FILL, dst=addr(), n=64, arg=3), desc(GATHER, addr(), addr(1), 64, addr(2), 3),
                          desc(GATHER, addr(), addr(1), 64, addr(2), 0x106), maps=PAGES4),
    "list": descriptors(desc(FILL, dst=addr(), n=8, arg=0x10100), desc(FILL, dst=addr(0, 0x100), n=8, arg=0x10200),
                        desc(LIST, addr(), n=8, arg=0x100, arg2=0, high=8),
                        desc(FILL, dst=addr(0, 0x200), n=8, arg=0x10000), desc(LIST, addr(), n=63, arg2=0, high=8),
                        maps=PAGES4),
    "compress": descriptors(desc(FILL, dst=addr(), n=8192, arg=0x77), desc(PACK, addr(), addr(0, region=1), 8192, 4096),
                            desc(UNPACK, addr(0, region=1), addr(2), 56, 8192),
                            desc(UNPACK, addr(), addr(2), 64, 4096, 1),
                            desc(PACK, addr(), addr(0, region=1), 4096, 4096, 0x902), maps=PAGES4),
    "indices": descriptors(desc(FILL, dst=addr(0, 4), n=8, arg=7), desc(FILL, dst=addr(1), n=512, arg=0x0123456789abcdef),
                           desc(GATHER, addr(), addr(2), 40, addr(1), 5), desc(GATHER, addr(), addr(3), 40, addr(1), 0x103),
                           maps=PAGES4),
    "cycle": descriptors(desc(FILL, dst=addr(), n=8, arg=addr(0, 0x100)), desc(FILL, dst=addr(0, 0x100), n=8, arg=addr(0, 0x200)),
                         desc(FILL, dst=addr(0, 0x200), n=8, arg=addr(0, 0x100)), desc(LIST, addr(), n=63, arg2=0, high=8),
                         desc(LIST, addr(), n=4, arg=2, arg2=0, high=8), maps=PAGES4),
    "reals": descriptors(desc(FILL, dst=addr(), n=4096, arg=0xbff000007f800001),
                         *[desc(REDUCE, addr(), n=4096, arg=what | kind << 8) for what in range(3) for kind in (2, 3)],
                         maps=PAGES4),
    "pages": descriptors(desc(FILL, dst=addr(1), n=4096, arg=0x123456), pages((1, 2), (2, 3), (3, 3), src=addr(5)),
                         pages((4, 6), (30, 32), how=0x40, src=addr(5)), machine=PHYSICAL),
    "pages-fail": descriptors(pages((1, 2), (0xff, 3), src=addr(5)), pages((1, 2), (1, 0xfe), src=addr(5)), pages(src=addr(5)),
                              pages((1, 5), (2, 3), src=addr(5)), desc(PAGES, addr(), n=16), machine=PHYSICAL),
    "physical": descriptors(desc(FILL, dst=addr(), n=300, arg=5), desc(COPY, addr(), addr(4), 8192),
                            desc(FILL, dst=addr(), n=8, arg=addr(0, 0x100)), desc(LIST, addr(), n=8, arg2=0, high=8),
                            desc(ADD, dst=addr(), n=8, arg=5), desc(COPY, raw(0x123456000), addr(), 64), machine=PHYSICAL),
}


def batch(context, *descs, record=True):
    what = len(descs) - 1
    assert what < 4
    return bytes([context << 6 | what]) + b"".join(d + (b"\1" if what & 1 else b"") for d in descs)


def ctx(context, what, data=b""):
    return bytes([context << 6 | what]) + data


def host(what, how, data=b""):
    return bytes([36 + what, how]) + data


RUN, ENABLE, DISABLE, CLEAR, BAD_DOORBELL = 8, 5, 6, 7, 4
MAP = 0


RESET = 12


def map_step(where, frame, kind=0, pasid=1):
    return host(MAP, 0, mapping(where, frame, kind, pasid))


def rings(*steps, machine=0, how=0x30):
    return bytes([machine | 0x20, how]) + b"".join(steps)


WORK = batch(0, desc(FILL, dst=addr(), n=8192, arg=1), desc(CRC, addr(), n=8192))
MAP2 = map_step(addr(), 3) + map_step(addr(1), 4)

RINGS = {
    "batch": rings(MAP2, WORK, ctx(0, RUN), batch(1, desc(NOP)), ctx(1, RUN)),
    "demand": rings(WORK, ctx(0, RUN), WORK, ctx(0, RUN)),
    "later": rings(host(5, 0), WORK, ctx(0, RUN), host(3, 3), ctx(0, RUN), host(3, 2), ctx(0, RUN), host(3, 15)),
    "stalled": rings(host(5, 0), *[batch(c, desc(CRC, addr(c), n=4096)) for c in range(4)], ctx(0, RUN), host(3, 3),
                     ctx(0, RUN), machine=2),
    "disable-waiting": rings(host(5, 0), WORK, ctx(0, RUN), ctx(0, DISABLE), host(3, 3), ctx(0, ENABLE, b"\1"), WORK,
                             ctx(0, RUN)),
    "forgotten": rings(host(5, 0), WORK, ctx(0, RUN), *[ctx(c, DISABLE) for c in range(4)], host(3, 1), host(3, 8)),
    "reset": rings(MAP2, WORK, host(RESET, 1), ctx(0, ENABLE, b"\1"), WORK, ctx(0, RUN), host(RESET, 0x20), host(RESET, 0x3f)),
    "stopped": rings(MAP2, WORK, host(RESET, 0x41), ctx(0, RUN), host(RESET, 0x40), ctx(0, RUN)),
    "doorbell": rings(ctx(0, BAD_DOORBELL, b"\x00\x80"), ctx(0, CLEAR), ctx(0, BAD_DOORBELL, b"\xff\0"), ctx(0, RUN),
                      ctx(0, CLEAR), WORK, ctx(0, RUN)),
    "wrap": rings(MAP2, *[batch(0, desc(NOP), desc(NOP), desc(FENCE), desc(NOP)) + ctx(0, RUN) for _ in range(6)]),
    "invalidate": rings(MAP2, WORK, ctx(0, RUN), host(2, 1, addr() + length(4096)), WORK, host(2, 4, addr() + length(0)),
                        map_step(addr(), 0, UNMAP), ctx(0, RUN)),
    "bad-ring": rings(ctx(1, DISABLE), ctx(1, ENABLE, b"\x4d" + addr(3) + b"\1"), batch(1, desc(NOP)), ctx(1, RUN),
                      ctx(1, CLEAR), ctx(1, DISABLE), ctx(1, ENABLE, b"\x05" + addr(0, 9) + b"\1")),
    "senseless": rings(host(6, 0x0c), MAP2, WORK, ctx(0, RUN), host(6, 0), ctx(0, CLEAR), WORK, ctx(0, RUN)),
    "refused": rings(host(6, 0x33), WORK, ctx(0, RUN), host(6, 0xc0), ctx(2, DISABLE), ctx(2, ENABLE, b"\3")),
    "invalidate-in-translation": rings(MAP2, WORK, ctx(0, RUN), b"\xff" + host(2, 1, addr() + length(4096)) * 3),
    "disable-in-translation": rings(MAP2, WORK, ctx(0, RUN), b"\0\0\xff" + ctx(0, DISABLE)),
    "reset-in-translation": rings(MAP2, WORK, ctx(0, RUN), b"\0\xff" + host(RESET, 0)),
    "reset-in-request": rings(host(5, 0), WORK, ctx(0, RUN), b"\0\0\xff" + host(RESET, 0x20)),
    "answer-in-request": rings(host(5, 0), WORK, ctx(0, RUN), b"\0\0\0\xff" + host(3, 3)),
    "short-windows": rings(host(7, 0x83), MAP2, WORK, ctx(0, RUN), machine=1),
    "poison": rings(host(9, 0), map_step(addr(), 24), WORK, ctx(0, RUN), batch(0, desc(CRC, addr(), n=4096)), ctx(0, RUN),
                    host(9, 0x80)),
    "hang": rings(host(10, 0x10), batch(0, desc(NOP)), ctx(0, RUN), host(8, 255), ctx(0, RUN), ctx(0, CLEAR)),
    "shared": rings(map_step(addr(), 3), map_step(addr(1), 3), map_step(addr(), 3, 0, 0), WORK,
                    batch(1, desc(COPY, addr(), addr(1), 4096), desc(FENCE)), ctx(0, RUN), machine=3),
}


def access(area, where, write=None, size=4):
    """area 0: global, 1: context block, 2: doorbell page; where is the encoded byte."""
    how = area | ({4: 0, 8: 1}.get(size, 3) << 3)
    tail = bytes([where])
    if size not in (4, 8):
        tail = bytes([{1: 0, 2: 1}[size]]) + tail
    if write is not None:
        how |= 4
        if write < 256:
            tail += bytes([write])
        elif write < 2**32:
            how, tail = how | 0x20, tail + struct.pack("<I", write)
        else:
            how, tail = how | 0x40, tail + struct.pack("<Q", write)
    return bytes([how]) + tail


def other(what, context=0, data=b""):
    return bytes([0xe0, context, what]) + data


CTRL, STATUS, PASID, VECTOR, RING, SHIFT = 0, 1, 2, 3, 4, 6


def block(context, reg):
    return context << 5 | reg


START = (access(1, block(0, PASID), 1), access(1, block(0, VECTOR), 2),
         access(1, block(0, RING), 0x7f0000000000, 8), access(1, block(0, SHIFT), 4), access(1, block(0, CTRL), 1))


def registers(*steps, first=0x10):
    return bytes([first]) + b"".join(steps)


REGISTERS = {
    "read-all": registers(*[access(0, i) for i in range(0, 0x60)]),
    "read-wide": registers(*[access(0, i, size=8) for i in range(2, 0x60, 2)], first=1),
    "read-context": registers(*[access(1, block(c, i)) for c in (0, 3, 7) for i in range(10)],
                              *[access(2, block(0, i)) for i in range(20)]),
    "odd-sizes": registers(*[access(0, i, size=s) for i in range(8) for s in (1, 2, 8)],
                           *[access(0, i, 0xff, s) for i in range(8) for s in (1, 2, 8)]),
    "write-all": registers(*[access(0, i, 0xffffffff) for i in range(5, 0x60)], first=0),
    "start": registers(*START, other(7), access(2, 0, 1), other(0), access(2, 0, 0x40), access(2, 3, 1), first=0),
    "halves": registers(access(1, block(0, RING), 0x1000), access(1, block(0, RING + 1), 0x7f00),
                        access(1, block(0, RING), size=8)),
    "events": registers(access(0, 0x2c // 4, 7), access(2, 0, 0x1000), access(0, 0x28 // 4), access(0, 0x28 // 4, 7)),
    "bad-blocks": registers(*[step for reg, v in ((SHIFT, 0), (SHIFT, 17), (VECTOR, 99), (RING, 64), (PASID, 0xffffffff))
                              for step in (*START[:4], access(1, block(1, reg), v), access(1, block(1, CTRL), 1),
                                           access(1, block(1, CTRL), 0))], first=0),
    "reset": registers(other(2, 0, desc(NOP)), other(0), access(0, 6, 2), *START, access(0, 6, 1), access(0, 6, 0)),
    "commands": registers(other(3, 0, mapping(addr(), 3)), other(2, 0, desc(FILL, dst=addr(), n=4096, arg=2)), other(0),
                          *[access(2, block(0, 8 + i), size=8) for i in range(12)]),
    "invalidate": registers(other(2, 0, desc(CRC, addr(), n=64)), other(0), other(4, 1, addr() + length(4096)),
                            other(5, 0, b"\1"), other(5, 0, b"\0\0\0"), other(6, 7), other(0)),
    "counters": registers(access(0, 0x208 // 4, 12), access(0, 0x20c // 4, 1), access(0, 0x210 // 4, 1),
                          access(0, 0x214 // 4, 1), access(0, 0x218 // 4, 0x200000, 8), access(0, 0x220 // 4, 4),
                          access(0, 0x200 // 4, 1), other(3, 0, mapping(addr(), 3)),
                          other(2, 0, desc(FILL, dst=addr(), n=4096, arg=2)), other(0),
                          *[access(0, i // 4) for i in range(0x200, 0x270, 4)], access(0, 0x238 // 4, 1),
                          access(0, 0x240 // 4, 0x10000, 8), *[access(0, 0x248 // 4, c) for c in range(6)]),
}


def main():
    top = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "corpus")
    for target, seeds in (("registers", REGISTERS), ("descriptors", DESCRIPTORS), ("rings", RINGS)):
        (top / target).mkdir(parents=True, exist_ok=True)
        for name, data in seeds.items():
            (top / target / f"{name}.bin").write_bytes(data)


if __name__ == "__main__":
    main()
