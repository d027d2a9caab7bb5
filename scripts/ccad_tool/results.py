# SPDX-License-Identifier: GPL-2.0-or-later
"""Results of tests: KTAP on the terminal, JUnit XML and logs in one directory."""

import os
import pathlib
import re
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from . import progress, store

PASS, FAIL, SKIP = "pass", "fail", "skip"
HANG, SPLAT, DEAD = "hang", "splat", "dead"     # failed, and in what way
_SAY = {HANG: "hang", SPLAT: "kernel", DEAD: "guest died"}


@dataclass
class Record:
    suite: str
    name: str
    status: str
    seconds: float
    detail: str
    output: str
    log: str


class Results:
    def __init__(self, directory=None):
        if directory:
            self.dir = pathlib.Path(directory).absolute()
        else:
            self.dir = store.path("results", time.strftime("%Y%m%d-%H%M%S") + f"-{os.getpid()}")
        self.dir.mkdir(parents=True, exist_ok=True)
        self.records = []
        self._begun = False

    def add(self, suite, name, status, seconds=0.0, detail="", output="", log=""):
        """One case; printed as it comes."""
        detail = _clean(detail)
        r = Record(suite, name, status, seconds, detail, output, str(log))
        self.records.append(r)
        if not self._begun:
            self._begun = True
            self._print("KTAP version 1")
        n = len(self.records)
        if status == PASS:
            self._print(f"ok {n} {suite}: {name}")
        elif status == SKIP:
            self._print(f"ok {n} {suite}: {name} # SKIP {detail}".rstrip())
        else:
            for line in (output.splitlines()[-15:] if output else []):
                self._print("# " + _clean(line))
            how = _SAY.get(status)
            why = ": ".join(t for t in (how, detail) if t)
            if why:
                self._print(f"# {name}: {why}")
            if log:
                self._print(f"# log: {log}")
            self._print(f"not ok {n} {suite}: {name}")

    def remark(self, text):
        """A line that is no result, beside them."""
        self._print("# " + _clean(text))

    def _print(self, line):
        with progress._lock:
            progress._erase()
            print(line, flush=True)

    def log_path(self, name):
        """A file of this name in the results' directory."""
        p = self.dir / re.sub(r"[^A-Za-z0-9_.-]", "_", name)
        p.parent.mkdir(parents=True, exist_ok=True)
        return p

    def finish(self):
        """Write everything down, print the last line, return the exit code."""
        count = {PASS: 0, FAIL: 0, SKIP: 0}
        for r in self.records:
            count[r.status if r.status in count else FAIL] += 1
        self._junit()
        if self._begun:
            self._print(f"1..{len(self.records)}")
        bad = [r for r in self.records if r.status not in (PASS, SKIP)]
        for r in bad:
            how = _SAY.get(r.status, "failed")
            print(f"# {how}: {r.suite}: {r.name}" + (f": {r.detail}" if r.detail else ""))
        print(f"# results: {self.dir}")
        line = f"{count[PASS]} passed, {count[FAIL]} failed"
        if count[SKIP]:
            line += f", {count[SKIP]} skipped"
        print(line, flush=True)
        return 0 if count[PASS] and not count[FAIL] else 1

    def _junit(self):
        top = ET.Element("testsuites", name="ccad")
        for suite in dict.fromkeys(r.suite for r in self.records):
            rs = [r for r in self.records if r.suite == suite]
            s = ET.SubElement(top, "testsuite", name=suite, tests=str(len(rs)),
                              failures=str(sum(r.status == FAIL for r in rs)),
                              errors=str(sum(r.status in _SAY for r in rs)),
                              skipped=str(sum(r.status == SKIP for r in rs)),
                              time=f"{sum(r.seconds for r in rs):.3f}")
            for r in rs:
                c = ET.SubElement(s, "testcase", classname=suite, name=_clean(r.name),
                                  time=f"{r.seconds:.3f}")
                if r.status == SKIP:
                    ET.SubElement(c, "skipped", message=r.detail)
                elif r.status != PASS:
                    # A case that failed is a failure; a hang or a splat is an error.
                    e = ET.SubElement(c, "error" if r.status in _SAY else "failure",
                                      type=r.status, message=r.detail)
                    e.text = _clean(r.output)[-20000:]
                if r.log:
                    ET.SubElement(c, "system-out").text = f"log: {r.log}"
        ET.indent(top)
        ET.ElementTree(top).write(self.dir / "junit.xml", encoding="utf-8", xml_declaration=True)


def _clean(text):
    """What XML and a terminal can bear."""
    return re.sub(r"[^\t\n\x20-\ud7ff\ue000-\ufffd]", "?", text)
