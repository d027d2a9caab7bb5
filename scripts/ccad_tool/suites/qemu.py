# SPDX-License-Identifier: GPL-2.0-or-later
"""Suite qemu: qtests of the device."""

import subprocess
import time

from .. import ktap, procs, qemu
from ..results import FAIL, HANG, PASS, SKIP
from ..util import Fail, build_env

PROGRAM = "tests/qtest/ccad-test"
LIMIT = 300
_STATUS = {ktap.PASS: PASS, ktap.FAIL: FAIL, ktap.SKIP: SKIP}


def run(ctx):
    if ctx.args.qemu:
        raise Fail("the qemu suite needs its build of QEMU", "run it without --qemu")
    build = qemu.Build(ctx.args.qemu_source).targets(["qemu-system-x86_64", PROGRAM])
    program = build / PROGRAM
    env = build_env(QTEST_QEMU_BINARY=str(build / "qemu-system-x86_64"), G_TEST_DBUS_DAEMON="/bin/false",
                    MALLOC_PERTURB_="165")
    p = subprocess.run([str(program), "-l"], env=env, cwd=build, capture_output=True, check=False)
    paths = [t.strip() for t in p.stdout.decode().splitlines() if t.startswith("/")]
    paths = [t for t in paths if ctx.selected(t)]
    if ctx.listing:
        for t in paths:
            ctx.list(t)
        return
    for path in paths:      # one at a time: a crash or a hang is that test's
        log = ctx.results.log_path("qemu" + path.replace("/", "-") + ".log")
        began = time.monotonic()
        args = [str(program), "--tap", "-k", "-p", path] + (["-m", "slow"] if ctx.full else [])
        with open(log, "wb") as f:
            p = procs.popen(args, env=env, cwd=build, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=f)
            try:
                out, _ = p.communicate(timeout=LIMIT)
            except subprocess.TimeoutExpired:
                procs.kill(p)
                ctx.add(path, HANG, time.monotonic() - began, f"still running after {LIMIT} s",
                        log.read_text(errors="replace")[-3000:], log)
                continue
            finally:
                procs.kill(p)
        text = out.decode(errors="replace")
        with open(log, "ab") as f:
            f.write(out)
        for c in ktap.judge(path, text, p.returncode):
            if c.name != path and c.status == ktap.SKIP and not c.detail:
                continue        # not this one
            output = text + log.read_text(errors="replace")[-3000:] if c.status == ktap.FAIL else ""
            ctx.add(path if c.name.lstrip("/").endswith(path.lstrip("/")) else f"{path}: {c.name}",
                    _STATUS[c.status], time.monotonic() - began, c.detail, output, log)
