# SPDX-License-Identifier: GPL-2.0-or-later
"""Suite cdm: the coherent memory node."""

from .inguest import run_suite


def run(ctx):
    run_suite(ctx, "cdm", ("mm/cdm",))
