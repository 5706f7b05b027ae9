"""Record which functions each test reaches, and how long it takes: a mutant needs only those.

That takes minutes, so the record is kept in .mutants/. For core it is valid until the tests or the
code change. A test of the rooms around core is watched in a process of its own, with all the
processes that it starts, and the record by function names is valid until the test changes: it takes
many times as long.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.mutants import bequest
from tests.mutants.hook import spy_on
from tests.mutants.plant import first_lines
from tests.mutants.rooms import CORE, PACKAGE, ROOT, Room, path_of

SEEN = ROOT / ".mutants"
MEETS_ALL = ("tests/verify/",)
"""Tests of whole nodes: they reach every function, and watching them is too slow."""


_WRITE_GAP_S = 5.0


_ANY = ("", "")
"""Functions of a test that fails only while it is watched, which is slow."""


@dataclass
class Met:
    """What is known of the tests, by their ids."""

    took_s: dict[str, float] = field(default_factory=dict)
    functions: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    """File and name of each."""
    failing: set[str] = field(default_factory=set)
    """Tests of the rooms around core that fail here without any fault."""

    def tests_at(self, file: str, name: str) -> list[str]:
        """Return the tests that reach a function; all of them if unknown."""
        found = [
            test
            for test, met in self.functions.items()
            if met & {(file, name), _ANY} or test.startswith(MEETS_ALL)
        ]
        return found or list(self.functions)

    def tests_of(self, file: str) -> set[str]:
        """Return the tests that reach any function of a file."""
        return {
            test for test, met in self.functions.items() if any(place[0] == file for place in met)
        }


def watch(
    room: Room, items: list[pytest.Item], passes: Callable[[pytest.Item], bool], jobs: int
) -> Met:
    """Run every test that has no valid record.

    A failed test of core ends the run, one of another room is left out.
    """
    place = SEEN / f"seen-{room.name}.json"
    kept = json.loads(place.read_text(encoding="utf-8")) if place.exists() else {}
    states = {item.nodeid: _state_of(room, item) for item in items}
    unknown = [
        item for item in items if kept.get(item.nodeid, {}).get("state") != states[item.nodeid]
    ]
    SEEN.mkdir(exist_ok=True)
    seen = (
        _watch_here(room, unknown, passes)
        if room.name == CORE
        else _watch_apart(room, unknown, passes, jobs)
    )
    written_at = time.monotonic()
    for nodeid, (is_ok, functions, took_s) in seen:
        kept[nodeid] = {
            "state": states[nodeid],
            "took_s": took_s,
            "met": sorted(functions),
            "is_ok": is_ok,
        }
        # The record of a thousand tests is long: not after each of them.
        if time.monotonic() >= written_at + _WRITE_GAP_S:
            place.write_text(json.dumps(kept), encoding="utf-8")
            written_at = time.monotonic()
    met = Met()
    for name in states:
        if not kept[name].get("is_ok", True):
            met.failing.add(name)
            del kept[name]  # Tried again the next time.
            continue
        met.took_s[name] = kept[name]["took_s"]
        met.functions[name] = {(file, function) for file, function in kept[name]["met"]}
    place.write_text(json.dumps(kept), encoding="utf-8")
    return met


_Seen = tuple[str, tuple[bool, set[tuple[str, str]], float]]


def _watch_here(
    room: Room, items: list[pytest.Item], passes: Callable[[pytest.Item], bool]
) -> Iterator[_Seen]:
    files = {str(path_of(name)): name for name in room.files}
    for item in items:
        codes: set[types.CodeType] = set()

        def trace(frame: types.FrameType, _event: str, _arg: object) -> None:
            codes.add(frame.f_code)

        began = time.monotonic()
        if not item.nodeid.startswith(MEETS_ALL):
            sys.settrace(trace)
        is_ok = passes(item)
        sys.settrace(None)
        if not is_ok:
            raise pytest.UsageError(f"{item.nodeid} fails without any fault")
        met = {
            (files[code.co_filename], code.co_firstlineno)
            for code in codes
            if code.co_filename in files
        }
        yield item.nodeid, (True, _named(met), time.monotonic() - began)


def _watch_apart(
    room: Room, items: list[pytest.Item], passes: Callable[[pytest.Item], bool], jobs: int
) -> Iterator[_Seen]:
    files = {str(path_of(name)): name for name in room.files}
    waiting = list(reversed(items))
    going: dict[Any, Any] = {}
    with tempfile.TemporaryDirectory(dir=SEEN) as folder:
        while waiting or going:
            while waiting and len(going) < jobs:
                item = waiting.pop()
                notes = Path(folder) / f"{len(waiting)}"
                read, child = bequest.fork(
                    lambda item=item, notes=notes: _spied(item, passes, notes)  # type: ignore[misc]
                )
                going[read] = item.nodeid, notes, child, time.monotonic()
            for read in select.select(list(going), [], [])[0]:
                nodeid, notes, child, began = going.pop(read)
                result = bequest.end(read, child, str(notes))
                lines = notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []
                places = [text.rpartition(":") for text in lines]
                functions = _named(
                    {(files[file], int(line)) for file, _, line in places if file in files}
                )
                functions |= {_ANY} if result == "ok unwatched" else set()
                print(f"watched {nodeid}: {result}, {len(functions)} functions", flush=True)
                yield nodeid, (result.startswith("ok"), functions, time.monotonic() - began)


def _named(places: set[tuple[str, int]]) -> set[tuple[str, str]]:
    """Map places by first line to places by function name."""
    for file in {file for file, _ in places} - set(_names):
        _names[file] = first_lines(path_of(file).read_text(encoding="utf-8"))
    return {(file, _names[file][line]) for file, line in places if line in _names[file]}


_names: dict[str, dict[int, str]] = {}


def _spied(item: pytest.Item, passes: Callable[[pytest.Item], bool], notes: Path) -> str:
    os.environ[bequest.SPY] = str(notes)
    spy_on(str(notes))
    if passes(item):
        return "ok"
    os.environ[bequest.SPY] = ""
    sys.settrace(None)
    return "ok unwatched" if passes(item) else "fails"


_shared: dict[str, str] = {}


def _state_of(room: Room, item: pytest.Item) -> str:
    """Return a value that changes with the test's file, the code and shared test code."""
    if room.name not in _shared:
        tests = {
            path
            for folder in room.tests
            for path in (ROOT / folder).glob("*.py")
            if "test_" not in path.name
        }
        code = set((PACKAGE / "core").glob("*.py")) if room.name == CORE else set()
        _shared[room.name] = _digest(sorted(tests | code)) + ",".join(room.files)
    if item.nodeid.startswith(MEETS_ALL):
        return _digest([item.path])
    return _digest([item.path]) + _shared[room.name]


def _digest(paths: list[Path]) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]
