"""Store on disk what the next daemon must know of fencing, with the last result of each fence.

Monotonic instants are only read again within the same boot of the machine. What outlives a boot is
the longest time that each fence took, and the wall-clock times, which are for display.
"""

from __future__ import annotations

import dataclasses
import json

from opensvc_openha.core.facts import Turn
from opensvc_openha.core.fencing_memory import FencingMemory, Turns
from opensvc_openha.formats.layout import Layout
from opensvc_openha.hints import Any
from opensvc_openha.records import dataclass
from opensvc_openha.storage.proc_files import write_proc_file
from opensvc_openha.system import clock, identity

_FILE_BYTES = 262_144


@dataclass(frozen=True)
class FenceTimes:
    """When one fence last succeeded and last failed, in wall-clock seconds; None for never."""

    worked_at: float | None = None
    failed_at: float | None = None


class FencingStore:
    """Read and write ``.proc/fencing``."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.times: dict[str, FenceTimes] = {}

    def read(self, has_run_in_this_life: bool = False) -> FencingMemory:
        """Read the memory; empty at a first start or for a damaged file.

        Then the peer must be heard first. Each daemon writes the file when it starts. If it is
        missing although one ran in this boot of the machine, that was a version without it: this
        node was not booted just now, and takes over as that daemon would have.
        """
        try:
            with open(self._layout.fencing_file, encoding="ascii") as file:
                found = json.loads(file.read(_FILE_BYTES))
            memory = _memory_of(found)
            self.times = {group: FenceTimes(*times) for group, times in found["times"].items()}
        except FileNotFoundError:
            return FencingMemory(has_heard=has_run_in_this_life)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return FencingMemory()
        if found.get("machine") == identity.life():
            return memory
        # What is left of a wait when it was written: the wall clock may have been set since.
        written_at = found.get("written_at")
        if not isinstance(written_at, (int, float)):
            return dataclasses.replace(memory, draining=()).after_boot()
        return memory.after_boot(clock.monotonic() - written_at)

    def write(self, memory: FencingMemory) -> None:
        """Replace the memory; it is on disk on return. Raises SystemFault."""
        for group, is_ok, at in memory.ended:
            before, wall = self.times.get(group, FenceTimes()), clock.wall_of(at)
            self.times[group] = FenceTimes(
                wall if is_ok else before.worked_at, before.failed_at if is_ok else wall
            )
        found = {
            "machine": identity.life(),
            "has_heard": memory.has_heard,
            "turn": memory.turn.name,
            "silent_since": memory.silent_since,
            "is_wary": memory.is_wary,
            "turns": None if memory.turns is None else dataclasses.astuple(memory.turns),
            "booted_at": memory.booted_at,
            "confirmed_by": memory.confirmed_by,
            "measured_s": dict(memory.measured_s),
            **_plan_part(memory),
            "times": {
                group: [item.worked_at, item.failed_at] for group, item in self.times.items()
            },
        }
        data = json.dumps(found).encode("ascii")
        write_proc_file(self._layout, self._layout.fencing_file, data)


def _memory_of(found: dict[str, Any]) -> FencingMemory:
    return FencingMemory(
        has_heard=found["has_heard"] is True,
        turn=Turn[found["turn"]],
        silent_since=_number(found["silent_since"]),
        booted_at=_number(found["booted_at"]),
        turns=None if found.get("turns") is None else Turns(*map(float, found["turns"])),
        is_wary=found.get("is_wary") is True,
        confirmed_by=str(found.get("confirmed_by", "")),
        seen_on=tuple(map(str, found.get("seen_on", ()))),
        ejected_by=str(found.get("ejected_by", "")),
        lost_to=str(found.get("lost_to", "")),
        draining=tuple(
            sorted((str(name), float(until)) for name, until in found.get("draining", {}).items())
        ),
        measured_s=tuple(
            sorted((str(group), float(took_s)) for group, took_s in found["measured_s"].items())
        ),
    )


def _plan_part(memory: FencingMemory) -> dict[str, Any]:
    """Return what only a node with a fence plan has to remember: nothing without one."""
    found = {
        "seen_on": list(memory.seen_on),
        "ejected_by": memory.ejected_by,
        "lost_to": memory.lost_to,
        "draining": dict(memory.draining),
        "written_at": clock.monotonic() if memory.draining else None,
    }
    return {key: value for key, value in found.items() if value}


def _number(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, (int, float)):
        raise ValueError(f"expected a number, found {value!r}")
    return float(value)
