# SPDX-License-Identifier: GPL-2.0-or-later
"""ccad kernel tree, ccad series export, ccad series check."""

import pathlib
import re
import shutil
import subprocess

from . import host, kernel, kgit, pins, progress, series_matrix, store, trees
from .kgit import git
from .util import Fail, build_env, write_if_changed

COVER = "0000-cover-letter.patch"
# A patch carries no Signed-off-by: that is for the human who submits it.
_ALLOWED = {"MISSING_SIGN_OFF", "NO_AUTHOR_SIGN_OFF"}
_FORMAT = ("--zero-commit", "--no-signature", "--abbrev=12", "--no-renames", "--no-base",
           "--no-thread", "--no-cover-letter", "--no-color", "-n", "--diff-algorithm=myers",
           "--src-prefix=a/", "--dst-prefix=b/", "--stat=72,50", "--no-ext-diff", "--no-to",
           "--no-cc", "--no-encode-email-headers", "--no-notes", "--no-attach")


def default_tree():
    return store.path("linux")


def tree(args):
    """Lay the series out as a git tree to work in."""
    host.ensure(pins.HOST_PACKAGES)
    where = pathlib.Path(args.dir).absolute() if args.dir else default_tree()
    if where.exists() and any(where.iterdir()):
        raise Fail(f"{where} is there already",
                   f"go on working in it, or after 'ccad series export {where}' remove it")
    where.parent.mkdir(parents=True, exist_ok=True)
    try:
        n = kgit.lay_out(where, args.linux_source)
    except BaseException:
        if not (where / ".git/refs/ccad").exists() and (where / ".git").exists():
            progress.note(f"{where}: left as it was when the series stopped")
        raise
    progress.say(f"{where}: branch {kgit.BRANCH}, {n} commits on the tag 'base'")
    progress.say(f"work there, commit, then: scripts/ccad series export {where}")
    return 0


def _format(where, out):
    """The patches of base..HEAD as files, in canonical form."""
    if git(where, "rev-list", "--merges", "base..HEAD").strip():
        raise Fail("the series has a merge in it", "rebase it onto the tag 'base'")
    text = git(where, "format-patch", "-q", *_FORMAT, "-o", str(out), "base..HEAD")
    del text
    return sorted(out.glob("[0-9]*.patch"))


def _shortlog(where):
    return git(where, "shortlog", "-w76,2,4", "base..HEAD").rstrip("\n")


def _diffstat(where):
    return git(where, "diff", "--stat=72,50", "--summary", "--no-renames", "base..HEAD").rstrip("\n")


def refresh_cover(text, count, shortlog, diffstat):
    """The cover letter with the number of patches, the shortlog and the diffstat of now."""
    text = re.sub(r"(?m)^(Subject: \[PATCH[^\]]*?)( 0+/\d+)?\]",
                  lambda m: f"{m[1]} {'0' * len(str(count))}/{count}]", text, count=1)
    # One block an author: NAME (COUNT): and the subjects, indented
    text = re.sub(r"(?m)(?:^\S.* \(\d+\):\n(?:^  .*\n)+\n)+", lambda m: shortlog + "\n\n", text, count=1)
    m = re.search(r"(?m)^ \S.*\|\s+\d+ [+-]*\n(?:^ .*\n)*^ \d+ files? changed.*\n(?:^ (?:create|delete) mode .*\n)*",
                  text)
    return text[:m.start()] + diffstat + "\n" + text[m.end():] if m else text


def export(args):
    """Write the commits of a kernel tree back as the series."""
    where = pathlib.Path(args.dir).absolute() if args.dir else default_tree()
    if not (where / ".git").exists():
        raise Fail(f"{where}: no git tree", "make one with: scripts/ccad kernel tree [DIR]")
    if git(where, "status", "--porcelain", "--untracked-files=no").strip():
        raise Fail(f"{where} has changes that are not committed", "commit them: git commit -a")
    laid = git(where, "config", "ccad.selftests", check=False).strip()
    stale = kgit.stale_collections(where)
    if stale:
        edited_here = laid != kgit.selftests_key()
        edited_there = bool(git(where, "diff", "--name-only", "refs/ccad/laid-out", "HEAD", "--",
                                *kgit.COLLECTIONS.values(), check=False).strip())
        if edited_here and edited_there:
            raise Fail("the self-tests were changed both in selftests/ and in the kernel tree "
                       f"({', '.join(stale)})", "bring one side up to the other by hand, then again")
        if edited_there:
            kgit.take_selftests(where)
        else:
            kgit.sync_selftests(where)
    tmp = store.path("export")
    shutil.rmtree(tmp, ignore_errors=True)
    tmp.mkdir(parents=True)
    patches = _format(where, tmp)
    if not patches:
        raise Fail(f"{where}: no commit on top of the tag 'base'")
    dest = kernel.PATCHES
    changed = 0
    for p in patches:
        changed += write_if_changed(dest / p.name, p.read_bytes())
    names = {p.name for p in patches}
    for old in dest.glob("[0-9]*.patch"):
        if old.name not in names and old.name != COVER:
            old.unlink()
            changed += 1
    head = [t for t in _series_head(dest / "series")]
    changed += write_if_changed(dest / "series", "\n".join(head + [p.name for p in patches]) + "\n")
    cover = dest / COVER
    if cover.exists():
        changed += write_if_changed(cover, refresh_cover(cover.read_text(), len(patches),
                                                         _shortlog(where), _diffstat(where)))
    shutil.rmtree(tmp)
    git(where, "update-ref", "refs/ccad/laid-out", "HEAD")
    git(where, "config", "ccad.selftests", kgit.selftests_key())
    progress.say(f"{dest}: {len(patches)} patches, {changed} files changed")
    return 0


def _series_head(path):
    """Comment lines at the top of a series file."""
    out = []
    try:
        for line in path.read_text().splitlines():
            if not line.startswith("#"):
                break
            out.append(line)
    except OSError:
        pass
    return out or ["# SPDX-License-Identifier: GPL-2.0-only"]


# -- check -------------------------------------------------------------------

def checkpatch(where, patch):
    """Complaints of checkpatch --strict that are not allowed, as 'TYPE: text'."""
    p = subprocess.run(["perl", "scripts/checkpatch.pl", "--strict", "--terse", "--show-types",
                        "--no-summary", "--color=never", str(patch)], cwd=where,
                       env=build_env(), capture_output=True, check=False)
    out = []
    for line in p.stdout.decode(errors="replace").splitlines():
        m = re.search(r"(\d+): (?:ERROR|WARNING|CHECK):([A-Z0-9_]+): (.*)", line)
        if m and m[2] not in _ALLOWED:
            out.append(f"line {m[1]}: {m[2]}: {m[3]}")
    return out


def _objects(where):
    """Objects of the C files that HEAD's commit touches and this architecture builds."""
    names = series_matrix.touched(where, "HEAD~1")
    return [n[:-2] + ".o" for n in series_matrix.sources(names)]


def _enabled(where, out, objects, extra):
    """Those of the objects that the configuration builds; options are switched on for the rest."""
    got = kernel.wanted((out / ".config").read_text())
    need = {o: series_matrix.option_of(series_matrix.makefile((where / o).parent, got), pathlib.Path(o).name)
            for o in objects}
    off = {c for c in need.values() if c and c != "y" and got.get(c, "n") == "n"} - set(extra)
    if off:
        extra += sorted(off)
        _configure(where, out, extra)
        got = kernel.wanted((out / ".config").read_text())
    return [o for o, c in need.items() if c == "y" or c and got.get(c, "n") != "n"]


def _configure(where, out, extra):
    more = out / "check.config"
    more.write_text("".join(f"{c}=y\n" for c in extra))
    kernel.configure(where, out, (kernel.FRAGMENT, more), "check-config.log")


def check(args):
    """Judge each patch as a reviewer's bots would; one table, and the exit code."""
    host.ensure(pins.HOST_PACKAGES + pins.SERIES_PACKAGES)
    where = store.path("check", "linux")
    out = store.path("build", "check")
    log = store.path("log", "series-check.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    rows, complaints, extra = [], [], []
    unknown = set(args.config or ()) - {c.name for c in series_matrix.MATRIX}
    if unknown:
        raise Fail(f"no configuration {', '.join(sorted(unknown))}",
                   "there are: " + ", ".join(c.name for c in series_matrix.MATRIX))
    patches = trees.series(kernel.PATCHES)
    if not patches:
        raise Fail(f"{kernel.PATCHES}: no series")
    with store.lock("check"):
        patches = trees.series(kernel.PATCHES)
        _pristine(where, args.linux_source)
        out.mkdir(parents=True, exist_ok=True)
        if not args.no_build and not args.config:
            with progress.Activity("series: configure"):
                _configure(where, out, [])
                kernel.make(where, out, "prepare", log="check-prepare.log")
        with progress.Activity("series: check", total=len(patches)) as act:
            for i, p in enumerate(patches):
                act.at(i)
                row = _check_one(where, out, p, args, log, complaints, extra)
                rows.append(row)
                if row["applies"] != "ok":
                    break
        if len(rows) == len(patches):
            rows += _check_whole(where, complaints)
            if not args.no_build:
                rows += [{"patch": name, "applies": "-", "checkpatch": "-", "W=1": said}
                         for name, said in series_matrix.whole(where, log, complaints, args.config)]
    return _table(rows, complaints, log)


def _pristine(where, source):
    """A checked-out base, whatever an earlier check left."""
    repo = kgit.base_repository(source)
    base = git(repo, "rev-parse", "base").strip()
    if (where / ".git").exists() and git(where, "rev-parse", "base", check=False).strip() == base:
        git(where, "am", "--abort", check=False)
        git(where, "checkout", "-q", "-f", "-B", kgit.BRANCH, "base")
        git(where, "clean", "-q", "-fd")
        return
    shutil.rmtree(where, ignore_errors=True)
    where.parent.mkdir(parents=True, exist_ok=True)
    with progress.Activity("series: check out the base"):
        store.command(["git", "clone", "-q", "--no-tags", "-b", kgit.BRANCH, repo, where],
                      "check-clone.log", env=kgit.env())
    git(where, "tag", "base", base)


def _check_one(where, out, patch, args, log, complaints, extra):
    row = {"patch": patch.name, "applies": "ok", "checkpatch": "-", "W=1": "-"}
    said = checkpatch(where, patch)
    row["checkpatch"] = "ok" if not said else f"{len(said)} complaints"
    complaints += [f"{patch.name}: checkpatch: {s}" for s in said]
    try:
        kgit.am(where, patch)
    except Fail as e:
        row["applies"] = "NO"
        complaints.append(e.what)
        return row
    text = patch.read_text(errors="replace")
    if re.search(r"^Signed-off-by:", text, re.M):
        complaints.append(f"{patch.name}: has a Signed-off-by, which is the submitter's alone")
        row["checkpatch"] = "signed"
    if args.no_build or args.config:
        return row
    objects = _objects(where)
    touched = set(git(where, "diff", "--name-only", "HEAD~1", "HEAD").split())
    if not objects:
        row["W=1"] = "nothing to build"
        return row
    if any("Kconfig" in n or n.endswith(("Makefile", "Kbuild")) for n in touched):
        _configure(where, out, extra)
    total = len(objects)
    objects = _enabled(where, out, objects, extra)
    if not objects:
        row["W=1"] = f"not built: {total}"
        return row
    after, failed = series_matrix.compile_objects(where, out, objects, log)
    new = [w for w in after if w[0] in touched]
    if new:     # is it this patch's, or was it there before?
        git(where, "checkout", "-q", "HEAD~1")
        old_objects = [o for o in objects if (where / (o[:-2] + ".c")).exists()]
        before, _ = series_matrix.compile_objects(where, out, old_objects, log) if old_objects else ([], [])
        git(where, "checkout", "-q", kgit.BRANCH)
        for w in before:
            if w in new:
                new.remove(w)
    for f, message in new:
        complaints.append(f"{patch.name}: W=1: {f}: {message}")
    for o in failed:
        complaints.append(f"{patch.name}: {o} does not build")
    row["W=1"] = "DOES NOT BUILD" if failed else f"{len(new)} warnings" if new else \
        f"ok ({len(objects)} built" + (f", {total - len(objects)} not)" if total > len(objects) else ")")
    if args.full:
        names = series_matrix.touched(where, "HEAD~1")
        bad = [c.name for c in series_matrix.MATRIX if not series_matrix.check_config(
            where, store.path("build", "matrix"), c, names, log, complaints, "HEAD~1"
        ).startswith(("ok", "nothing"))]
        row["W=1"] += f"; not in {', '.join(bad)}" if bad else "; everywhere"
    return row


def _check_whole(where, complaints):
    """What has to agree between the series and the rest of the project."""
    rows = []
    stale = [c for c in kgit.stale_collections(where)]
    rows.append({"patch": "selftests/ and the series", "applies": "NO" if stale else "ok",
                 "checkpatch": "-", "W=1": "-"})
    if stale:
        complaints.append(f"the series' copy of {', '.join('selftests/' + c for c in stale)} is not "
                          "that of this checkout: scripts/ccad kernel tree DIR, series export DIR")
    header = where / kgit.HEADER_IN_KERNEL
    same = header.exists() and header.read_bytes() == kgit.HEADER.read_bytes()
    rows.append({"patch": "hardware header", "applies": "ok" if same else "NO",
                 "checkpatch": "-", "W=1": "-"})
    if not same:
        complaints.append(f"{kgit.HEADER_IN_KERNEL} of the series is not qemu-device/include/ccad_hw.h")
    return rows


def _table(rows, complaints, log):
    head = ("patch", "applies", "checkpatch", "W=1")
    width = [max(len(h), *(len(r[h]) for r in rows)) for h in head]
    print("  ".join(h.ljust(w) for h, w in zip(head, width)))
    for r in rows:
        print("  ".join(r[h].ljust(w) for h, w in zip(head, width)).rstrip())
    for c in complaints:
        print(c)
    print(f"{len(complaints)} complaints" if complaints else "no complaints"
          " (but the missing Signed-off-by, which is the submitter's)")
    if complaints:
        print(f"log: {log}")
    return 1 if complaints else 0
