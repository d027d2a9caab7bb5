# SPDX-License-Identifier: GPL-2.0-or-later
"""Suite boot: what `ccad boot` promises, by running it, not on a terminal.

Every option is given a value that is not the default, and read back in the
guest. One guest answers for all that does not need one of its own.
"""

import re
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from .. import procs
from ..results import FAIL, HANG, PASS, SKIP
from ..util import ROOT, build_env

LIMIT = 120                 # seconds for one `ccad boot`: several times what it takes
GDB_PORT = 1234

_OUTPUT = r"""
cat
(for i in $(seq 100); do echo "<3>ccad-boot-test $i" >/dev/kmsg; done) &
seq 20000
wait
printf 'a\0\377b\n'
echo words >&2
dmesg | grep -q 'ccad-boot-test' && echo logged
"""
_INPUT = bytes(range(256)) * 1000
_ASK = r"""
cd /sys/devices/system/node
echo "memory $(grep -o 'MemTotal: .*' node0/meminfo)"
echo "cdm-size $(grep -o 'MemTotal: .*' node1/meminfo)"
echo "cpus $(nproc)"
echo "distance $(cat node1/distance)"
echo "kernel-arg $(grep -c ' ccad-boot-test=1\b' /proc/cmdline)"
echo "qemu-arg $(cat /sys/bus/pci/devices/*/uevent | grep -c PCI_ID=1B36:0005)"
echo "share $(cat /host/word) $(touch /host/new 2>/dev/null && echo written)"
"""


class _Skip(Exception):
    pass


class _Hang(Exception):
    """Holds what was said until then."""


@dataclass
class _Run:
    code: int
    out: bytes
    err: str

    def text(self):
        return self.out.decode(errors="replace")

    def log(self):
        """Contents of the kernel's log that the message names."""
        m = re.search(r"log: (\S+)", self.err)
        return Path(m[1]).read_text(errors="replace") if m else ""


class _Door:
    """scripts/ccad boot with this run's kernel, QEMU and accelerator."""

    def __init__(self, ctx, kernel, accel):
        a = ctx.args
        self.args = [str(ROOT / "scripts/ccad"), "boot", "--accel", accel]
        given = {"qemu": a.qemu, "qemu-source": a.qemu_source, "linux-source": a.linux_source,
                 "kernel": kernel.vmlinux if a.kernel_tree else a.kernel}
        self.args += [f"--{k}={v}" for k, v in given.items() if v]
        self.args += [f"--kernel-arg={v}" for v in a.kernel_arg or []]
        self.args += [f"--qemu-arg={v}" for v in a.qemu_arg or []]
        self.said = ""          # by the last one

    def start(self, *args, stdin=subprocess.DEVNULL):
        return procs.popen([*self.args, *args], stdin=stdin, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, env=build_env())

    def end(self, p, given=None, limit=LIMIT):
        try:
            out, err = p.communicate(given, timeout=limit)
        except subprocess.TimeoutExpired as e:
            procs.kill(p)
            self.said = b"".join((e.stdout or b"", e.stderr or b"")).decode(errors="replace")
            raise _Hang(f"still running after {limit} s") from None
        finally:
            procs.kill(p)
        r = _Run(p.returncode, out, err.decode(errors="replace"))
        self.said = f"exit code {r.code}\n{r.err}{r.text()[-20000:]}"
        return r

    def run(self, *args, given=None):
        return self.end(self.start(*args, stdin=subprocess.PIPE if given else subprocess.DEVNULL), given)

    def exec(self, command, *args, given=None):
        return self.run("--exec", command, *args, given=given)


def _code(run, want):
    return "" if run.code == want else f"exit code {run.code}, not {want}"


def _complained(run, what, out=b""):
    """255, what the kernel said, and a log that has it; the command's output all the same."""
    if run.code != 255 or run.out != out:
        return f"exit code {run.code}, output {run.out[:40]}"
    return "" if what in run.err and what in run.log() else f"'{what}' is not said, or not in a log named"


# Each of these returns {case: what is wrong, or ""}.

def _demo(door):
    r = door.run("--demo")
    text = r.text()
    rows = re.findall(r"^(CPU, boost::crc|accelerator|accelerator, after mbind) .* ([0-9a-f]{8})$", text, re.M)
    why = _code(r, 0)
    if len(rows) != 3 or len({crc for _, crc in rows}) != 1:
        why = why or f"a table with {len(rows)} rows, or CRCs that differ"
    for part in ("1. One memory", "2. A block freed", "\nEverything held.\n"):
        if part not in text:
            why = why or f"no '{part.strip()}'"
    return {"demo": why}


def _demo_no_device(door):
    r = door.run("--demo", "--no-device")
    return {"demo.no-device": "" if r.code not in (0, 255) and "doctor" in r.err else
            f"exit code {r.code}, or no pointer to the doctor"}


def _demo_no_input(door):
    r = door.run("--demo", "--input", "/nonexistent/file")
    return {"demo.no-input": _code(r, 2)}


def _output(door):
    want = _INPUT + b"".join(b"%d\n" % i for i in range(1, 20001)) + b"a\0\xffb\nlogged\n"
    r = door.exec(_OUTPUT, given=_INPUT)
    why = _code(r, 0)
    if r.out != want:
        n = next((i for i, (a, b) in enumerate(zip(r.out, want)) if a != b), min(len(r.out), len(want)))
        why = f"{len(r.out)} bytes of output for {len(want)}, different from {n} on"
    elif r.err.splitlines().count("words") != 1 or "ccad-boot-test" in r.err:
        why = "standard error is not the command's"
    return {"exec.output": why}


def _exit_code(door):
    return {"exec.code": _code(door.exec("exit 3"), 3)}


def _timeout(door):
    r = door.exec("echo begun; sleep 600", "--timeout", "2")
    return {"exec.timeout": _code(r, 124) or ("" if r.out == b"begun\n" and "time-out" in r.err else
                                              "the output until then, or the message, is lost")}


def _panic(door):
    return {"exec.panic": _complained(door.exec("echo c >/proc/sysrq-trigger"), "Kernel panic")}


def _splat(door):
    said = "WARNING: ccad-boot-test"
    return {"exec.splat": _complained(door.exec(f"echo '{said}' >/dev/kmsg; echo content"), said, b"content\n")}


def _splat_timeout(door):
    said = "WARNING: ccad-boot-test"
    return {"exec.splat-timeout": _complained(
        door.exec(f"echo '{said}' >/dev/kmsg; sleep 600", "--timeout", "2"), said)}


def _background(door):
    # On one processor, and before everybody else: there is always more of it to read.
    r = door.exec("chrt -f 1 yes & sleep 0.2; exit 4", "--cpus", "1", "--timeout", "15")
    return {"exec.background": _code(r, 4) or ("" if b"y\n" in r.out else "nothing was left behind")}


def _options(door):
    with tempfile.TemporaryDirectory() as share:
        Path(share, "word").write_text("hello\n")
        r = door.exec(_ASK, "--memory", "768M", "--cpus", "3", "--cdm-size", "256M", "--distance", "42",
                      "--share", share, "--kernel-arg", "ccad-boot-test=1",
                      "--qemu-arg", "-device pci-testdev")
        left = sorted(p.name for p in Path(share).iterdir())
    got = dict(t.partition(" ")[::2] for t in r.text().splitlines())

    def kib(key):
        m = re.search(r"(\d+) kB", got.get(key, ""))
        return int(m[1]) if m else 0

    held = {
        # The kernel keeps some of it to itself.
        "memory": 0.9 * (768 << 10) < kib("memory") <= 768 << 10,
        "cdm-size": kib("cdm-size") == 256 << 10,
        "cpus": got.get("cpus") == "3",
        "distance": got.get("distance") == "42 10",
        "kernel-arg": got.get("kernel-arg") == "1",
        "qemu-arg": got.get("qemu-arg") == "1",
        "share": got.get("share", "").strip() == "hello" and left == ["word"],
    }
    return {k: _code(r, 0) or ("" if ok else f"in the guest: {got.get(k, 'nothing')}")
            for k, ok in held.items()}


def _gdb(door):
    """A debugger finds the processor at its first instruction, and lets it go."""
    if _connect():
        raise _Skip(f"another program listens on port {GDB_PORT}")
    p = door.start("--gdb", "--exec", "echo up")
    end, s = time.monotonic() + LIMIT, None
    try:
        while not s and p.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
            s = _connect()
        if not s:
            door.end(p, limit=1)
            return {"gdb": f"nobody answers on port {GDB_PORT}"}
        with s:
            stop, registers = _packet(s, "?"), _packet(s, "g")
            s.sendall(b"+$c#63")
            r = door.end(p)
    finally:
        procs.kill(p)
    if stop[:1] not in ("S", "T") or int.from_bytes(bytes.fromhex(registers[256:272]), "little") != 0xfff0:
        return {"gdb": f"stopped: '{stop}', and not at the reset vector"}
    return {"gdb": _code(r, 0) or ("" if r.out == b"up\n" else "the command did not run after 'continue'")}


def _connect():
    try:
        return socket.create_connection(("localhost", GDB_PORT), timeout=10)
    except OSError:
        return None


def _packet(s, command):
    """Answer to one command of gdb's remote protocol."""
    s.sendall(f"${command}#{sum(command.encode()) & 255:02x}".encode())
    got = b""
    while not (m := re.search(rb"\$([^#]*)#..", got)):
        data = s.recv(4096)
        if not data:
            raise ConnectionError("closed in the middle of an answer")
        got += data
    s.sendall(b"+")
    return m[1].decode()


CASES = (
    (_demo, ("demo",)),
    (_demo_no_device, ("demo.no-device",)),
    (_demo_no_input, ("demo.no-input",)),
    (_output, ("exec.output",)),
    (_exit_code, ("exec.code",)),
    (_timeout, ("exec.timeout",)),
    (_panic, ("exec.panic",)),
    (_splat, ("exec.splat",)),
    (_splat_timeout, ("exec.splat-timeout",)),
    (_background, ("exec.background",)),
    (_options, ("share", "memory", "cpus", "cdm-size", "distance", "kernel-arg", "qemu-arg")),
    (_gdb, ("gdb",)),
)


def run(ctx):
    chosen = [(work, [n for n in names if ctx.selected(n)]) for work, names in CASES]
    chosen = [c for c in chosen if c[1]]
    if ctx.listing:
        for _, names in chosen:
            for n in names:
                ctx.list(n)
        return
    if not chosen:
        return
    parts, accel = ctx.parts()
    door = _Door(ctx, parts.kernel, accel)
    for work, names in chosen:
        began, door.said = time.monotonic(), ""
        try:
            got = work(door)
            outcome = {n: (FAIL if got[n] else PASS, got[n]) for n in names}
        except _Skip as e:
            outcome = {n: (SKIP, str(e)) for n in names}
        except _Hang as e:
            outcome = {n: (HANG, str(e)) for n in names}
        except (OSError, ValueError) as e:
            outcome = {n: (FAIL, repr(e)) for n in names}
        took = time.monotonic() - began
        for n, (status, why) in outcome.items():
            log = ctx.results.log_path(f"boot-{n}.log")
            log.write_text(door.said)
            ctx.add(n, status, took, why, door.said if status != PASS else "", log)
            took = 0.0      # of the whole guest, told once
