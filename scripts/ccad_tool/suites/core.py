# SPDX-License-Identifier: GPL-2.0-or-later
"""Suite core: the device's unit tests, as they are and under the sanitizers."""

import subprocess
import time
import xml.etree.ElementTree as ET

from .. import core, procs, progress, store
from ..results import FAIL, HANG, PASS, SKIP
from ..util import build_env

VARIANTS = (
    ("plain", ()),
    ("asan", ("-Db_sanitize=address,undefined", "-Db_lundef=false", "-Doptimization=1")),
    ("tsan", ("-Db_sanitize=thread", "-Db_lundef=false", "-Doptimization=1")),
)
_SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=99",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=99",
    "TSAN_OPTIONS": "halt_on_error=0:exitcode=99:second_deadlock_stack=1",
}
LIMIT = 600


def _build(variant, options):
    with progress.Activity(f"device core ({variant}): build"):
        return core.build(variant, options) / "qemu-device/tests/ccad-core-tests"


def _all_cases(binary):
    text = store.output([binary, "--gtest_list_tests"])
    out, group = [], ""
    for line in text.splitlines():
        if line.startswith(" "):
            out.append(group + line.split("#")[0].strip())
        elif line and not line.startswith("Running main"):
            group = line.split("#")[0].strip()
    return out


def run(ctx):
    for variant, options in VARIANTS:
        binary = _build(variant, options)
        names = [n for n in _all_cases(binary) if ctx.selected(f"{variant}.{n}")]
        if ctx.listing:
            for n in names:
                ctx.list(f"{variant}.{n}")
            continue
        if names:
            _run(ctx, variant, binary, names)


def _run(ctx, variant, binary, names):
    xml = ctx.results.log_path(f"core-{variant}.xml")
    log = ctx.results.log_path(f"core-{variant}.log")
    xml.unlink(missing_ok=True)
    began = time.monotonic()
    env = build_env(**_SANITIZERS)
    if ctx.full:
        env["CCAD_FULL"] = "1"
    code, hung = None, False
    with open(log, "wb") as f:
        p = procs.popen([str(binary), "--gtest_filter=" + ":".join(names), f"--gtest_output=xml:{xml}"],
                        stdout=f, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env)
        try:
            code = p.wait(timeout=LIMIT * (4 if ctx.full else 1))
        except subprocess.TimeoutExpired:
            hung = True
        finally:
            procs.kill(p)
    text = log.read_text(errors="replace")
    seen = set()
    bad = False
    if xml.exists() and xml.stat().st_size:
        for c in ET.parse(xml).getroot().iter("testcase"):
            name = f"{c.get('classname')}.{c.get('name')}"
            seen.add(name)
            took = float(c.get("time", 0))
            failures = c.findall("failure")
            if failures:
                bad = True
                why = "\n".join(x.text or x.get("message", "") for x in failures)
                ctx.add(f"{variant}.{name}", FAIL, took, why.strip().splitlines()[-1] if why else "", why, log)
            elif c.get("result") == "skipped" or c.find("skipped") is not None:
                s = c.find("skipped")
                ctx.add(f"{variant}.{name}", SKIP, took, s.get("message", "") if s is not None else "")
            elif c.get("status") == "run":
                ctx.add(f"{variant}.{name}", PASS, took)
    else:       # it did not get to the end: the log says how far
        for line in text.splitlines():
            if line.startswith("[       OK ] "):
                name = line[13:].split(" ")[0]
                seen.add(name)
                ctx.add(f"{variant}.{name}", PASS)
    lost = [n for n in names if n not in seen]
    running = [line[13:].strip() for line in text.splitlines() if line.startswith("[ RUN      ] ")]
    if hung:
        ctx.add(f"{variant}.{running[-1] if running else 'start'}", HANG, time.monotonic() - began,
                f"still running after {LIMIT} s", text[-3000:], log)
    elif lost:
        name = running[-1] if running and running[-1] in lost else lost[0]
        ctx.add(f"{variant}.{name}", FAIL, 0, f"the program ended with {code}", text[-3000:], log)
    elif code and not bad:
        first = next((t for t in text.splitlines() if "Sanitizer" in t or "runtime error" in t), "")
        ctx.add(f"{variant}.sanitizer", FAIL, 0, first or f"exit code {code}", text[-6000:], log)
