# SPDX-License-Identifier: GPL-2.0-or-later
"""Suite fuzz: libFuzzer targets of the device's core, and QEMU's fuzzer.

Each runs for a while on all CPUs (with --full as many as there are CPUs, each on
one), from the corpus kept in the tree, and what it finds new stays in the cache
for the next run.  Controls follow, which the target has to notice: a host that
breaks a rule on purpose, and a device that gets the outcome of an opcode wrong.

With --full QEMU's generic fuzzer drives the whole device with its IOMMU, in a
build of QEMU of its own.
"""

import re
import shutil
import subprocess
import time

from .. import core, host, pins, procs, progress, qemu, store
from ..results import FAIL, HANG, PASS
from ..util import ROOT, Fail, build_env, jobs

TARGETS = ("registers", "descriptors", "rings")
QEMU_TARGET = "generic-fuzz-ccad"
CORPUS = ROOT / "qemu-device/tests/fuzz/corpus"
SECONDS, FULL_SECONDS = 60, 600
CONTROL_SECONDS = 30
# Long inputs find no more, and take longer.
MAX_LEN, QEMU_MAX_LEN = 128, 2048
# By number: those whose outcome the target descriptors knows.
OPCODES = ("", "", "copy", "fill", "crc32c", "compare", "reduce", "fetch-add", "compare-swap", "gather",
           "list-walk", "compress", "decompress", "copy-pages")
# AddressSanitizer's are in machine.cpp, for whoever runs a target by hand.
_SANITIZERS = {"UBSAN_OPTIONS": "print_stacktrace=1"}
_QEMU_SANITIZERS = {"ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:allocator_may_return_null=1"}


def _clang():
    host.ensure(pins.FUZZ_PACKAGES)
    clang = shutil.which("clang++", path=build_env()["PATH"])
    if not clang:
        raise Fail("no clang++ for libFuzzer", "as root: apt-get install "
                   + " ".join(p for p, _ in pins.FUZZ_PACKAGES))
    return clang


def _build():
    clang = _clang()
    with progress.Activity("fuzzers: build"):
        out = core.build("fuzz", (), ["fuzzers"], CXX=clang)
    return out / "qemu-device/tests/fuzz"


def _reason(text):
    for mark in ("ccad fuzz: broken rule", "runtime error:", "ERROR: AddressSanitizer",
                 "ERROR: libFuzzer"):
        for line in text.splitlines():
            if mark in line:
                return line[line.index(mark):].strip()
    return ""


def stats(text):
    """(executions, executions a second) that libFuzzer counted, 0 if it did not get there."""
    got = dict(re.findall(r"^stat::(\w+):\s+(\d+)", text, re.M))
    return int(got.get("number_of_executed_units", 0)), int(got.get("average_exec_per_sec", 0))


class _Run:
    """One copy of a target that runs, by a command line."""

    def __init__(self, ctx, name, fuzzer, target, seconds, max_len=MAX_LEN, control=None, env=None):
        self.log = ctx.results.log_path(f"fuzz-{name}.log")
        self.limit = seconds + 120
        work = store.path("fuzz", target)
        if control:     # nothing of it is worth keeping
            self.scratch = work = ctx.results.log_path("fuzz-control-corpus") / name
        else:
            self.scratch = None
        work.mkdir(parents=True, exist_ok=True)
        how = [f"-max_total_time={seconds}"] if seconds else ["-runs=0"]
        cmd = [*fuzzer, *how, f"-max_len={max_len}", "-timeout=10", "-rss_limit_mb=2048", "-entropic=0",
               "-detect_leaks=0", "-print_funcs=0", "-print_final_stats=1",
               f"-artifact_prefix={ctx.results.dir}/fuzz-{name}-", work, CORPUS / target]
        self.began = time.monotonic()
        with open(self.log, "wb") as f:
            self.process = procs.popen([str(c) for c in cmd], stdout=f, stderr=subprocess.STDOUT,
                                       stdin=subprocess.DEVNULL, env=build_env(**_SANITIZERS, **(control or env or {})))

    def end(self):
        """(exit code or None if it hangs, seconds, its output)"""
        try:
            code = self.process.wait(timeout=max(1, self.began + self.limit - time.monotonic()))
        except subprocess.TimeoutExpired:
            code = None
        finally:
            self.kill()
        return code, time.monotonic() - self.began, self.log.read_text(errors="replace")

    def kill(self):
        procs.kill(self.process)
        if self.scratch:
            shutil.rmtree(self.scratch, ignore_errors=True)


def _run_targets(ctx, targets, seconds, at_once=1, **how):
    """{target: its command line}, so many at once, which share the CPUs.

    Copies of a target share a corpus, and take each other's finds over.
    """
    names = list(targets)
    for some in (names[i:i + at_once] for i in range(0, len(names), at_once)):
        copies = max(1, jobs() // len(some))
        runs = {target: [] for target in some}
        try:
            with progress.Activity(f"fuzz {', '.join(some)}: {seconds} s on {copies * len(some)} CPUs"):
                for target in some:
                    for i in range(copies):
                        name = target if copies == 1 else f"{target}.{i + 1}"
                        runs[target].append(_Run(ctx, name, targets[target], target, seconds, **how))
                ended = {target: [run.end() for run in runs[target]] for target in some}
        finally:
            for run in (r for rs in runs.values() for r in rs):
                run.kill()
        for target in some:
            _report(ctx, targets[target], target, runs[target], ended[target])


def _report(ctx, fuzzer, target, runs, ended):
    """One result of all the copies: the worst, or the sum of what they did."""
    took = max(t for _, t, _ in ended)
    bad = next(((run, code, text) for run, (code, _, text) in zip(runs, ended) if code != 0), None)
    if not bad:
        executions, rate = (sum(n) for n in zip(*(stats(text) for _, _, text in ended)))
        ctx.add(target, PASS, took, log=runs[0].log)
        ctx.results.remark(f"{target}: {executions} executions, {rate} a second on {len(runs)} CPU{'s' * (len(runs) > 1)}")
        return
    run, code, text = bad
    found = sorted(ctx.results.dir.glob(f"{run.log.stem}-*-*"))
    repeat = f"; to repeat: {' '.join(str(f) for f in fuzzer)} {found[0]}" if found else ""
    if code is None:
        ctx.add(target, HANG, took, f"still running after {run.limit} s", text[-3000:], run.log)
    else:
        ctx.add(target, FAIL, took, (_reason(text) or f"exit code {code}") + repeat,
                text[-6000:], run.log)


def _run_control(ctx, fuzzer, target, name, what, seconds, control):
    with progress.Activity(f"fuzz {target}: {what}"):
        run = _Run(ctx, name, fuzzer, target, seconds, control=control)
        code, took, text = run.end()
    if code and "broken rule" in _reason(text):
        for found in ctx.results.dir.glob(f"fuzz-{name}-*-*"):
            found.unlink()
        ctx.add(name, PASS, took, log=run.log)
    else:
        ctx.add(name, FAIL, took, f"{what}, and the target did not notice", text[-3000:], run.log)


def _run_qemu(ctx):
    if ctx.args.qemu:
        raise Fail("QEMU's fuzzer needs a build of its own", "run it without --qemu")
    _clang()
    build = qemu.Build(ctx.args.qemu_source, fuzzing=True)
    fuzzer = [build.targets(["qemu-fuzz-x86_64"]) / "qemu-fuzz-x86_64", f"--fuzz-target={QEMU_TARGET}"]
    build.add_firmware()
    _run_targets(ctx, {QEMU_TARGET: fuzzer}, FULL_SECONDS, max_len=QEMU_MAX_LEN, env=_QEMU_SANITIZERS)


def run(ctx):
    targets = [t for t in TARGETS if ctx.selected(t)]
    hosts = [t for t in TARGETS if ctx.selected(f"control.{t}")]
    wrong = [(i, f"control.{name}") for i, name in enumerate(OPCODES)
             if name and ctx.selected(f"control.{name}")]
    with_qemu = ctx.full and ctx.selected(QEMU_TARGET)
    if ctx.listing:
        for name in (*targets, *(f"control.{t}" for t in hosts), *(name for _, name in wrong),
                     *([QEMU_TARGET] if with_qemu else [])):
            ctx.list(name)
        return
    if targets or hosts or wrong:
        _run_core(ctx, targets, hosts, wrong)
    if with_qemu:
        _run_qemu(ctx)


def _run_core(ctx, targets, hosts, wrong):
    where = _build()
    _run_targets(ctx, {t: [where / f"fuzz-{t}"] for t in targets},
                 *((FULL_SECONDS, jobs()) if ctx.full else (SECONDS, 1)))
    for target in hosts:
        _run_control(ctx, [where / f"fuzz-{target}"], target, f"control.{target}",
                     "the host broke a rule", CONTROL_SECONDS, {"CCAD_FUZZ_CONTROL": "1"})
    for opcode, name in wrong:
        _run_control(ctx, [where / "fuzz-descriptors"], "descriptors", name,
                     "the device got an outcome wrong", 0, {"CCAD_FUZZ_WRONG": str(opcode)})
