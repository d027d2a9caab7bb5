#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Write the seeds of QEMU's generic-fuzz-ccad: a driver's first steps, as inputs.

    corpus_qemu.py [DIR]    into DIR (corpus/generic-fuzz-ccad)

The encoding is that of QEMU's tests/qtest/fuzz/generic_fuzz.c; without such
steps the fuzzer reaches extended configuration space, and so ATS, by chance
alone.  What devices read from RAM is filled from the patterns, one after the
other, so the seeds give the tables of the IOMMU in the order in which it walks
them.
"""

import pathlib
import struct
import sys

READ, WRITE, PCI_READ, PCI_WRITE, PATTERN, CLEAR, STEP = 2, 3, 4, 5, 7, 8, 9
BYTE, WORD, LONG, QUAD = range(4)
# Devices and regions in the order in which the fuzzer finds them, see the
# configuration in QEMU's generic_fuzz_configs.h.
DEVICE, HOST_BRIDGE = 0, 1
ECAM, REGS, MSIX, PBA, IOMMU = range(5)
CONFIG = 0x20000        # of the device, 04.0, in ECAM
RAM = 0x1000000


def op(code, data=b""):
    return bytes([code]) + data + b"FUZZ"


def write(region, offset, value, size=LONG):
    return op(WRITE, struct.pack("<BBHIQ", size, region, 0, offset, value))


def read(region, offset, size=LONG):
    return op(READ, struct.pack("<BBHI", size, region, 0, offset))


def pci_write(device, offset, value, size=LONG):
    return op(PCI_WRITE, struct.pack("<BBBBI", size, device, offset, 0, value))


def pattern(*quads):
    return op(PATTERN, b"\0\0" + struct.pack(f"<{len(quads)}Q", *quads))


def page(n):
    return RAM + n * 0x1000


ENABLE = (
    pci_write(HOST_BRIDGE, 0x60, 0xb0000001),
    write(ECAM, CONFIG + 0x116, 1, WORD),       # PASID
    write(ECAM, CONFIG + 0x12c, 4),             # page requests: allocation
    write(ECAM, CONFIG + 0x124, 1, WORD),
    write(ECAM, CONFIG + 0x106, 0x8000, WORD),  # ATS
    write(REGS, 0x18, 1),
)
TABLES = (
    pattern(page(1) | 1, page(1) | 1),          # root
    pattern(page(2) | 0x1d, 0, 0, 0),           # context: device TLB, PASID, page requests
    pattern(page(3) | 1),                       # PASID directory
    pattern(0x49, 0, page(4), 0, 0, 0, 0, 0),   # PASID: first stage
    *(pattern(page(n) | 7) for n in (5, 6, 7, 8)),
)
TRANSLATION = (
    write(IOMMU, 0x20, RAM | 0x400, QUAD),      # root table, scalable
    write(IOMMU, 0x18, 1 << 30),
    write(IOMMU, 0x90, page(16) | 0x800, QUAD),  # invalidation queue, wide
    write(IOMMU, 0xd0, page(20), QUAD),         # page request queue
    write(IOMMU, 0x18, 1 << 26),
    write(IOMMU, 0x18, 1 << 31 | 1 << 26),
)


def context(n, ctrl, ring=0x1000, pasid=5, tail=8):
    block, doorbell = 0x20000 + n * 0x80, 0x40000 + n * 0x1000
    return (write(REGS, block + 8, pasid), write(REGS, block + 0xc, n + 1),
            write(REGS, block + 0x10, ring, QUAD), write(REGS, block + 0x18, 4),
            write(REGS, block, ctrl), write(REGS, doorbell, tail), read(REGS, doorbell + 4),
            read(REGS, doorbell + 8))


COUNTERS = (
    write(REGS, 0x208, 12), write(REGS, 0x20c, 1), write(REGS, 0x210, 1), write(REGS, 0x214, 1),
    write(REGS, 0x218, page(24), QUAD), write(REGS, 0x220, 1), write(REGS, 0x200, 1),
)
SEEDS = {
    "enable": ENABLE,
    "physical": (*ENABLE, *context(0, 3, page(0)), *context(1, 3, 0xe1000000), op(STEP)),
    "process": (*ENABLE, *TRANSLATION, *TABLES, *context(0, 1), *context(1, 1, 0x2000), op(STEP)),
    "counters": (*ENABLE, *TRANSLATION, *TABLES, *COUNTERS, *context(0, 1), write(REGS, 0x248, 5)),
    "invalidate": (*ENABLE, *TRANSLATION, *TABLES, *context(0, 1), op(CLEAR),
                   pattern(0x0000000500000038, 0, 0, 0), pattern(5 << 32 | 0x20 << 16 | 8, 0x1000, 0, 0),
                   pattern(0x20 << 16 | 3, 1, 0, 0), pattern(5 << 32 | 0x20 << 16 | 0x19, 4, 0, 0),
                   *(write(IOMMU, 0x88, n << 5, QUAD) for n in (1, 2, 3, 4))),
    "msix": (*ENABLE, write(MSIX, 0x10, 0xfee00000, QUAD), write(MSIX, 0x18, 1), write(MSIX, 0x1c, 0),
             write(REGS, 0x2c, 7), write(REGS, 0x20000, 1), *context(1, 3, page(0)), read(PBA, 0)),
    "reset": (*ENABLE, *context(0, 3, page(0)), write(REGS, 0x18, 2), *ENABLE,
              *context(0, 3, page(0)), write(ECAM, CONFIG + 0x88, 0x8000, WORD)),
}


def main():
    top = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "corpus/generic-fuzz-ccad")
    top.mkdir(parents=True, exist_ok=True)
    for name, steps in SEEDS.items():
        (top / f"{name}.bin").write_bytes(b"".join(steps))


if __name__ == "__main__":
    main()
