# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's source as git: the base in one pack, the series as commits.

The self-tests of the series are edited in selftests/ alone.  A commit that
brings one of their directories gets its content from there.
"""

import os
import pathlib
import shutil
import subprocess

from . import fetch, pins, progress, store, trees
from .kernel import PATCHES
from .util import ROOT, Fail, build_env, digest, files_under

SELFTESTS = ROOT / "selftests"
# Directory of selftests/ → directory of the kernel's tree.
COLLECTIONS = {"mm/cdm": "tools/testing/selftests/mm/cdm",
               "drivers/ccad": "tools/testing/selftests/drivers/ccad"}
HEADER = ROOT / "qemu-device/include/ccad_hw.h"
HEADER_IN_KERNEL = "drivers/misc/uacce/ccad/ccad_hw.h"
BRANCH = "cdm"
_DATE = "1767225600 +0000"


def env():
    """git as itself: no configuration of the user's, a committer that is nobody."""
    return build_env(GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1",
                     GIT_AUTHOR_NAME="ccad", GIT_AUTHOR_EMAIL="ccad@localhost",
                     GIT_COMMITTER_NAME="ccad", GIT_COMMITTER_EMAIL="ccad@localhost")


def git(tree, *args, input=None, check=True, more=None):
    e = env()
    e.update(more or {})
    return store.output(["git", "-C", tree, *args], env=e, input=input, check=check)


def base_repository(source=None):
    """A bare repository whose tag `base` is the pristine source."""
    t = trees.Tree("Linux", pathlib.Path(source) if source else fetch.get(pins.LINUX))
    repo = store.path("git", f"linux-{t.base_key}.git")
    if repo.exists():       # then it is complete, and nobody has to wait for who builds in the tree
        return repo
    with store.lock(t.lock_name):
        if repo.exists():
            return repo
        t.prepare()
        tmp = repo.with_suffix(".tmp")
        shutil.rmtree(tmp, ignore_errors=True)
        tmp.mkdir(parents=True)
        git(tmp, "init", "-q", "--bare", "-b", BRANCH)
        version = trees.version_of(t.tree)[1]
        names = [n for n in files_under(t.tree, skip=(".git",)) if not n.endswith(".ccad-tmp")]
        with progress.Activity("Linux: base as a git repository", total=len(names)) as act:
            _import(tmp, t, names, version, act)
        tmp.rename(repo)
        return repo


def base_checkout(source=None):
    """A tree of the pristine source, made when it is not there."""
    repo = base_repository(source)
    where = store.path("bench", "linux")
    with store.lock("unpatched"):
        base = git(repo, "rev-parse", "base").strip()
        if git(where, "rev-parse", "HEAD", check=False).strip() != base:
            shutil.rmtree(where, ignore_errors=True)
            where.parent.mkdir(parents=True, exist_ok=True)
            with progress.Activity("Linux: check out the unpatched source"):
                store.command(["git", "clone", "-q", "--shared", "--no-tags", "-b", BRANCH, repo, where],
                              "unpatched-clone.log", env=env())
    return where


def _import(repo, t, names, version, act):
    ours = set(t._manifest())
    p = subprocess.Popen(["git", "-C", str(repo), "fast-import", "--quiet", "--depth=0"],
                         stdin=subprocess.PIPE, env=env())
    w = p.stdin
    message = f"Linux {version}\n".encode()
    w.write(b"commit refs/heads/%s\ncommitter ccad <ccad@localhost> %s\ndata %d\n%s\n"
            % (BRANCH.encode(), _DATE.encode(), len(message), message))
    for i, rel in enumerate(names):
        src = t.dir / "orig" / rel if rel in ours else t.tree / rel
        if not os.path.lexists(src):
            continue
        if src.is_symlink():
            mode, data = b"120000", os.readlink(src).encode()
        else:
            mode = b"100755" if os.access(src, os.X_OK) else b"100644"
            data = src.read_bytes()
        path = rel.encode()
        if b'"' in path or b"\n" in path or path.startswith(b" "):
            path = b'"' + path.replace(b'"', b'\\"') + b'"'
        w.write(b"M %s inline %s\ndata %d\n" % (mode, path, len(data)))
        w.write(data)
        w.write(b"\n")
        if i % 500 == 0:
            act.at(i)
    w.write(b"\nreset refs/tags/base\nfrom refs/heads/%s\n\n" % BRANCH.encode())
    w.close()
    if p.wait():
        raise Fail("git fast-import failed")


def lay_out(directory, source=None):
    """The series as commits on the base, in a new directory."""
    directory = pathlib.Path(directory)
    repo = base_repository(source)
    with progress.Activity(f"kernel tree: check out in {directory}"):
        store.command(["git", "clone", "-q", "--no-tags", "-b", BRANCH, repo, directory],
                      "kernel-tree.log", env=env())
        git(directory, "tag", "base", git(repo, "rev-parse", "base").strip())
        git(directory, "remote", "remove", "origin")
    patches = trees.series(PATCHES)
    for p in patches:
        am(directory, p)
    sync_selftests(directory)
    git(directory, "update-ref", "refs/ccad/laid-out", "HEAD")
    git(directory, "config", "ccad.selftests", selftests_key())
    return len(patches)


def am(tree, patch):
    out = subprocess.run(["git", "-C", str(tree), "am", "-q", "--committer-date-is-author-date",
                          "--whitespace=nowarn", "--keep-cr", str(patch)],
                         env=env(), capture_output=True, check=False)
    if out.returncode:
        text = (out.stdout + out.stderr).decode(errors="replace")
        why = [t for t in text.splitlines() if t.startswith("error:")]
        git(tree, "am", "--abort", check=False)
        raise Fail(f"{patch.name} does not apply: {why[0][7:] if why else 'git am failed'}")


def collection_files(top):
    """Files of a collection; a tool's droppings (.checkpatch-…) are none."""
    return [n for n in files_under(top) if not os.path.basename(n).startswith(".")
            or os.path.basename(n) == ".gitignore"]


def selftests_key():
    return digest([[n, (SELFTESTS / c / n).read_bytes()] for c in COLLECTIONS
                   if (SELFTESTS / c).is_dir() for n in collection_files(SELFTESTS / c)])


def _our_blobs(tree):
    """[(path in the kernel, mode, blob)] of our self-tests, written to the object store."""
    out = []
    for ours, theirs in COLLECTIONS.items():
        top = SELFTESTS / ours
        if not top.is_dir():
            continue
        for rel in collection_files(top):
            blob = git(tree, "hash-object", "-w", "--", str(top / rel)).strip()
            mode = "100755" if os.access(top / rel, os.X_OK) else "100644"
            out.append((f"{theirs}/{rel}", mode, blob))
    return out


def _listing(tree, commit, theirs):
    """[(path, mode, blob)] of a directory in a commit."""
    out = []
    for line in git(tree, "ls-tree", "-r", commit, "--", theirs + "/").splitlines():
        head, _, path = line.partition("\t")
        mode, _, blob = head.split()
        out.append((path, mode, blob))
    return out


def stale_collections(tree, commit="HEAD"):
    """Collections whose content in the commit is not that of selftests/."""
    ours = _our_blobs(tree)
    return [c for c, theirs in COLLECTIONS.items()
            if sorted(b for b in ours if b[0].startswith(theirs + "/")) != sorted(
                _listing(tree, commit, theirs))]


def sync_selftests(tree):
    """Give every commit that has one of the collections its content of now."""
    if not stale_collections(tree):
        return False
    blobs = _our_blobs(tree)
    index = {"GIT_INDEX_FILE": str(pathlib.Path(git(tree, "rev-parse", "--absolute-git-dir").strip())
                                   / "ccad-index")}
    parent = git(tree, "rev-parse", "base").strip()
    for commit in git(tree, "rev-list", "--reverse", "base..HEAD").split():
        git(tree, "read-tree", commit, more=index)
        for theirs in COLLECTIONS.values():
            old = _listing(tree, commit, theirs)
            if not old:
                continue
            feed = "".join(f"0 {'0' * 40}\t{path}\n" for path, _, _ in old)
            feed += "".join(f"{mode} {blob}\t{path}\n" for path, mode, blob in blobs
                            if path.startswith(theirs + "/"))
            git(tree, "update-index", "--index-info", input=feed.encode(), more=index)
        new = git(tree, "write-tree", more=index).strip()
        show = git(tree, "show", "-s", "--format=%an%n%ae%n%ad%n%B", "--date=raw", commit)
        name, mail, date, message = show.split("\n", 3)
        parent = git(tree, "commit-tree", new, "-p", parent, input=message.rstrip("\n").encode() + b"\n",
                     more={"GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": mail,
                           "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}).strip()
    git(tree, "reset", "-q", "--keep", parent)
    return True


def take_selftests(tree):
    """Bring edits of the self-tests made in the kernel's tree back to selftests/."""
    for c in stale_collections(tree):
        theirs = COLLECTIONS[c]
        top = SELFTESTS / c
        entries = _listing(tree, "HEAD", theirs)
        for rel in collection_files(top):
            if not any(path == f"{theirs}/{rel}" for path, _, _ in entries):
                (top / rel).unlink()
        for path, mode, blob in entries:
            dest = top / path[len(theirs) + 1:]
            dest.parent.mkdir(parents=True, exist_ok=True)
            dest.write_bytes(store.output_bytes(["git", "-C", tree, "cat-file", "blob", blob], env=env()))
            dest.chmod(0o755 if mode == "100755" else 0o644)
        progress.note(f"selftests/{c}: brought up to what the kernel tree has")
