# SPDX-License-Identifier: GPL-2.0-or-later
"""Suite debug: kunit, cdm and driver on a kernel that looks for its own bugs.

The kernel is guest.config with debug.config on top.  Names begin with the suite
that a case is of:

    kunit., cdm., driver.   as they are elsewhere, with more time
    faults.cdm., faults.driver.
                            once more while allocations of the test's tasks
                            fail; the test may fail, the kernel may not, and
                            afterwards node and device are as good as before
    control.                an error on purpose, which has to be noticed

When a guest is done kmemleak scans it, and lockdep has to be still at work.
Faults come at intervals drawn from SEED and the test's name.
"""

import random
import time
from dataclasses import replace

from .. import guest, kernel, machine
from ..results import DEAD, FAIL, HANG, PASS, SPLAT
from ..testcmd import Mode
from ..util import Fail
from . import inguest, kunit

SEED = 1
# The factor is of a kernel with KASAN and lockdep under TCG; shadow and quarantine take memory.
DEBUG = Mode(fragments=kernel.DEBUG, slow=6.0, memory=512 << 20, kernel_args=(
    "rcupdate.rcu_cpu_stall_timeout=300", "sysctl.kernel.hung_task_timeout_secs=600"))
COLLECTIONS = {"cdm": ("mm/cdm",), "driver": ("drivers/ccad",)}
# What shows that node and device are usable, and does not take long.
USABLE = tuple(inguest.Test(collection, program, {"timeout": "600"}) for collection, program in
               (("mm/cdm", "policy"), ("drivers/ccad", "sva")))

# An object is reported when several scans in a row found it unreferenced, the
# first of all only notes its checksum, and a young one may still be on its way.
_LEAKS = """
f=/sys/kernel/debug/kmemleak
sleep 6
for i in 1 2 3 4; do echo scan > $f || exit 3; done
exec cat $f
"""
_LOCKS = "exec grep -q 'debug_locks: *1' /proc/lockdep_stats"
_CONTROL = "echo READ_AFTER_FREE > /sys/kernel/debug/provoke-crash/DIRECT"


def look_after(runner, g):
    """Mode.after: leaks, and whether lockdep and kmemleak have looked until the end."""
    ctx, name = runner.ctx, f"{runner.suite}-boot{runner.boots}"
    began = time.monotonic()
    out = []
    before = len(g.watch.splats)
    r = g.run(_LEAKS, out.append, out.append, 300 * ctx.mode.slow)
    text = b"".join(out).decode(errors="replace")
    if r.why == "exit":
        g.sync(20 * ctx.mode.slow)
    status, detail = judge_leaks(r, text)
    new = [s for s in g.watch.splats[before:] if s.what != "kmemleak"]
    if new:
        status, detail = SPLAT, str(new[0])
    ctx.add(f"{name}.kmemleak", status, time.monotonic() - began, detail, text, runner.log)
    if r.why == "exit":
        r = g.run(_LOCKS, lambda b: None, lambda b: None, 60 * ctx.mode.slow)
        if r.why != "exit" or r.code:
            ctx.add(f"{name}.lockdep", FAIL, 0, "lockdep has switched itself off, or is not there",
                    log=runner.log)


def judge_leaks(result, text):
    """(status, detail) of what _LEAKS said."""
    if result.why != "exit":
        return (HANG if result.why == "timeout" else SPLAT if result.why == "splat" else DEAD,
                result.detail)
    if result.code:
        return FAIL, "kmemleak cannot scan: it has switched itself off, or is not there"
    leaks = text.count("unreferenced object")
    if leaks or text.strip():
        first = text.split("backtrace", 1)[-1].splitlines()[1:] or text.splitlines()
        return FAIL, f"{leaks} leaks; the first from {first[0].strip()}"
    return PASS, ""


# register_irq_proc() does not look whether it could make its files, and who removes them warns
# that they are not there: what it allocates does not fail.
_SPARED = """set -- $(awk '$3 == "register_irq_proc" { s = $1; next } s { print "0x" s, "0x" $1; exit }' \\
  /proc/kallsyms)
[ $# = 2 ] || exit 4"""


def inject(test, command):
    """Mode.command: the test's tasks see allocations fail."""
    rng = random.Random(f"{SEED}:{test.program}")
    out = ["cd /sys/kernel/debug || exit 4", _SPARED]
    for f, some, least in (("failslab", 400, 100), ("fail_page_alloc", 600, 150)):
        # Nothing is logged: a warning a failure would hide what matters.
        values = {"task-filter": "Y", "interval": rng.randrange(least, some), "probability": 100,
                  "times": -1, "space": 0, "verbose": 0, "ignore-gfp-wait": "N",
                  "stacktrace-depth": 32, "reject-start": "$1", "reject-end": "$2"}
        if f == "fail_page_alloc":
            values |= {"min-order": 0, "ignore-gfp-highmem": "N"}
        out += [f"echo {v} > {f}/{k} || exit 4" for k, v in values.items()]
    return "\n".join([*out, "echo 1 > /proc/self/make-it-fail || exit 4", command])


def usable(options):
    """What shows that a guest is; a device told to go wrong goes on doing so."""
    return [t for t in USABLE if t.collection == "mm/cdm" or not options.device_args]


def look_after_faults(runner, g):
    """Mode.after: what was tested under faults has to do without them."""
    mode = runner.ctx.mode
    plain = inguest.Runner(runner.ctx.variant(replace(DEBUG, prefix=f"{mode.prefix}usable-after.")),
                           runner.suite)
    plain.guest, plain.boots, plain.log = g, runner.boots, runner.log
    for t in usable(g.options):
        if plain.guest:
            plain.run_in(g, t)
    if plain.guest:
        look_after(runner, g)


def _control(ctx):
    name = "control.use-after-free"
    if not ctx.selected(name):
        return
    if ctx.listing:
        ctx.list(name)
        return
    parts, which = ctx.parts()
    g = guest.Guest(machine.Options(memory=f"{(1 << 30) + ctx.mode.memory}",
                                    kernel_args=[*ctx.mode.kernel_args, *(ctx.args.kernel_arg or [])],
                                    qemu_args=ctx.args.qemu_arg or []),
                    parts.qemu, parts.kernel, parts.rootfs, which)
    log = ctx.log_path("control.serial.log")
    began = time.monotonic()
    try:
        g.start()
        g.wait_ready(ctx.boot_limit())
        g.run(_CONTROL, lambda b: None, lambda b: None, 60 * ctx.mode.slow)
        g.sync(20 * ctx.mode.slow)
    except Fail as e:
        ctx.add(name, inguest.boot_status(g, e), time.monotonic() - began, e.what, log=log)
        return
    finally:
        g.kill()
        if g.log.exists():
            log.write_bytes(g.log.read_bytes())
    found = [s for s in g.watch.splats if s.what == "KASAN"]
    ctx.add(name, PASS if found else FAIL, time.monotonic() - began,
            "" if found else "the kernel read what it had freed, and nobody noticed", log=log)


def run(ctx):
    # Time enough is what CCAD_FULL would give; there is not enough for what it asks for.
    ctx = ctx.variant(DEBUG)
    ctx.full = False
    _control(ctx)
    kunit.run(ctx.variant(replace(DEBUG, prefix="kunit.")))
    for suite, collections in COLLECTIONS.items():
        inguest.run_suite(ctx.variant(replace(DEBUG, prefix=f"{suite}.", after=look_after, debug=True)),
                          suite, collections)
    for suite, collections in COLLECTIONS.items():
        inguest.run_suite(ctx.variant(replace(DEBUG, prefix=f"faults.{suite}.", command=inject,
                                              after=look_after_faults, may_fail=True)),
                          suite, collections)
