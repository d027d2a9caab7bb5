# SPDX-License-Identifier: GPL-2.0-or-later
"""Suite fuzz: libFuzzer targets of the device's core.

Each runs for a while from the corpus kept in the tree, and what it finds new
stays in the cache for the next run.  A control follows: a host that breaks a
rule on purpose, which the target has to notice.
"""

import re
import shutil
import subprocess
import time

from .. import core, host, pins, procs, progress, store
from ..results import FAIL, HANG, PASS
from ..util import ROOT, Fail, build_env

TARGETS = ("registers", "descriptors", "rings")
CORPUS = ROOT / "qemu-device/tests/fuzz/corpus"
SECONDS, FULL_SECONDS = 20, 600
CONTROL_SECONDS = 30
# Long inputs find no more, and take longer.
MAX_LEN = 192
_SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


def _build():
    host.ensure(pins.FUZZ_PACKAGES)
    clang = shutil.which("clang++", path=build_env()["PATH"])
    if not clang:
        raise Fail("no clang++ for libFuzzer", "as root: apt-get install "
                   + " ".join(p for p, _ in pins.FUZZ_PACKAGES))
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


def _fuzz(ctx, name, binary, target, seconds, control):
    log = ctx.results.log_path(f"fuzz-{name}.log")
    work = store.path("fuzz", target)
    if control:     # nothing of it is worth keeping
        work = ctx.results.log_path("fuzz-control-corpus") / target
    work.mkdir(parents=True, exist_ok=True)
    env = build_env(**_SANITIZERS)
    if control:
        env["CCAD_FUZZ_CONTROL"] = "1"
    cmd = [binary, f"-max_total_time={seconds}", f"-max_len={MAX_LEN}", "-timeout=10",
           "-rss_limit_mb=2048", "-entropic=0", "-detect_leaks=0", "-print_funcs=0",
           "-print_final_stats=1", f"-artifact_prefix={ctx.results.dir}/fuzz-{name}-",
           work, CORPUS / target]
    began = time.monotonic()
    with open(log, "wb") as f:
        p = procs.popen([str(c) for c in cmd], stdout=f, stderr=subprocess.STDOUT,
                        stdin=subprocess.DEVNULL, env=env)
        try:
            code = p.wait(timeout=seconds + 120)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            procs.kill(p)
    if control:
        shutil.rmtree(work, ignore_errors=True)
    return code, time.monotonic() - began, log


def _run_target(ctx, binary, target):
    seconds = FULL_SECONDS if ctx.full else SECONDS
    with progress.Activity(f"fuzz {target}: {seconds} s"):
        code, took, log = _fuzz(ctx, target, binary, target, seconds, False)
    text = log.read_text(errors="replace")
    runs, rate = stats(text)
    if code == 0:
        ctx.add(target, PASS, took, log=log)
        ctx.results.remark(f"{target}: {runs} executions, {rate} a second")
        return
    found = sorted(ctx.results.dir.glob(f"fuzz-{target}-*-*"))
    repeat = f"; to repeat: {binary} {found[0]}" if found else ""
    if code is None:
        ctx.add(target, HANG, took, f"still running after {seconds + 120} s", text[-3000:], log)
    else:
        ctx.add(target, FAIL, took, (_reason(text) or f"exit code {code}") + repeat,
                text[-6000:], log)


def _run_control(ctx, binary, target):
    name = f"control.{target}"
    with progress.Activity(f"fuzz {target}: a host that breaks a rule"):
        code, took, log = _fuzz(ctx, name, binary, target, CONTROL_SECONDS, True)
    text = log.read_text(errors="replace")
    if code and "broken rule" in _reason(text):
        for found in ctx.results.dir.glob(f"fuzz-{name}-*-*"):
            found.unlink()
        ctx.add(name, PASS, took, log=log)
    else:
        ctx.add(name, FAIL, took, "the host broke a rule and the target did not notice",
                text[-3000:], log)


def run(ctx):
    chosen = [(t, c) for t in TARGETS for c in (False, True)
              if ctx.selected(f"control.{t}" if c else t)]
    if ctx.listing:
        for target, control in chosen:
            ctx.list(f"control.{target}" if control else target)
        return
    if not chosen:
        return
    where = _build()
    for target, control in chosen:
        run_one = _run_control if control else _run_target
        run_one(ctx, where / f"fuzz-{target}", target)
