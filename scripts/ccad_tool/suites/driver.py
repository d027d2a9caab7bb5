# SPDX-License-Identifier: GPL-2.0-or-later
"""Suite driver: the driver and shared virtual memory."""

from .inguest import run_suite


def run(ctx):
    run_suite(ctx, "driver", ("drivers/ccad",))
