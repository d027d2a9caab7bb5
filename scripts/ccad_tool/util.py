# SPDX-License-Identifier: GPL-2.0-or-later
"""Paths, errors, hashes, and the environment that builds run in."""

import hashlib
import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Fail(Exception):
    """What went wrong, in one line, with the remedy in another."""

    def __init__(self, what, remedy=None, code=2):
        super().__init__(what)
        self.what = what
        self.remedy = remedy
        self.code = code


def cache():
    """Root of the cache; never inside the checkout."""
    base = os.environ.get("CCAD_CACHE")
    if not base:
        xdg = os.environ.get("XDG_CACHE_HOME")
        home = xdg if xdg else os.path.join(os.path.expanduser("~"), ".cache")
        base = os.path.join(home, "ccad")
    path = pathlib.Path(base).absolute()
    path.mkdir(parents=True, exist_ok=True)
    return path


def jobs():
    return len(os.sched_getaffinity(0))


# What a build may inherit.  CC, CFLAGS, MAKEFLAGS, PYTHONPATH, LD_LIBRARY_PATH
# and a PATH with somebody's tools in front would make results depend on them.
_KEEP = ("HOME", "TERM", "TMPDIR", "USER", "LOGNAME", "CCAD_CACHE", "XDG_CACHE_HOME",
         "http_proxy", "https_proxy", "ftp_proxy", "no_proxy",
         "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def build_env(**extra):
    env = {k: os.environ[k] for k in _KEEP if k in os.environ}
    env["PATH"] = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
    env["LC_ALL"] = "C.UTF-8"
    env["SOURCE_DATE_EPOCH"] = "1767225600"
    env.update(extra)
    return env


def digest(*parts):
    """Short content key of strings, bytes and (nested) sequences."""
    h = hashlib.sha256()

    def add(p):
        if isinstance(p, (list, tuple)):
            h.update(b"(%d" % len(p))
            for q in p:
                add(q)
        else:
            b = p if isinstance(p, bytes) else str(p).encode()
            h.update(b"%d:" % len(b))
            h.update(b)

    add(parts)
    return h.hexdigest()[:16]


def file_sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def files_under(top, skip=()):
    """Relative paths of all files below top, sorted; skip names directories."""
    out = []
    for dirpath, dirs, names in os.walk(top):
        dirs[:] = sorted(d for d in dirs if d not in skip and d != "__pycache__")
        rel = os.path.relpath(dirpath, top)
        for n in names:
            out.append(n if rel == "." else os.path.join(rel, n))
    out.sort()
    return out


def tree_digest(top, skip=()):
    """Content key of a small directory: names, executable bits and contents."""
    h = hashlib.sha256()
    top = pathlib.Path(top)
    for rel in files_under(top, skip):
        p = top / rel
        if p.is_symlink():
            data, mode = os.readlink(p).encode(), "l"
        else:
            data = p.read_bytes()
            mode = "x" if os.access(p, os.X_OK) else "f"
        h.update(f"{rel}\0{mode}\0{len(data)}\0".encode())
        h.update(data)
    return h.hexdigest()[:16]


def write_if_changed(path, data, mode=None):
    """Write data to path unless it is there already, so that its time means a change."""
    path = pathlib.Path(path)
    if isinstance(data, str):
        data = data.encode()
    try:
        same = path.read_bytes() == data
    except OSError:
        same = False
    if not same:
        path.parent.mkdir(parents=True, exist_ok=True)
        tmp = path.with_name(path.name + ".tmp")
        tmp.write_bytes(data)
        if mode is not None:
            tmp.chmod(mode)
        elif path.exists():
            tmp.chmod(path.stat().st_mode & 0o7777)
        tmp.replace(path)
    elif mode is not None and (path.stat().st_mode & 0o7777) != mode:
        path.chmod(mode)
    return not same


def debian_codename():
    """VERSION_CODENAME of this machine, or None where it is not Debian."""
    info = {}
    try:
        with open("/etc/os-release", encoding="utf-8") as f:
            for line in f:
                k, eq, v = line.strip().partition("=")
                if eq:
                    info[k] = v.strip("\"'")
    except OSError:
        return None
    return info.get("VERSION_CODENAME") if info.get("ID") == "debian" else None


def human(n):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n < 1024 or unit == "GiB":
            return f"{n:.0f} {unit}" if unit == "B" or n >= 10 else f"{n:.1f} {unit}"
        n /= 1024
    return str(n)


def parse_size(text, what="size"):
    """'512M', '2G', '1048576' → bytes."""
    units = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
    t = text.strip().upper()
    if t.endswith("IB"):
        t = t[:-2]
    elif t.endswith("B"):
        t = t[:-1]
    unit = t[-1:] if t[-1:] in units else ""
    digits = t[:-1] if unit else t
    if not digits.isdigit():
        raise Fail(f"{what}: '{text}' is not a size", "write a number with K, M or G: 512M")
    return int(digits) * units[unit]
