# SPDX-License-Identifier: GPL-2.0-or-later
"""ccad test: the suites, in order, with one set of results."""

import fnmatch
import importlib
import traceback

from . import accel, boot, host, pins, progress, results
from .suites import ABOUT, ORDER
from .util import Fail


class Context:
    """What a suite gets: the choice of cases, the parts, where results go."""

    def __init__(self, args, res):
        self.args, self.results = args, res
        self.suite = None
        self.full = args.full
        self.listing = args.list
        self.pattern = args.name
        self.matched = 0
        self._parts = None

    def selected(self, name):
        """Is this case chosen by -k?  A part of the name, or a pattern."""
        if not self.pattern:
            return True
        return (self.pattern in name or fnmatch.fnmatch(name, self.pattern)
                or self.pattern in f"{self.suite}: {name}")

    def add(self, name, status, seconds=0.0, detail="", output="", log=""):
        self.matched += 1
        self.results.add(self.suite, name, status, seconds, detail, output, log)

    def list(self, name):
        self.matched += 1
        print(f"{self.suite}: {name}", flush=True)

    def parts(self):
        """QEMU, kernel, root file system and accelerator, made once."""
        if self._parts is None:
            p = boot.Parts(self.args)
            self._parts = p, accel.choose(self.args.accel, p.qemu, p.kernel, p.rootfs)
        return self._parts


def main(args):
    unknown = [s for s in args.suites if s not in ORDER]
    if unknown:
        raise Fail(f"no suite '{unknown[0]}'", "there are: " + ", ".join(ORDER))
    chosen = [s for s in ORDER if s in args.suites or not args.suites]
    if args.kernel_tree and not args.suites:    # a kernel is judged by the guest's suites
        chosen = [s for s in chosen if s in ("kunit", "cdm", "driver")]
    host.check_arch()
    host.ensure(pins.HOST_PACKAGES + pins.TEST_PACKAGES)
    res = results.Results(args.results)
    ctx = Context(args, res)
    for name in chosen:
        ctx.suite = name
        progress.stage(f"suite {name}: {ABOUT[name]}")
        try:
            importlib.import_module(f"ccad_tool.suites.{name}").run(ctx)
        except Fail as e:
            ctx.add("set-up", results.FAIL, 0, e.what + (f" ({e.remedy})" if e.remedy else ""))
        except Exception as e:      # noqa: BLE001 - the other suites still count
            ctx.add("set-up", results.FAIL, 0, repr(e), traceback.format_exc())
    if args.list:
        return 0 if ctx.matched else 1
    if args.name and not ctx.matched:
        progress.say(f"ccad: no case matches '{args.name}': see ccad test --list")
    return res.finish()
