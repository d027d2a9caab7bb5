# SPDX-License-Identifier: GPL-2.0-or-later
"""Suites cdm and driver: kselftests in the guest, several to a boot.

A test's `settings` file (below the collection, or TEST.settings for one test
alone) may hold, one NAME=VALUE a line:

    timeout=SECONDS             limit of one test program (45)
    memory=, cpus=, cdm_size=, distance=    the guest that it wants
    second=SIZE, second_cdm=SIZE            a node with ordinary memory more, a device more
    kernel_args=, device_args=, qemu_args=  more for that guest
    replug=1                    who has powered off the device's slot and writes "ccad: plug"
                                to /dev/kmsg finds the device there again
                                (the test is told so by CCAD_REPLUG=1)
    boot=own                    a guest of its own
    full=1                      only with --full
    debug=1                     only in suite debug, without faults of the suite's

A test is one program.  After each the kernel's log is read: a splat is the
failure of the test that ran, and the rest goes on in a new guest.

A test that finds no coherent node skips, and is right to.  Where the guest
ought to have one, that it has not is a failure of the boot.
"""

import re
import time
from dataclasses import dataclass, field

from .. import guest, ktap, machine
from ..results import DEAD, FAIL, HANG, PASS, SKIP, SPLAT
from ..util import Fail, parse_size

GUEST_DIR = "/usr/lib/kselftest"
_STATUS = {ktap.PASS: PASS, ktap.FAIL: FAIL, ktap.SKIP: SKIP}
_GUEST_KEYS = ("memory", "cpus", "cdm_size", "distance", "second", "second_cdm", "kernel_args",
               "device_args", "qemu_args", "replug")


@dataclass
class Test:
    collection: str
    program: str
    settings: dict = field(default_factory=dict)
    case: str = ""              # one case of the program, for -k

    @property
    def timeout(self):
        return float(self.settings.get("timeout", 45))

    def says(self, key):
        return self.settings.get(key) in ("1", "yes")

    def guest_key(self):
        return tuple(self.settings.get(k, "") for k in _GUEST_KEYS)


def read_settings(text):
    out = {}
    for line in text.splitlines():
        k, eq, v = line.split("#", 1)[0].strip().partition("=")
        if eq:
            out[k.strip()] = v.strip().strip('"')
    return out


def find(tests_dir, collections):
    """Tests of the collections, by kselftest-list.txt."""
    listing = tests_dir / "kselftest-list.txt"
    try:
        lines = listing.read_text().splitlines()
    except OSError:
        return []
    out = []
    for line in lines:
        coll, colon, program = line.strip().partition(":")
        if not colon or coll not in collections:
            continue
        top = tests_dir / coll
        settings = {}
        for f in (top / "settings", top / f"{program}.settings"):
            if f.exists():
                settings.update(read_settings(f.read_text()))
        out.append(Test(coll, program, settings))
    return out


def options_for(ctx, test):
    s = test.settings
    memory = parse_size(ctx.args.memory or s.get("memory", "1G"), "--memory") + ctx.mode.memory
    o = machine.Options(memory=f"{memory}",
                        cpus=ctx.args.cpus or int(s.get("cpus", 2)),
                        cdm_size=ctx.args.cdm_size or s.get("cdm_size", "512M"),
                        distance=int(s.get("distance", 160)),
                        second=s.get("second", ""), second_cdm=s.get("second_cdm", ""),
                        replug=test.says("replug"),
                        device_args=s.get("device_args", ""),
                        kernel_args=[*s.get("kernel_args", "").split(), *ctx.mode.kernel_args,
                                     *(ctx.args.kernel_arg or [])],
                        qemu_args=[s.get("qemu_args", ""), *(ctx.args.qemu_arg or [])])
    return o


LOOK = 'echo "$(cat /sys/devices/system/node/has_coherent_memory)"; ls /sys/class/uacce'


def nodes_expected(options):
    """How many coherent nodes a guest has; 0 where the arguments say something about what makes them."""
    own = any(word in a for a in [*options.kernel_args, *options.qemu_args] for word in ("ccad", "iommu"))
    return 0 if own else options.device + bool(options.second_cdm)


def nodes_lost(expected, text):
    """What is wrong with the answer to LOOK, or ""."""
    nodes, *devices = text.splitlines() or [""]
    ranges = re.findall(r"(\d+)(?:-(\d+))?", nodes)
    found = sum(int(hi or lo) - int(lo) + 1 for lo, hi in ranges)
    if found != expected:
        return f"{expected} coherent nodes expected, has_coherent_memory is '{nodes}'"
    if len(devices) != expected:
        return f"{expected} accelerators expected, /sys/class/uacce has {len(devices)}"
    return ""


def boot_status(g, error):
    """How the boot of a guest failed, which may be None."""
    if g and g.watch.splats:
        return SPLAT
    return HANG if isinstance(error, guest.NotUp) and error.why == "hang" else DEAD


class Runner:
    """Runs tests of one suite, keeping a guest for as long as it is healthy."""

    def __init__(self, ctx, suite):
        self.ctx, self.suite = ctx, suite
        self.guest = None
        self.key = None
        self.boots = 0
        self.log = None

    def need(self, test):
        """A healthy guest of the kind that the test wants."""
        key = test.guest_key()
        if self.guest and (self.key != key or test.settings.get("boot") == "own"):
            self.stop(well=True)
        if self.guest is None:
            parts, accel = self.ctx.parts()
            self.boots += 1
            o = options_for(self.ctx, test)
            g = guest.Guest(o, parts.qemu, parts.kernel, parts.rootfs, accel)
            self.guest, self.key = g, key
            self.log = self.ctx.log_path(f"{self.suite}-boot{self.boots}.serial.log")
            g.start()
            g.wait_ready(self.ctx.boot_limit())
            expected = nodes_expected(o)
            if expected and not self.ctx.listing:
                self.look_for_nodes(g, expected)
        return self.guest

    def look_for_nodes(self, g, expected):
        """Without them every test would skip, and all would be well."""
        out = []
        r = g.run(LOOK, out.append, lambda b: None, 60 * self.ctx.mode.slow)
        lost = nodes_lost(expected, b"".join(out).decode(errors="replace"))
        if r.why == "exit" and lost:
            self.ctx.add(f"{self.suite}-boot{self.boots}.nodes", FAIL, 0, lost, log=self.log)

    def stop(self, well=False):
        g, self.guest = self.guest, None
        if g is None:
            return
        try:
            if well and self.ctx.mode.after:
                self.ctx.mode.after(self, g)
            limit = 20 * self.ctx.mode.slow
            if well and not g.went and not g.quit(limit):
                self.ctx.add(f"{self.suite}-boot{self.boots}.poweroff", HANG, limit,
                             "the guest did not power off", log=self.log)
        finally:
            g.kill()
            if g.log.exists():
                self.log.write_bytes(g.log.read_bytes())
                self.log.with_suffix(".qemu").write_bytes(g.qemu_log.read_bytes())

    def command(self, test, args=""):
        env = ("CCAD_FULL=1 " if self.ctx.full else "") + ("CCAD_REPLUG=1 " if test.says("replug") else "")
        command = (f"cd {GUEST_DIR}/{test.collection} && export {env}KSELFTEST_DIR={GUEST_DIR} && "
                   f"exec ./{test.program} {args}")
        return self.ctx.mode.command(test, command)

    def run(self, test):
        name = test.program
        began = time.monotonic()
        try:
            g = self.need(test)
        except Fail as e:
            status = boot_status(self.guest, e)
            self.stop()
            self.ctx.add(f"{name}.boot", status, time.monotonic() - began, e.what, log=self.log or "")
            return
        self.run_in(g, test)

    def run_in(self, g, test):
        """Run a test in this guest, which is given up if it comes to harm."""
        name = test.program
        began = time.monotonic()
        g.log_line(f"begin {test.collection}:{name}")
        before = len(g.watch.splats)
        chunks, err, both = [], [], []
        r = g.run(self.command(test, _case_args(test)),
                  lambda b: (chunks.append(b), both.append(b)),
                  lambda b: (err.append(b), both.append(b)),
                  test.timeout * (10 if self.ctx.full else 1) * self.ctx.mode.slow)
        took = time.monotonic() - began
        if r.why == "exit":
            if not g.sync(20 * self.ctx.mode.slow) and not g.went:
                r = guest.Result("hang", 255, "the kernel's log stood still after the test")
        g.watch.poll()
        text = b"".join(chunks).decode(errors="replace")
        log = self.ctx.log_path(f"{self.suite}-{name}.log")
        log.write_text(b"".join(both).decode(errors="replace"))
        said = b"".join(err).decode(errors="replace").splitlines()
        tail = "\n".join(log.read_text().splitlines()[-25:])
        splats = g.watch.splats[before:]
        serial = self.log
        if r.why == "exit" and self.ctx.mode.may_fail:
            self.ctx.add(name, SKIP if r.code == 4 else PASS, took, f"exit code {r.code}", log=log)
        elif r.why == "exit":
            for c in ktap.judge(name, text, r.code):
                full = full_name(name, c.name)
                why = said_of(c.name, said)
                detail = c.detail
                if c.status == ktap.FAIL and why and not detail:
                    detail = why[0].lstrip("# ")
                output = "\n".join(c.output[-10:] + why[-15:])
                self.ctx.add(full, _STATUS[c.status], took, detail, output, log)
                took = 0.0      # of the whole program, told once
        elif not splats:
            cases, _ = ktap.parse(text)
            for c in cases:
                self.ctx.add(full_name(name, c.name), _STATUS[c.status], 0, c.detail, "", log)
            how = HANG if r.why in ("timeout", "hang") else DEAD
            self.ctx.add(name, how, took, r.detail + _last_line(text), tail, serial)
        if splats:
            self.ctx.add(f"{name}.kernel-log", SPLAT, 0, str(splats[0]),
                         _around(g.log, splats[0].number), serial)
        if splats or r.why != "exit":
            self.stop(well=r.why == "exit" and not any(s.fatal for s in splats))
        elif test.settings.get("boot") == "own":
            self.stop(well=True)

    def cases(self, test):
        """Names of the cases of a harness program, asked of itself in whatever guest there is."""
        chunks = []
        g = self.guest or self.need(test)
        r = g.run(self.command(test, "-l"), chunks.append, chunks.append, 20 * self.ctx.mode.slow)
        if r.why != "exit":
            self.stop()
            return []
        return harness_cases(b"".join(chunks).decode(errors="replace"))


def said_of(case, lines):
    """Lines of standard error on which the harness tells what a case expected, or what killed it."""
    name = case.rsplit(".", 1)[-1]
    return [t for t in lines if f":{name}:" in t or t.startswith(f"# {name}: ")]


def harness_cases(text):
    """fixture.variant.test (or fixture.test) of a harness program's -l.

    Its table has columns of 20 and 25, fixture by fixture; every test of a
    fixture runs with every variant.
    """
    out, fixture, variants, tests, inside = [], None, [], [], False

    def close():
        for v in variants or [""]:
            out.extend(f"{fixture}.{v}.{t}" if v else f"{fixture}.{t}" for t in tests)

    for line in text.splitlines():
        if line.startswith("# FIXTURE"):
            inside = True
            continue
        if not inside:
            continue
        if line.startswith("-----"):
            close()
            fixture, variants, tests = None, [], []
            continue
        f = line.split(" ", 1)[0]
        at = max(20, len(f)) + 1
        v = line[at:].split(" ", 1)[0]
        t = line[at + max(25, len(v)) + 1:].strip()
        fixture = f or fixture
        variants += [v] if v else []
        tests += [t] if t else []
    if fixture:
        close()
    return out


def full_name(program, case):
    """program.case, without saying one name twice (sva.sva.stack)."""
    if not case or case == program or case.startswith(program + "."):
        return case or program
    return f"{program}.{case}"


def _case_args(test):
    return f"-r {test.case}" if test.case else ""


def _last_line(text):
    lines = [t for t in text.splitlines() if t.strip()]
    return f"; its last line: {lines[-1].strip()}" if lines else ""


def _around(log, number):
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join(lines[max(0, number - 3):number + 40])


def run_suite(ctx, suite, collections):
    parts, _ = ctx.parts()
    tests = find(parts.rootfs.tests, collections)
    if not tests:
        ctx.add("tests", FAIL, 0, f"the guest's image has no tests of {', '.join(collections)}")
        return
    tests = [t for t in tests if (ctx.full or not t.says("full")) and (ctx.mode.debug or not t.says("debug"))]
    runner = Runner(ctx, suite)
    try:
        chosen = []
        for t in tests:
            if ctx.selected(t.program):
                chosen.append(t)
            elif ctx.pattern:
                chosen += [Test(t.collection, t.program, t.settings, c)
                           for c in runner.cases(t) if ctx.selected(full_name(t.program, c))]
        # Tests for the same guest together; the order is theirs otherwise.
        keys = list(dict.fromkeys(t.guest_key() for t in chosen))
        chosen.sort(key=lambda t: keys.index(t.guest_key()))
        for t in chosen:
            if ctx.listing:
                cases = [t.case] if t.case else runner.cases(t)
                for c in cases or [""]:
                    ctx.list(full_name(t.program, c))
            else:
                runner.run(t)
        if ctx.mode.after and not ctx.listing:
            runner.stop(well=True)
    finally:
        runner.stop(well=False)
