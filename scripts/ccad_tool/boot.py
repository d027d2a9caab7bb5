# SPDX-License-Identifier: GPL-2.0-or-later
"""ccad boot and ccad shell: everything that a guest needs, then the guest."""

import os
import shutil
import signal
import sys
import termios
import threading
import tty

from . import accel, guest, host, kernel, machine, pins, procs, progress, qemu, rootfs
from .util import Fail

BOOT_LIMIT = {"tcg": 180.0, "kvm": 30.0}
DEMO_LIMIT = 900.0


class Parts:
    """QEMU, kernel and root file system, made as needed."""

    def __init__(self, args, fragments=kernel.GUEST):
        host.check_arch()
        host.ensure(pins.HOST_PACKAGES)
        results, errors = {}, []

        def part(name, make):
            def work():
                try:
                    results[name] = make()
                except BaseException as e:      # noqa: BLE001 - told by the main thread
                    errors.append(e)
            return work

        def make_qemu():
            return qemu.given(args.qemu) if args.qemu else qemu.Build(args.qemu_source).get()

        def make_kernel():
            if args.kernel_tree:
                return kernel.user_tree(args.kernel_tree, fragments)
            if args.kernel:
                return kernel.given(args.kernel)
            return kernel.Build(args.linux_source, fragments).get()

        works = [part("qemu", make_qemu), part("kernel", make_kernel), part("base", rootfs.base)]
        threads = [threading.Thread(target=w, daemon=True) for w in works]
        for t in threads:
            t.start()
        for t in threads:
            # A failure need not wait for the others; an interrupt neither.
            while t.is_alive() and not errors:
                t.join(0.05)
        if errors:
            procs.kill_all()
            raise next((e for e in errors if isinstance(e, Fail)), errors[0])
        self.qemu, self.kernel = results["qemu"], results["kernel"]
        self.rootfs = rootfs.get(self.kernel)


def options(args):
    o = machine.Options(memory=args.memory, cpus=args.cpus, cdm_size=args.cdm_size,
                        distance=args.distance, qemu_args=args.qemu_arg or [],
                        kernel_args=args.kernel_arg or [], device_args=args.device_arg or "",
                        gdb=args.gdb, device=not args.no_device)
    if args.share:
        if not os.path.isdir(args.share):
            raise Fail(f"--share {args.share}: not a directory")
        o.share = os.path.realpath(args.share)
    machine.check(o)
    return o


def main(args):
    o = options(args)
    if args.exec is not None and not args.exec.strip():
        raise Fail("--exec: the command is empty", "name one, --exec 'uname -a', or leave --exec out")
    if args.input and not os.path.isfile(args.input):
        raise Fail(f"--input {args.input}: not a file")
    parts = Parts(args)
    which = accel.choose(args.accel, parts.qemu, parts.kernel, parts.rootfs, o.device)
    interactive = not args.exec and not args.demo and sys.stdin.isatty() and sys.stdout.isatty()
    demo = not args.exec and not interactive
    command = args.exec
    if demo:
        source = os.path.realpath(args.input) if args.input else str(parts.qemu.binary)
        o.input_dir = os.path.dirname(source)
        command = "exec ccad-demo --input " + _sh("/input/" + os.path.basename(source))
        progress.stage(f"demonstration on {source}")
    g = guest.Guest(o, parts.qemu, parts.kernel, parts.rootfs, which)
    try:
        g.start()
        if o.gdb:
            progress.stage("the guest waits for a debugger: gdb "
                           f"{parts.kernel.vmlinux} -ex 'target remote localhost:1234'")
        g.wait_ready(BOOT_LIMIT[which])
        if interactive:
            return shell(g)
        code = execute(g, command, args.timeout or (DEMO_LIMIT if demo else None))
        if demo and code:
            progress.say("ccad: the demonstration did not hold; what this machine and the guest can "
                         "do: scripts/ccad doctor")
        return code
    finally:
        g.kill()


def _sh(text):
    import shlex
    return shlex.quote(text)


def _writer(stream):
    fd = stream.fileno()

    def write(data):
        while data:
            data = data[os.write(fd, data):]
    return write


def execute(g, command, timeout):
    """Run the command, report, and return ccad's exit code."""
    sys.stdout.flush()
    stdin = None if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty() else 0
    r = g.run(command, _writer(sys.stdout), _writer(sys.stderr), timeout, stdin)
    if r.why == "exit":
        g.sync()
        g.quit()
    elif r.why == "timeout":
        g.sync(2)
    g.watch.poll()
    if g.watch.splats:      # also the reason of a time-out
        progress.say(f"ccad: the guest's kernel complained: {g.watch.splats[0]}")
        progress.say(f"      log: {g.log}")
        return 255
    if r.why == "timeout":
        progress.say(f"ccad: time-out: {r.detail}; log: {g.log}")
        return 124
    if r.why != "exit":
        progress.say(f"ccad: {r.detail}; log: {g.log}")
        return 255
    return r.code


def shell(g):
    """An interactive shell; the terminal is put back whatever happens."""
    progress.say(f"===> shell in the guest: 'exit' powers off, Ctrl-] kills it; "
                 f"kernel log: {g.log}")
    fd = sys.stdin.fileno()
    saved = termios.tcgetattr(fd)
    env = ["TERM=" + os.environ.get("TERM", "linux")]

    def size():
        s = shutil.get_terminal_size()
        return s.lines, s.columns

    signal.signal(signal.SIGWINCH, lambda *_: g.resize(*size()))
    progress.quiet, quiet = True, progress.quiet
    try:
        tty.setraw(fd)
        w = _writer(sys.stdout)
        r = g.run("", w, w, None, fd, env, tty=size())
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, saved)
        signal.signal(signal.SIGWINCH, signal.SIG_DFL)
        progress.quiet = quiet
    if r.why == "exit":
        g.sync(2)
        g.quit()
    g.watch.poll()
    if g.watch.splats:
        progress.say(f"ccad: the guest's kernel complained: {g.watch.splats[0]}; log: {g.log}")
        return 255
    if r.why == "left":
        progress.say("ccad: the guest was killed")
        return 0
    if r.why != "exit":
        progress.say(f"ccad: {r.detail}; log: {g.log}")
        return 255
    return r.code
