# SPDX-License-Identifier: GPL-2.0-or-later
"""What has to agree between the parts of the project, and the pins."""

import pathlib
import tempfile
import unittest

from ccad_tool import host, kernel, kgit, pins, qemu, series, series_matrix, trees
from ccad_tool.util import ROOT


class Pins(unittest.TestCase):
    def sources(self):
        return (pins.QEMU, pins.LINUX, *pins.PYTHON, *pins.FIRMWARE)

    def test_well_formed(self):
        for s in self.sources():
            self.assertTrue(s.suites, s.title)
            for p in s.pins:
                self.assertRegex(p.sha256, r"^[0-9a-f]{64}$", p.name)
                self.assertRegex(p.pool, r"^pool/main/\w+/[^/]+/[^/]+$", p.name)
                self.assertTrue(p.version.startswith(s.accept), p.name)

    def test_any_of_three_qemu(self):
        self.assertEqual({p.version for p in pins.QEMU.pins}, {"11.1.1", "11.1.2", "11.1.3"})

    def test_packages_named_once(self):
        names = [n for n, _ in host.all_packages()]
        self.assertEqual(len(names), len(set(names)))


class Parts(unittest.TestCase):
    def test_install_map_has_the_device(self):
        targets = dict(qemu.install_map())
        self.assertIn("hw/misc/ccad/meson.build", targets)
        self.assertIn("hw/misc/ccad/include/ccad_hw.h", targets)
        self.assertTrue(any(t.startswith("hw/misc/ccad/core/") for t in targets))

    def test_qemu_is_told_not_to_download(self):
        self.assertIn("--disable-download", qemu.configure_args())

    def test_hardware_header_in_the_kernel(self):
        """The series' copy of the hardware header is the device's, byte for byte."""
        patches = [p for p in trees.series(kernel.PATCHES)
                   if kgit.HEADER_IN_KERNEL in trees.touched_paths(p.read_text())]
        self.assertTrue(patches, "no patch of the series has " + kgit.HEADER_IN_KERNEL)
        self.assertEqual(_apply_only(patches, kgit.HEADER_IN_KERNEL), kgit.HEADER.read_bytes())

    def test_selftests_in_the_kernel(self):
        """The series' self-tests are those of selftests/."""
        patches = trees.series(kernel.PATCHES)
        for ours, theirs in kgit.COLLECTIONS.items():
            chosen = [p for p in patches if any(t.startswith(theirs + "/") for t in
                                                trees.touched_paths(p.read_text()))]
            self.assertTrue(chosen, "no patch of the series has " + theirs)
            with tempfile.TemporaryDirectory() as d:
                for p in chosen:
                    _git_apply(p, d, theirs + "/*")
                got = _contents(pathlib.Path(d) / theirs)
            self.assertEqual(got, {n: (kgit.SELFTESTS / ours / n).read_bytes() for n in
                                   kgit.collection_files(kgit.SELFTESTS / ours)},
                             "scripts/ccad kernel tree DIR, then series export DIR")

    def test_license_of_every_file(self):
        for top in ("scripts", "guest-rootfs", "qemu-device", "selftests", ".ci"):
            for f in sorted((ROOT / top).rglob("*")):
                if f.is_symlink() or not f.is_file() or "__pycache__" in f.parts \
                        or f.name.startswith(".checkpatch"):
                    continue
                if f.suffix in (".patch", ".pyc") or f.name in ("passwd", "group", "series", "config") \
                        or f.name.endswith("settings") or f.suffix in (".json", ".txt", ".md", ".bin"):
                    continue
                head = f.read_text(errors="replace")[:400]
                self.assertIn("SPDX-License-Identifier:", head, str(f.relative_to(ROOT)))


def _git_apply(patch, where, only):
    import subprocess
    subprocess.run(["git", "apply", "-p1", "--whitespace=nowarn", "--include=" + only,
                    str(patch.resolve())], cwd=where, check=True, capture_output=True,
                   env={"PATH": "/usr/bin:/bin", "GIT_CEILING_DIRECTORIES": str(pathlib.Path(where).parent)})


def _apply_only(patches, path):
    with tempfile.TemporaryDirectory() as d:
        for p in patches:
            _git_apply(p, d, path)
        return (pathlib.Path(d) / path).read_bytes()


def _contents(top):
    return {str(f.relative_to(top)): f.read_bytes() for f in sorted(top.rglob("*")) if f.is_file()}


class Cover(unittest.TestCase):
    TEXT = """\
From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
Subject: [PATCH 00/12] mm: coherent device memory

Words.

ccad (12):
  mm: one

 mm/a.c | 10 ++++++++++
 mm/b.c |  2 --
 2 files changed, 10 insertions(+), 2 deletions(-)
 create mode 100644 mm/a.c

base-commit: x
"""
    STAT = " mm/c.c | 1 +\n 1 file changed, 1 insertion(+)"
    LOG = "A (1):\n  mm: two\n\nB (8):\n  mm: three that\n    is long"

    def test_number_shortlog_and_diffstat(self):
        out = series.refresh_cover(self.TEXT, 9, self.LOG, self.STAT)
        self.assertIn("Subject: [PATCH 0/9] mm: coherent", out)
        self.assertIn("Words.\n\n" + self.LOG + "\n\n" + self.STAT + "\n\nbase-commit: x\n", out)
        self.assertNotIn("mm/a.c", out)

    def test_stable(self):
        once = series.refresh_cover(self.TEXT, 12, self.LOG, self.STAT)
        self.assertEqual(series.refresh_cover(once, 12, self.LOG, self.STAT), once)
        self.assertIn("[PATCH 00/12]", once)


class Objects(unittest.TestCase):
    MAKEFILE = """\
obj-y := a.o b.o \\
\t c.o
obj-$(CONFIG_ZSWAP) += zswap.o
obj-$(CONFIG_CCAD) += ccad.o
ccad-y := core.o sysfs.o
ccad-$(CONFIG_CDM) += cdm.o # with memory
mmu-$(CONFIG_MMU) := memory.o
"""

    def test_option(self):
        for obj, want in (("a.o", "y"), ("c.o", "y"), ("zswap.o", "CONFIG_ZSWAP"), ("core.o", "y"),
                          ("cdm.o", "CONFIG_CDM"), ("memory.o", "CONFIG_MMU"), ("included.o", None)):
            self.assertEqual(series_matrix.option_of(self.MAKEFILE, obj), want, obj)


class Kconfig(unittest.TestCase):
    def test_wanted(self):
        got = kernel.wanted('CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C="x"\n# words\nCONFIG_D=12\n')
        self.assertEqual(got, {"CONFIG_A": "y", "CONFIG_B": "n", "CONFIG_C": '"x"', "CONFIG_D": "12"})


if __name__ == "__main__":
    unittest.main()
