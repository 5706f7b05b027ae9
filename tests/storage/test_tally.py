"""What the daemon counts for operators, beside the history."""

from __future__ import annotations

import pytest

from opensvc_openha.core.actions import Record, RecordKind
from opensvc_openha.core.events import ScriptKind, ScriptOutcome
from opensvc_openha.core.status import Activity, DecisionCount, ScriptCount
from opensvc_openha.storage import tally as module
from opensvc_openha.storage.tally import Tally

pytestmark = pytest.mark.fast


def test_changes_of_state_and_stalls_are_counted_and_nothing_else() -> None:
    """A record that repeats a state, such as that of a dual run, is no decision."""
    tally = Tally()
    for kind, old, new in (
        (RecordKind.SERVICE, "STOPPED", "START_READY"),
        (RecordKind.SERVICE, "START_READY", "STARTING"),
        (RecordKind.SERVICE, "STOPPED", "START_READY"),
        (RecordKind.SERVICE, "STARTED", "DUAL RUN"),
        (RecordKind.SERVICE, "", "STOPPED"),
        (RecordKind.SERVICE, "STARTED", "STARTED"),
        (RecordKind.NODE, "", "STALLED"),
        (RecordKind.NODE, "", "DEAF"),
        (RecordKind.LINK, "UP", "DOWN"),
    ):
        tally.count(Record(kind, "web", old, new, "why"))
    found = tally.complete(Activity(steps=7))
    assert found == Activity(
        (DecisionCount("web", "START_READY", 2), DecisionCount("web", "STARTING", 1)),
        steps=7,
        stalls=1,
    )


def test_scripts_are_counted_with_their_durations() -> None:
    """By service, script and outcome."""
    tally = Tally()
    tally.count_script("web", ScriptKind.START, ScriptOutcome.OK, 2.0)
    tally.count_script("web", ScriptKind.START, ScriptOutcome.OK, 1.5)
    tally.count_script("web", ScriptKind.START, ScriptOutcome.FAILED, 9.0)
    assert tally.complete(Activity()).scripts == (
        ScriptCount("web", "start", "ok", 2, 3.5, 1.5),
        ScriptCount("web", "start", "failed", 1, 9.0, 9.0),
    )


def test_removed_services_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service that was counted first makes room for a new one."""
    monkeypatch.setattr(module, "_SERVICES", 2)
    tally = Tally()
    for name in ("one", "two", "one", "three"):
        tally.count_script(name, ScriptKind.STOP, ScriptOutcome.OK, 1.0)
    assert [count.service for count in tally.complete(Activity()).scripts] == ["two", "three"]
