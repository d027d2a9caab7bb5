# SPDX-License-Identifier: GPL-2.0-or-later
"""The cache: locks, logged commands, results keyed by the content they come from.

    dl/       downloads, named by what they are
    src/      pristine sources with the patches on top (see trees.py)
    build/    build directories, kept so that a change rebuilds little
    out/      results, out/NAME-KEY/, complete or not there
    run/      one directory per boot
    log/      output of build steps
    pycache/  these modules, compiled
"""

import contextlib
import fcntl
import os
import pathlib
import shutil
import subprocess
import time

from . import procs, progress
from .util import Fail, build_env, cache

KEEP_RESULTS = 6        # of each kind, the most recently used
NO_ROOM = "make room, or point CCAD_CACHE at a file system that has it"


def path(*parts):
    return cache().joinpath(*parts)


@contextlib.contextmanager
def lock(name):
    """Exclusive over all ccad processes that share the cache."""
    p = path("lock", name + ".lock")
    p.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(p, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.note(f"waiting for another ccad that works on {name}")
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def result(kind, key):
    """The finished result out/KIND-KEY, or None."""
    p = path("out", f"{kind}-{key}")
    if (p / ".done").exists():
        with contextlib.suppress(OSError):
            os.utime(p / ".done")
        return p
    return None


@contextlib.contextmanager
def new_result(kind, key):
    """A directory that becomes out/KIND-KEY when the block ends well."""
    final = path("out", f"{kind}-{key}")
    tmp = path("out", f".{kind}-{key}.{os.getpid()}")
    shutil.rmtree(tmp, ignore_errors=True)
    tmp.mkdir(parents=True)
    try:
        yield tmp
        (tmp / ".done").touch()
        shutil.rmtree(final, ignore_errors=True)
        tmp.rename(final)
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
    _prune(kind)


def _prune(kind):
    """Drop all but the most recent results; one that is in use was just touched."""
    old = []
    for p in path("out").glob(f"{kind}-*"):
        with contextlib.suppress(OSError):
            old.append(((p / ".done").stat().st_mtime, p))
    old.sort(reverse=True)
    for when, p in old[KEEP_RESULTS:]:
        if time.time() - when > 3600:
            shutil.rmtree(p, ignore_errors=True)


def tail(log, lines=25):
    try:
        text = pathlib.Path(log).read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join("     " + t for t in text[-lines:])


def command(cmd, log, *, cwd=None, env=None, watch=None, timeout=None, stdin=None, remedy=None,
            append=False):
    """Run a build step; its output goes to a log, each line also to watch(line)."""
    logfile = path("log", log)
    logfile.parent.mkdir(parents=True, exist_ok=True)
    cmd = [str(c) for c in cmd]
    began = time.monotonic()
    with open(logfile, "ab" if append else "wb") as out:
        out.write(("$ " + " ".join(cmd) + "\n").encode())
        out.flush()
        p = procs.popen(cmd, cwd=cwd, env=env if env is not None else build_env(),
                        stdin=stdin if stdin is not None else subprocess.DEVNULL,
                        stdout=subprocess.PIPE if watch else out, stderr=subprocess.STDOUT)
        try:
            if watch:
                for line in p.stdout:
                    out.write(line)
                    watch(line.decode(errors="replace").rstrip("\n"))
                    if timeout and time.monotonic() - began > timeout:
                        raise subprocess.TimeoutExpired(cmd, timeout)
                p.stdout.close()
            code = p.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            procs.kill(p)
            raise Fail(f"{cmd[0]} took more than {timeout} s", f"see {logfile}") from None
        except BaseException:
            procs.kill(p)
            raise
        procs.forget(p)
    if code:
        if procs.stopping.is_set():
            raise procs.Interrupted(15)
        progress.say(tail(logfile))
        raise Fail(f"'{os.path.basename(cmd[0])}' failed with {code}",
                   remedy or f"the whole output is in {logfile}")


def output_bytes(cmd, *, cwd=None, env=None, input=None, check=True, remedy=None):
    """Standard output of a short command, as it is."""
    p = subprocess.run([str(c) for c in cmd], cwd=cwd, env=env if env is not None else build_env(),
                       input=input, capture_output=True, check=False)
    if check and p.returncode:
        err = p.stderr.decode(errors="replace").strip().splitlines()
        raise Fail(f"{' '.join(str(c) for c in cmd[:4])}: {err[-1] if err else p.returncode}", remedy)
    return p.stdout


def output(cmd, **kw):
    """Standard output of a short command, as text; arguments as of output_bytes()."""
    return output_bytes(cmd, **kw).decode(errors="replace")


def need_space(where, gib):
    free = shutil.disk_usage(where).free
    if free < gib * (1 << 30):
        raise Fail(f"{where}: {free / (1 << 30):.1f} GiB free, {gib} needed",
                   NO_ROOM)
