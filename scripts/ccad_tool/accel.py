# SPDX-License-Identifier: GPL-2.0-or-later
"""KVM or TCG: KVM counts as usable only when this guest came up under it."""

import json
import os
import time

from . import guest, machine, progress, store
from .util import Fail, digest

LIMIT = 15.0        # seconds that the probe's guest has; a working KVM needs one or two
FIRST = 5.0         # and until its kernel's first word: a fraction of one
AGAIN = 86400.0     # seconds after which "no" is asked again: the machine may have been busy


def _remembered(memo):
    """(usable, why) of an earlier probe, or None."""
    try:
        got = json.loads(memo.read_text())
        if got["usable"] or time.time() - memo.stat().st_mtime < AGAIN:
            return got["usable"], got["why"]
    except (OSError, ValueError, KeyError):
        pass
    return None


def _host_key(qemu, kernel, device):
    model = ""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as f:
            for line in f:
                if line.startswith(("model name", "microcode", "flags")):
                    model += line
                if line == "\n":
                    break
    except OSError:
        pass
    return digest(os.uname().release, os.uname().version, model, qemu.key, kernel.key,
                  device)


def probe(qemu, kernel, rootfs, again=False, device=True):
    """(usable, why); remembered for this host, QEMU, kernel and guest."""
    if not os.path.exists("/dev/kvm"):
        return False, "no /dev/kvm"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False, "/dev/kvm may not be opened by this user"
    memo = store.path("probe", _host_key(qemu, kernel, device) + ".json")
    if not again and (known := _remembered(memo)):
        return known
    with store.lock("probe"):
        began = time.monotonic()
        with progress.Activity(f"KVM: does the guest start under it? (at most {LIMIT:.0f} s)"):
            g = guest.Guest(machine.Options(memory="512M", device=device), qemu, kernel, rootfs, "kvm")
            try:
                g.start()
                g.wait_ready(LIMIT, FIRST)
                result = True, f"a guest came up in {time.monotonic() - began:.1f} s"
            except Fail as e:
                result = False, f"no guest came up under it: {e.what}"
            finally:
                g.kill()
        memo.parent.mkdir(parents=True, exist_ok=True)
        tmp = memo.with_suffix(f".{os.getpid()}")
        tmp.write_text(json.dumps({"usable": result[0], "why": result[1]}))
        tmp.replace(memo)
    return result


def choose(want, qemu, kernel, rootfs, device=True):
    if want in ("kvm", "tcg"):
        progress.note(f"accelerator: {want} (--accel)")
        return want
    usable, why = probe(qemu, kernel, rootfs, device=device)
    progress.note(f"accelerator: kvm ({why})" if usable else f"accelerator: tcg (kvm: {why})")
    return "kvm" if usable else "tcg"
