# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything that comes from outside: what, which version, from where, in what order.

A Pin is tried at its place in the pool of the machine's own Debian mirror and
checked against its SHA-256.  When no pin of a list is served any more, the
candidate of the suites named is taken, checked by apt's signatures, and said so.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pin:
    version: str
    pool: str           # below the mirror's root
    sha256: str

    @property
    def name(self):
        return self.pool.rsplit("/", 1)[1]


@dataclass(frozen=True)
class Source:
    title: str
    package: str        # Debian's name, for the fallback
    pins: tuple
    suites: tuple       # fallback, in order
    accept: str         # versions that a fallback may have: a prefix


QEMU = Source(
    "QEMU", "qemu",
    (
        Pin("11.1.1", "pool/main/q/qemu/qemu_11.1.1+ds.orig.tar.xz",
            "0b1376e75dbe3e2fea4e408f8669f88a723f419f36a5b7d74cc6a4cfe07e4f5e"),
        Pin("11.1.2", "pool/main/q/qemu/qemu_11.1.2+ds.orig.tar.xz",
            "4f41c3df35a86d2497f842a585b014fe5aef45ceec6450e61615f0164ca39761"),
        Pin("11.1.3", "pool/main/q/qemu/qemu_11.1.3+ds.orig.tar.xz",
            "502fe33503df3520b6a81176a94d77eef908eb252bacc675d7199f379ac26641"),
    ),
    ("trixie-backports", "forky", "sid"), "11.1.")

LINUX = Source(
    "Linux", "linux-source-7.3",
    (
        Pin("7.3.4", "pool/main/l/linux/linux-source-7.3_7.3.4-1~bpo13+1_all.deb",
            "703e369ddd4cce971452f5a593ee55df3a5c10c83caf0fa0df039633ed181ee3"),
    ),
    ("trixie-backports", "forky", "sid"), "7.3.")

# What QEMU's build needs of Python and is newer than Debian 12's.
PYTHON = (
    Source("meson", "meson",
           (Pin("1.7.0", "pool/main/m/meson/meson_1.7.0-1~bpo12+1_all.deb",
                "4b86d2f2cb4431d03826fa4b2c3a89508edeb8140509e7e4b285285ec3175bbe"),),
           ("bookworm-backports", "trixie", "sid"), "1."),
    Source("pycotap", "python3-pycotap",
           (Pin("1.3.1", "pool/main/p/python-pycotap/python3-pycotap_1.3.1-2~bpo12+1_all.deb",
                "3774be6e79318192059aa72e7b7a701e8b99bba2147befcc715650a0da65ca96"),),
           ("bookworm-backports", "trixie", "sid"), "1."),
    Source("qemu.qmp", "python3-qemu-qmp",
           (Pin("0.0.6", "pool/main/p/python-qemu-qmp/python3-qemu-qmp_0.0.6-1~bpo13+1_all.deb",
                "a6a2432c436c7b2244d2255ce899e6c3907fb671676f8c90844738d271f4572f"),),
           ("trixie-backports", "forky", "sid"), "0."),
)

# The firmware that a repacked QEMU tarball does not have.
FIRMWARE = (
    Source("SeaBIOS", "seabios",
           (Pin("1.16.3", "pool/main/s/seabios/seabios_1.16.3-2_all.deb",
                "2b590534250b940f43222eeab9a8f57f337a9d9a73fc412a43ab8cd07a7e56f6"),),
           ("trixie", "bookworm", "sid"), ""),
    Source("QEMU firmware", "qemu-system-data",
           (Pin("10.0.13", "pool/main/q/qemu/qemu-system-data_10.0.13+ds-0+deb13u1_all.deb",
                "a0e03c526cc09d4c2ab20aa19a8c12e916cdc49a170acb16a6563c28f70eafd3"),),
           ("trixie", "bookworm", "sid"), ""),
)

QEMU_STEPS = 1710       # of ninja, for the first build's progress
LINUX_STEPS = 1900      # objects of the guest's kernel, likewise

# Suite of the guest's programs where this machine is not Debian.
GUEST_SUITE = "bookworm"

# Debian packages that this machine needs, and for what.
HOST_PACKAGES = (
    ("build-essential", "C and C++ compiler, make"),
    ("git", "applies the patches"),
    ("xz-utils", "unpacks the sources"),
    ("ninja-build", "builds QEMU and the device's core"),
    ("pkg-config", "QEMU: finds libraries"),
    ("python3-venv", "QEMU: configure"),
    ("python3-setuptools", "QEMU: configure"),
    ("python3-wheel", "QEMU: configure"),
    ("python3-pip", "QEMU: configure"),
    ("python3-packaging", "QEMU: configure"),
    ("libglib2.0-dev", "QEMU"),
    ("zlib1g-dev", "QEMU; device: compression"),
    ("libfdt-dev", "QEMU"),
    ("device-tree-compiler", "QEMU"),
    ("libattr1-dev", "QEMU: 9p for --share"),
    ("libisal-dev", "device: CRC32C"),
    ("flex", "Linux: Kconfig; QEMU"),
    ("bison", "Linux: Kconfig; QEMU"),
    ("bc", "Linux: timeconst"),
    ("libelf-dev", "Linux: objtool"),
    ("libssl-dev", "Linux: certificates"),
    ("libnuma-dev", "demonstration and self-tests"),
    ("liburing-dev", "benchmark in the guest"),
    ("libboost-dev", "demonstration: CRC32C on the CPU"),
    ("rsync", "Linux: lib.mk installs self-tests with it"),
    ("e2fsprogs", "image of the guest's root file system"),
    ("debian-archive-keyring", "signatures of other suites"),
)

# More of them, for `ccad test` and `ccad series`.
TEST_PACKAGES = (
    ("libgtest-dev", "unit tests of the device"),
    ("libgmock-dev", "unit tests of the device"),
)
FUZZ_PACKAGES = (
    ("clang", "fuzzers of the device: compiler with libFuzzer"),
    ("libclang-rt-dev", "fuzzers of the device: libFuzzer and the sanitizers"),
    ("llvm", "fuzzers of the device: names in stack traces"),
)
REGRESS_PACKAGES = (
    ("libcap-dev", "the kernel's self-tests of mm"),
)
BENCH_PACKAGES = (
    ("libbenchmark-dev", "benchmarks of the device's core"),
)
SERIES_PACKAGES = (
    ("perl", "checkpatch"),
    ("python3-ply", "checkpatch: spdxcheck"),
    ("python3-git", "checkpatch: spdxcheck"),
    ("sparse", "checks of address spaces and locks"),
    ("codespell", "checkpatch: dictionary"),
)
