"""``make mutants``: plants each fault of a room alone, runs the tests that meet it, prints which
one finds it.

A mutant that no test finds survives: either a test is missing, or the fault changes nothing that
anybody can see; the latter are listed in equivalent.txt with the reason. Exit code 1 if any other
one survived.

The tests are collected once and run once, watched for the functions that each of them meets. A
mutant is then tried in a fork of that process. The rooms around core are tried with the daemons and
commands that their tests start.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutants import bequest
from tests.mutants.plant import Mutant, mutants_of
from tests.mutants.planted import planted_in
from tests.mutants.rooms import CORE, ROOMS, ROOT, Room, files_of, room_of
from tests.mutants.trial import UNPLANTED, Bench, Verdict
from tests.mutants.watch import watch

DEPARTED_STOPPED = (
    "crash_points or with force or every pair or authenticated or both primary] or only_on_evidence"
)
"""Too slow for every mutant; the rest of the suite detects the same faults."""
LEFT_OUT_OF_ROOMS = (
    "docker or test_many_services or flood or storm or stall_at_any or hung_disk or"
    " node_that_can_open_none"
)
"""Too slow as well, or no test of these rooms."""
_LIMIT_S, _ROOM_LIMIT_S = 300.0, 60.0
"""Seconds for one mutant: a test outside core takes seconds, and hundreds may reach a function."""
_TEST_LIMIT_S = "40"
"""Longest wait, in seconds, of a test outside core.

It is the time to detect a fault that prevents an event.
"""


@dataclass
class Count:
    """Number of mutants of one file."""

    planted: int = 0
    killed: int = 0
    same: int = 0
    survived: int = 0


class Session:
    """Pytest plugin that replaces the run of the tests."""

    def __init__(self, asked: argparse.Namespace, room: Room, files: list[str]) -> None:
        self._asked = asked
        self._room = room
        self._files = files
        self.is_failed = False

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out slow tests, and all but a few of twenty runs of one random history."""
        words = (DEPARTED_STOPPED if self._room.name == CORE else LEFT_OUT_OF_ROOMS).split(" or ")
        items[:] = [
            item
            for item in items
            if not any(word in item.nodeid for word in words)
            and not re.search(r"twice\[[^]]*[0-9]{2}", item.nodeid)
        ]

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run all tests once, then each mutant against the tests that reach it."""
        began = time.monotonic()
        met = watch(self._room, session.items, _passes, self._asked.jobs)
        print(f"{len(session.items)} tests, {sum(met.took_s.values()):.0f} s", flush=True)
        for name in sorted(met.failing):
            print(f"LEFT OUT  {name}: fails here without any fault", flush=True)
        bench = Bench(self._room, session.items, met, _passes, self._asked.jobs, self._asked.again)
        known, counts = equivalents(), {name: Count() for name in self._files}
        for verdict in bench.judge(chosen(self._asked, self._files), self._asked.seconds):
            self._report(verdict, known, counts[verdict.mutant.file])
        self._sum_up(counts, time.monotonic() - began)
        for name in bench.broken_finders():
            self.is_failed = True
            print(f"VOID: {name} fails without any fault, too: the tree was edited meanwhile")
        return True

    def _report(self, verdict: Verdict, known: dict[str, str], count: Count) -> None:
        name, reason = verdict.mutant.name, known.get(verdict.mutant.lasting_name)
        count.planted += 1
        if verdict.found_by == UNPLANTED:
            count.survived += 1
            text = f"UNPLANTED {name}"
        elif verdict.found_by and reason:
            count.survived += 1
            text = (
                f"NOT SAME  {name}  by {verdict.found_by}, though equivalent.txt states: {reason}"
            )
        elif verdict.found_by:
            count.killed += 1
            if verdict.is_kept:
                return
            text = f"killed    {name}  by {verdict.found_by.split('/')[-1]}"
        elif reason:
            count.same += 1
            text = f"same      {name}  ({reason})"
        else:
            count.survived += 1
            text = f"SURVIVED  {name}" + (
                "  in the time that it was given" if verdict.is_cut_short else ""
            )
        print(f"{text}  ({verdict.seconds:.1f} s of {verdict.tests} tests)", flush=True)

    def _sum_up(self, counts: dict[str, Count], seconds: float) -> None:
        total = Count()
        print(f"\n{'file':26}{'planted':>8}{'killed':>8}{'same':>8}{'survived':>10}")
        for name, count in counts.items():
            if count.planted:
                print(
                    f"{name:26}{count.planted:8}{count.killed:8}{count.same:8}{count.survived:10}"
                )
            for part in vars(total):
                setattr(total, part, getattr(total, part) + getattr(count, part))
        print(
            f"{'all':26}{total.planted:8}{total.killed:8}{total.same:8}{total.survived:10}   in"
            f" {seconds / 60:.0f} min"
        )
        self.is_failed = bool(total.survived)


def _passes(item: pytest.Item) -> bool:
    from _pytest.runner import runtestprotocol

    reports = runtestprotocol(item, nextitem=None, log=False)
    return not any(report.failed for report in reports)


def chosen(asked: argparse.Namespace, files: list[str]) -> list[Mutant]:
    """Return the requested mutants: those planted by hand first, then from each file in turn."""
    found: list[Mutant] = []
    for name in files:
        found += planted_in(name)
    if not asked.by_hand:
        for name in files:
            found += mutants_of(name)[asked.first :: asked.every]
    return [
        mutant for mutant in found if any(text in mutant.name for text in asked.only.split(","))
    ]


def equivalents() -> dict[str, str]:
    """Return the mutants without effect, by name without line number, with the reason."""
    found = {}
    for line in Path(__file__).with_name("equivalent.txt").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, reason = line.partition(" # ")
            found[name.strip()] = reason.strip()
    return found


def main(argv: list[str]) -> int:
    """Print each mutant and the test that detects it, then the number of survivors."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants", description=str(__doc__).split("\n\n")[0]
    )
    parser.add_argument(
        "--room",
        default=CORE,
        help=f"{', '.join(ROOMS)}, or one file as in system/atomic_files; several: a,b",
    )
    parser.add_argument(
        "--every",
        type=int,
        default=1,
        help="only each Nth mutant of a file, and all planted by hand",
    )
    parser.add_argument("--first", type=int, default=0, help="the first of those")
    parser.add_argument("--by-hand", action="store_true", help="only those of planted.py")
    parser.add_argument(
        "--only",
        default="",
        help="only those whose line in the list contains one of these texts (a,b)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=0.0,
        help=(
            "so long after it was begun no further test of a mutant is run (core: 300, other"
            " rooms: 60)"
        ),
    )
    parser.add_argument(
        "--tests", default="", help="try them on these tests of the room only: paths (a,b)"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="so many at a time")
    parser.add_argument(
        "--again",
        action="store_true",
        help="try those as well that an earlier run found, with this code and this test",
    )
    parser.add_argument("--list", action="store_true", help="only list them")
    asked = parser.parse_args(argv)
    try:
        files = files_of(asked.room.split(","))
    except ValueError as error:
        parser.error(str(error))
    rooms = {room_of(file).name for file in files}
    asked.seconds = asked.seconds or (_LIMIT_S if rooms == {CORE} else _ROOM_LIMIT_S)
    if asked.list:
        print("\n".join(mutant.name for mutant in chosen(asked, files)))
        return 0
    if len(rooms) > 1:
        # The tests of each room are collected in a process of their own.
        argv = [
            word
            for word in argv
            if word not in ("--room", asked.room) and not word.startswith("--room=")
        ]
        codes = [
            subprocess.call(
                [
                    sys.executable,
                    "-m",
                    "tests.mutants",
                    *argv,
                    "--room",
                    ",".join(
                        f"{name}/{Path(file).stem}" for file in files if room_of(file).name == name
                    ),
                ]
            )
            for name in sorted(rooms)
        ]
        return max(codes)
    os.chdir(ROOT)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    room = ROOMS[rooms.pop()]
    options = [
        "-o",
        "addopts=",
        "-p",
        "no:terminal",
        "-p",
        "no:cacheprovider",
        "-p",
        "pytest_timeout",
        "-p",
        "pytest_mock",
        "-s",
    ]
    if room.name != CORE:
        os.environ.setdefault("OPENHA_TEST_LIMIT_S", _TEST_LIMIT_S)
        options += ["-o", f"timeout={2 * float(os.environ['OPENHA_TEST_LIMIT_S']):g}"]
    session = Session(asked, room, files)
    with bequest.hooked():
        code = pytest.main(
            [*options, *(asked.tests.split(",") if asked.tests else room.tests)], plugins=[session]
        )
    return int(code) or (1 if session.is_failed else 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
