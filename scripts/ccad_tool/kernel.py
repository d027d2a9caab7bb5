# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's kernel: source, series, configuration, build."""

import pathlib
import re
import shutil
from dataclasses import dataclass

from . import fetch, host, pins, progress, store, trees
from .util import ROOT, Fail, build_env, digest, jobs, write_if_changed

PATCHES = ROOT / "kernel-patches" / "v7.3"
FRAGMENT = PATCHES / "config" / "guest.config"
GUEST = (FRAGMENT,)
DEBUG = (FRAGMENT, PATCHES / "config" / "debug.config")
MAKE_ENV = {"KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 2026", "KBUILD_BUILD_USER": "ccad",
             "KBUILD_BUILD_HOST": "ccad", "KBUILD_BUILD_VERSION": "1"}


@dataclass(frozen=True)
class Kernel:
    vmlinux: pathlib.Path
    headers: pathlib.Path       # UAPI headers, for programs of the guest
    tree: pathlib.Path          # its source, for kselftest.h
    key: str


def make(tree, out, *args, log, watch=None, env=None):
    store.command(["make", "-C", tree, f"O={out}", f"-j{jobs()}", *args], log, watch=watch,
                  env=build_env(**MAKE_ENV, **(env or {})))


def wanted(text):
    """{symbol: value} of a configuration or a fragment; 'n' for one that is off."""
    out = {}
    for line in text.splitlines():
        m = re.match(r"(CONFIG_\w+)=(.*)$", line)
        if m:
            out[m[1]] = m[2]
            continue
        m = re.match(r"# (CONFIG_\w+) is not set", line)
        if m:
            out[m[1]] = "n"
    return out


def configure(tree, out, fragments, log, more=None):
    """tinyconfig and fragments → out/.config; its time changes only when it does."""
    new = out / ".config.new"
    env = {"KCONFIG_CONFIG": str(new), **(more or {})}
    make(tree, out, "tinyconfig", log=log, env=env)
    text = "\n".join(pathlib.Path(f).read_text() for f in fragments)
    asked = wanted(text)
    base = [t for t in new.read_text().splitlines()
            if not (m := re.search(r"CONFIG_\w+", t)) or m[0] not in asked]
    new.write_text("\n".join(base) + "\n" + text + "\n")
    make(tree, out, "olddefconfig", log=log, env=env)
    got = wanted(new.read_text())
    lost = [f"{k}={v}" for k, v in asked.items() if got.get(k, "n") != v]
    write_if_changed(out / ".config", new.read_bytes())
    new.unlink()
    (out / ".config.new.old").unlink(missing_ok=True)
    return lost


def build(tree, out, log, title="Linux", fragments=GUEST, steps=None):
    """Configure and build vmlinux and the UAPI headers of tree in out."""
    out.mkdir(parents=True, exist_ok=True)
    with progress.Activity(f"{title}: configure"):
        lost = configure(tree, out, fragments, log + "-config.log")
    if lost:
        progress.note(f"{title}: not in this tree's configuration: {', '.join(lost[:8])}"
                      + (" …" if len(lost) > 8 else ""))
    with progress.Activity(f"{title}: build", total=steps) as act:
        n = 0

        def watch(line):
            nonlocal n
            if re.match(r"  (CC|AS|AR|LD|HOSTCC|GEN)\b", line):
                n += 1
                act.at(n, max(n, steps) if steps else None)
        make(tree, out, "vmlinux", log=log + "-build.log", watch=watch)
        make(tree, out, "headers", log=log + "-headers.log")
    return lost


class Build:
    """What the guest's kernel depends on, and its build."""

    def __init__(self, source=None, fragments=GUEST, patches=None):
        """patches: None for the series."""
        self.origin = pathlib.Path(source) if source else fetch.get(pins.LINUX)
        self.tree = trees.Tree("Linux", self.origin)
        self.patches = trees.series(PATCHES) if patches is None else patches
        self.fragments = fragments
        name = digest(*[f.name for f in fragments])
        self.key = digest(self.tree.base_key, [p.read_bytes() for p in self.patches],
                          [f.read_bytes() for f in fragments], MAKE_ENV.items(),
                          host.compiler("/usr/bin/gcc"))
        self.dir = store.path("build", f"{self.tree.lock_name}-{name[:8]}")

    def get(self):
        out = store.result("kernel", self.key)
        if not out:
            with store.lock(self.tree.lock_name):
                out = store.result("kernel", self.key)
                if not out:
                    self.tree.prepare()
                    self.tree.apply(self.patches)
                    build(self.tree.tree, self.dir, "linux", fragments=self.fragments,
                          steps=pins.LINUX_STEPS)
                    out = keep("kernel", self.key, self.dir)
        return Kernel(out / "vmlinux", out / "headers", self.tree.tree, self.key)


def keep(kind, key, build_dir):
    """What is needed of a build, as a result."""
    with store.new_result(kind, key) as tmp:
        shutil.copy2(build_dir / "vmlinux", tmp)
        shutil.copy2(build_dir / ".config", tmp / "config")
        shutil.copytree(build_dir / "usr/include", tmp / "headers")
    return store.result(kind, key)


def user_tree(path, fragments=GUEST):
    """Build a kernel tree of the user's as it is, outside of it (ccad test --kernel-tree)."""
    top = pathlib.Path(path).resolve()
    got = trees.version_of(top)
    if not got or got[0] != "Linux":
        raise Fail(f"{path}: not a Linux source tree", "give the directory of its top Makefile")
    if (top / ".config").exists() or (top / "include/config").exists():
        raise Fail(f"{path}: has been built in, which keeps make from building outside of it",
                   f"make -C {top} mrproper, or give a clean git worktree of it")
    name = f"user-{digest(top)[:12]}"
    if fragments != GUEST:
        name += "-" + fragments[-1].stem
    out = store.path("build", "linux-" + name)
    with store.lock(name):
        # make itself finds out what changed: this tree may be edited at any time.
        lost = build(top, out, name, title=f"Linux {got[1]} of {top}", fragments=fragments)
        if any(s.startswith(("CONFIG_COHERENT_DEVICE_MEMORY=", "CONFIG_CCAD=")) for s in lost):
            progress.note("this tree does not hold the series: its tests will say so")
    st = (out / "vmlinux").stat()
    return Kernel(out / "vmlinux", out / "usr/include", top, digest(top, st.st_size, st.st_mtime_ns))


def given(path):
    """A vmlinux of the user's (--kernel), with the headers and the source it was made from."""
    p = pathlib.Path(path).resolve()
    if not p.is_file():
        raise Fail(f"{path}: not a file", "--kernel wants a vmlinux")
    with open(p, "rb") as f:
        if f.read(4) != b"\x7fELF":
            raise Fail(f"{path}: not an ELF file", "--kernel wants a vmlinux, not a bzImage")
    tree = _source_of(p.parent)
    headers = p.parent / "usr/include"
    if not (headers / "linux/types.h").exists():
        headers = None
        if tree:
            out = store.path("build", f"headers-{digest(tree)[:12]}")
            out.mkdir(parents=True, exist_ok=True)
            with store.lock(out.name):
                make(tree, out, "headers", log="headers.log")
            headers = out / "usr/include"
    if not headers:
        progress.note(f"{path}: its source is not beside it, so the guest gets no self-tests")
    st = p.stat()
    return Kernel(p, headers, tree, digest(p, st.st_size, st.st_mtime_ns))


def _source_of(build):
    """Source tree of a build directory, as make leaves the trace of it."""
    if (build / "Kbuild").exists():
        return build
    if (build / "source").exists():
        return (build / "source").resolve()
    try:
        for line in (build / "Makefile").read_text().splitlines():
            if line.startswith("include ") and line.endswith("/Makefile"):
                return (build / line.split()[1]).parent.resolve()
    except OSError:
        pass
    return None
