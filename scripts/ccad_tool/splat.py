# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads the guest's serial log as it grows and finds what a kernel should not say."""

import re

# (pattern, what, fatal): after a fatal one the guest cannot be expected to go on.
_PATTERNS = [
    (r"Kernel panic - not syncing", "panic", True),
    (r"BUG: KASAN", "KASAN", False),
    (r"BUG: KFENCE", "KFENCE", False),
    (r"BUG: soft lockup", "soft lockup", True),
    (r"watchdog: .*hard LOCKUP", "hard lockup", True),
    (r"BUG: ", "BUG", False),
    (r"kernel BUG at", "BUG", True),
    (r"Oops: ", "oops", True),
    (r"general protection fault, .*\[#", "oops", True),
    (r"(?<!\w)WARNING: (?!unused|no default|kunit)", "WARN", False),
    (r"UBSAN: ", "UBSAN", False),
    (r"INFO: task .* blocked for more than", "hung task", True),
    (r"INFO: task .* blocked in I/O wait", "hung task", True),
    (r"rcu.*self-detected stall|rcu.*detected stalls", "RCU stall", True),
    (r"INFO: possible recursive locking", "lockdep", False),
    (r"suspicious RCU usage", "lockdep", False),
    (r"possible circular locking dependency", "lockdep", False),
    (r"inconsistent lock state", "lockdep", False),
    (r"possible irq lock inversion", "lockdep", False),
    (r"bad unlock balance", "lockdep", False),
    (r"kmemleak: \d+ new suspected memory leaks", "kmemleak", False),
    (r"DEBUG_LOCKS_WARN_ON", "lockdep", False),
    (r"ODEBUG: ", "debugobjects", False),
    (r"Bad page state|Bad rss-counter state|Bad page map", "bad page", False),
    (r"VM_BUG_ON|VM_WARN_ON", "VM assertion", False),
    (r"list_(add|del) corruption", "list corruption", False),
    (r"refcount_t: ", "refcount", False),
    (r"unchecked MSR access", "MSR", False),
]
# One expression finds candidates at a line's cost; the list then says which.
_ANY = re.compile("|".join(f"(?:{p})" for p, _, _ in _PATTERNS))
_EACH = [(re.compile(p), what, fatal) for p, what, fatal in _PATTERNS]
_STAMP = re.compile(r"^(?:<\d+>)?\[ *\d+\.\d+\](?:\[[^\]]*\])? ?")


class Splat:
    def __init__(self, what, line, fatal, number):
        self.what, self.line, self.fatal, self.number = what, line, fatal, number

    def __str__(self):
        return f"{self.what}: {self.line}"


def find(line):
    """(what, fatal, text) if the line begins a splat.  Only the kernel's own lines count."""
    if not _ANY.search(line):
        return None
    m = _STAMP.match(line)
    if not m:
        return None
    text = line[m.end():].strip()
    # What a program or a test wrote into the log is no splat, nor is an expected one.
    if text.startswith(("ccad: ", "KTAP", "#", "ok ", "not ok ")):
        return None
    for rx, what, fatal in _EACH:
        if rx.search(text):
            return what, fatal, text
    return None


class Watch:
    """Incremental reader of one log."""

    def __init__(self, path):
        self.path = path
        self.offset = 0
        self.rest = b""
        self.lines = 0
        self.splats = []
        self.marks = set()
        self.plugs = 0          # how often the guest has asked for its device again

    def poll(self):
        """Take in what is new; returns the splats that it holds."""
        try:
            with open(self.path, "rb") as f:
                f.seek(self.offset)
                data = f.read()
        except OSError:
            return []
        self.offset += len(data)
        *lines, self.rest = (self.rest + data).split(b"\n")
        new = []
        for raw in lines:
            self.lines += 1
            line = raw.decode(errors="replace").rstrip("\r")
            i = line.find("ccad: mark ")
            if i >= 0:
                self.marks.add(line[i + 11:].strip())
                continue
            self.plugs += line.endswith("ccad: plug")
            hit = find(line)
            # A report has several such lines: the first names it.
            if hit and not (self.splats and self.lines - self.splats[-1].number < 40
                            and not hit[1]):
                s = Splat(hit[0], hit[2], hit[1], self.lines)
                self.splats.append(s)
                new.append(s)
        return new
