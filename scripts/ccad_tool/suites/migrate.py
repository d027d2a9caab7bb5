# SPDX-License-Identifier: GPL-2.0-or-later
"""Suite migrate: a guest that moves to another QEMU again and again while its contexts work.

The load are self-tests of the driver, which know what every command has to
bring, over and over until the guest has moved often enough.
"""

import os
import time

from .. import migrate
from ..results import DEAD, FAIL, HANG, PASS, SPLAT
from ..util import Fail
from .inguest import GUEST_DIR, Test, boot_status, options_for

MOVES = 6
PAUSE = 1.0                 # seconds between them
LIMIT = 240.0
# Until standard input ends.
LOAD = f"""
cd {GUEST_DIR}/drivers/ccad || exit
exec 3<&0
(cat <&3 >/dev/null; touch /tmp/moved) &
until [ -e /tmp/moved ]; do
    for t in queue engines faults sva; do
        ./$t >/tmp/said 2>&1 || {{ cat /tmp/said; exit 1; }}
        echo "$t"
    done
done
"""
CASES = {"live": False, "by-file": True}


def run(ctx):
    for name, by_file in CASES.items():
        if not ctx.selected(name):
            continue
        if ctx.listing:
            ctx.list(name)
        else:
            _case(ctx, name, by_file)


def _case(ctx, name, by_file):
    parts, accel = ctx.parts()
    o = options_for(ctx, Test("drivers/ccad", "migrate"))
    g = migrate.Guest(o, parts.qemu, parts.kernel, parts.rootfs, accel)
    log = ctx.log_path(f"migrate-{name}.serial.log")
    said, still = [], []
    ours = list(os.pipe())
    began = last = time.monotonic()

    def move():
        nonlocal last
        if g.moves == MOVES:
            if len(ours) > 1:
                os.close(ours.pop())
        elif time.monotonic() - last > PAUSE:
            still.append(g.migrate(by_file))
            last = time.monotonic()

    try:
        g.start()
        g.wait_ready(ctx.boot_limit())
        last = time.monotonic()
        r = g.run(LOAD, said.append, said.append, LIMIT * ctx.mode.slow, stdin=ours[0],
                  meanwhile=move)
        g.sync()
        text = b"".join(said).decode(errors="replace")
        status, detail = _judge(g, r, text.split())
        if status == PASS:
            detail = f"{g.moves} moves, still for {max(still)} ms at most"
        ctx.add(name, status, time.monotonic() - began, detail, text, log)
        g.quit()
    except Fail as e:
        ctx.add(name, FAIL if g.ready else boot_status(g, e), time.monotonic() - began, e.what,
                b"".join(said).decode(errors="replace"), log)
    finally:
        g.kill()
        for fd in ours:
            os.close(fd)
        if g.log.exists():
            log.write_bytes(g.log.read_bytes())


def _judge(g, r, words):
    if g.watch.splats:
        return SPLAT, str(g.watch.splats[0])
    if r.why != "exit":
        return HANG if r.why == "timeout" else DEAD, r.detail
    if r.code or g.moves < MOVES:
        return FAIL, f"exit code {r.code} after {g.moves} moves"
    if len(words) < 2:
        return FAIL, "there was hardly any load"
    return PASS, ""
