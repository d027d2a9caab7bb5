# SPDX-License-Identifier: GPL-2.0-or-later
"""The test suites.  Each has run(context) and, for --list, names(context)."""

ORDER = ("tool", "core", "fuzz", "qemu", "boot", "kunit", "cdm", "driver", "migrate", "debug", "regress")
# Only with --full, or when named
LONG = ("debug", "regress")
ABOUT = {
    "tool": "this tool itself, and what has to agree between the parts",
    "core": "unit tests of the device: plain, ASan+UBSan, TSan",
    "fuzz": "libFuzzer on registers, descriptors and rings of the device; --full: on QEMU",
    "qemu": "qtests of the device in QEMU, without a guest",
    "boot": "`ccad boot`: the demonstration, --exec and the other options, in guests",
    "kunit": "KUnit suites of the kernel series, in the guest",
    "cdm": "self-tests of the coherent memory node, in the guest",
    "driver": "self-tests of the driver and of shared virtual memory, in the guest",
    "migrate": "a guest that moves to another QEMU, live and by way of a file, while its contexts work",
    "debug": "the guest's suites on a kernel with everything that finds bugs, and under failing allocations",
    "regress": "the kernel's own self-tests, without and with the series: the same results",
}
