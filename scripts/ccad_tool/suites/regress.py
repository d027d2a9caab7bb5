# SPDX-License-Identifier: GPL-2.0-or-later
"""Suite regress: the kernel's own self-tests say the same without and with the series.

The programs of COLLECTIONS run on three kernels of one source and configuration,
in the same machine:

    unpatched       the series not applied
    without-node    with it; the accelerator's memory is left alone
    with-node       with it and a coherent node

and are compared with the first, case by case: exit code, and every TAP line of
theirs.  What differs runs again on both kernels, up to RERUNS times, and counts
when no result was seen on both.  kernel-patches/v7.3/regress-known.txt explains
differences and says which programs are left out and why.

Besides, unpatched.emergency: the load that the emergency use of a coherent node
spares is killed on the unpatched kernel.
"""

import collections
import fnmatch
import re
import time
from dataclasses import dataclass

from .. import boot, guest, host, kernel, kgit, ktap, machine, pins, progress, rootfs, store, trees
from ..results import FAIL, PASS, SKIP
from ..util import Fail, build_env, digest, jobs, tree_digest
from .inguest import GUEST_DIR

COLLECTIONS = ("mm", "cgroup", "memory-hotplug", "dax")
UNPATCHED, WITHOUT, WITH = "unpatched", "without-node", "with-node"
KERNEL_ARGS = {UNPATCHED: [], WITHOUT: ["ccad.memory=none"], WITH: []}
KNOWN = kernel.PATCHES / "regress-known.txt"
LIMIT = 240.0           # seconds that a program has
RERUNS = 5
ABSENT = "absent"
_PLACE = "/scratch/kselftest"
_SET_UP = f"""
mkdir {_PLACE} && cp -a /host/usr/lib/kselftest/. {_PLACE} || exit
fallocate -l 256M /scratch/swap && chmod 600 /scratch/swap || exit
mkswap -q /scratch/swap && swapon /scratch/swap
"""


@dataclass(frozen=True)
class Known:
    """One line of regress-known.txt."""

    what: str           # 'leave-out', 'run' or 'differs'
    case: str           # pattern of a program's or a case's name
    where: str = ""     # of 'differs': a kernel, or '*'
    change: str = ""    # of 'differs': 'pass -> skip'
    reason: str = ""


def read_known(text):
    out = []
    for n, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        f = [t.strip() for t in line.split("|")]
        if f[0] in ("leave-out", "run") and len(f) == 3 and f[2]:
            out.append(Known(f[0], f[1], reason=f[2]))
        elif (f[0] == "differs" and len(f) == 5 and f[4] and f[1] in ("*", WITHOUT, WITH)
              and re.fullmatch(r"\w+ -> \w+", f[3])):
            out.append(Known(f[0], f[2], f[1], f[3], f[4]))
        else:
            raise Fail(f"{KNOWN.name}, line {n}: not understood",
                       "'leave-out | PROGRAM | REASON', 'run | PROGRAM ARGUMENTS | REASON' or "
                       "'differs | with-node | CASE | pass -> skip | REASON'")
    return out


def left_out(program, known):
    """The reason for which a program is not run, or None."""
    return next((k.reason for k in known if k.what == "leave-out"
                 and fnmatch.fnmatchcase(program, k.case)), None)


def chosen(listing, known):
    """Programs of the self-tests' own list, and those that are run besides."""
    return listing + [k.case for k in known if k.what == "run"]


# -- results --------------------------------------------------------------


def results_of(program, text, why, code):
    """{case: status} of a run: the program's exit code, and its TAP, also that of what it starts."""
    out = collections.Counter()
    got = {program: why if why != "exit" else {0: PASS, 4: SKIP}.get(code, FAIL)}

    def add(prefix, cases):
        for c in cases:
            name = f"{program}: {prefix}{_stable(c.name)}"
            out[name] += 1
            got[name if out[name] == 1 else f"{name} #{out[name]}"] = c.status

    add("", ktap.parse(text)[0])
    # run_vmtests.sh puts what a program says behind '# ', and its name before it.
    for part in re.split(r"(?m)^# running ", text)[1:]:
        name, _, body = part.partition("\n")
        body = "\n".join(t[2:] for t in body.splitlines() if t.startswith("# "))
        add(f"{name.strip().removeprefix('./')}: ", ktap.parse(body)[0])
    return got


def _stable(name):
    """A case's name without what may be another in every run: exit codes, addresses, times."""
    name = re.sub(r" # exit=\d+$", "", name)
    name = re.sub(r"0x[0-9a-f]+", "0x", name)
    return re.sub(r"\b\d+(\.\d+)? ?(ns|us|ms|s|sec|seconds)\b", "TIME", name).strip()


def differences(base, other):
    """[(case, status, status)] of what is not the same.

    base, other: one {case: status} for each run.  A case differs when no result
    of it was seen on both sides.
    """
    out = []
    for case in dict.fromkeys(c for r in (*base, *other) for c in r):
        a = [r.get(case, ABSENT) for r in base]
        b = [r.get(case, ABSENT) for r in other]
        if not set(a) & set(b):
            out.append((case, a[-1], b[-1]))
    return out


def explain(found, where, known):
    """Differences → (explained [(difference, reason)], unexplained)."""
    told, rest = [], []
    for d in found:
        case, a, b = d
        k = next((k for k in known if k.what == "differs" and k.where in ("*", where)
                  and k.change == f"{a} -> {b}" and fnmatch.fnmatchcase(case, k.case)), None)
        if k:
            told.append((d, k.reason))
        else:
            rest.append(d)
    return told, rest


def judge(program, where, base, other, known):
    """(status, detail, output) of a program on one of the kernels."""
    found = differences(base, other)
    told, rest = explain(found, where, known)
    lines = [f"{case}: {a} -> {b}" for case, a, b in rest]
    lines += [f"{case}: {a} -> {b}, explained: {why}" for (case, a, b), why in told]
    if rest:
        return FAIL, f"{len(rest)} of {len(base[-1])} cases differ: {lines[0]}", "\n".join(lines)
    if base[-1].get(program) == SKIP and not told:
        return SKIP, "skips itself on every kernel", ""
    return PASS, f"{len(told)} explained" if told else "", "\n".join(lines)


# -- what runs ------------------------------------------------------------


def programs(source_tree, headers):
    """The self-tests, built: a staging directory with usr/lib/kselftest."""
    host.ensure(pins.REGRESS_PACKAGES)
    key = digest(trees.version_of(source_tree)[1], str(source_tree), tree_digest(headers),
                 COLLECTIONS)
    done = store.result("regress", key)
    if done:
        return done
    with store.lock("regress"), store.new_result("regress", key) as tmp, \
            progress.Activity("the kernel's self-tests: build"):
        # Their Makefiles write beside the sources, so these are links.
        src = tmp / "src"
        src.mkdir()
        store.command(["cp", "-as", source_tree / "tools", src], "regress.log")
        for p in source_tree.iterdir():
            if p.name != "tools":
                (src / p.name).symlink_to(p)
        listing = []
        for c in COLLECTIONS:
            to = tmp / "usr/lib/kselftest" / c
            to.mkdir(parents=True)
            obj = tmp / "obj" / c
            obj.mkdir(parents=True)
            make = ["make", "-C", src / "tools/testing/selftests" / c, f"-j{jobs()}", f"OUTPUT={obj}",
                    f"KHDR_INCLUDES=-isystem {headers}", f"INSTALL_PATH={to}", f"COLLECTION={c}"]
            store.command([*make, "all", "install"], "regress.log", append=True, env=build_env())
            listing += store.output([*make, "--no-print-directory", "-s", "emit_tests"]).splitlines()
        store.command(["cp", "-aL", src / "tools/testing/selftests/kselftest",
                       tmp / "usr/lib/kselftest/"], "regress.log", append=True)
        (tmp / "list").write_text("\n".join(t for t in listing if ":" in t) + "\n")
        store.command(["rm", "-r", src, tmp / "obj"], "regress.log", append=True)
    return store.result("regress", key)


def unpatched(source):
    """The guest's kernel from the source as it came."""
    b = kernel.Build(source, patches=())
    out = store.result("kernel-unpatched", b.key)
    if not out:
        tree = kgit.base_checkout(source)
        where = store.path("build", "linux-unpatched")
        with store.lock("linux-unpatched"):
            kernel.build(tree, where, "unpatched", title="Linux without the series",
                         steps=pins.LINUX_STEPS)
            out = kernel.keep("kernel-unpatched", b.key, where)
    return kernel.Kernel(out / "vmlinux", out / "headers", None, b.key)


class Runs:
    """Runs programs on one of the kernels, in one guest for as long as it is well."""

    def __init__(self, ctx, where, vmlinux, parts, accel, staged):
        self.ctx, self.where, self.kernel = ctx, where, vmlinux
        self.parts, self.accel, self.staged = parts, accel, staged
        self.guest, self.boots = None, 0

    def need(self):
        if self.guest is None:
            self.boots += 1
            o = machine.Options(memory="2G", second="512M", share=str(self.staged),
                                kernel_args=KERNEL_ARGS[self.where] + (self.ctx.args.kernel_arg or []),
                                qemu_args=self.ctx.args.qemu_arg or [])
            self.guest = guest.Guest(o, self.parts.qemu, self.kernel, self.parts.rootfs, self.accel)
            self.guest.start()
            self.guest.wait_ready(boot.BOOT_LIMIT[self.accel])
            said = []
            r = self.guest.run(_SET_UP, said.append, said.append, 120)
            if r.why != "exit" or r.code:
                raise Fail("regress: the guest could not be set up: "
                           + (r.detail or b"".join(said).decode(errors="replace").strip()))
        return self.guest

    def stop(self):
        g, self.guest = self.guest, None
        if g:
            g.kill()
            self.ctx.log_path(f"regress-{self.where}-boot{self.boots}.serial.log").write_bytes(
                g.log.read_bytes() if g.log.exists() else b"")

    def run(self, program):
        """{case: status} of one run."""
        collection, _, name = program.partition(":")
        g = self.need()
        g.log_line(f"begin {program}")
        before = len(g.watch.splats)
        out = []
        r = g.run(f"cd {_PLACE}/{collection} && exec ./{name}", out.append, out.append, LIMIT)
        if r.why == "exit":
            g.sync(20)
        why = "splat" if len(g.watch.splats) > before else r.why
        text = b"".join(out).decode(errors="replace")
        self.ctx.log_path(f"regress-{self.where}-{program}.log").write_text(text)
        if why != "exit" or g.went:
            self.stop()
        return results_of(program, text, why, r.code)

    def all(self, names):
        out = {}
        with progress.Activity(f"{self.where}: {len(names)} programs", total=len(names)) as act:
            try:
                for i, p in enumerate(names):
                    out[p] = self.run(p)
                    act.at(i + 1)
            finally:
                self.stop()
        return out


def _load(ctx, name, unpatched_kernel, parts, accel):
    """Case unpatched.emergency; memory and swap are those of the self-test."""
    began = time.monotonic()
    said = []
    log = ctx.log_path(f"{name}.serial.log")
    g = guest.Guest(machine.Options(kernel_args=KERNEL_ARGS[UNPATCHED]), parts.qemu, unpatched_kernel,
                    parts.rootfs, accel)
    try:
        g.start()
        g.wait_ready(boot.BOOT_LIMIT[accel])
        r = g.run(f"cd {GUEST_DIR}/mm/cdm && CDM_NO_NODE=1 exec ./emergency -t off_kills",
                  said.append, said.append, LIMIT)
    finally:
        g.kill()
        if g.log.exists():
            log.write_bytes(g.log.read_bytes())
    text = b"".join(said).decode(errors="replace")
    well = r.why == "exit" and not r.code and "# SKIP" not in text
    ctx.add(name, PASS if well else FAIL, time.monotonic() - began,
            "" if well else r.detail or "the load was not killed, or never ran", text, log)


def run(ctx):
    known = read_known(KNOWN.read_text())
    parts, which = ctx.parts()
    staged = programs(parts.kernel.tree, parts.kernel.headers)
    rootfs.check_libraries(rootfs.base(), staged)
    names = [p for p in chosen((staged / "list").read_text().splitlines(), known) if ctx.selected(p)]
    loads = [p for p in [f"{UNPATCHED}.emergency"] if ctx.selected(p)]
    if ctx.listing:
        for p in names + loads:
            ctx.list(p)
        return
    for p in [p for p in names if left_out(p, known)]:
        ctx.add(p, SKIP, 0, "left out: " + left_out(p, known))
        names.remove(p)
    if not names and not loads:
        return
    base_kernel = unpatched(ctx.args.linux_source)
    for p in loads:
        _load(ctx, p, base_kernel, parts, which)
    if not names:
        return
    kernels = {UNPATCHED: base_kernel, WITHOUT: parts.kernel, WITH: parts.kernel}

    def measure(where, some):
        began = time.monotonic()
        got = Runs(ctx, where, kernels[where], parts, which, staged).all(some)
        return got, time.monotonic() - began

    base, _ = measure(UNPATCHED, names)
    for where in (WITHOUT, WITH):
        other, took = measure(where, names)
        runs = {p: ([base[p]], [other[p]]) for p in names}
        for _ in range(RERUNS):
            again = [p for p in names if explain(differences(*runs[p]), where, known)[1]]
            for side, kernel_of in enumerate((UNPATCHED, where) if again else ()):
                for p, result in measure(kernel_of, again)[0].items():
                    runs[p][side].append(result)
        for i, p in enumerate(names):
            status, detail, output = judge(p, where, *runs[p], known)
            ctx.add(f"{where}.{p}", status, 0 if i else took, detail, output,
                    ctx.log_path(f"regress-{where}-{p}.log"))
