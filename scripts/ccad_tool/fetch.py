# SPDX-License-Identifier: GPL-2.0-or-later
"""Downloads by the pins, with their fallback, into dl/."""

import os
import re
import shutil
import threading

from . import apt, progress, store
from .util import Fail, file_sha256


def _watch_size(path, act, stop):
    """Progress of a download that somebody else does."""
    part = path.with_name(path.name + ".part")
    while not stop.wait(0.5):
        for p in (part, path.parent / "partial" / part.name):
            try:
                act.at(os.stat(p).st_size)
                break
            except OSError:
                continue


_good = set()       # files that have been read and found to be the pinned ones


def _there(path, pin):
    """Is the pinned file there, and with its SHA-256?  It is read once a run."""
    if path not in _good and path.exists() and file_sha256(path) == pin.sha256:
        _good.add(path)
    return path in _good


def get(source):
    """Path of the file of a Source: pinned, else the suites' candidate."""
    dl = store.path("dl")
    dl.mkdir(exist_ok=True)
    for pin in source.pins:         # whichever is there already
        p = dl / pin.name
        if _there(p, pin):
            return p
    fallback = dl / f"{source.package}.fallback"
    if fallback.is_symlink() and fallback.exists():
        return fallback.resolve()
    with store.lock("dl-" + source.package):
        for pin in source.pins:
            dest = dl / pin.name
            if _there(dest, pin):
                return dest
            if dest.exists():
                progress.note(f"{pin.name}: not what was downloaded, its SHA-256 differs: once more")
                dest.unlink()
            with progress.Activity(f"{source.title} {pin.version}: download", unit="bytes") as act:
                stop = threading.Event()
                t = threading.Thread(target=_watch_size, args=(dest, act, stop), daemon=True)
                t.start()
                try:
                    ok = apt.download_pin(pin, dest)
                finally:
                    stop.set()
                    t.join()
            if not ok:
                progress.note(f"{pin.name} is not served by this mirror")
                continue
            if not _there(dest, pin):
                dest.unlink()
                raise Fail(f"{pin.name}: SHA-256 differs from the pinned one",
                           "try again; if it stays so, use another mirror")
            progress.note(f"{pin.name}: SHA-256 is the pinned one")
            return dest
        got = _candidate(source, dl)
        fallback.unlink(missing_ok=True)
        fallback.symlink_to(got.name)
        return got


def _candidate(source, dl):
    """The first suite's version that will do, checked by apt's signature chain."""
    tried = []
    for suite in source.suites:
        a = apt.foreign_apt(suite)
        work = a.dir / "get"
        try:
            a.update()
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            found = _from_suite(source, a, work)
        except Fail as e:
            tried.append(f"{suite}: {e.what}")
            continue
        if not found:
            tried.append(f"{suite}: none")
            continue
        dest = dl / found.name
        found.replace(dest)
        progress.note(f"{source.title}: no pinned version is served; {found.name} of {suite} is "
                      f"taken, checked by the archive's signature (SHA-256 {file_sha256(dest)})")
        return dest
    raise Fail(f"{source.title}: no mirror serves a version that will do ({'; '.join(tried)})",
               _remedy(source))


def _remedy(source):
    opt = {"qemu": "--qemu-source PATH", "linux-source-7.3": "--linux-source PATH"}
    opt = opt.get(source.package)
    return f"give your own tree or tarball with {opt}" if opt else "use another Debian mirror"


def _from_suite(source, a, work):
    if source.package == "qemu":
        uris = store.output(a.cmd("apt-get", "-q", "--print-uris", "--only-source", "source", "qemu"),
                            check=False)
        m = re.search(r"qemu_([^_'\s]+?)(?:\+\w+)?\.orig\.tar\.xz", uris)
        if not m or not m[1].startswith(source.accept):
            return None
        store.command(a.cmd("apt-get", "-q", "--download-only", "--only-source", "source", "qemu"),
                      "apt-source.log", cwd=work)
        return next((p for p in work.iterdir() if ".orig.tar." in p.name
                     and not p.name.endswith(".asc")), None)
    version = a.candidate(source.package)
    if not version or not version.split(":")[-1].startswith(source.accept):
        return None
    store.command(a.cmd("apt-get", "-q", "download", source.package), "apt-download.log", cwd=work)
    return next(work.glob("*.deb"), None)


def debs_dir(name, sources):
    """The contents of a few .debs, extracted privately (nothing is installed)."""
    debs = [get(s) for s in sources]
    key = "-".join(re.sub(r"[^A-Za-z0-9.]", "", d.name.split("_")[1]) for d in debs)
    done = store.result(name, key)
    if done:
        return done
    with store.lock(name), store.new_result(name, key) as tmp:
        for d in debs:
            store.command(["dpkg-deb", "-x", d, tmp], f"{name}.log", append=True)
    return store.result(name, key)
