# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian packages of this machine: which are missing, and their installation."""

import functools
import json
import os
import platform
import sys

from . import apt, pins, progress, store
from .util import Fail, build_env, digest

_STATUS = "/var/lib/dpkg/status"


def check_arch():
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise Fail(f"{platform.machine()}: the build and the guest are x86-64 Linux alone",
                   "use an x86-64 machine with Debian 12 or later")


def installed():
    """Names of the packages that dpkg has installed."""
    out, name = set(), None
    try:
        with open(_STATUS, encoding="utf-8", errors="replace") as f:
            for line in f:
                if line.startswith("Package: "):
                    name = line[9:].strip()
                elif line.startswith("Status: ") and line.rstrip().endswith(" installed"):
                    out.add(name)
    except OSError:
        pass
    return out


def missing(packages):
    have = installed()
    return [p for p, _ in packages if p not in have]


def ensure(packages):
    """Install what is missing; cheap when dpkg's state is what it was last time."""
    try:
        st = os.stat(_STATUS)
        state = digest(st.st_mtime_ns, st.st_size, [p for p, _ in packages])
    except OSError:
        raise Fail("this machine has no dpkg", "use Debian 12 or later") from None
    stamp = store.path("lock", f"packages-{digest([p for p, _ in packages])}")
    if stamp.exists() and stamp.read_text() == state:
        return
    need = missing(packages)
    if need:
        _install(need)
        need = missing(packages)
        if need:
            raise Fail("packages are missing: " + " ".join(need), "apt-get install " + " ".join(need))
        st = os.stat(_STATUS)
        state = digest(st.st_mtime_ns, st.st_size, [p for p, _ in packages])
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(state)


def _install(need):
    if os.geteuid() != 0:
        raise Fail("packages are missing: " + " ".join(need),
                   "as root: apt-get install --no-install-recommends " + " ".join(need))
    with store.lock("packages"):
        a = apt.host_apt()
        count = [0]

        def watch(line):
            if line.startswith(("Get:", "Setting up ")):
                count[0] += 1
                act.at(count[0])

        with progress.Activity(f"Debian packages: install {len(need)} and what they need") as act:
            a.with_index(lambda: store.command(
                a.cmd("apt-get", "-q", "-y", "--no-install-recommends", "install", *need),
                "apt-install.log", env=build_env(DEBIAN_FRONTEND="noninteractive"), watch=watch,
                remedy="run it by hand: apt-get install " + " ".join(need)))


def _version(text):
    """Of the first line of --version: without the name that the program was called by."""
    return (text.splitlines() or [""])[0].partition(" ")[2]


@functools.cache
def compiler(path):
    """Version of a compiler, its package's included: results depend on it.  "" if there is none."""
    try:
        return _version(store.output([path, "--version"], check=False))
    except OSError:
        return ""


def configured_for(build, language, path):
    """Is this build directory of meson's configured, and for that compiler as it is now?

    ninja does not notice another compiler under the same name.
    """
    try:
        known = json.loads((build / "meson-info/intro-compilers.json").read_text())
        return ((build / "build.ninja").exists()
                and _version(known["host"][language]["full_version"]) == compiler(path))
    except (OSError, ValueError, KeyError):
        return False


def all_packages():
    return (pins.HOST_PACKAGES + pins.TEST_PACKAGES + pins.FUZZ_PACKAGES + pins.BENCH_PACKAGES
            + pins.SERIES_PACKAGES + pins.REGRESS_PACKAGES)
