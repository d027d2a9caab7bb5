# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU with the device: source, patches, build, firmware."""

import os
import pathlib
import re
import shutil
from dataclasses import dataclass

from . import fetch, host, pins, progress, store, trees
from .util import ROOT, Fail, build_env, digest, files_under, jobs

DEVICE = ROOT / "qemu-device"
FIRMWARE_FILES = ("bios-256k.bin", "kvmvapic.bin", "linuxboot_dma.bin", "pvh.bin")


@dataclass(frozen=True)
class Qemu:
    binary: pathlib.Path
    share: pathlib.Path         # firmware, for -L
    key: str


def install_map():
    """(path in QEMU's tree, file of ours) by qemu-device/qemu/install.txt.

    Each line: a file, directory or pattern below qemu-device/, and where it
    goes; a target that ends in '/' is a directory.
    """
    listing = DEVICE / "qemu" / "install.txt"
    out = {}
    try:
        lines = listing.read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        fields = line.split("#", 1)[0].split()
        if not fields:
            continue
        if len(fields) != 2:
            raise Fail(f"{listing}: '{line}' is not 'SOURCE TARGET'")
        src, dst = fields
        found = sorted(DEVICE.glob(src.rstrip("/")))
        if not found:
            raise Fail(f"{listing}: {src} matches nothing below {DEVICE}")
        for f in found:
            if f.is_dir():
                for rel in files_under(f):
                    out[os.path.normpath(os.path.join(dst, rel))] = f / rel
            elif dst.endswith("/"):
                out[os.path.normpath(os.path.join(dst, f.name))] = f
            else:
                out[os.path.normpath(dst)] = f
    return sorted(out.items())


def configure_args():
    text = (DEVICE / "qemu" / "configure-args").read_text()
    return [t for line in text.splitlines() for t in line.split("#", 1)[0].split()]


# Besides those of configure-args: QEMU's fuzzer, by libFuzzer and with ASan,
# and no devices but those of fuzz-devices.mak.
FUZZ_ARGS = ("--cc=clang", "--cxx=clang++", "--enable-fuzzing", "--enable-asan",
             "--without-default-devices", "--with-devices-x86_64=ccad-fuzz")


class Build:
    """What a build of QEMU depends on, and the build."""

    def __init__(self, source=None, fuzzing=False):
        self.origin = pathlib.Path(source) if source else fetch.get(pins.QEMU)
        self.tree = trees.Tree("QEMU", self.origin)
        self.patches = trees.series(DEVICE / "patches")
        self.files = [(dst, src.read_bytes()) for dst, src in install_map()]
        self.args = configure_args() + list(FUZZ_ARGS if fuzzing else ())
        self.compiler = "/usr/bin/clang" if fuzzing else "/usr/bin/gcc"
        self.config_key = digest(self.args, os.path.realpath(self.compiler))
        self.key = digest(self.tree.base_key, [p.read_bytes() for p in self.patches],
                          [[d, b] for d, b in self.files], self.config_key, host.compiler(self.compiler))
        self.dir = store.path("build", f"{self.tree.lock_name}-{self.config_key[:8]}")

    def get(self):
        """The built QEMU; made when it is not there."""
        out = store.result("qemu", self.key)
        if not out:
            with store.lock(self.tree.lock_name):
                out = store.result("qemu", self.key)
                if not out:
                    self._make(["qemu-system-x86_64"])
                    out = self._keep()
        return Qemu(out / "qemu-system-x86_64", out / "share", self.key)

    def targets(self, names):
        """Also build more of QEMU's targets; returns the build directory."""
        with store.lock(self.tree.lock_name):
            self._make(names)
        return self.dir

    def add_firmware(self):
        """Where the programs in the build directory look for it without -L."""
        share = self.dir / "qemu-bundle/usr/local/share/qemu"
        share.mkdir(parents=True, exist_ok=True)
        gather_firmware(share, [self.tree.tree / "pc-bios"])

    def env(self):
        debs = fetch.debs_dir("python", pins.PYTHON)
        return build_env(PYTHONPATH=str(debs / "usr/lib/python3/dist-packages"))

    def _make(self, targets):
        env = self.env()
        self.tree.prepare()
        self.tree.apply(self.patches, self.files)
        if not host.configured_for(self.dir, "c", self.compiler):
            shutil.rmtree(self.dir, ignore_errors=True)
            self.dir.mkdir(parents=True)
            with progress.Activity("QEMU: configure"):
                try:
                    store.command([self.tree.tree / "configure", "--python=/usr/bin/python3",
                                   *self.args], "qemu-configure.log", cwd=self.dir, env=env)
                except BaseException:
                    shutil.rmtree(self.dir, ignore_errors=True)
                    raise
        with progress.Activity("QEMU: build") as act:
            def watch(line):
                m = re.match(r"\[(\d+)/(\d+)\]", line)
                if m:
                    act.at(int(m[1]), int(m[2]))
            store.command(["ninja", f"-j{jobs()}", *targets], "qemu-build.log", cwd=self.dir,
                          env=env, watch=watch)

    def _keep(self):
        with store.new_result("qemu", self.key) as tmp:
            shutil.copy2(self.dir / "qemu-system-x86_64", tmp)
            share = tmp / "share"
            share.mkdir()
            gather_firmware(share, [self.tree.tree / "pc-bios"])
        return store.result("qemu", self.key)


def gather_firmware(share, dirs):
    """The few images a guest without display and network needs, wherever they are."""
    dirs = list(dirs)
    if not all(any((d / f).exists() for d in dirs) for f in FIRMWARE_FILES):
        debs = fetch.debs_dir("firmware", pins.FIRMWARE)
        dirs += [debs / "usr/share/seabios", debs / "usr/share/qemu"]
    for f in FIRMWARE_FILES:
        for d in dirs:
            if (d / f).exists():
                shutil.copy2(d / f, share / f)
                break
        else:
            raise Fail(f"no firmware image {f}", "packages seabios and qemu-system-data hold them")


def given(path):
    """A QEMU binary of the user's."""
    p = pathlib.Path(path).resolve()
    if not os.access(p, os.X_OK):
        raise Fail(f"{path}: not an executable", "--qemu wants a qemu-system-x86_64")
    share = store.result("share", "1")
    if not share:
        with store.lock("share"), store.new_result("share", "1") as tmp:
            gather_firmware(tmp, [])
        share = store.result("share", "1")
    st = p.stat()
    return Qemu(p, share, digest(p, st.st_size, st.st_mtime_ns))
