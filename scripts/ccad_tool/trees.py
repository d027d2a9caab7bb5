# SPDX-License-Identifier: GPL-2.0-or-later
"""A pristine source tree in the cache with patches and files of ours on top.

Patches are applied to copies of the files that they touch, and a file of the
tree is written only when its content changes.  So times mean changes, make and
ninja rebuild what depends on them, and a shorter series restores what it no
longer touches.  The manifest is written before the tree is: an interrupted
update is finished by the next one.

    <dir>/tree/     what is built
    <dir>/orig/     pristine copies of every file ever touched
    <dir>/manifest  those files, one a line; '+' marks one that is ours alone
"""

import os
import pathlib
import re
import shutil
import subprocess

from . import procs, progress, store
from .util import Fail, build_env, digest, file_sha256, write_if_changed


def _key_of_tree(top):
    """Names, sizes and times of a user's tree: cheap enough to look at every time."""
    rows = []
    stack = [str(top)]
    while stack:
        d = stack.pop()
        with os.scandir(d) as it:
            for e in it:
                if e.name == ".git":
                    continue
                if e.is_dir(follow_symlinks=False):
                    stack.append(e.path)
                else:
                    st = e.stat(follow_symlinks=False)
                    rows.append(f"{e.path}\0{st.st_size}\0{st.st_mtime_ns}")
    rows.sort()
    return digest("\n".join(rows))


def version_of(tree):
    """('QEMU'|'Linux', version) of a source tree, or None."""
    tree = pathlib.Path(tree)
    try:
        if (tree / "Kbuild").exists():
            text = (tree / "Makefile").read_text(errors="replace")
            v = [re.search(rf"^{k} = *(\S*)", text, re.M)[1]
                 for k in ("VERSION", "PATCHLEVEL", "SUBLEVEL", "EXTRAVERSION")]
            return "Linux", ".".join(v[:3]) + v[3]
        if (tree / "VERSION").exists() and (tree / "hw").is_dir():
            return "QEMU", (tree / "VERSION").read_text().strip()
    except (OSError, TypeError):
        pass
    return None


def _unpack(name, tarball, dest):
    """Extract a tarball (also one inside a .deb) whose one top directory becomes dest."""
    tmp = dest.with_name(dest.name + ".tmp")
    shutil.rmtree(tmp, ignore_errors=True)
    tmp.mkdir(parents=True)
    if tarball.name.endswith(".deb"):
        deb = tmp / "deb"
        store.command(["dpkg-deb", "-x", tarball, deb], f"unpack-{name}.log")
        inner = [p for p in deb.glob("usr/src/*.tar.*")]
        if len(inner) != 1:
            raise Fail(f"{tarball.name}: holds no source tarball")
        tarball = inner[0]
    with progress.Activity(f"{name}: unpack", total=tarball.stat().st_size, unit="bytes") as act:
        tar = tmp / "x"
        tar.mkdir()
        p = procs.popen(["tar", "-x", "--no-same-owner", "--no-same-permissions",
                         *_filter(tarball), "-f", "-", "-C", str(tar)],
                        stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=build_env())
        try:
            with open(tarball, "rb") as f:
                while chunk := f.read(1 << 18):
                    p.stdin.write(chunk)
                    act.at(f.tell())
            p.stdin.close()
        except BrokenPipeError:
            pass
        except BaseException:
            procs.kill(p)
            raise
        err = p.stderr.read().decode(errors="replace").strip()
        code = p.wait()
        procs.forget(p)
        if code:
            raise Fail(f"{tarball.name} could not be unpacked: {err.splitlines()[-1] if err else code}",
                       "is it a whole tarball?")
    tops = list(tar.iterdir())
    top = tops[0] if len(tops) == 1 and tops[0].is_dir() else tar
    shutil.rmtree(dest, ignore_errors=True)
    dest.parent.mkdir(parents=True, exist_ok=True)
    top.rename(dest)
    shutil.rmtree(tmp, ignore_errors=True)


def _filter(tarball):
    for end, opt in ((".xz", "-J"), (".gz", "-z"), (".tgz", "-z"), (".bz2", "-j"), (".zst", "--zstd")):
        if tarball.name.endswith(end):
            return [opt]
    return []


class Tree:
    """The source of QEMU or Linux that we build, patched."""

    def __init__(self, title, origin):
        """origin: a tarball, a .deb with one inside, or a directory of the user's."""
        self.title = title
        self.origin = pathlib.Path(origin).resolve()
        if not self.origin.exists():
            raise Fail(f"{origin}: not there")
        self.is_dir = self.origin.is_dir()
        st = self.origin.stat()
        if self.is_dir:
            self.base_key = digest(self.origin, _key_of_tree(self.origin))
            name = digest(self.origin)
        else:       # a downloaded file never changes under its name
            self.base_key = digest(self.origin.name, st.st_size, st.st_mtime_ns)
            name = self.base_key
        self.dir = store.path("src", f"{title.lower()}-{name[:12]}")
        self.tree = self.dir / "tree"
        self.lock_name = self.dir.name

    def prepare(self):
        """Have the pristine tree; under the tree's lock."""
        stamp = self.dir / "base"
        want = self.base_key
        if stamp.exists() and stamp.read_text() == want:
            return
        self.dir.mkdir(parents=True, exist_ok=True)
        if self.is_dir:
            self._mirror()
        elif not stamp.exists():
            store.need_space(self.dir, 3 if self.title == "Linux" else 2)
            _unpack(f"{self.title} source", self.origin, self.tree)
            if not store.path("dl") in self.origin.parents:
                progress.note(f"{self.origin.name}: yours, not one of the pinned "
                              f"(SHA-256 {file_sha256(self.origin)})")
        got = version_of(self.tree)
        if not got or got[0] != self.title:
            raise Fail(f"{self.origin}: not a source tree of {self.title}",
                       "give the directory that holds its top Makefile, or a release tarball")
        stamp.write_text(want)

    def _mirror(self):
        """Bring our copy of the user's tree up to date; theirs is never written to."""
        got = version_of(self.origin)
        if not got or got[0] != self.title:
            raise Fail(f"{self.origin}: not a source tree of {self.title}",
                       "give the directory that holds its top Makefile, or a release tarball")
        touched = set(self._manifest())
        with progress.Activity(f"{self.title} source: copy of {self.origin}") as act:
            keep, n = set(), 0
            for rel in self._user_files():
                src = self.origin / rel
                keep.add(rel)
                # What is patched gets its new text from apply(), once.
                _copy_if_newer(src, (self.dir / "orig" if rel in touched else self.tree) / rel)
                n += 1
                if n % 500 == 0:
                    act.at(n)
            ours = {r for r in touched if not (self.dir / "orig" / r).exists()}
            for dirpath, _, names in os.walk(self.tree):
                rel = os.path.relpath(dirpath, self.tree)
                for name in names:
                    r = name if rel == "." else os.path.join(rel, name)
                    if r not in keep and r not in ours:
                        os.unlink(os.path.join(dirpath, name))
                        (self.dir / "orig" / r).unlink(missing_ok=True)

    def _user_files(self):
        """Source files of the user's tree: what git knows, else everything."""
        if (self.origin / ".git").exists():
            text = store.output(["git", "-c", "safe.directory=*", "-C", self.origin, "ls-files", "-z",
                                 "--cached", "--others", "--exclude-standard"])
            names = [n for n in text.split("\0") if n]
        else:
            if (self.origin / ".config").exists() or (self.origin / "include/config").exists():
                raise Fail(f"{self.origin}: has been built in", f"make -C {self.origin} mrproper")
            names = []
            for dirpath, dirs, files in os.walk(self.origin):
                dirs[:] = [d for d in dirs if d != ".git"]
                rel = os.path.relpath(dirpath, self.origin)
                names += [f if rel == "." else os.path.join(rel, f) for f in files]
        return [n for n in names if os.path.lexists(self.origin / n)
                and not (self.origin / n).is_dir()]

    def _manifest(self):
        try:
            return [t for t in (self.dir / "manifest").read_text().split("\n") if t]
        except OSError:
            return []

    def apply(self, patches, files=()):
        """Make the tree base + patches + files [(path, bytes)]; under the lock."""
        patches = [pathlib.Path(p) for p in patches]
        paths = []
        for p in patches:
            paths += touched_paths(p.read_text(errors="replace"))
        want = set(paths) | {f[0] for f in files}
        known = set(self._manifest())
        everything = sorted(known | want)
        orig = self.dir / "orig"
        for rel in sorted(want - known):        # first touched: the tree's is pristine
            src = self.tree / rel
            if src.exists():
                (orig / rel).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(src, orig / rel)
        write_if_changed(self.dir / "manifest", "\n".join(everything) + "\n")

        work = self.dir / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        for rel in everything:
            if (orig / rel).exists():
                (work / rel).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(orig / rel, work / rel)
        for p in patches:
            apply_patch(p, work)
        for rel, data in files:
            f = work / rel
            f.parent.mkdir(parents=True, exist_ok=True)
            f.write_bytes(data)
        changed = 0
        for rel in everything:
            new, dst = work / rel, self.tree / rel
            if new.exists():
                mode = 0o755 if os.access(new, os.X_OK) else 0o644
                changed += write_if_changed(dst, new.read_bytes(), mode)
            elif dst.exists():
                dst.unlink()
                changed += 1
        shutil.rmtree(work)
        return changed


def _copy_if_newer(src, dst):
    if src.is_symlink():
        if not dst.is_symlink() or os.readlink(dst) != os.readlink(src):
            dst.parent.mkdir(parents=True, exist_ok=True)
            dst.unlink(missing_ok=True)
            dst.symlink_to(os.readlink(src))
        return
    s = src.stat()
    try:
        d = dst.lstat()
        if d.st_size == s.st_size and d.st_mtime_ns == s.st_mtime_ns:
            return
    except OSError:
        pass
    dst.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(src, dst)


def touched_paths(patch):
    """Files of a tree that a patch in git's format changes, creates, deletes or renames."""
    out = []
    for line in patch.splitlines():
        m = re.match(r"diff --git a/(\S+) b/(\S+)$", line)
        if m:
            out += [m[1], m[2]]
    return out


def apply_patch(patch, work):
    p = subprocess.run(["git", "apply", "--whitespace=nowarn", "-p1", str(patch.resolve())],
                       cwd=work, capture_output=True, check=False,
                       env=build_env(GIT_CEILING_DIRECTORIES=str(work.parent),
                                     GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1"))
    if p.returncode:
        err = p.stderr.decode(errors="replace").strip().splitlines()
        raise Fail(f"{patch.name} does not apply: {err[0] if err else p.returncode}",
                   "rebase it: scripts/ccad kernel tree" if "kernel-patches" in str(patch) else None)


def series(directory):
    """Patches named by a series file, in order; none when there is no file."""
    directory = pathlib.Path(directory)
    try:
        lines = (directory / "series").read_text().splitlines()
    except OSError:
        return []
    out = []
    for line in lines:
        name = line.split("#", 1)[0].strip()
        if name:
            p = directory / name
            if not p.exists():
                raise Fail(f"{directory / 'series'} names {name}, which is not there")
            out.append(p)
    return out
