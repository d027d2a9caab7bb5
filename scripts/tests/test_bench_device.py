# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of ccad bench device, from the output of the programs."""

import contextlib
import io
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

from ccad_tool import bench_device as bench, bench_rows, cli
from ccad_tool.suites import fuzz
from ccad_tool.util import ROOT, Fail

BENCH = ROOT / "qemu-device/tests/bench/bench_core.cpp"


def core_output():
    """What Google Benchmark prints for all that the rows want."""
    names = {k for _, _, *keys in bench.core_table() for k in (keys[0], keys[2])}
    names |= {k.removeprefix("core:") for *_, k in bench.guest_table() if k.startswith("core:")}
    out = []
    for n in sorted(names):
        if n.endswith(":p99"):
            continue
        run = n.replace("/manual_time", "/iterations:9/manual_time")
        b = {"name": run, "run_name": run, "run_type": "iteration", "real_time": 250.0,
             "cpu_time": 1.0, "time_unit": "ns"}
        if n.startswith(("copy", "fill", "host_")):
            b["bytes_per_second"] = 3 * 1048576.0
        elif n.startswith(("empty", "hand_over")):
            b["items_per_second"] = 1000.0
        elif n.startswith("invalidate"):
            b["p99"] = 900.0
        low = {k: b[k] / 2 for k in ("real_time", "bytes_per_second", "items_per_second", "p99")
               if k in b}
        out += [b, b | low, b, b | {"run_type": "aggregate", "real_time": 1.0}]
    return json.dumps({"context": {}, "benchmarks": out})


class Rows(unittest.TestCase):
    def all_rows(self):
        core = bench.parse_core(core_output())
        lines = []
        for _, _, key, _, ykey in bench.guest_table():
            lines += [f"{k} {v}" for k in (key, ykey) if not k.startswith("core:")
                      for v in (2097152, 1048576, 2097152)]
        return (bench.rows(bench.core_table(), core)
                + bench.rows(bench.guest_table(), bench.parse_guest("\n".join(lines)), core))

    def test_well_formed(self):
        rows = self.all_rows()
        self.assertEqual(len({r["name"] for r in rows}), len(rows))
        for r in json.loads(json.dumps(rows)):
            self.assertEqual(tuple(r)[:6], bench_rows.KEYS)
            self.assertIn(r["unit"], ("MiB/s", "commands/s", "ns", "us"))
            self.assertGreater(r["value"], 0)
            self.assertAlmostEqual(r["ratio"], r["value"] / r["yardstick_value"])
            for k in ("name", "unit", "yardstick"):
                self.assertIsInstance(r[k], str)

    def test_units(self):
        rows = {r["name"]: r for r in self.all_rows()}
        self.assertEqual(rows["core: copy of 4 KiB"]["value"], 3)
        self.assertEqual(rows["core: invalidation under load, 99 of 100"]["value"], 900)
        self.assertEqual(rows["guest: copy of 2 MiB"]["value"], 2)
        self.assertEqual(rows["guest: copy of 2 MiB"]["yardstick_value"], 3)
        self.assertEqual(rows["guest: page request round trip"]["value"], 2097152e6)

    def test_repetitions(self):
        """Of bandwidths the best, of the rest the median, and how far apart they are."""
        core = bench.core_table()
        (rate,) = [t for t in core if t[0] == "core: fill of 2 MiB"]
        (time,) = [t for t in core if t[0] == "core: ATC hit"]
        figures = {k: [4.0, 5.0, 3.0, 2.0, 4.0] for t in (rate, time) for k in (t[2], t[4])}
        rows = bench.rows((rate, time), figures | {time[4]: [8.0]})
        self.assertEqual([(r["value"], r["yardstick_value"], r["spread"]) for r in rows],
                         [(5, 5, 0.6), (4, 8, 0.75)])
        (row,) = bench.rows((rate,), {rate[2]: [5.0], rate[4]: [4.0]})
        self.assertIsNone(row["spread"])

    def test_table(self):
        rows = self.all_rows()
        lines = bench_rows.table(rows)
        self.assertEqual(len(lines), len(rows) + 1)
        self.assertTrue(lines[1].startswith(rows[0]["name"]))

    def test_json(self):
        """What is written is exactly what a row's documentation says."""
        rows = self.all_rows()
        with tempfile.TemporaryDirectory() as tmp, contextlib.redirect_stdout(io.StringIO()), \
                contextlib.redirect_stderr(io.StringIO()):
            path = pathlib.Path(tmp, "rows.json")
            bench_rows.report(rows, str(path))
            written = json.loads(path.read_text())
        for r in written:
            self.assertEqual(list(r), ["name", "value", "unit", "yardstick", "yardstick_value",
                                       "ratio"])
        self.assertEqual(written, [{k: r[k] for k in written[0]} for r in rows])

    def test_goals(self):
        """What falls short of its goal is marked, and makes the command fail."""
        rows = {r["name"]: r for r in self.all_rows()}
        self.assertEqual(set(bench.GOALS) - set(rows), set(), "goals of no row")
        self.assertEqual(rows["core: copy of 2 MiB"]["goal"], -0.9)
        self.assertEqual(rows["guest: empty commands, 16 in flight"]["goal"], -1.0)
        self.assertIsNone(rows["core: copy of 4 KiB"]["goal"])
        table = [t for t in bench.core_table() if t[0] == "core: fill of 2 MiB"]
        for value, missed in ((0.89, 1), (0.9, 0), (2, 0)):
            (row,) = bench.rows(table, {table[0][2]: [value], table[0][4]: [1]})
            with contextlib.redirect_stdout(io.StringIO()) as out, \
                    contextlib.redirect_stderr(io.StringIO()):
                self.assertEqual(bench_rows.report([row]), missed)
            self.assertEqual("misses the goal" in out.getvalue(), bool(missed))

    def test_failures_are_said(self):
        with self.assertRaises(Fail):
            bench.rows(bench.core_table(), {})
        with self.assertRaises(Fail):
            bench.parse_guest("Segmentation fault")
        with self.assertRaises(Fail):
            bench.parse_core('{"benchmarks": [{"run_name": "x", "run_type": "iteration", "error_occurred": true}]}')

    def test_benchmarks_are_there(self):
        """Every benchmark that a row names is registered."""
        there = set(re.findall(r"^BENCHMARK\((\w+)\)", BENCH.read_text(), re.M))
        for _, _, key, _, ykey in bench.core_table():
            for k in (key, ykey):
                self.assertIn(re.split("[/:]", k)[0], there)

    def test_help(self):
        args = cli.parser().parse_args(["bench", "device", "--json", "x"])
        self.assertEqual((args.run, args.json), ("bench-device", "x"))


class Fuzz(unittest.TestCase):
    def test_statistics(self):
        self.assertEqual(fuzz.stats("x\nstat::number_of_executed_units: 42\n"
                                    "stat::average_exec_per_sec:     7\n"), (42, 7))
        self.assertEqual(fuzz.stats("killed"), (0, 0))

    def test_corpora_are_small(self):
        for target in fuzz.TARGETS:
            files = list(pathlib.Path(fuzz.CORPUS / target).iterdir())
            self.assertGreater(len(files), 10, target)
            self.assertLess(len(files), 100, target)
            self.assertLess(sum(f.stat().st_size for f in files), 16384, target)
            for f in files:
                self.assertEqual(f.suffix, ".bin", f)

    def test_seeds_of_qemu_are_up_to_date(self):
        where = fuzz.CORPUS / fuzz.QEMU_TARGET
        with tempfile.TemporaryDirectory() as tmp:
            subprocess.run([sys.executable, fuzz.CORPUS.parent / "corpus_qemu.py", tmp], check=True)
            want = {f.name: f.read_bytes() for f in pathlib.Path(tmp).iterdir()}
        self.assertEqual({f.name: f.read_bytes() for f in where.iterdir()}, want)


if __name__ == "__main__":
    unittest.main()
