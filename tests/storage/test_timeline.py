"""Histories of two nodes as one: causes before effects, whatever their clocks say."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensvc_openha.core.beat import BootId, Causality
from opensvc_openha.storage.history_entry import Entry, EntryKind
from opensvc_openha.storage.timeline import ClockDifference, merge

pytestmark = pytest.mark.fast


@dataclass
class Node:
    """A node that records, sends and hears, with a clock of its own."""

    name: str
    ahead_s: float
    boot: BootId = BootId(1, 7)
    sent: int = 0
    heard_of: BootId | None = None
    heard: int = 0
    entries: list[Entry] = field(default_factory=list)
    known: dict[str, set[str]] = field(default_factory=dict)
    """For each entry: what happened before it, as far as this node could know."""
    past: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)
    """What of that its entries show: what was heard after the last of them is lost by a restart."""

    def record(self, now: float, has_cause: bool = True) -> None:
        """Record something."""
        number = f"{self.name}{len(self.entries)}"
        cause = Causality(self.boot, self.sent, self.heard_of, self.heard) if has_cause else None
        self.entries.append(
            Entry(now + self.ahead_s, now, EntryKind.SERVICE, "web", "", number, "", cause=cause)
        )
        self.known[number] = set(self.past)
        self.past.add(number)
        self.kept = self.past if has_cause else self.kept | {number}
        self.past = set(self.past)

    def beat(self) -> tuple[BootId, int, set[str]]:
        """Send a beat, which tells of all that this node knows."""
        self.sent += 1
        return self.boot, self.sent, set(self.past)

    def hear(self, beat: tuple[BootId, int, set[str]]) -> None:
        """Take a beat, unless a newer one was taken."""
        boot, sent, past = beat
        if self.heard_of is None or (boot.counter, sent) > (self.heard_of.counter, self.heard):
            self.heard_of, self.heard = boot, sent
            self.past |= past

    def restart(self) -> None:
        """Begin a new incarnation: it knows what the former one recorded, and has sent nothing."""
        self.past = set(self.kept)
        self.boot = BootId(self.boot.counter + 1, self.boot.nonce + 1)
        self.sent, self.heard_of, self.heard = 0, None, 0


STEPS = st.lists(
    st.tuples(st.sampled_from(["record", "blind", "send", "deliver", "restart"]), st.booleans()),
    max_size=60,
)


@given(STEPS, st.sampled_from([0.0, 0.3, -3600.0, 86_400.0]))
def test_nothing_comes_before_what_its_node_had_heard_of(
    steps: list[tuple[str, bool]], ahead_s: float
) -> None:
    """Each node's own order stays; the true difference of the clocks is within the limits."""
    nodes = Node("a", 0.0), Node("b", ahead_s)
    wires: tuple[list[tuple[BootId, int, set[str]]], ...] = [], []
    for number, (what, is_second) in enumerate(steps):
        node, wire = nodes[is_second], wires[is_second]
        if what in ("record", "blind"):
            node.record(float(number), what == "record")
        elif what == "send":
            wires[not is_second].append(node.beat())
        elif what == "restart":
            node.restart()
        elif wire:
            node.hear(wire.pop())
    first, second = nodes
    found = merge("a", first.entries, "b", second.entries)
    order = [each.entry.new for each in found.entries]
    for node in nodes:
        own = [entry.new for entry in node.entries]
        assert [each for each in order if each.startswith(node.name)] == own
        for index, entry in enumerate(node.entries):
            if entry.cause is None:
                continue
            for earlier in node.known[entry.new]:
                sender = first if earlier.startswith("a") else second
                if sender.entries[int(earlier[1:])].cause is not None:
                    assert order.index(earlier) < order.index(entry.new), (earlier, own[index])
    assert found.clocks.least_s <= ahead_s <= found.clocks.most_s


def test_unrelated_entries_are_in_the_order_of_the_corrected_clocks() -> None:
    """The difference follows from beats in both directions; without any it is taken for none."""
    first, second = Node("a", 0.0), Node("b", 100.0)
    first.record(1.0)
    second.hear(first.beat())
    second.record(1.5)
    first.hear(second.beat())
    first.record(2.0)
    second.record(2.5)
    first.record(3.0)
    found = merge("a", first.entries, "b", second.entries)
    assert [each.entry.new for each in found.entries] == ["a0", "b0", "a1", "b1", "a2"]
    assert found.clocks == ClockDifference(99.5, 100.5)
    assert found.clocks.assumed_s == 100.0

    strangers = merge("a", first.entries, "b", Node("b", 0.0).entries)
    assert strangers.clocks == ClockDifference(-math.inf, math.inf)
    assert strangers.clocks.assumed_s == 0.0
    assert [each.node for each in strangers.entries] == ["a"] * 3


@pytest.mark.parametrize(
    ("clocks", "assumed_s"),
    [
        (ClockDifference(-0.2, 0.3), 0.0),
        (ClockDifference(2.0, 3.0), 2.5),
        (ClockDifference(2.0), 2.0),
        (ClockDifference(-math.inf, -4.0), -4.0),
        (ClockDifference(3.0, -1.0), 1.0),
    ],
)
def test_clocks_differ_by_no_more_than_beats_show(
    clocks: ClockDifference, assumed_s: float
) -> None:
    """The last was set meanwhile: the middle is as good as any."""
    assert clocks.assumed_s == assumed_s


def test_beat_of_an_older_incarnation_tells_nothing_of_a_newer_one() -> None:
    """But one of a newer incarnation tells of all that the older one did."""
    old = Causality(BootId(4, 1), 50)
    assert old.is_known_at(Causality(BootId(9, 9), 3, BootId(4, 1), 51))
    assert not old.is_known_at(Causality(BootId(9, 9), 3, BootId(4, 1), 50))
    assert old.is_known_at(Causality(BootId(9, 9), 3, BootId(5, 2), 0))
    assert not Causality(BootId(5, 2), 0).is_known_at(Causality(BootId(9, 9), 3, BootId(4, 1), 60))
    assert not old.is_known_at(Causality(BootId(9, 9), 3))
