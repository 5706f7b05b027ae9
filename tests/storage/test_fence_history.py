"""The history of fencing, by what fenced: the words are those that the engine really records."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from opensvc_openha.core import confirmation
from opensvc_openha.core.actions import Action, Record
from opensvc_openha.core.events import (
    FencePathsLooked,
    FenceStepEnded,
    PathLook,
    PathState,
    PeerConfirmedOut,
    StepOutcome,
)
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.model import (
    ClusterSpec,
    FencePath,
    FencingPolicy,
    PathKind,
    ServiceSpec,
)
from opensvc_openha.core.plan_desk import PlanDesk
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.storage.fence_history import (
    DRILL,
    DRILL_FAILED,
    FENCE_PATH,
    KINDS,
    RESERVATION,
    WORDS,
    by_path,
    fence_entries,
)
from opensvc_openha.storage.history_entry import Entry, EntryKind
from opensvc_openha.storage.history_file import HistoryFile, read_words

PEER, NODE = "deb1", "deb2"
_SECONDS = itertools.count(1)


def entry(kind: EntryKind, new: str, reason: str, old: str = "", name: str = NODE) -> Entry:
    """An entry, one second after the one before."""
    at = float(next(_SECONDS))
    return Entry(at, at, kind, name, old, new, reason, is_alarm=True)


def entries_of(actions: Iterable[Action]) -> list[Entry]:
    """What the daemon writes of the engine's records."""
    return [
        entry(EntryKind(each.kind.value), each.new, each.reason, each.old, each.name)
        for each in actions
        if isinstance(each, Record)
    ]


def a_round() -> list[Entry]:
    """A round with an arbiter: the first path fails, the second one proves."""
    ipmi = FencePath("ipmi", PathKind.POWER, 30.0)
    svc = ServiceSpec("web", "/web.sh", PEER, NODE, "/bin/true")
    policy = FencingPolicy(
        levels=((FencePath("pdu", PathKind.POWER, 30.0),), (ipmi,)), has_arbiter=True
    )
    desk = PlanDesk(ClusterSpec(NODE, PEER, (), (svc,), fencing=policy), FencingMemory(), 0.0)
    desk.record_looks(FencePathsLooked((PathLook("ipmi", PathState.ARMED, "on"),)), True, 0.0)
    desk.plan.join(svc)
    desk.plan.begin_round()
    done: list[Action] = []
    for outcome, text, hints in (
        (StepOutcome.DONE, "won", ()),
        (StepOutcome.FAILED, "no answer in 5.3 s", ()),
        (StepOutcome.DONE, "off, then OFF twice in 3.3 s", ("ipmi: OFF before",)),
    ):
        done += desk.order_step(1.0)
        assert desk.plan.in_air is not None
        number = desk.plan.in_air.step.number
        done += desk.end_step(FenceStepEnded(number, outcome, text, hints, None, 3.3), 2.0)[1]
    return entries_of(done)


def test_steps_of_a_round_are_sorted_by_path() -> None:
    """With what each of them has proved; the claim is the arbiter's."""
    pdu, ipmi, arbiter = by_path(a_round(), ["pdu", "ipmi", "arbiter"])
    assert [event.text for event in pdu.events] == [
        "begins, for web",
        "failed: no answer in 5.3 s",
    ]
    assert pdu.last_proof is None
    assert [event.text for event in arbiter.events] == ["begins, for web", "done: won"]
    assert ipmi.events[-1].text.startswith("done: off, then OFF twice in 3.3 s; proof NODE: power")
    assert ipmi.last_proof is ipmi.events[-1]
    assert ipmi.last_proof.proof == "NODE: power: ipmi off, then OFF twice in 3.3 s"


def test_paths_that_never_fenced_are_there_and_those_that_are_configured_no_more() -> None:
    """In the order of the plan, what is not of it behind."""
    found = by_path([entry(EntryKind.NODE, FENCE_PATH, "old: no answer")], ["ipmi", "spare"])
    assert [(path.name, path.is_planned) for path in found] == [
        ("ipmi", True),
        ("spare", True),
        ("old", False),
    ]
    assert found[0].events == () and found[2].events[0].text == "broken: no answer"


def test_looks_and_drills_are_events_and_no_proof() -> None:
    """A drill shows that a path works, and proved nothing of the peer of now."""
    found = by_path(
        [
            entry(EntryKind.NODE, FENCE_PATH, "ipmi: no answer in 9.5 s"),
            replace(entry(EntryKind.NODE, FENCE_PATH, "ipmi: in order again"), is_alarm=False),
            entry(EntryKind.NODE, DRILL, "ipmi: off, then OFF twice in 3.3 s; deb1 fell silent"),
            entry(EntryKind.NODE, DRILL_FAILED, "ipmi: still ON"),
        ],
        ["ipmi"],
    )
    assert [event.text for event in found[0].events] == [
        "broken: no answer in 9.5 s",
        "in order again",
        "drill: off, then OFF twice in 3.3 s; deb1 fell silent",
        "drill failed: still ON",
    ]
    assert found[0].last_proof is None


def test_what_is_no_path_is_shown_too() -> None:
    """An operator's word with its end, what happened to this node's disks, check-up scripts."""
    svc = ServiceSpec("web", "/web.sh", PEER, NODE, "/bin/true")
    policy = FencingPolicy(levels=((FencePath("ipmi", PathKind.POWER, 30.0),),))
    desk = PlanDesk(ClusterSpec(NODE, PEER, (), (svc,), fencing=policy), FencingMemory(), 0.0)
    confirmed = confirmation.accepted(
        PeerConfirmedOut(1, "root", 9.0), PEER, PeerStanding.SILENT, ""
    )
    over = confirmation.ended("root", "a beat came in", PEER, PeerStanding.LIVE)
    found = by_path(
        [
            *entries_of([*confirmed, *over, *desk.eject(PEER), *desk.readmit()]),
            entry(EntryKind.NODE, RESERVATION, "/dev/sdb of /dev/mapper/data came back"),
            entry(EntryKind.SCRIPT, "ok", "/opt/fence", "check", "web"),
            entry(EntryKind.SCRIPT, "failed", "exit code 1", "check", "web"),
        ],
        [],
    )
    assert [path.name for path in found] == [
        "confirmed by an operator",
        "disks of this node",
        "check-up script of web",
    ]
    word, disks, script = found
    assert word.last_proof is word.events[0] and word.events[0].proof.startswith("by root: ")
    assert "what root confirmed holds no longer" in word.events[1].text
    assert [event.text.partition(":")[0] for event in disks.events] == [
        "ejected by deb1",
        "this node was ejected by deb1",
        "/dev/sdb of /dev/mapper/data came back",
    ]
    assert disks.events[1].text.endswith("it is registered again")
    assert [event.text for event in script.events] == ["ok: /opt/fence", "failed: exit code 1"]
    assert script.last_proof is script.events[0]


def test_other_entries_are_left_out_in_the_file_and_in_memory(tmp_path: Path) -> None:
    """Of a node with much history few of them are read."""
    others = [
        entry(EntryKind.PEER, "SILENT", "not heard", "LIVE", PEER),
        entry(EntryKind.SERVICE, "STARTED", "start script succeeded", "STARTING", "web"),
        entry(EntryKind.SCRIPT, "ok", "/web.sh", "start", "web"),
        entry(EntryKind.SCRIPT, "ok", "/bin/true", "check", "web"),
        entry(EntryKind.COMMAND, "FENCE", "by root", "", ""),
        entry(EntryKind.LINK, "up", "heard", "down", "eth0"),
    ]
    path = str(tmp_path / "history")
    file = HistoryFile(path, "m")
    wanted = [*a_round(), entry(EntryKind.NODE, DRILL, "ipmi: off")]
    file.append([*others, *wanted, *others], 1000)
    file.close()
    read = read_words(path, KINDS, WORDS)
    assert [each.reason for each in read if each.reason != "/bin/true"] == [
        each.reason for each in wanted
    ]
    assert [each.reason for each in fence_entries(read)] == [each.reason for each in wanted]
    assert fence_entries([*others, *wanted]) == wanted
