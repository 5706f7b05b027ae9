"""What the engine writes down beside a decision: the rule applied, the links as seen then, its own
lateness.
"""

from __future__ import annotations

from opensvc_openha.core.actions import Record, RecordKind
from opensvc_openha.core.events import Command
from opensvc_openha.core.status import PeerStanding, Sight
from opensvc_openha.core.timing import STALL_FRACTION
from opensvc_openha.core.transitions import TABLE
from tests.core.pair import TIMEOUT_S, Host, Pair


class _Witness(Host):
    """A node that keeps what its engine saw beside each record."""

    def __init__(self, pair: Pair, index: int) -> None:
        super().__init__(pair, index)
        self.seen: dict[int, Sight] = {}

    def record(self, action: Record) -> None:
        """Takes the sight at the moment at which the node loop hands out the record."""
        super().record(action)
        if self.engine is not None:
            self.seen[id(action)] = self.engine.sight


def _witnessed() -> tuple[Pair, Host, _Witness]:
    pair = Pair()
    pair.deb2 = deb2 = _Witness(pair, 1)
    pair.boot()
    return pair, pair.deb1, deb2


def _service_records(host: Host) -> list[Record]:
    return [record for record in host.records if record.kind is RecordKind.SERVICE]


def test_takeover_record_holds_rule_and_the_silence_of_every_link() -> None:
    """The owner dies: the record of START_READY names its row, and each link as down for its whole
    timeout.
    """
    pair, deb1, deb2 = _witnessed()
    pair.run(2)
    deb1.command(Command.UNFREEZE)
    pair.run(3)
    deb2.command(Command.UNFREEZE)
    pair.run(3)
    deb1.crash()
    pair.run(TIMEOUT_S + 8)
    record = next(item for item in _service_records(deb2) if item.new == "START_READY")
    assert record.rule == "STOPPED, evaluate -> START_READY"
    seen = deb2.seen[id(record)]
    assert seen.standing is PeerStanding.SILENT
    assert [link.link_id for link in seen.links] == [
        link.link_id for link in pair.links if link.node == "deb1"
    ]
    for link in seen.links:
        assert not link.is_up and link.timeout_s == TIMEOUT_S
        assert link.silence_s is not None and TIMEOUT_S <= link.silence_s < TIMEOUT_S + 0.1
    assert seen.late_s < 0.01 and seen.stall_limit_s == STALL_FRACTION * TIMEOUT_S


def test_every_transition_names_a_row_of_the_table() -> None:
    """Unfreeze, start, stop and move: each change of state of both nodes bears the name of a
    row.
    """
    pair = Pair()
    deb1, deb2 = pair.boot()
    pair.run(2)
    for host in (deb1, deb2):
        host.command(Command.UNFREEZE)
    pair.run(3)
    deb1.command(Command.FREEZE_STOP)
    pair.run(5)
    names = {row.name for row in TABLE}
    records = _service_records(deb1) + _service_records(deb2)
    assert len(records) > 8 and {record.rule for record in records} <= names


def test_stall_is_recorded_with_the_lateness_that_was_measured() -> None:
    """A node that stood still for 30 s: the record reports it in figures, over the limit beside
    it.
    """
    pair, _, deb2 = _witnessed()
    pair.run(3)
    deb2.is_stalled = True
    pair.run(30)
    pair.resume(deb2)
    pair.run(1)
    record = next(item for item in deb2.records if item.new == "STALLED")
    seen = deb2.seen[id(record)]
    assert seen.stall_limit_s == STALL_FRACTION * TIMEOUT_S
    assert 28 < seen.late_s < 31
