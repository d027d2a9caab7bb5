# SPDX-License-Identifier: GPL-2.0-or-later
"""KTAP and TAP as programs print it → a flat list of cases."""

import re
from dataclasses import dataclass, field

PASS, FAIL, SKIP = "pass", "fail", "skip"

_RESULT = re.compile(r"^(\s*)(not )?ok\b(?:\s+(\d+))?(?:\s+-)?\s*(.*?)\s*$")
_PLAN = re.compile(r"^(\s*)1\.\.(\d+)(?:\s*#\s*(.*))?$")
_VERSION = re.compile(r"^(\s*)K?TAP version \d+")
_DIRECTIVE = re.compile(r"^(.*?)(?:\s*#\s*(SKIP|TODO|XFAIL|XPASS|TIMEOUT|ERROR)\b[:\s]*(.*))$", re.I)


@dataclass
class Case:
    name: str
    status: str
    detail: str = ""
    output: list = field(default_factory=list)


@dataclass
class _Level:
    indent: int
    planned: int | None = None
    seen: int = 0
    cases: list = field(default_factory=list)       # leaves of the current parent
    order: int = 0


def parse(text):
    """(cases, problems): every leaf result, and what is wrong with the stream itself."""
    stack = [_Level(0)]
    problems, notes = [], []
    bail = None

    def close(level):
        if level.planned is not None and level.planned != level.seen:
            problems.append(f"planned {level.planned}, saw {level.seen}")

    for line in text.splitlines():
        m = _VERSION.match(line)
        if m:
            indent = len(m[1])
            while len(stack) > 1 and stack[-1].indent > indent:
                close(stack.pop())
            if indent > stack[-1].indent:
                stack.append(_Level(indent))
            continue
        m = _PLAN.match(line)
        if m:
            indent = len(m[1])
            if indent > stack[-1].indent:
                stack.append(_Level(indent))
            stack[-1].planned = int(m[2])
            if m[2] == "0" and m[3]:
                stack[-1].cases.append(Case("", SKIP, m[3].removeprefix("SKIP").strip()))
            continue
        if line.lstrip().lower().startswith("bail out!"):
            bail = line.strip()[9:].strip() or "bail out"
            continue
        m = _RESULT.match(line)
        if m and (m[3] or m[4]):
            indent = len(m[1])
            children = []
            while len(stack) > 1 and stack[-1].indent > indent:
                level = stack.pop()
                close(level)
                children = level.cases + children
            if indent > stack[-1].indent:
                stack.append(_Level(indent))
            level = stack[-1]
            level.seen += 1
            name, status, detail = m[4], FAIL if m[2] else PASS, ""
            d = _DIRECTIVE.match(name)
            if d:
                name, detail = d[1], d[3].strip()
                kind = d[2].upper()
                if kind == "SKIP":
                    status = SKIP
                elif kind in ("TODO", "XFAIL"):     # known and expected to fail
                    status = SKIP if m[2] else PASS
                    detail = f"{kind.lower()}: {detail}"
                elif kind in ("XPASS", "TIMEOUT", "ERROR"):
                    status, detail = FAIL, f"{kind.lower()} {detail}".strip()
            name = name or f"case {m[3] or level.seen}"
            if children:
                for c in children:
                    c.name = f"{name}.{c.name}" if c.name else name
                level.cases += children
                if status == FAIL and all(c.status != FAIL for c in children):
                    level.cases.append(Case(name, FAIL, detail or "failed as a whole", notes))
                    notes = []
            else:
                level.cases.append(Case(name, status, detail, notes))
                notes = []
            continue
        notes.append(line)
    while len(stack) > 1:
        level = stack.pop()
        close(level)
        stack[-1].cases += level.cases
    close(stack[0])
    if bail is not None:
        problems.append(f"bailed out: {bail}")
    return stack[0].cases, problems


def judge(name, text, code):
    """Cases of one program's run: its KTAP and its exit code have to agree.

    Exit codes are those of kselftest: 0 passed, 4 skipped, anything else failed.
    """
    cases, problems = parse(text)
    for c in cases:
        c.name = c.name or name
    if not cases and not problems:
        status = {0: PASS, 4: SKIP}.get(code, FAIL)
        lines = text.splitlines()
        detail = "" if status == PASS else (lines[-1].lstrip("# ") if lines else f"exit code {code}")
        return [Case(name, status, detail, lines)]
    if code not in (0, 4) and all(c.status != FAIL for c in cases) and not problems:
        problems.append(f"exit code {code} though no case failed")
    if code == 0 and any(c.status == FAIL for c in cases):
        problems.append("exit code 0 though a case failed")
    return cases + [Case(name, FAIL, p, text.splitlines()[-20:]) for p in problems]
