"""Keep what the drills of this node have measured: written by a drill, read by checks and reports.

Bounded: the newest results, and of each thing that was ever tried out the last one that passed.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from opensvc_openha.formats.layout import Layout
from opensvc_openha.hints import Any
from opensvc_openha.storage.proc_files import write_proc_file

_VERSION = 1
_FILE_BYTES = 4_000_000
_MODE = 0o640
KEPT = 100
"""Results that are kept, whatever they were."""
PASSED_MAX = 200
"""Things of which the last drill that passed is kept beside them."""
STEPS_MAX, TEXT_MAX = 40, 300


class DrillKind(enum.Enum):
    """What is tried out; the values are words of the command, and in JSON."""

    LINK = "link"
    SWITCH = "switch"
    TAKEOVER = "takeover"
    POWER = "power"
    WATCHDOG = "watchdog"


def drill_name(kind: str, subject: str) -> str:
    """Return the name of what is tried out, by which results are compared: ``link net eth1``."""
    return f"{kind} {subject}".rstrip()


@dataclass(frozen=True)
class DrillStep:
    """One thing that was measured; the times are in seconds, ``expected_s`` is the prediction."""

    text: str
    took_s: float | None = None
    expected_s: float | None = None


@dataclass(frozen=True)
class DrillResult:
    """One drill: of which link, service or fence path, when (wall clock), and what was measured.

    ``problem`` is why it did not pass; ``remarks`` are what is worth a look all the same, and what
    the drill did not measure.
    """

    kind: DrillKind
    subject: str
    at: float
    took_s: float
    node: str
    peer: str
    steps: tuple[DrillStep, ...] = ()
    remarks: tuple[str, ...] = ()
    problem: str = ""
    reason: str = ""

    @property
    def is_passed(self) -> bool:
        """True if everything was as predicted."""
        return not self.problem

    @property
    def name(self) -> str:
        """What was tried out: ``link net eth1``."""
        return drill_name(self.kind.value, self.subject)


@dataclass(frozen=True)
class Begun:
    """A drill that has begun and has not recorded its end."""

    name: str
    at: float
    pid: int


@dataclass(frozen=True)
class Drills:
    """All that is known of drills of this node, the oldest result first."""

    results: tuple[DrillResult, ...] = ()
    begun: Begun | None = None

    @property
    def last_passed(self) -> tuple[DrillResult, ...]:
        """The last drill that passed of each thing, in the order of the kinds."""
        newest = {each.name: each for each in self.results if each.is_passed}
        order = list(DrillKind)
        return tuple(sorted(newest.values(), key=lambda each: order.index(each.kind)))

    @property
    def failed_since(self) -> tuple[DrillResult, ...]:
        """The last drill of each thing whose last one did not pass."""
        newest = {each.name: each for each in self.results}
        return tuple(each for each in newest.values() if not each.is_passed)


def with_result(drills: Drills, result: DrillResult) -> Drills:
    """Return the drills with one more result, and without what is too much."""
    results = (*drills.results, result)
    passed = {each.name: each for each in results if each.is_passed}
    kept = {id(each) for each in [*results[-KEPT:], *list(passed.values())[-PASSED_MAX:]]}
    return Drills(tuple(each for each in results if id(each) in kept), drills.begun)


def write_drills(layout: Layout, drills: Drills) -> None:
    """Replace the file. Raises SystemFault."""
    found = {
        "version": _VERSION,
        "begun": None if drills.begun is None else asdict(drills.begun),
        "results": [_to_json(each) for each in drills.results],
    }
    write_proc_file(layout, layout.drills_file, json.dumps(found).encode("ascii"), _MODE)


def read_drills(layout: Layout) -> Drills:
    """Return what the file has; nothing if there is none of this version, or it is damaged.

    Raises PermissionError for a user who may not read it.
    """
    try:
        with open(layout.drills_file, encoding="ascii") as file:
            found = json.loads(file.read(_FILE_BYTES))
        if found["version"] != _VERSION:
            return Drills()
        begun = found["begun"]
        return Drills(
            tuple(_from_json(each) for each in found["results"]),
            None
            if begun is None
            else Begun(str(begun["name"]), float(begun["at"]), int(begun["pid"])),
        )
    except PermissionError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Drills()


def _to_json(result: DrillResult) -> dict[str, Any]:
    steps = [{**asdict(step), "text": step.text[:TEXT_MAX]} for step in result.steps[:STEPS_MAX]]
    return {**asdict(result), "kind": result.kind.value, "steps": steps}


def _from_json(found: Mapping[str, Any]) -> DrillResult:
    return DrillResult(
        DrillKind(found["kind"]),
        str(found["subject"]),
        float(found["at"]),
        float(found["took_s"]),
        str(found["node"]),
        str(found["peer"]),
        tuple(_step(each) for each in found["steps"]),
        _texts(found["remarks"]),
        str(found["problem"]),
        str(found["reason"]),
    )


def _step(found: Mapping[str, Any]) -> DrillStep:
    return DrillStep(str(found["text"]), _number(found["took_s"]), _number(found["expected_s"]))


def _texts(found: Iterable[object]) -> tuple[str, ...]:
    return tuple(map(str, found))


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
