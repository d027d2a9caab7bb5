# SPDX-License-Identifier: GPL-2.0-or-later
"""Child processes: every one in a group of its own, none survives us."""

import atexit
import os
import signal
import subprocess
import threading

_live = {}
_lock = threading.Lock()
stopping = threading.Event()


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived; carries the signal's number."""

    def __init__(self, signum):
        super().__init__(signum)
        self.signum = signum


def popen(cmd, **kw):
    """subprocess.Popen in a process group of its own, remembered until it is reaped."""
    with _lock:
        if stopping.is_set():
            raise Interrupted(signal.SIGTERM)
        p = subprocess.Popen(cmd, process_group=0, **kw)
        _live[p.pid] = p
    return p


def forget(p):
    with _lock:
        _live.pop(p.pid, None)


def kill(p, grace=2.0):
    """End p and its whole group."""
    for sig, wait in ((signal.SIGTERM, grace), (signal.SIGKILL, 10)):
        try:
            os.killpg(p.pid, sig)
        except (ProcessLookupError, PermissionError):
            pass
        try:
            p.wait(timeout=wait)
            break
        except subprocess.TimeoutExpired:
            continue
    try:                        # stragglers whose leader is gone
        os.killpg(p.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    forget(p)


def kill_all():
    stopping.set()
    with _lock:
        procs = list(_live.values())
    for p in procs:
        try:
            os.killpg(p.pid, signal.SIGTERM)
        except (ProcessLookupError, PermissionError):
            pass
    for p in procs:
        kill(p, grace=1.0)


def _on_signal(signum, _frame):
    if stopping.is_set():
        return
    raise Interrupted(signum)


def install_handlers():
    for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, _on_signal)
    atexit.register(kill_all)
