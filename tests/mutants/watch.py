"""Which functions of the decision code each test meets, and how long each takes: a mutant is tried on those alone.

Watching the calls takes a minute or two, so what was seen is kept in .mutants/ until the tests or the code change.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import pytest

from tests.mutants.plant import DECISIONS

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "opensvc_openha" / "core"
SEEN = ROOT / ".mutants" / "seen.json"
MEETS_ALL = ("tests/sim/",)
"""Whole nodes: these tests meet every function, and watching them would take longer than they do."""


@dataclass
class Met:
    """What is known of the tests, by their ids."""

    took_s: "dict[str, float]" = field(default_factory=dict)
    functions: "dict[str, set[tuple[str, int]]]" = field(default_factory=dict)
    """File and first line of each."""

    def tests_at(self, file: str, line: int) -> "list[str]":
        """The tests that meet a function."""
        return [test for test, met in self.functions.items() if (file, line) in met or test.startswith(MEETS_ALL)]


def watch(items: "list[pytest.Item]", passes: "Callable[[pytest.Item], bool]") -> Met:
    """Runs every test that is not known from before; a failing one ends it all."""
    kept = json.loads(SEEN.read_text(encoding="utf-8")) if SEEN.exists() else {}
    files = {str(CORE / name): name for name in DECISIONS}
    met, new = Met(), {}
    for item in items:
        state = _state_of(item)
        old = kept.get(item.nodeid)
        if old is None or old["state"] != state:
            seen, took_s = _run(item, passes, files)
            old = {"state": state, "took_s": took_s, "met": sorted(seen)}
        new[item.nodeid] = old
        met.took_s[item.nodeid] = old["took_s"]
        met.functions[item.nodeid] = {(name, line) for name, line in old["met"]}
    SEEN.parent.mkdir(exist_ok=True)
    SEEN.write_text(json.dumps({**kept, **new}), encoding="utf-8")
    return met


def _run(
    item: pytest.Item, passes: "Callable[[pytest.Item], bool]", files: "dict[str, str]"
) -> "tuple[set[tuple[str, int]], float]":
    codes: "set[types.CodeType]" = set()

    def trace(frame: types.FrameType, _event: str, _arg: object) -> None:
        codes.add(frame.f_code)

    began = time.monotonic()
    if not item.nodeid.startswith(MEETS_ALL):
        sys.settrace(trace)
    is_ok = passes(item)
    sys.settrace(None)
    if not is_ok:
        raise pytest.UsageError(f"{item.nodeid} fails without any fault")
    seen = {(files[code.co_filename], code.co_firstlineno) for code in codes if code.co_filename in files}
    return seen, time.monotonic() - began


_SHARED: "list[str]" = []


def _state_of(item: pytest.Item) -> str:
    """Changes with the test's file, with the decision code and with what the tests share."""
    if not _SHARED:
        shared = [*CORE.glob("*.py"), *(path for path in (ROOT / "tests" / "core").glob("*.py") if "test_" not in path.name)]
        _SHARED.append(_digest(sorted(shared)) + ",".join(DECISIONS))
    if item.nodeid.startswith(MEETS_ALL):
        return _digest([item.path])
    return _digest([item.path]) + _SHARED[0]


def _digest(paths: "list[Path]") -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]
