"""Arrange the history of fencing by what fenced: paths of the plan, check-up scripts, operators.

Pure. It reads the words that ``core``, the daemon's drills and its watches record:

    peer   FENCE          ipmi begins, for registry        ipmi: done: off; proof NODE: power: ...
    peer   CONFIRMED OUT  an operator's word; as the former value: its end
    node   FENCE PATH     ipmi: no answer in 9.5 s         ipmi: in order again
    node   DRILL          ipmi: off, then OFF twice in 3.3 s; deb1 fell silent
    node   RESERVATION    /dev/sdb of /dev/mapper/data came back: registered again
    node   EJECTED        by deb1; as the former value: its end
    script check          the check-up script of a service
"""

from __future__ import annotations

from collections.abc import Iterable

from opensvc_openha.core.events import ScriptKind, ScriptOutcome
from opensvc_openha.core.model import ALWAYS_TRUE
from opensvc_openha.records import dataclass
from opensvc_openha.storage.history_entry import Entry, EntryKind

FENCE, FENCE_PATH, CONFIRMED = "FENCE", "FENCE PATH", "CONFIRMED OUT"
DRILL, DRILL_FAILED = "DRILL", "DRILL FAILED"
RESERVATION, EJECTED = "RESERVATION", "EJECTED"
ARBITER, CLAIM = "arbiter", "claim"
"""Name of the arbiter among the paths, and of its step."""
PROOF = "proof "
"""What a proof begins with in the reason of a step: ``proof NODE: power: ipmi off``."""

KINDS = (EntryKind.PEER, EntryKind.NODE, EntryKind.SCRIPT)
_OF_PATHS = (FENCE, FENCE_PATH, DRILL, DRILL_FAILED)
_WORDS = {
    **dict.fromkeys((CONFIRMED,), "confirmed by an operator"),
    **dict.fromkeys((RESERVATION, EJECTED), "disks of this node"),
}

WORDS = (*_OF_PATHS, *_WORDS, ScriptKind.CHECK.value)
"""Kinds and words that entries of the fence have, and others may."""


@dataclass(frozen=True)
class FenceEvent:
    """One event of a path. ``proof`` is what it has proved; empty if it has proved nothing."""

    at: float
    text: str
    is_alarm: bool
    proof: str = ""


@dataclass(frozen=True)
class PathHistory:
    """All that is known of what fenced, oldest first."""

    name: str
    events: tuple[FenceEvent, ...] = ()
    is_planned: bool = False
    """A path of the plan: one that proved nothing is worth a word."""

    @property
    def last_proof(self) -> FenceEvent | None:
        """The last event that has proved something."""
        return next((event for event in reversed(self.events) if event.proof), None)


def fence_entries(entries: Iterable[Entry]) -> list[Entry]:
    """Return those entries that belong to the history of fencing."""
    return [entry for entry in entries if _subject_of(entry)]


def by_path(entries: Iterable[Entry], paths: Iterable[str]) -> tuple[PathHistory, ...]:
    """Return the history of each of these paths, then of what else fenced."""
    planned = list(paths)
    found: dict[str, list[FenceEvent]] = {path: [] for path in planned}
    for entry in entries:
        subject = _subject_of(entry)
        if subject:
            found.setdefault(subject, []).append(_event(entry, subject))
    return tuple(
        PathHistory(name, tuple(events), name in planned) for name, events in found.items()
    )


def proofs_in(reason: str) -> list[str]:
    """Return the proofs in the reason of a step, each with its scope before it."""
    return [part.removeprefix(PROOF) for part in reason.split("; ") if part.startswith(PROOF)]


def _subject_of(entry: Entry) -> str:
    """Return what an entry is about; empty if it is not about fencing."""
    if entry.kind is EntryKind.SCRIPT:
        is_fence = entry.old == ScriptKind.CHECK.value and entry.reason not in ALWAYS_TRUE
        return f"check-up script of {entry.name}" if is_fence else ""
    if entry.kind not in (EntryKind.PEER, EntryKind.NODE):
        return ""
    if entry.new in _OF_PATHS:
        name = entry.reason.partition(" begins, for ")[0].partition(":")[0]
        return ARBITER if (entry.new, name) == (FENCE, CLAIM) else name
    return _WORDS.get(entry.new) or _WORDS.get(entry.old, "")


def _event(entry: Entry, subject: str) -> FenceEvent:
    text, proof = entry.reason, ""
    if entry.kind is EntryKind.SCRIPT:
        took = "" if entry.took_s is None else f" after {entry.took_s:.2f} s"
        text = f"{entry.new}{took}: {entry.reason}"
        proof = "it ended with 0" if entry.new == ScriptOutcome.OK.value else ""
    elif entry.new in _OF_PATHS:
        name = CLAIM if subject == ARBITER and entry.new == FENCE else subject
        text = text.removeprefix(name).removeprefix(":").strip()
        if entry.new == FENCE_PATH and entry.is_alarm:
            text = f"broken: {text}"
        if entry.new in (DRILL, DRILL_FAILED):
            text = f"{entry.new.lower()}: {text}"
        proof = "; ".join(proofs_in(entry.reason)) if entry.new == FENCE else ""
    elif entry.new == CONFIRMED:
        proof = text
    elif entry.new == EJECTED:
        text = f"ejected {text}"
    return FenceEvent(entry.at, text, entry.is_alarm, proof)
