# SPDX-License-Identifier: GPL-2.0-or-later
"""ccad test: the suites, in order, with one set of results."""

import copy
import fnmatch
import importlib
import traceback
from dataclasses import dataclass
from typing import Callable

from . import accel, boot, host, kernel, pins, progress, results
from .suites import ABOUT, LONG, ORDER
from .util import Fail


@dataclass(frozen=True)
class Mode:
    """How the suites of the guest are run."""

    prefix: str = ""                    # of the cases' names
    fragments: tuple = kernel.GUEST     # configuration of the kernel
    slow: float = 1.0                   # factor of every time limit
    memory: int = 0                     # bytes that the guest gets besides what a test asks for
    kernel_args: tuple = ()
    command: Callable = lambda test, command: command
    # (runner, guest): looks at a guest that is well before it is powered off
    after: Callable | None = None
    # A test may fail, as long as the kernel does not.
    may_fail: bool = False
    # Also those tests that want a kernel which looks for its own bugs.
    debug: bool = False


class Context:
    """What a suite gets: the choice of cases, the parts, where results go."""

    def __init__(self, args, res):
        self.args, self.results = args, res
        self.suite = None
        self.full = args.full
        self.listing = args.list
        self.pattern = args.name
        self.matched = 0
        self.mode = Mode()
        self._parts = None
        self._top = self

    def variant(self, mode):
        """The same run in another mode."""
        c = copy.copy(self)
        c.mode = mode
        if mode.fragments != self.mode.fragments:
            c._parts = None
        return c

    def selected(self, name):
        """Is this case chosen by -k?  A part of the name, or a pattern."""
        if not self.pattern:
            return True
        name = self.mode.prefix + name
        return (self.pattern in name or fnmatch.fnmatch(name, self.pattern)
                or self.pattern in f"{self.suite}: {name}")

    def add(self, name, status, seconds=0.0, detail="", output="", log=""):
        self._top.matched += 1
        self.results.add(self.suite, self.mode.prefix + name, status, seconds, detail, output, log)

    def list(self, name):
        self._top.matched += 1
        print(f"{self.suite}: {self.mode.prefix}{name}", flush=True)

    def log_path(self, name):
        """A file of this name in the results' directory, apart from those of other modes."""
        return self.results.log_path(f"{self.suite}-{self.mode.prefix}{name}"
                                     if self.mode.prefix else name)

    def boot_limit(self):
        """Seconds in which a guest has to be up."""
        return boot.BOOT_LIMIT[self.parts()[1]] * self.mode.slow

    def parts(self):
        """QEMU, kernel, root file system and accelerator, made once."""
        if self._parts is None:
            p = boot.Parts(self.args, self.mode.fragments)
            self._parts = p, accel.choose(self.args.accel, p.qemu, p.kernel, p.rootfs)
        return self._parts


def choose(args):
    """The suites to run, in order."""
    if args.suites:
        return [s for s in ORDER if s in args.suites]
    chosen = [s for s in ORDER if args.full or s not in LONG]
    if args.kernel_tree:        # a kernel is judged by the guest's suites
        chosen = [s for s in chosen if s in ("kunit", "cdm", "driver", *LONG)]
    return chosen


def main(args):
    unknown = [s for s in args.suites if s not in ORDER]
    if unknown:
        raise Fail(f"no suite '{unknown[0]}'", "there are: " + ", ".join(ORDER))
    chosen = choose(args)
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
