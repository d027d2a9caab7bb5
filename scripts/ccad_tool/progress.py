# SPDX-License-Identifier: GPL-2.0-or-later
"""What is being done, how far it is and how long it has taken, on stderr.

On a terminal one line is redrawn; elsewhere a line appears for each activity
when it begins, every half minute, and when it ends.
"""

import os
import shutil
import sys
import threading
import time

_EVERY = 30.0       # seconds between lines where there is no terminal

_lock = threading.RLock()
_active = []
_ticker = None
_drawn = False
_tty = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
quiet = False


def _clock(seconds):
    s = int(seconds)
    return f"{s // 3600}:{s // 60 % 60:02}:{s % 60:02}" if s >= 3600 else f"{s // 60}:{s % 60:02}"


def _erase():
    global _drawn
    if _drawn:
        sys.stderr.write("\r\033[K")
        _drawn = False


def _draw():
    global _drawn
    if not _tty or not _active:
        return
    text = " | ".join(a.text() for a in _active)
    width = shutil.get_terminal_size().columns - 1
    sys.stderr.write("\r\033[K" + text[:width])
    sys.stderr.flush()
    _drawn = True


def _tick():
    while True:
        time.sleep(0.5)
        with _lock:
            if not _active:
                continue
            if _tty:
                _draw()
                continue
            now = time.monotonic()
            for a in _active:
                if now - a.told >= _EVERY:
                    a.told = now
                    print(f"     {a.text()}", file=sys.stderr, flush=True)


def say(text):
    """One line for the person in front."""
    if quiet:
        return
    with _lock:
        _erase()
        print(text, file=sys.stderr, flush=True)
        _draw()


def stage(text):
    say(f"===> {text}")


def note(text):
    say(f"     {text}")


class Activity:
    """A long step: with Activity('QEMU: build', total=1710) as a: a.at(12)."""

    def __init__(self, name, total=None, unit=""):
        self.name, self.total, self.unit = name, total, unit
        self.done = None
        self.began = self.told = time.monotonic()

    def at(self, done, total=None):
        self.done = done
        if total is not None:
            self.total = total

    def text(self):
        out = self.name
        if self.done is not None:
            if self.unit == "bytes":
                mib = f"{self.done / 1048576:.0f}"
                out += f" {mib}/{self.total / 1048576:.0f} MiB" if self.total else f" {mib} MiB"
            else:
                out += f" {self.done}/{self.total}" if self.total else f" {self.done}"
            if self.total:
                out += f" ({min(99, 100 * self.done // self.total)} %)"
        return f"{out} {_clock(time.monotonic() - self.began)}"

    def __enter__(self):
        global _ticker
        stage(self.name)
        with _lock:
            _active.append(self)
            if _ticker is None and not quiet:
                _ticker = threading.Thread(target=_tick, daemon=True)
                _ticker.start()
        return self

    def __exit__(self, kind, value, tb):
        with _lock:
            _active.remove(self)
            took = time.monotonic() - self.began
            if kind is None and took >= 2:
                say(f"     {self.name}: done in {_clock(took)}")
            _erase()
            _draw()
        return False
