# SPDX-License-Identifier: GPL-2.0-or-later
"""What is kept in the cache, and when it is not believed any more."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import types
import unittest
from unittest import mock

from ccad_tool import accel, apt, fetch, guest, host, kernel, pins, progress, qemu, store
from ccad_tool.util import ROOT, Fail

GOOD, BAD = b"what was pinned", b"something else"
PIN = pins.Pin("1.0", "pool/main/x/x/x.tar", hashlib.sha256(GOOD).hexdigest())


class Cache(unittest.TestCase):
    def setUp(self):
        d = tempfile.TemporaryDirectory()
        self.addCleanup(d.cleanup)
        self.dir = pathlib.Path(d.name)
        self.said = []
        for p in (mock.patch.dict(os.environ, CCAD_CACHE=d.name),
                  mock.patch.object(progress, "note", self.said.append),
                  mock.patch.object(progress, "Activity", lambda *a, **k: contextlib.nullcontext())):
            p.start()
            self.addCleanup(p.stop)


class Downloads(Cache):
    """fetch.get() with a mirror that serves what it is told to."""

    def setUp(self):
        super().setUp()
        self.file = self.dir / "dl/x.tar"
        self.file.parent.mkdir()
        self.served = []
        for p in (mock.patch.object(fetch, "_good", set()), mock.patch.object(apt, "download_pin", self.serve)):
            p.start()
            self.addCleanup(p.stop)

    def serve(self, pin, dest):
        dest.write_bytes(self.served.pop(0))
        return True

    def get(self):
        return fetch.get(pins.Source("X", "x", (PIN,), (), ""))

    def test_a_good_one_is_taken_without_a_word(self):
        self.file.write_bytes(GOOD)
        self.assertEqual(self.get(), self.file)
        self.assertEqual(self.said, [])

    def test_it_is_read_once(self):
        self.file.write_bytes(GOOD)
        self.get()
        with mock.patch.object(fetch, "file_sha256", side_effect=AssertionError):
            self.get()

    def test_a_damaged_one_is_fetched_again(self):
        self.file.write_bytes(BAD)
        self.served = [GOOD]
        self.assertEqual(self.get().read_bytes(), GOOD)
        self.assertEqual(len([t for t in self.said if "differs" in t]), 1)

    def test_a_download_with_another_sum_is_refused(self):
        self.served = [BAD]
        with self.assertRaisesRegex(Fail, "SHA-256") as e:
            self.get()
        self.assertTrue(e.exception.remedy)
        self.assertFalse(self.file.exists())


class Probes(Cache):
    """accel.probe() on a machine whose /dev/kvm does not run the guest, or does."""

    def setUp(self):
        super().setUp()
        self.booted = []
        self.usable = False
        for p in (mock.patch.object(os.path, "exists", lambda p: True),
                  mock.patch.object(os, "access", lambda *a: True),
                  mock.patch.object(guest, "Guest", self.guest)):
            p.start()
            self.addCleanup(p.stop)

    def guest(self, options, *_):
        self.booted.append(options.device)

        def ready(*_):
            if not self.usable:
                raise guest.NotUp("hang", "no word", "")
        return types.SimpleNamespace(start=lambda: None, kill=lambda: None, wait_ready=ready)

    def probe(self, device=True):
        what = types.SimpleNamespace(key="k")
        return accel.probe(what, what, None, device=device)[0]

    def age(self, seconds):
        for f in (self.dir / "probe").iterdir():
            os.utime(f, (f.stat().st_mtime - seconds,) * 2)

    def test_no_is_asked_again_after_a_day(self):
        self.assertFalse(self.probe())
        self.assertFalse(self.probe())
        self.assertEqual(len(self.booted), 1)
        self.usable = True
        self.age(accel.AGAIN + 1)
        self.assertTrue(self.probe())

    def test_yes_stays(self):
        self.usable = True
        self.probe()
        self.age(30 * accel.AGAIN)
        self.assertTrue(self.probe())
        self.assertEqual(len(self.booted), 1)

    def test_a_guest_without_the_device_is_another(self):
        self.probe()
        self.probe(device=False)
        self.assertEqual(self.booted, [True, False])


class Compilers(Cache):
    def cc(self, version, name="cc"):
        p = self.dir / name
        p.write_text(f"#!/bin/sh\necho '{name} (Debian {version}) 12.2.0'\n")
        p.chmod(0o755)
        host.compiler.cache_clear()
        return str(p)

    def test_update_makes_another_build(self):
        tree = self.dir / "qemu"
        tree.mkdir()
        for make in (lambda: qemu.Build(tree).key, lambda: kernel.Build(tree).key):
            with mock.patch.object(host, "compiler", lambda p: "12.2.0-14"):
                old, same = make(), make()
            with mock.patch.object(host, "compiler", lambda p: "12.2.0-15"):
                new = make()
            self.assertEqual(old, same)
            self.assertNotEqual(old, new)

    def test_build_directory_of_another(self):
        build = self.dir / "build"
        cc = self.cc("12.2.0-14")
        self.assertFalse(host.configured_for(build, "c", cc))
        (build / "meson-info").mkdir(parents=True)
        (build / "build.ninja").touch()
        (build / "meson-info/intro-compilers.json").write_text(json.dumps(
            {"host": {"c": {"full_version": "gcc-12 (Debian 12.2.0-14) 12.2.0"}}}))
        self.assertTrue(host.configured_for(build, "c", cc))
        self.assertFalse(host.configured_for(build, "c", self.cc("12.2.0-15")))

    def test_none(self):
        self.assertEqual(host.compiler("/nonexistent/cc"), "")


class Checkout(Cache):
    def test_nothing_is_written_to_it(self):
        copy = self.dir / "checkout/scripts"
        shutil.copytree(ROOT / "scripts", copy, ignore=shutil.ignore_patterns("__pycache__"))
        subprocess.run([copy / "ccad", "boot", "--help"], check=True, stdout=subprocess.DEVNULL)
        self.assertEqual(list(copy.rglob("__pycache__")), [])
        self.assertTrue(list(store.path("pycache").rglob("*.pyc")))


if __name__ == "__main__":
    unittest.main()
