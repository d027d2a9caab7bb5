# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's root file system: Debian packages, overlay, agent, self-tests → ext4."""

import os
import pathlib
import re
import shutil
import subprocess
from dataclasses import dataclass

from . import apt, progress, store
from .util import ROOT, Fail, build_env, digest, jobs, tree_digest

GUEST = ROOT / "guest-rootfs"
SELFTESTS = ROOT / "selftests"
SCRATCH_MIB = 2048

# Never read in the guest, and more than half of the bytes.
_DROP = ("./usr/share/doc", "./usr/share/man", "./usr/share/locale", "./usr/share/info",
         "./usr/share/lintian", "./usr/share/bug", "./usr/share/i18n", "./var/cache",
         "./usr/lib/x86_64-linux-gnu/gconv", "./usr/share/bash-completion")
_DIRS = ("proc", "sys", "dev", "run", "tmp", "root", "host", "input", "scratch", "mnt", "var/tmp",
         "var/log", "etc")


@dataclass(frozen=True)
class Rootfs:
    image: pathlib.Path
    scratch: pathlib.Path       # an empty file system, copied for each run
    tests: pathlib.Path         # what the image has in /usr/lib/kselftest
    key: str


def _package_names():
    out = []
    for line in (GUEST / "packages").read_text().splitlines():
        out += line.split("#", 1)[0].split()
    return out


def base():
    """The packages' files, merged /usr, without maintainer scripts: out/base-KEY/."""
    names = _package_names()
    key = digest(names, apt.host_suite(), _DROP)
    done = store.result("base", key)
    if done:
        return done
    with store.lock("base"):
        done = store.result("base", key)
        if done:
            return done
        a = apt.guest_apt()
        with progress.Activity(f"guest packages: download {len(names)} and what they need") as act:
            n = [0]

            def watch(line):
                if line.startswith("Get:"):
                    n[0] += 1
                    act.at(n[0])
            a.with_index(lambda: store.command(
                a.cmd("apt-get", "-q", "-y", "--no-install-recommends", "--download-only", "install",
                      *names), "guest-packages.log", watch=watch,
                remedy="is each name of guest-rootfs/packages one of this Debian?"))
        plan = store.output(a.cmd("apt-get", "-q", "-s", "--no-install-recommends", "install", *names))
        debs = [a.dir / "cache/archives" / f"{pkg}_{version.replace(':', '%3a')}_{arch}.deb"
                for pkg, version, arch in re.findall(r"^Inst (\S+) \((\S+) .*\[(\w+)\]\)", plan, re.M)]
        lost = [d.name for d in debs if not d.exists()]
        if lost or not debs:
            raise Fail(f"guest packages were not downloaded: {' '.join(lost[:5]) or 'all'}",
                       f"see {store.path('log', 'guest-packages.log')}")
        with progress.Activity("guest packages: unpack", total=len(debs)) as act, \
                store.new_result("base", key) as tmp:
            _unpack(debs, tmp, act)
    return store.result("base", key)


def _unpack(debs, root, act):
    for d in ("bin", "sbin", "lib"):
        (root / "usr" / d).mkdir(parents=True, exist_ok=True)
        (root / d).symlink_to(f"usr/{d}")
    (root / "usr/lib64").mkdir()
    (root / "lib64").symlink_to("usr/lib64")
    drop = [f"--exclude={d}" for d in _DROP]
    for i, deb in enumerate(debs):
        # dpkg-deb -x of Debian 12 would replace the links of a merged /usr.
        fs = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE,
                              env=build_env())
        try:
            store.command(["tar", "-x", "-f", "-", "-C", root, "--keep-directory-symlink",
                           "--no-same-owner", *drop], "guest-unpack.log", stdin=fs.stdout,
                          append=i > 0)
        finally:
            fs.stdout.close()
            code = fs.wait()
        if code:
            raise Fail(f"{deb.name} is damaged", f"remove it: rm {deb}")
        act.at(i + 1)


def _programs(kernel):
    """The agent and the self-tests, built on the host for this kernel: a staging directory."""
    tests = SELFTESTS
    if not kernel.headers or not kernel.tree or not (kernel.headers / "misc/uacce/ccad.h").exists():
        progress.note("this kernel has not the driver of the series: the guest gets neither "
                      "self-tests nor demonstration")
        tests = None
    key = digest(tree_digest(GUEST / "agent"), tree_digest(SELFTESTS) if tests else "",
                 tree_digest(ROOT / "qemu-device/include"),
                 tree_digest(kernel.headers) if tests else "",
                 os.path.realpath("/usr/bin/gcc"))
    done = store.result("programs", key)
    if done:
        return done
    with store.lock("programs"):
        done = store.result("programs", key)
        if done:
            return done
        with progress.Activity("guest programs: build"), store.new_result("programs", key) as tmp:
            lib = tmp / "usr/lib/ccad"
            lib.mkdir(parents=True)
            store.command(["gcc", "-O2", "-Wall", "-Wextra", "-o", lib / "agent",
                           *sorted((GUEST / "agent").glob("*.c")), "-lutil"], "agent.log")
            if tests:
                # make does not follow changes in what it takes for system headers, and
                # takes a file of another checkout for the same one, older or newer.
                obj = store.path("build", "selftests-" + digest(
                    tree_digest(kernel.headers), tree_digest(ROOT / "qemu-device/include"),
                    str(SELFTESTS)))
                obj.mkdir(parents=True, exist_ok=True)
                store.command(["make", "-C", SELFTESTS, f"-j{jobs()}", f"O={obj}", f"DESTDIR={tmp}",
                               f"KHDR_INCLUDES=-isystem {kernel.headers}",
                               f"KSELFTEST_DIR={kernel.tree}/tools/testing/selftests",
                               "all", "install"], "selftests.log", env=build_env())
    return store.result("programs", key)


def check_libraries(root, programs):
    """Every shared library that our programs name has to be in the image."""
    for rel in ("usr/bin", "usr/lib/kselftest", "usr/lib/ccad"):
        top = programs / rel
        for f in (p for p in sorted(top.rglob("*")) if p.is_file() and not p.is_symlink()):
            with open(f, "rb") as h:
                if h.read(4) != b"\x7fELF":
                    continue
            text = store.output(["readelf", "-d", f], check=False)
            for lib in re.findall(r"\(NEEDED\).*\[(.+)\]", text):
                if not any((root / d / lib).exists() for d in
                           ("usr/lib/x86_64-linux-gnu", "usr/lib", "usr/lib64")):
                    raise Fail(f"guest: {f.name} needs {lib}, which no package of the guest has",
                               "add the package to guest-rootfs/packages")


def get(kernel):
    """The image for this kernel; made when it is not there."""
    root = base()
    programs = _programs(kernel)
    key = digest(root.name, programs.name, tree_digest(GUEST / "overlay"), SCRATCH_MIB, _DIRS)
    out = store.result("rootfs", key)
    if not out:
        with store.lock("rootfs"):
            out = store.result("rootfs", key)
            if not out:
                with progress.Activity("guest root file system: image"):
                    out = _image(root, programs, key)
    return Rootfs(out / "root.ext4", out / "scratch.ext4", out / "kselftest", key)


def _image(root, programs, key):
    with store.new_result("rootfs", key) as tmp:
        stage = tmp / "stage"
        # Links for Debian's files; what is laid over them replaces links, not contents.
        store.command(["cp", "-al", root, stage], "image.log")
        for src in (programs, GUEST / "overlay"):
            store.command(["cp", "-a", "--remove-destination", "--no-preserve=ownership",
                           f"{src}/.", stage], "image.log", append=True)
        (stage / ".done").unlink(missing_ok=True)
        for d in _DIRS:
            (stage / d).mkdir(parents=True, exist_ok=True)
        check_libraries(stage, programs)
        store.command(["/sbin/ldconfig", "-r", stage], "image.log", append=True)
        (stage / "etc/mtab").unlink(missing_ok=True)
        (stage / "etc/mtab").symlink_to("/proc/self/mounts")
        used = int(store.output(["du", "-sm", "--apparent-size", stage]).split()[0])
        image = tmp / "root.ext4"
        store.command(["/sbin/mke2fs", "-q", "-t", "ext4", "-O", "^has_journal,^metadata_csum",
                       "-E", "root_owner=0:0", "-L", "ccad-root", "-m", "0", "-d", stage, image,
                       f"{used * 12 // 10 + 32}M"], "image.log", append=True)
        store.command(["/sbin/mke2fs", "-q", "-t", "ext4", "-O", "^has_journal",
                       "-E", "root_owner=0:0,lazy_itable_init=1", "-L", "ccad-scratch", "-m", "0",
                       tmp / "scratch.ext4", f"{SCRATCH_MIB}M"], "image.log", append=True)
        tests = stage / "usr/lib/kselftest"
        if tests.is_dir():
            shutil.copytree(tests, tmp / "kselftest")
        else:
            (tmp / "kselftest").mkdir()
        shutil.rmtree(stage)
    return store.result("rootfs", key)
