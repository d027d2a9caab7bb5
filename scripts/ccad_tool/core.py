# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds of the device's core by itself: its unit tests, fuzzers and benchmarks."""

import os

from . import fetch, host, pins, store
from .util import ROOT, build_env, digest


def build(name, options=(), targets=(), **env):
    """Bring a build directory of its own up to date; returns it."""
    debs = fetch.debs_dir("python", pins.PYTHON)
    env = build_env(PYTHONPATH=str(debs / "usr/lib/python3/dist-packages"), **env)
    meson = ["/usr/bin/python3", debs / "usr/bin/meson"]
    out = store.path("build", f"core-{name}-{digest(ROOT, options, os.path.realpath('/usr/bin/g++'))}")
    with store.lock(out.name):
        if not host.configured_for(out, "cpp", env.get("CXX", "/usr/bin/g++")):
            wipe = ["--wipe"] if out.exists() else []
            store.command([*meson, "setup", *wipe, *options, out, ROOT], f"core-{name}-setup.log",
                          env=env)
        store.command(["ninja", "-C", out, *targets], f"core-{name}.log", env=env)
    return out
