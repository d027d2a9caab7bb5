# SPDX-License-Identifier: GPL-2.0-or-later
"""Child processes: every one in a group of its own, none survives us."""

import atexit
import os
import signal
import subprocess
import threading
import time

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


def _signal_group(p, sig):
    """To p's whole group.  Only while p is not reaped: its number is nobody else's until then."""
    try:
        os.killpg(p.pid, sig)
    except (ProcessLookupError, PermissionError):
        pass


def _has_ended(p, limit):
    """Has p ended within limit seconds?  It is not reaped."""
    end = time.monotonic() + limit
    while True:
        try:
            if os.waitid(os.P_PID, p.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return True
        except ChildProcessError:
            return True
        if time.monotonic() >= end:
            return False
        time.sleep(0.01)


def kill(p, grace=2.0):
    """End p and its whole group; nothing if it has been reaped."""
    with _lock:
        if p.pid not in _live or p.returncode is not None:
            _live.pop(p.pid, None)
            return
    if not _has_ended(p, 0):
        _signal_group(p, signal.SIGTERM)
        _has_ended(p, grace)
    _signal_group(p, signal.SIGKILL)        # it, or what it left behind
    try:
        p.wait(timeout=10)
    except subprocess.TimeoutExpired:
        pass
    forget(p)


def kill_all():
    stopping.set()
    with _lock:
        procs = list(_live.values())
    for p in procs:
        if p.returncode is None:
            _signal_group(p, signal.SIGTERM)
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
