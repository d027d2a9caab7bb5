# SPDX-License-Identifier: GPL-2.0-or-later
"""Suite tool: scripts/tests, by the standard library's unittest."""

import sys
import time
import unittest

from ..results import FAIL, PASS, SKIP
from ..util import ROOT

TESTS = ROOT / "scripts" / "tests"


def _cases(suite):
    for t in suite:
        if isinstance(t, unittest.TestSuite):
            yield from _cases(t)
        else:
            yield t


def run(ctx):
    sys.path.insert(0, str(ROOT / "scripts"))
    loaded = unittest.TestLoader().discover(str(TESTS), top_level_dir=str(TESTS))
    for case in _cases(loaded):
        name = case.id()
        if not ctx.selected(name):
            continue
        if ctx.listing:
            ctx.list(name)
            continue
        began = time.monotonic()
        result = unittest.TestResult()
        result.buffer = False
        case.run(result)
        took = time.monotonic() - began
        bad = result.errors + result.failures
        if bad:
            text = "\n".join(b[1] for b in bad)
            ctx.add(name, FAIL, took, text.strip().splitlines()[-1], text)
        elif result.skipped:
            ctx.add(name, SKIP, took, result.skipped[0][1])
        else:
            ctx.add(name, PASS, took)


