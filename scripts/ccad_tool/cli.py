# SPDX-License-Identifier: GPL-2.0-or-later
"""Command line of ccad."""

import argparse
import signal
import sys

from . import procs, progress
from .util import Fail


def _seconds(text):
    units = {"s": 1, "m": 60, "h": 3600}
    try:
        value = float(text[:-1]) * units[text[-1]] if text[-1:] in units else float(text)
    except ValueError:
        value = 0
    if value <= 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a time: 90, 90s, 2m")
    return value


def _sources(p):
    g = p.add_argument_group("what to run")
    g.add_argument("--qemu-source", metavar="PATH", help="source of QEMU 11.1: tree or tarball")
    g.add_argument("--linux-source", metavar="PATH", help="source of Linux 7.3: tree or tarball")
    g.add_argument("--qemu", metavar="PATH", help="a qemu-system-x86_64 that is built already")
    g.add_argument("--kernel", metavar="PATH", help="a vmlinux that is built already")


def _guest(p):
    g = p.add_argument_group("the guest")
    g.add_argument("--accel", choices=("auto", "kvm", "tcg"), default="auto",
                   help="auto: kvm where a guest really starts under it, else tcg")
    g.add_argument("--memory", metavar="SIZE", default="1G", help="ordinary memory (%(default)s)")
    g.add_argument("--cpus", metavar="N", type=int, default=2, help="processors (%(default)s)")
    g.add_argument("--cdm-size", metavar="SIZE", default="512M",
                   help="the accelerator's memory (%(default)s)")
    g.add_argument("--distance", metavar="N", type=int, default=160,
                   help="NUMA distance of that memory (%(default)s)")
    g.add_argument("--device-arg", metavar="ARGS", help="more options of the device: engines=4,…")
    g.add_argument("--qemu-arg", metavar="ARG", action="append", help="passed to QEMU; repeatable")
    g.add_argument("--kernel-arg", metavar="ARG", action="append",
                   help="passed to the guest's kernel; repeatable")
    g.add_argument("--no-device", action="store_true", help="a guest without the accelerator")


def _bench(p):
    k = p.add_subparsers(dest="what", required=True, metavar="WHAT")
    q = k.add_parser("device", help="figures of the accelerator, each beside its yardstick",
                     description="Builds what is missing, measures the device's core on this "
                     "machine and the device through its driver in the guest, and prints one row a "
                     "figure: its value, a yardstick of the same run, and value / yardstick. "
                     "Throughput and rates are better when the ratio is high, times (ns, us) when "
                     "it is low. Copies and fills are measured with the host's memcpy and memset "
                     "also in the guest: under TCG the guest's own are no yardstick. Nothing else "
                     "should run meanwhile. Copies and fills of 2 MiB have to reach 0.9 of theirs, "
                     "empty commands NVMe's. Exit code 1: a goal was missed.")
    q.add_argument("--json", metavar="FILE", help="also write the rows as a list of objects: name, "
                   "value, unit, yardstick, yardstick_value, ratio")
    q.add_argument("--core-only", action="store_true", help="boot no guest")
    q.add_argument("--accel", choices=("auto", "kvm", "tcg"), default="auto")
    q.add_argument("--qemu-arg", metavar="ARG", action="append")
    q.add_argument("--kernel-arg", metavar="ARG", action="append")
    _sources(q)
    q.set_defaults(run="bench-device", kernel_tree=None)

    q = k.add_parser("kernel", help="what the series costs those who do not use it",
                     description="Guest instructions per page fault, slab allocation and moved page, "
                                 "counted, of the kernel with the option off and on, without and "
                                 "with a coherent node, beside the unpatched kernel. Builds three "
                                 "kernels. Exit code 1: a goal was missed.")
    q.add_argument("--objects", action="store_true",
                   help="compare machine code instead: objects alone are built, nothing boots")
    q.add_argument("--kernel", metavar="NAME=VMLINUX", action="append",
                   help="a kernel that is there, NAME unpatched, off or on, and no other is measured")
    q.add_argument("--rounds", metavar="N", type=int, default=5,
                   help="repetitions in each guest (%(default)s)")
    q.add_argument("--boots", metavar="N", type=int, default=2, help="guests of each kind (%(default)s)")
    q.add_argument("--linux-source", metavar="PATH", help="source of Linux 7.3: tree or tarball")
    q.add_argument("--qemu-source", metavar="PATH", help="source of QEMU 11.1: tree or tarball")
    q.add_argument("--qemu", metavar="PATH", help="a qemu-system-x86_64 that is built already")
    q.add_argument("--json", metavar="FILE", help="write the rows there")
    q.set_defaults(run="bench-kernel")


def parser():
    top = argparse.ArgumentParser(
        prog="ccad", description="A guest with a coherent accelerator, from one command.")
    sub = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    p = sub.add_parser("boot", help="build what is missing and boot the guest",
                       description="On a terminal: a shell in the guest. Otherwise, or with "
                                   "--demo: the demonstration, then power off.")
    p.add_argument("--exec", metavar="CMD", help="run one command in the guest and exit with its "
                   "code; 124: time-out; 255: the kernel panicked or complained, which "
                   "wins over a time-out")
    p.add_argument("--demo", action="store_true", help="run the demonstration and power off")
    p.add_argument("--input", metavar="FILE", help="what the demonstration works on (QEMU itself)")
    p.add_argument("--timeout", metavar="TIME", type=_seconds, help="limit for --exec and --demo")
    p.add_argument("--share", metavar="DIR", help="readable in the guest at /host")
    p.add_argument("--gdb", action="store_true", help="wait for a debugger on localhost:1234")
    _sources(p)
    _guest(p)
    p.set_defaults(run="boot", kernel_tree=None)

    p = sub.add_parser("shell", help="like boot on a terminal: a shell in the guest")
    p.add_argument("--share", metavar="DIR", help="readable in the guest at /host")
    _sources(p)
    _guest(p)
    p.set_defaults(run="boot", kernel_tree=None, exec=None, demo=False, input=None, timeout=None,
                   gdb=False)

    p = sub.add_parser("build", help="build QEMU, kernel and root file system, boot nothing")
    _sources(p)
    p.set_defaults(run="build", kernel_tree=None)

    p = sub.add_parser("test", help="run the tests",
                       description="Suites: tool, core, fuzz, qemu, boot, kunit, cdm, driver, migrate, which all "
                                   "run without a choice; with --full or when named also debug (on a kernel "
                                   "with KASAN, lockdep and kmemleak, and with failing allocations) and "
                                   "regress (the kernel's own self-tests, without and with the series). "
                                   "Last line: N passed, N failed; with \", N skipped\" when some were.")
    p.add_argument("suites", metavar="SUITE", nargs="*", help="only these")
    p.add_argument("-k", dest="name", metavar="NAME", help="only cases whose name has NAME in it")
    p.add_argument("--full", action="store_true", help="the long ones too")
    p.add_argument("--list", action="store_true", help="print the cases' names, run none")
    p.add_argument("--results", metavar="DIR", help="where JUnit XML and logs go")
    p.add_argument("--kernel-tree", metavar="PATH",
                   help="run the guest's suites on a kernel tree of your own, as it is")
    p.add_argument("--accel", choices=("auto", "kvm", "tcg"), default="auto")
    p.add_argument("--memory", metavar="SIZE")
    p.add_argument("--cpus", metavar="N", type=int)
    p.add_argument("--cdm-size", metavar="SIZE")
    p.add_argument("--qemu-arg", metavar="ARG", action="append")
    p.add_argument("--kernel-arg", metavar="ARG", action="append")
    _sources(p)
    p.set_defaults(run="test")

    _bench(sub.add_parser("bench", help="measure: bench device, bench kernel"))

    p = sub.add_parser("doctor", help="say what works here and in the guest, and the remedies")
    p.add_argument("--accel", choices=("auto", "kvm", "tcg"), default="auto")
    p.add_argument("--qemu-arg", metavar="ARG", action="append")
    p.add_argument("--kernel-arg", metavar="ARG", action="append")
    _sources(p)
    p.set_defaults(run="doctor", kernel_tree=None)

    p = sub.add_parser("kernel", help="kernel tree: the series as a git tree to work in")
    k = p.add_subparsers(dest="what", required=True, metavar="WHAT")
    q = k.add_parser("tree", help="lay the series out as a git tree")
    q.add_argument("dir", metavar="DIR", nargs="?", help="where (default: linux in the cache)")
    q.add_argument("--linux-source", metavar="PATH", help="source of Linux 7.3")
    q.set_defaults(run="kernel-tree")

    p = sub.add_parser("series", help="series export, series check")
    k = p.add_subparsers(dest="what", required=True, metavar="WHAT")
    q = k.add_parser("export", help="write a kernel tree's commits back as the series")
    q.add_argument("dir", metavar="DIR", nargs="?", help="the tree (default: linux in the cache)")
    q.set_defaults(run="series-export")
    q = k.add_parser("check", help="apply, checkpatch --strict, W=1 in many configurations, sparse, judge")
    q.add_argument("--no-build", action="store_true", help="nothing that builds")
    q.add_argument("--full", action="store_true",
                   help="each patch in every configuration, not only the series as a whole")
    q.add_argument("--config", metavar="NAME", action="append",
                   help="build in this configuration alone, the series as a whole: NUMA=n, "
                        "allnoconfig, '32 bits', ...; repeatable")
    q.add_argument("--linux-source", metavar="PATH", help="source of Linux 7.3")
    q.set_defaults(run="series-check")
    return top


def main(argv):
    args = parser().parse_args(argv)
    procs.install_handlers()
    try:
        return _dispatch(args)
    except Fail as e:
        progress.say(f"ccad: {e.what}")
        if e.remedy:
            progress.say(f"      {e.remedy}")
        return e.code
    except procs.Interrupted as e:
        progress.say(f"ccad: interrupted by {signal.Signals(e.signum).name}")
        return 128 + e.signum
    except BrokenPipeError:
        return 141
    finally:
        procs.kill_all()
        try:
            sys.stdout.flush()
        except OSError:
            pass


def _dispatch(args):
    if args.run == "boot":
        from . import boot
        return boot.main(args)
    if args.run == "build":
        from . import boot
        boot.Parts(args)
        return 0
    if args.run == "test":
        from . import testcmd
        return testcmd.main(args)
    if args.run == "bench-device":
        from . import bench_device
        return bench_device.main(args)
    if args.run == "doctor":
        from . import doctor
        return doctor.main(args)
    if args.run == "bench-kernel":
        from . import bench_kernel
        return bench_kernel.main(args)
    if args.run in ("kernel-tree", "series-export", "series-check"):
        from . import series
        return {"kernel-tree": series.tree, "series-export": series.export,
                "series-check": series.check}[args.run](args)
    raise Fail(f"no command {args.run}")
