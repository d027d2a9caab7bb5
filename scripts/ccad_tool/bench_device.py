# SPDX-License-Identifier: GPL-2.0-or-later
"""ccad bench device: what the accelerator does, each figure beside a yardstick of the same run.

The core's figures are those of qemu-device/tests/bench (Google Benchmark), the
guest's those of ccad-bench (selftests/bench).

A bandwidth is the best of its repetitions, as STREAM's are, the device's and
the host's alike: while something else runs on the other thread of its core, a
processor moves a fifth less, for seconds on end where the machine is shared.
Of the rest the median counts.
"""

import json
import re
import statistics
import subprocess

from . import accel, bench_rows, boot, core, guest, host, machine, pins, procs, progress, store
from .util import Fail, build_env

LIMIT = 300.0
REPETITIONS = 8         # of each benchmark of the core, in turn with the others
NVME = ["-blockdev driver=null-co,node-name=null0,size=1073741824,read-zeroes=off",
        "-device nvme,serial=ccad-bench,drive=null0"]
_SIZES = ((4096, "4 KiB"), (65536, "64 KiB"), (2 << 20, "2 MiB"))
_DEPTHS = (1, 16, 64)
_HUGE, _PAGE = 2 << 20, 4096

_MIB_S, _PER_S, _US, _NS = "MiB/s", "commands/s", "us", "ns"

# What a ratio has to reach, by the name of its row.
GOALS = {f"{where}: {op} of 2 MiB": -0.9 for where in ("core", "guest") for op in ("copy", "fill")}
GOALS |= {f"guest: empty commands, {depth} in flight": -1.0 for depth in _DEPTHS}


def core_table():
    """(name, unit, benchmark, yardstick, benchmark of the yardstick) of the core's rows."""
    out = []
    for op, call in (("copy", "memcpy"), ("fill", "memset")):
        for size, title in _SIZES:
            out.append((f"core: {op} of {title}", _MIB_S, f"{op}/{size}/{_HUGE}",
                        f"host's {call}", f"host_{call}/{size}"))
        out.append((f"core: {op} of 2 MiB in 4 KiB pages", _MIB_S, f"{op}/{_HUGE}/{_PAGE}",
                    f"host's {call}", f"host_{call}/{_HUGE}"))
    out.append(("core: fill of 2 MiB, pattern of 8 bytes", _MIB_S, f"fill_pattern/{_HUGE}/{_HUGE}",
                "host's memset", f"host_memset/{_HUGE}"))
    out.append(("core: copy of 2 MiB, access counters on", _MIB_S, f"copy_counted/{_HUGE}",
                "counters off", f"copy/{_HUGE}/{_HUGE}"))
    for depth in _DEPTHS:
        out.append((f"core: empty commands, {depth} in flight", _PER_S, f"empty/{depth}/real_time",
                    "one hand-over between two threads", "hand_over/real_time"))
    out += [
        ("core: ATC hit", _NS, "atc_hit", "ATC miss", "atc_miss"),
        ("core: invalidation under load, mean", _NS, "invalidate/1/manual_time",
         "without load", "invalidate/0/manual_time"),
        ("core: invalidation under load, 99 of 100", _NS, "invalidate/1/manual_time:p99",
         "without load", "invalidate/0/manual_time:p99"),
        ("core: page request round trip", _NS, "page_request/real_time", "host's page fault",
         "page_fault"),
    ]
    return out


def guest_table():
    """The same of the guest's rows; a benchmark with 'core:' is one of the core's."""
    out = []
    for op, call in (("copy", "memcpy"), ("fill", "memset")):
        for size, title in _SIZES:
            out.append((f"guest: {op} of {title}", _MIB_S, f"{op}/{size}", f"host's {call}",
                        f"core:host_{call}/{size}"))
    for depth in _DEPTHS:
        out.append((f"guest: empty commands, {depth} in flight", _PER_S, f"empty/{depth}",
                    "QEMU's NVMe, null backend", f"nvme/{depth}"))
    out.append(("guest: page request round trip", _US, "page_request/1", "the guest's page fault",
                "page_fault/1"))
    return out


def parse_core(text):
    """Google Benchmark's JSON → {benchmark: repetitions in the unit of the rows}."""
    out = {}
    for b in json.loads(text)["benchmarks"]:
        name = re.sub(r"/iterations:\d+", "", b["run_name"])
        if b.get("error_occurred"):
            raise Fail(f"benchmark {name}: {b.get('error_message', 'failed')}")
        if b["run_type"] != "iteration":
            continue
        if "bytes_per_second" in b:
            value = b["bytes_per_second"] / (1 << 20)
        elif "items_per_second" in b:
            value = b["items_per_second"]
        else:
            if b.get("time_unit", "ns") != "ns":
                raise Fail(f"benchmark {name} is not in nanoseconds")
            value = b["real_time"]
        out.setdefault(name, []).append(value)
        if "p99" in b:
            out.setdefault(name + ":p99", []).append(b["p99"])
    return out


def parse_guest(text):
    """Lines of ccad-bench, NAME VALUE in bytes, commands and seconds → the same."""
    out = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        scale = {"copy": 1 / (1 << 20), "fill": 1 / (1 << 20), "page_request": 1e6,
                 "page_fault": 1e6}.get(name.partition("/")[0], 1)
        try:
            out.setdefault(name, []).append(float(value) * scale)
        except ValueError:
            raise Fail(f"ccad-bench said '{line}'") from None
    return out


def rows(table, figures, of_core=None):
    out = []
    for name, unit, key, yardstick, ykey in table:
        source = of_core if ykey.startswith("core:") else figures
        ykey = ykey.removeprefix("core:")
        for k, where in ((key, figures), (ykey, source)):
            if k not in where:
                raise Fail(f"no figure {k} for '{name}'", "the whole output is in the log")
        of_all = max if unit == _MIB_S else statistics.median
        reps = figures[key]
        value = of_all(reps)
        spread = (max(reps) - min(reps)) / value if len(reps) > 1 else None
        out.append(bench_rows.row(name, value, unit, yardstick, of_all(source[ykey]),
                                  GOALS.get(name), spread))
    return out


def _run_core():
    host.ensure(pins.BENCH_PACKAGES)
    with progress.Activity("benchmarks: build"):
        out = core.build("plain", (), ["benchmarks"])
    log = store.path("log", "bench-core.json")
    with progress.Activity("benchmarks of the core"), open(log, "wb") as f:
        p = procs.popen([str(out / "qemu-device/tests/bench/ccad-core-bench"),
                         "--benchmark_format=json", "--benchmark_min_time=0.1",
                         # What is compared runs at different times: a noisy moment hits both.
                         "--benchmark_enable_random_interleaving=true",
                         f"--benchmark_repetitions={REPETITIONS}"],
                        stdout=f, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
                        env=build_env())
        try:
            code = p.wait(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            raise Fail(f"the core's benchmarks took more than {LIMIT:.0f} s") from None
        finally:
            procs.kill(p)
    if code:
        raise Fail(f"the core's benchmarks ended with {code}", f"see {log}")
    return parse_core(log.read_text())


def _run_guest(args):
    parts = boot.Parts(args)
    which = accel.choose(args.accel, parts.qemu, parts.kernel, parts.rootfs)
    o = machine.Options(qemu_args=NVME + (args.qemu_arg or []), kernel_args=args.kernel_arg or [])
    said, wrong = [], []
    g = guest.Guest(o, parts.qemu, parts.kernel, parts.rootfs, which)
    try:
        with progress.Activity(f"benchmarks in the guest ({which})"):
            g.start()
            g.wait_ready(boot.BOOT_LIMIT[which])
            r = g.run("exec ccad-bench /dev/nvme0n1", said.append, wrong.append, LIMIT)
            g.quit()
    finally:
        g.kill()
    text = b"".join(said).decode(errors="replace")
    store.path("log", "bench-guest.log").write_text(text)
    if r.why != "exit" or r.code:
        why = b"".join(wrong).decode(errors="replace").strip() or r.detail or f"exit code {r.code}"
        raise Fail(f"the guest's benchmark failed: {why}", f"the guest's log: {g.log}")
    return parse_guest(text)


def main(args):
    bench_rows.check_json(args.json)
    host.check_arch()
    host.ensure(pins.HOST_PACKAGES)
    of_core = _run_core()
    out = rows(core_table(), of_core)
    if not args.core_only:
        out += rows(guest_table(), _run_guest(args), of_core)
    progress.note("ratio: value / its yardstick's; of times less is better, of the rest more")
    progress.note("MiB/s: the best of all repetitions, whose spread shows how quiet the host was")
    return bench_rows.report(out, args.json)
