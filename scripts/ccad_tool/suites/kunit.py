# SPDX-License-Identifier: GPL-2.0-or-later
"""Suite kunit: the kernel's own unit tests, run at boot and read from debugfs.

Those of coherent device memory run once more where there are two nodes of
ordinary memory and two of devices; their names begin with 'two-nodes.' there.
"""

import time
from dataclasses import replace

from .. import guest, ktap, machine
from ..results import DEAD, FAIL, HANG, PASS, SKIP, SPLAT
from ..util import Fail
from .inguest import boot_status

_STATUS = {ktap.PASS: PASS, ktap.FAIL: FAIL, ktap.SKIP: SKIP}
_READ = ("cd /sys/kernel/debug/kunit 2>/dev/null || exit 3; "
         "for s in *; do [ -e \"$s/results\" ] && { echo \"@@ $s\"; cat \"$s/results\"; }; done")


def run(ctx):
    names = _boot(ctx)
    two = ctx.variant(replace(ctx.mode, prefix=f"{ctx.mode.prefix}two-nodes.",
                              kernel_args=(*ctx.mode.kernel_args, "kunit.filter_glob=cdm_*")))
    if any(name.startswith("cdm_") and two.selected(name) for name in names):
        _boot(two, second="512M", second_cdm="512M")


def _boot(ctx, **options):
    """The names of the cases that the guest has, selected or not."""
    parts, accel = ctx.parts()
    o = machine.Options(memory=f"{(1 << 30) + ctx.mode.memory}", qemu_args=ctx.args.qemu_arg or [],
                        kernel_args=["kunit.enable=1", "kunit.autorun=1", *ctx.mode.kernel_args,
                                     *(ctx.args.kernel_arg or [])],
                        **options)
    g = guest.Guest(o, parts.qemu, parts.kernel, parts.rootfs, accel)
    log = ctx.log_path("kunit.serial.log")
    chunks, names = [], []
    began = time.monotonic()
    try:
        g.start()
        try:
            g.wait_ready(ctx.boot_limit() * 2)
            r = g.run(_READ, chunks.append, lambda b: None, 60 * ctx.mode.slow)
            g.sync()
        except Fail as e:
            ctx.add("boot", boot_status(g, e), time.monotonic() - began, e.what, log=log)
            return names
        if r.why != "exit":
            ctx.add("results", HANG if r.why == "timeout" else DEAD, 0, r.detail, log=log)
        elif r.code == 3:
            ctx.add("results", FAIL, 0, "the kernel has no KUnit: CONFIG_KUNIT, CONFIG_KUNIT_DEBUGFS")
        else:
            names = _read(ctx, b"".join(chunks).decode(errors="replace"), log)
        g.quit()
    finally:
        g.kill()
        if g.log.exists():
            log.write_bytes(g.log.read_bytes())
    for s in g.watch.splats:
        ctx.add("kernel-log", SPLAT, 0, str(s), log=log)
    return names


def _read(ctx, text, log):
    names = []
    suites = text.split("@@ ")[1:]
    for part in suites:
        name, _, body = part.partition("\n")
        cases, problems = ktap.parse(body)
        for c in cases:
            full = c.name if c.name.startswith(name) else f"{name}.{c.name}"
            names.append(full)
            if not ctx.selected(full):
                continue
            if ctx.listing:
                ctx.list(full)
                continue
            ctx.add(full, _STATUS[c.status], 0, c.detail, "\n".join(c.output[-25:]), log)
        for p in problems:
            ctx.add(f"{name}", FAIL, 0, p, body[-2000:], log)
    if not suites:
        ctx.add("results", FAIL, 0, "the kernel holds no KUnit suite")
    return names
