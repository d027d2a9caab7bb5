# SPDX-License-Identifier: GPL-2.0-or-later
"""One running guest: starts QEMU, talks to the agent, watches the kernel's log."""

import json
import os
import selectors
import shutil
import socket
import struct
import subprocess
import time
from dataclasses import dataclass

from . import machine, procs, progress, splat, store
from .util import Fail

PTY = 1
_KEEP_RUNS = 20
_GRACE_AFTER_FATAL = 5.0        # for output that is still on its way


@dataclass
class Result:
    """How a run ended: 'exit' with a code, or 'timeout', 'splat', 'dead', 'hang'."""

    why: str
    code: int = 0
    detail: str = ""


class NotUp(Fail):
    """The guest did not come up; why: 'hang', or 'dead' when it went down."""

    def __init__(self, why, what, remedy, code=255):
        super().__init__(what, remedy, code)
        self.why = why


def new_run_dir():
    top = store.path("run")
    top.mkdir(parents=True, exist_ok=True)
    old = sorted(p for p in top.iterdir() if p.is_dir())
    for p in old[:-_KEEP_RUNS]:
        if time.time() - p.stat().st_mtime > 3600:
            shutil.rmtree(p, ignore_errors=True)
    for n in range(1000):
        p = top / (time.strftime("%Y%m%d-%H%M%S") + f"-{os.getpid()}-{n}")
        try:
            p.mkdir()
            return p
        except FileExistsError:
            continue
    raise Fail(f"{top}: no name left for a run")


class Guest:
    def __init__(self, options, qemu, kernel, rootfs, accel, run_dir=None):
        self.options = options
        self.dir = run_dir or new_run_dir()
        self.log = self.dir / "serial.log"
        self.qemu_log = self.dir / "qemu.log"
        self.accel = accel
        self.argv = machine.command(options, qemu, kernel, rootfs, accel, self.dir)
        self.scratch_from = rootfs.scratch
        self.watch = splat.Watch(self.log)
        self.proc = None
        self.ready = False
        self.stopped = False        # QEMU halted the guest: KVM could not go on
        self.went = False
        self._unplugged = 0         # how often the device has left its slot
        self._plugged = 0           # and was put back there
        self._in = b""
        self._out = b""
        self._qmp_in = b""
        self._answers = {}          # of the monitor, by id
        self.moving = False         # to another QEMU
        self._marks = 0
        self._fatal_at = None
        self._handlers = {}

    # -- life ------------------------------------------------------------

    def start(self):
        store.output(["cp", "--sparse=always", "--reflink=auto", self.scratch_from,
                      self.dir / "scratch.ext4"], remedy=store.NO_ROOM)
        self.log.touch()
        self.proc, self.chan, self.qmp = self._launch()
        self.began = time.monotonic()

    def _launch(self, more=()):
        """A QEMU, and our ends of the channels to the agent and to its monitor."""
        chan, theirs = socket.socketpair()
        qmp, qmp_theirs = socket.socketpair()
        argv = self.argv + [
            "-chardev", f"socket,id=exec,fd={theirs.fileno()}",
            "-device", "virtserialport,chardev=exec,name=ccad.exec",
            "-chardev", f"socket,id=qmp,fd={qmp_theirs.fileno()}",
            "-object", "monitor-qmp,id=qmp0,chardev=qmp", *more,
        ]
        (self.dir / "command").write_text(" ".join(_quote(a) for a in argv) + "\n")
        with open(self.qemu_log, "ab") as log:
            proc = procs.popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                               pass_fds=(theirs.fileno(), qmp_theirs.fileno()))
        theirs.close()
        qmp_theirs.close()
        chan.setblocking(False)
        qmp.setblocking(False)
        qmp.send(b'{"execute":"qmp_capabilities"}\n')
        return proc, chan, qmp

    def wait_ready(self, limit, first=None):
        """Until the agent says hello; raises NotUp with what is known when it does not.

        first: seconds in which the kernel has to have said something at all.
        """
        end = None if self.options.gdb else time.monotonic() + limit
        while not self.ready:
            self._step(end)
            if self.stopped:
                raise NotUp("dead", "QEMU stopped the guest: the accelerator could not run it",
                            f"see {self.qemu_log}, or use --accel tcg")
            if self.went:
                raise self._failed_boot()
            if first and not self.watch.lines and time.monotonic() - self.began > first:
                raise NotUp("hang", f"the guest's kernel said nothing within {first:.0f} s",
                            f"see {self.qemu_log}")
            if end and time.monotonic() > end:
                raise NotUp("hang", f"the guest did not come up within {limit:.0f} s{self._last_splat()}",
                            f"see {self.log}")

    def _failed_boot(self):
        text = self.qemu_log.read_text(errors="replace").strip().splitlines()
        errors = [t for t in text if "warning:" not in t]
        if self.watch.splats:
            return NotUp("dead", f"the guest's kernel died{self._last_splat()}", f"see {self.log}")
        if errors:
            hint = " ".join(errors[1:3])
            return NotUp("dead", f"QEMU: {errors[0].split(': ', 1)[-1]}",
                         hint or f"see {self.qemu_log}", code=2)
        return NotUp("dead", "the guest went down before it was up", f"see {self.log}")

    def _last_splat(self):
        self.watch.poll()
        return f": {self.watch.splats[0]}" if self.watch.splats else ""

    def quit(self, limit=10):
        """Power off and wait; QEMU is killed when that takes too long. True when it went well."""
        well = True
        if self.proc and self.proc.poll() is None:
            if self.ready and not self.stopped:
                self._send("q")
            else:
                limit = 0
            end = time.monotonic() + limit
            while not self.went and time.monotonic() < end:
                self._step(end)
            if not self.went and limit:
                well = False
                progress.note(f"the guest did not power off within {limit} s and was killed")
        self.kill()
        return well

    def kill(self):
        if self.proc:
            procs.kill(self.proc)
        for s in ("chan", "qmp"):
            if hasattr(self, s):
                getattr(self, s).close()
        (self.dir / "scratch.ext4").unlink(missing_ok=True)
        self.watch.poll()

    # -- the channel -------------------------------------------------------

    def _send(self, kind, data=b""):
        self._out += struct.pack("<IB", len(data), ord(kind)) + data

    def _flush(self):
        while self._out:
            try:
                n = self.chan.send(self._out[:1 << 18])
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self.went = True
                return
            self._out = self._out[n:]

    def _receive(self):
        try:
            data = self.chan.recv(1 << 18)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.went = True
            return
        self._in += data
        at = 0
        while len(self._in) - at >= 5:
            n, kind = struct.unpack_from("<IB", self._in, at)
            if len(self._in) - at < 5 + n:
                break
            body = self._in[at + 5:at + 5 + n]
            at += 5 + n
            if chr(kind) == "h":
                self.ready = True
            else:
                handler = self._handlers.get(chr(kind))
                if handler:
                    handler(body)
        self._in = self._in[at:]

    def _receive_qmp(self):
        try:
            data = self.qmp.recv(65536)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.went = True
            return
        *lines, self._qmp_in = (self._qmp_in + data).split(b"\n")
        for line in lines:
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if "id" in said:
                self._answers[said["id"]] = said
            elif said.get("event") == "STOP" and not self.options.gdb and not self.moving:
                self.stopped = True
            elif (said.get("event") == "DEVICE_DELETED"
                  and said["data"].get("device") == "ccad0"):
                self._unplugged += 1

    def _monitor(self, line):
        """A line for QEMU's monitor; what it answers is not waited for."""
        self.qmp.send(json.dumps({"execute": "human-monitor-command",
                                  "arguments": {"command-line": line}}).encode() + b"\n")

    def _step(self, end=None, extra=()):
        """Wait for whatever comes first, at most until end, and take it in."""
        wait = 0.25 if end is None else max(0.0, min(0.25, end - time.monotonic()))
        with selectors.SelectSelector() as sel:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
            sel.register(self.chan, events, "chan")
            if self.qmp.fileno() >= 0 and not self.went:
                sel.register(self.qmp, selectors.EVENT_READ, "qmp")
            for fd, _ in extra:
                sel.register(fd, selectors.EVENT_READ, fd)
            for key, mask in sel.select(wait):
                if key.data == "chan":
                    if mask & selectors.EVENT_WRITE:
                        self._flush()
                    if mask & selectors.EVENT_READ:
                        self._receive()
                elif key.data == "qmp":
                    self._receive_qmp()
                else:
                    dict(extra)[key.data]()
        for s in self.watch.poll():
            if s.fatal and self._fatal_at is None:
                self._fatal_at = time.monotonic()
        # Not before it is asked for: the slot's power is on again at once.
        if self.options.replug and self._plugged < min(self._unplugged, self.watch.plugs):
            self._plugged += 1
            self._monitor(f"device_add {machine.device(self.options)}")
        if self.proc.poll() is not None:
            self.went = True

    # -- runs --------------------------------------------------------------

    def run(self, command, out, err, timeout=None, stdin=None, env=(), tty=None, meanwhile=None):
        """Run one command; out and err get its bytes.  stdin: a descriptor or None.

        tty: (rows, cols) for a pseudo-terminal; then resize() may be called.
        meanwhile: called several times a second.
        """
        state = {}
        self._handlers = {"o": out, "e": err,
                          "x": lambda b: state.setdefault("code", struct.unpack("<i", b)[0])}
        rows, cols = tty or (0, 0)
        payload = struct.pack("<HHH", PTY if tty else 0, rows, cols)
        payload += command.encode() + b"\0" + b"".join(e.encode() + b"\0" for e in env)
        self._send("r", payload)
        source = {"fd": stdin}
        if stdin is None:
            self._send("i")

        def feed():
            try:
                data = os.read(source["fd"], 65536)
            except OSError:
                data = b""
            if data and tty and b"\x1d" in data:
                state["left"] = True
                return
            self._send("i", data)
            if not data:
                source["fd"] = None

        end = time.monotonic() + timeout if timeout else None
        while "code" not in state:
            fd = source["fd"]
            extra = [(fd, feed)] if fd is not None and len(self._out) < 1 << 20 else []
            self._step(end, extra)
            if meanwhile and "code" not in state:
                meanwhile()
            now = time.monotonic()
            if "left" in state:
                return Result("left")
            if "code" in state:
                break
            if self._fatal_at and now - self._fatal_at > _GRACE_AFTER_FATAL:
                return Result("splat", 255, str(self.watch.splats[0]))
            if self.stopped:
                return Result("dead", 255, "QEMU stopped the guest")
            if self.went:
                self.watch.poll()
                if self.watch.splats:
                    return Result("splat", 255, str(self.watch.splats[0]))
                return Result("dead", 255, "the guest went down before the command ended")
            if end and now > end:
                return Result("timeout", 124, f"still running after {timeout:g} s")
        return Result("exit", state["code"])

    def signal(self, number):
        self._send("s", bytes([number]))
        self._flush()

    def resize(self, rows, cols):
        self._send("w", struct.pack("<HH", rows, cols))

    def log_line(self, text):
        """A line of ours in the kernel's log, to find one's way in it."""
        self._send("l", f"ccad: {text}".encode()[:800])

    def sync(self, limit=10):
        """Until the serial log holds all that the kernel has said so far."""
        self._marks += 1
        mark = f"{self._marks}"
        self.log_line(f"mark {mark}")
        end = time.monotonic() + limit
        while mark not in self.watch.marks and not self.went and time.monotonic() < end:
            self._step(min(end, time.monotonic() + 0.02))
        return mark in self.watch.marks


def _quote(arg):
    import shlex
    return shlex.quote(arg)
