# SPDX-License-Identifier: GPL-2.0-or-later
"""ccad bench: rows of results, as a table and as JSON.

A result is a row, a dictionary with these keys, of which the JSON has those
down to the ratio:

    name, value, unit           what was measured
    yardstick, yardstick_value  what it is compared with, both None if nothing
    ratio                       value / yardstick_value, None without one
    goal                        upper limit of the ratio (a lower one is negative), or None
    spread                      of the repetitions: (largest - smallest) / value, or None
"""

import json
import os
import pathlib

from . import progress
from .util import Fail

KEYS = ("name", "value", "unit", "yardstick", "yardstick_value", "ratio")


def row(name, value, unit, yardstick=None, yardstick_value=None, goal=None, spread=None):
    ratio = value / yardstick_value if yardstick_value and value is not None else None
    return dict(zip((*KEYS, "goal", "spread"), (name, value, unit, yardstick, yardstick_value, ratio, goal, spread)))


def missed(r):
    """Does this row's ratio not reach its goal?"""
    if r["goal"] is None or r["ratio"] is None:
        return False
    return r["ratio"] > r["goal"] if r["goal"] >= 0 else r["ratio"] < -r["goal"]


def number(x):
    if x is None:
        return "-"
    if isinstance(x, int) or abs(x) >= 1e6:
        return f"{x:.0f}"
    return f"{x:.4g}" if abs(x) < 10 else f"{x:.1f}"


def table(rows):
    """Lines of text; what misses its goal is marked."""
    head = ("", "value", "unit", "yardstick", "its value", "ratio", "spread", "")
    cells = [head] + [(
        r["name"], number(r["value"]), r["unit"], r["yardstick"] or "-", number(r["yardstick_value"]),
        "-" if r["ratio"] is None else f"{r['ratio']:.4f}",
        "-" if r["spread"] is None else f"{r['spread'] * 100:.3f} %",
        "misses the goal" if missed(r) else "") for r in rows]
    width = [max(len(c[i]) for c in cells) for i in range(len(head))]
    left = (0, 2, 3, 7)
    return ["  ".join(c.ljust(w) if i in left else c.rjust(w)
                      for i, (c, w) in enumerate(zip(line, width))).rstrip() for line in cells]


def check_json(path):
    """Before the measurement: can the rows be written there?"""
    if path:
        where = pathlib.Path(path).absolute().parent
        if not where.is_dir() or not os.access(where, os.W_OK):
            raise Fail(f"--json {path}: {where} is not a directory that can be written to")


def report(rows, json_path=None):
    """Print and write the rows; the command's exit code."""
    print("\n".join(table(rows)), flush=True)
    if json_path:
        out = [{k: r[k] for k in KEYS} for r in rows]
        pathlib.Path(json_path).write_text(json.dumps(out, indent=1) + "\n")
        progress.note(f"{json_path}: {len(rows)} rows")
    bad = [r for r in rows if missed(r)]
    if bad:
        progress.say(f"{len(bad)} of {len(rows)} miss their goal")
    return 1 if bad else 0
