# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine's Debian mirror, read from its apt configuration and used beside it.

Everything runs with sources and lists of our own: neither the machine's
configuration nor its lists are changed, and a third-party source that is down
does not stand in the way.  Proxies, certificates and preferences of transport
stay those of the machine.
"""

import pathlib
import re
import subprocess
import time
from dataclasses import dataclass

from . import progress, store
from .pins import GUEST_SUITE
from .util import Fail, build_env, debian_codename, digest, write_if_changed

_COMMON = {"main", "contrib", "non-free", "non-free-firmware"}


@dataclass(frozen=True)
class Entry:
    types: tuple
    uri: str
    suite: str
    components: tuple
    signed_by: str = ""
    trusted: bool = False


def parse_list(text):
    """Entries of a one-line-style file (sources.list)."""
    out = []
    for line in text.splitlines():
        line = line.split("#", 1)[0].strip()
        m = re.match(r"(deb|deb-src)\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)(?:\s+(.*))?$", line)
        if not m:
            continue
        options = dict(o.partition("=")[::2] for o in (m[2] or "").split())
        out.append(Entry((m[1],), m[3], m[4], tuple((m[5] or "").split()),
                         options.get("signed-by", ""), options.get("trusted") == "yes"))
    return out


def parse_deb822(text):
    """Entries of a deb822-style file (*.sources)."""
    out = []
    for stanza in re.split(r"\n\s*\n", re.sub(r"(?m)^#.*\n?", "", text)):
        fields, last = {}, None
        for line in stanza.splitlines():
            if line[:1] in " \t":
                if last:
                    fields[last] += "\n" + line.strip()
            elif ":" in line:
                last, _, value = line.partition(":")
                last = last.strip().lower()
                fields[last] = value.strip()
        if fields.get("enabled", "yes").lower() in ("no", "false", "0", "off"):
            continue
        # A key inside the stanza is no file name: let apt's own keys decide.
        signed = fields.get("signed-by", "")
        signed = "" if "\n" in signed or "BEGIN PGP" in signed else signed
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                out.append(Entry(tuple(fields.get("types", "deb").split()), uri, suite,
                                 tuple(fields.get("components", "").split()), signed,
                                 fields.get("trusted", "").lower() == "yes"))
    return out


def machine_entries(etc="/etc/apt"):
    etc = pathlib.Path(etc)
    out = []
    files = [etc / "sources.list"]
    parts = etc / "sources.list.d"
    if parts.is_dir():
        files += sorted(parts.iterdir())
    for f in files:
        try:
            text = f.read_text(errors="replace")
        except OSError:
            continue
        if f.suffix == ".list":
            out += parse_list(text)
        elif f.suffix == ".sources":
            out += parse_deb822(text)
    return out


def debian_entries(entries, codename):
    """Those of Debian itself for this release: main archive first, then its companions."""
    suites = [codename, f"{codename}-updates", f"{codename}-security", f"{codename}/updates"]
    seen, out = set(), []
    for suite in suites:
        for e in entries:
            if e.suite != suite or "main" not in e.components or not set(e.components) <= _COMMON:
                continue
            if e.uri.startswith(("cdrom:", "file:", "copy:")) or (e.uri, suite) in seen:
                continue
            if "deb" in e.types:
                seen.add((e.uri, suite))
                out.append(e)
    return out


def host_suite():
    return debian_codename() or GUEST_SUITE


def host_entries():
    found = debian_entries(machine_entries(), host_suite())
    if not any(e.suite == host_suite() for e in found):
        raise Fail(f"apt's configuration names no Debian mirror for {host_suite()}",
                   "add one to /etc/apt/sources.list: deb URI " + host_suite() + " main")
    return found


def mirror():
    """The entry of the main archive: its URI has the pool, its keyring signs all suites."""
    return next(e for e in host_entries() if e.suite == host_suite())


def _line(e, types=("deb",), extra=()):
    opts = list(extra)
    if e.signed_by:
        opts.append("signed-by=" + e.signed_by.replace("\n", ","))
    if e.trusted:
        opts.append("trusted=yes")
    opt = f"[{' '.join(opts)}] " if opts else ""
    return "".join(f"{t} {opt}{e.uri} {e.suite} main\n" for t in types)


class Apt:
    """An apt with sources, lists and archives of its own."""

    def __init__(self, name, lines, status=None):
        self.lines = lines
        self.dir = store.path("apt", f"{name}-{digest(lines, status or '')}")
        self.conf = self.dir / "apt.conf"
        for d in ("lists/partial", "cache/archives/partial", "etc"):
            (self.dir / d).mkdir(parents=True, exist_ok=True)
        write_if_changed(self.dir / "sources.list", lines)
        conf = [
            "#clear APT::Update::Pre-Invoke;",
            "#clear APT::Update::Post-Invoke;",
            "#clear APT::Update::Post-Invoke-Success;",
            "#clear DPkg::Post-Invoke;",
            f'Dir::Etc::sourcelist "{self.dir}/sources.list";',
            'Dir::Etc::sourceparts "/dev/null";',
            f'Dir::State::lists "{self.dir}/lists";',
            f'Dir::Cache "{self.dir}/cache";',
            f'Dir::Cache::archives "{self.dir}/cache/archives";',
            'Acquire::Languages "none";',
            'APT::Sandbox::User "root";',
            'Acquire::Retries "3";',
            'DPkg::Lock::Timeout "600";',
        ]
        if status is not None:      # not the machine's packages: resolve from nothing
            write_if_changed(self.dir / "status", status)
            conf += [f'Dir::State::status "{self.dir}/status";',
                     f'Dir::State::extended_states "{self.dir}/extended";',
                     'Dir::Etc::preferences "/dev/null";',
                     'Dir::Etc::preferencesparts "/dev/null";',
                     'Debug::NoLocking "true";',        # ccad's own locks do
                     'APT::Architecture "amd64";', '#clear APT::Architectures;',
                     'APT::Architectures { "amd64"; };']
        write_if_changed(self.conf, "\n".join(conf) + "\n")

    def cmd(self, tool, *args):
        return [tool, "-c", self.conf, *args]

    def update(self, again=False):
        """Fetch the indices, once a day at most; expired ones are said and taken.

        Returns whether they were fetched.
        """
        stamp = self.dir / "updated"
        if not again and stamp.exists() and _age(stamp) < 86400:
            return False
        log = f"apt-update-{self.dir.name}.log"
        cmd = self.cmd("apt-get", "-q", "update", "--error-on=any")
        try:
            store.command(cmd, log, env=_env())
        except Fail:
            text = store.path("log", log).read_text(errors="replace")
            if "expired" not in text and "not valid" not in text:
                raise Fail("the package indices could not be fetched",
                           f"check the network and the apt sources; see {store.path('log', log)}"
                           ) from None
            progress.note("the mirror's index has expired or is not yet valid by this "
                          "machine's clock: its signature is checked, its date is not")
            store.command(cmd + ["-o", "Acquire::Check-Valid-Until=false",
                                 "-o", "Acquire::Check-Date=false"], log, env=_env())
        stamp.touch()
        return True

    def with_index(self, step):
        """step(), and once more with a fresh index if that one may have been old."""
        fresh = self.update()
        try:
            return step()
        except Fail:
            if fresh:
                raise
            self.update(again=True)
            return step()

    def candidate(self, package):
        """Version that apt would take, or None."""
        text = store.output(self.cmd("apt-cache", "policy", package), env=_env(), check=False)
        m = re.search(r"^\s+Candidate: (\S+)", text, re.M)
        return m[1] if m and m[1] != "(none)" else None


def _age(p):
    return time.time() - p.stat().st_mtime


def _env():
    return build_env(DEBIAN_FRONTEND="noninteractive")


def host_apt():
    return Apt("host", "".join(_line(e) for e in host_entries()))


def guest_apt():
    """Debian of the guest: this machine's suite, resolved from an empty status."""
    return Apt("guest", "".join(_line(e) for e in host_entries()), status="")


def foreign_apt(suite):
    m = mirror()
    e = Entry(("deb",), m.uri, suite, ("main",), m.signed_by, m.trusted)
    return Apt(suite, _line(e, ("deb", "deb-src")), status="")


def download_pin(pin, dest):
    """Fetch a pinned file from the mirror's pool; False when it is not served."""
    url = mirror().uri.rstrip("/") + "/" + pin.pool
    tmp = dest.with_name(dest.name + ".part")
    cmd = ["/usr/lib/apt/apt-helper", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3",
           "download-file", url, str(tmp), f"SHA256:{pin.sha256}"]
    p = subprocess.run(cmd, env=_env(), capture_output=True, check=False,
                       stdin=subprocess.DEVNULL)
    if p.returncode == 0:
        tmp.replace(dest)
        return True
    text = (p.stdout + p.stderr).decode(errors="replace")
    tmp.unlink(missing_ok=True)
    if "Hash Sum mismatch" in text:
        progress.note(f"{pin.name}: the mirror's file has another SHA-256: not used")
    elif "404" not in text:
        why = [t for t in text.splitlines() if t.startswith("E:")]
        progress.note(f"{pin.name}: {why[0][3:] if why else 'not fetched'}")
    return False
