# SPDX-License-Identifier: GPL-2.0-or-later
"""ccad series check: the objects that the series touches, in every configuration that matters.

Objects only, never a whole kernel.  A warning or a complaint counts when the
base does not have it.
"""

import collections
import pathlib
import re
import subprocess
from dataclasses import dataclass

from . import kernel, procs, progress, store
from .kgit import git
from .util import Fail, build_env, jobs

_OFF = "# {} is not set\n"


@dataclass(frozen=True)
class Config:
    name: str
    off: tuple = ()             # options that have to be off in the end
    on: tuple = ()              # and on
    also_off: tuple = ()        # what would switch one of `off` on
    start: str = ""             # a target of make instead of the guest's configuration
    arch: str = ""


_NO_MIGRATION = ("CONFIG_MEMORY_HOTREMOVE", "CONFIG_COMPACTION", "CONFIG_TRANSPARENT_HUGEPAGE",
                 "CONFIG_NUMA_MIGRATION", "CONFIG_NUMA_BALANCING", "CONFIG_CMA",
                 "CONFIG_CONTIG_ALLOC", "CONFIG_ACPI_HOTPLUG_MEMORY", "CONFIG_KSM",
                 "CONFIG_MEMORY_FAILURE", "CONFIG_KEXEC_HANDOVER", "CONFIG_LIVEUPDATE")
OPTION = "CONFIG_COHERENT_DEVICE_MEMORY"
MATRIX = (
    Config("option on", on=(OPTION,)),
    Config("option off", off=(OPTION,)),
    Config("all options on", on=(
        OPTION, "CONFIG_LRU_GEN", "CONFIG_PAGE_OWNER", "CONFIG_PAGE_REPORTING", "CONFIG_HIBERNATION",
        "CONFIG_ZSWAP", "CONFIG_X86_MCE", "CONFIG_MEMORY_FAILURE", "CONFIG_DEBUG_VM", "CONFIG_PROVE_LOCKING",
        "CONFIG_MEMCG_V1")),
    Config("NUMA=n", off=("CONFIG_NUMA",)),
    Config("MEMORY_HOTPLUG=n", off=("CONFIG_MEMORY_HOTPLUG",),
           also_off=("CONFIG_ACPI_HOTPLUG_MEMORY", "CONFIG_MEMORY_HOTREMOVE")),
    Config("MIGRATION=n", off=("CONFIG_MIGRATION",), also_off=_NO_MIGRATION),
    Config("CPUSETS=n", off=("CONFIG_CPUSETS",), on=(OPTION,)),
    Config("HUGETLB=n", on=(OPTION,), off=("CONFIG_HUGETLBFS",),
           also_off=("CONFIG_CGROUP_HUGETLB",)),
    Config("MEMCG=n", off=("CONFIG_MEMCG",), on=(OPTION,)),
    Config("SWAP THP KSM=n", on=(OPTION,),
           off=("CONFIG_SWAP", "CONFIG_TRANSPARENT_HUGEPAGE", "CONFIG_KSM")),
    Config("allnoconfig", start="allnoconfig", off=("CONFIG_NUMA",)),
    Config("32 bits", off=("CONFIG_64BIT",), on=("CONFIG_X86_32",), arch="i386"),
)
_NOT_OURS = ("tools/", "samples/", "Documentation/", "scripts/")


def option_of(makefile, obj):
    """What makes kbuild build an object of this directory: 'y', CONFIG_X, or None if nothing does.

    None also for a file that another one includes.
    """
    for line in makefile.replace("\\\n", " ").splitlines():
        m = re.match(r"\s*([\w-]+?)-(y|objs|\$\((CONFIG_\w+)\))\s*[+:]?=\s*(.*)$", line)
        if m and obj in m[4].split("#")[0].split():
            return m[3] or "y"
    return None


def makefile(directory, config):
    """Text of the directory's makefiles, without what ifdef CONFIG_X leaves out."""
    text = "".join((directory / n).read_text(errors="replace") for n in ("Makefile", "Kbuild")
                   if (directory / n).exists())
    return conditional(text, config)


def conditional(text, config):
    """Other conditions than those of a CONFIG_X by itself are taken to hold."""
    out, holds = [], []
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word in ("ifdef", "ifndef", "ifeq", "ifneq"):
            known = rest.startswith("CONFIG_") and word in ("ifdef", "ifndef")
            is_on = config.get(rest.strip(), "n") != "n"
            holds.append((is_on == (word == "ifdef")) if known else None)
        elif word == "else" and holds:
            holds[-1] = None if holds[-1] is None else not holds[-1]
        elif word == "endif" and holds:
            holds.pop()
        elif False not in holds:
            out.append(line)
    return "\n".join(out)


def builds(where, obj, config):
    """Does this configuration {option: value} build the object?"""
    path = pathlib.PurePosixPath(obj)
    what = option_of(makefile(where / path.parent, config), path.name)
    if what is None:    # the directory above may name it: tests/x.o
        what = option_of(makefile(where / path.parent.parent, config),
                         f"{path.parent.name}/{path.name}")
    if what is None or what != "y" and config.get(what, "n") == "n":
        return False
    for d in path.parents:
        if d.parent == d or str(d.parent) == ".":
            break
        what = option_of(makefile(where / d.parent, config), d.name + "/")
        if what not in (None, "y") and config.get(what, "n") == "n":
            return False
    return True


def touched(where, old="base", new="HEAD"):
    return git(where, "diff", "--name-only", "--diff-filter=AM", old, new).split()


def sources(names):
    """C files that this architecture can build."""
    return [n for n in names if n.endswith(".c") and not n.startswith(_NOT_OURS)
            and (not n.startswith("arch/") or n.startswith("arch/x86/"))]


def _make(where, out, *args, env=None):
    cmd = ["make", "-C", str(where), f"O={out}", f"-j{jobs()}", "-k", *args]
    p = procs.popen(cmd, env=build_env(**kernel.MAKE_ENV, **(env or {})), stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        text = p.communicate()[0].decode(errors="replace")
    except BaseException:
        procs.kill(p)
        raise
    procs.forget(p)
    return p.returncode, " ".join(cmd) + "\n" + text


def configure(where, out, c):
    """Make out/.config; what of it is not as it has to be."""
    out.mkdir(parents=True, exist_ok=True)
    env = {"ARCH": c.arch} if c.arch else {}
    on = c.on
    if f"config {OPTION.removeprefix('CONFIG_')}\n" not in (where / "mm/Kconfig").read_text():
        on = tuple(o for o in on if o != OPTION)        # an early patch of the series
    if c.start:
        kernel.make(where, out, c.start, log="check-config.log", env=env)
    else:
        more = out / "matrix.config"
        more.write_text("".join(_OFF.format(o) for o in c.off + c.also_off)
                        + "".join(f"{o}=y\n" for o in on))
        guest = kernel.FRAGMENT.read_text()
        plain = out / "guest.config"
        drop = set(c.off + c.also_off + c.on)
        plain.write_text("".join(line + "\n" for line in guest.splitlines()
                                 if not drop & set(re.findall(r"CONFIG_\w+", line)[:1])))
        kernel.configure(where, out, (plain, more), "check-config.log", env)
    got = kernel.wanted((out / ".config").read_text())
    return [f"{o} is {got.get(o, 'n')}" for o in c.off if got.get(o, "n") != "n"] + \
        [f"{o} is off" for o in on if got.get(o, "n") == "n"]


_WARNING = re.compile(r"^(?:\.\./)*(\S+?):(\d+)(?::\d+)?: (warning|error): (.*)$")


def warnings_of(text, where):
    """[(file, message)] of a compiler's or sparse's output."""
    out = []
    for line in text.splitlines():
        m = _WARNING.match(line)
        if m:
            out.append((m[1].replace(str(where) + "/", ""), m[4]))
    return out


def compile_objects(where, out, names, log, arch="", how=("W=1",)):
    """([(file, warning)], [object that was not built])."""
    for o in names:             # an object that is up to date would keep its warnings to itself
        (out / o).unlink(missing_ok=True)
    code, text = _make(where, out, *how, *names, env={"ARCH": arch} if arch else None)
    with open(log, "a", encoding="utf-8") as f:
        f.write(text)
    failed = [o for o in names if not (out / o).exists()] or list(names) if code else []
    return warnings_of(text, where), failed


def _at(where, commit, work):
    """The result of work() with another commit checked out."""
    head = git(where, "symbolic-ref", "-q", "--short", "HEAD", check=False).strip() \
        or git(where, "rev-parse", "HEAD").strip()
    git(where, "checkout", "-q", "--detach", commit)
    try:
        return work()
    finally:
        git(where, "checkout", "-q", head)


def minus(after, before):
    """What is more often in after than in before."""
    return list((collections.Counter(after) - collections.Counter(before)).elements())


def check_config(where, top, c, names, log, complaints, old="base"):
    """Build the objects of the C files in one configuration; what to say in the table."""
    out = top / (c.arch or "x86_64")        # the host's tools need not be built for each
    wrong = configure(where, out, c)
    if wrong:
        complaints.append(f"{c.name}: not the configuration it should be: {', '.join(wrong)}")
        return "no such configuration"
    got = kernel.wanted((out / ".config").read_text())
    names = sources(names)
    objects = [o for o in (n[:-2] + ".o" for n in names) if builds(where, o, got)]
    if not objects:
        return "nothing to build"
    warnings, failed = compile_objects(where, out, objects, log, c.arch)
    files = set(names)
    new = [w for w in warnings if w[0] in files or not w[0].endswith(".c")]
    if new and not failed:
        def before():
            return compile_objects(where, out, [o for o in objects if (where / (o[:-2] + ".c")).exists()],
                                   log, c.arch)[0]
        new = minus(new, _at(where, old, before))
    complaints += [f"{c.name}: {f}: {m}" for f, m in new]
    complaints += [f"{c.name}: {o} does not build" for o in failed]
    if failed:
        return "DOES NOT BUILD"
    rest = len(names) - len(objects)
    return (f"{len(new)} warnings" if new else "ok") + f" ({len(objects)} built" + \
        (f", {rest} not)" if rest else ")")


# Debian's sparse 0.6.4 does not know __typeof_unqual__, nor the value of a
# __builtin_strlen() in an assertion; and make C=2 would leave it out
_SPARSE = ("C=2", "CHECK=sparse -D__typeof_unqual__=__typeof__ '-D__builtin_strlen(x)=(sizeof(x)-1)'")
_NO_SPARSE = "is not available or not up to date"


def check_sparse(where, top, names, log, complaints):
    """sparse over the touched files, with everything on."""
    c = next(x for x in MATRIX if x.name == "all options on")
    out = top / (c.arch or "x86_64")        # the host's tools need not be built for each
    wrong = configure(where, out, c)
    if wrong:
        complaints.append(f"sparse: not the configuration it should be: {', '.join(wrong)}")
        return "no such configuration"
    got = kernel.wanted((out / ".config").read_text())
    objects = [o for o in (n[:-2] + ".o" for n in sources(names)) if builds(where, o, got)]

    def run():
        there = [o for o in objects if (where / (o[:-2] + ".c")).exists()]
        began = pathlib.Path(log).stat().st_size if pathlib.Path(log).exists() else 0
        warnings, _ = compile_objects(where, out, there, log, how=_SPARSE)
        with open(log, encoding="utf-8", errors="replace") as f:
            f.seek(began)
            if _NO_SPARSE in f.read():
                raise Fail("make does not take this sparse", f"see {log}")
        return [w for w in warnings if w[0] in set(names)]
    after = run()
    new = minus(after, _at(where, "base", run)) if after else []
    complaints += [f"sparse: {f}: {m}" for f, m in new]
    return (f"{len(new)} complaints" if new else "ok") + f" ({len(objects)} files)"


def check_kernel_doc(where, names, log, complaints):
    """kernel-doc -none over the touched files."""
    names = [n for n in names if n.endswith((".c", ".h")) and not n.startswith(_NOT_OURS)]

    def run():
        there = [n for n in names if (where / n).exists()]
        p = subprocess.run(["python3", "scripts/kernel-doc", "-none", *there], cwd=where,
                           env=build_env(), capture_output=True, check=False)
        text = (p.stdout + p.stderr).decode(errors="replace")
        with open(log, "a", encoding="utf-8") as f:
            f.write(text)
        return [re.sub(r":\d+", "", line) for line in text.splitlines()
                if re.search(r"warning|error", line, re.I)]
    after = run()
    new = minus(after, _at(where, "base", run)) if after else []
    complaints += [f"kernel-doc: {m}" for m in new]
    return (f"{len(new)} complaints" if new else "ok") + f" ({len(names)} files)"


def check_walkers(where, complaints):
    """The series' own table of places that walk nodes, if it has one."""
    script = where / "scripts/check-node-walkers.py"
    if not script.exists():
        return None
    p = subprocess.run(["python3", str(script), "--tree", str(where)], env=build_env(),
                       capture_output=True, check=False)
    lines = p.stdout.decode(errors="replace").splitlines()
    if p.returncode:
        complaints += [f"walkers: {t}" for t in lines[:-1]] or ["walkers: the script fails"]
        return f"{len(lines) - 1} complaints"
    return f"ok ({lines[-1].split(',')[0]})"


def whole(where, log, complaints, only=None):
    """Rows [(name, result)] about the series as a whole."""
    names = touched(where)
    top = store.path("build", "matrix")
    out = []
    todo = [c for c in MATRIX if not only or c.name in only]
    with progress.Activity("series: configurations", total=len(todo)) as act:
        for i, c in enumerate(todo):
            act.at(i)
            out.append((c.name, check_config(where, top, c, names, log, complaints)))
    if only is None:
        with progress.Activity("series: sparse"):
            out.append(("sparse", check_sparse(where, top, names, log, complaints)))
        out.append(("kernel-doc", check_kernel_doc(where, names, log, complaints)))
        with progress.Activity("series: who walks the nodes"):
            said = check_walkers(where, complaints)
        if said:
            out.append(("walkers of nodes", said))
    return out
