"""Renewals at the witness, and looks at it: nobody waits for them; the witness is played."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator

import pytest

from opensvc_openha.core.actions import RenewWitness, WithdrawWitness
from opensvc_openha.core.beat import BootId
from opensvc_openha.core.events import MediumQuiet, MediumUnread, RenewalConfirmed
from opensvc_openha.core.lease_view import PeerPromise
from opensvc_openha.core.promise import WITNESS_MARK, Promise
from opensvc_openha.daemon.issues import ActiveIssues
from opensvc_openha.daemon.witness_threads import WitnessLooks, WitnessRenewals
from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.lease_config import EtcdConfig
from opensvc_openha.system import clock
from tests.waiting import LIMIT_S, until

OWN, PEER = BootId(7, 0xABC), BootId(8, 1)
ONE, OTHER = EtcdConfig(("http://a:2379",)), EtcdConfig(("http://b:2379",))


class PlayedWitness:
    """Notes what it is asked."""

    why_not = "it has no record of deb2"

    def __init__(self, rig: Rig, config: EtcdConfig) -> None:
        self._rig = rig
        self._name = config.urls[0].removeprefix("http://")

    def _note(self, what: str) -> None:
        self._rig.asked.append(f"{self._name} {what}")
        assert self._rig.gate.wait(LIMIT_S)
        if self._rig.fault:
            raise SystemFault(self._rig.fault)

    def renew(self, life: str, seq: int, since: int | None) -> None:
        self._note(f"renew {life} {since} {seq}")

    def withdraw(self, life: str) -> None:
        self._note(f"withdraw {life}")

    def quiet_since(self, life: str, seq: int) -> float | None:
        self._note(f"look {life} {seq}")
        return self._rig.quiet_since

    def close(self) -> None:
        self._rig.asked.append(f"{self._name} close")


class Rig:
    """Both threads with a witness."""

    def __init__(self) -> None:
        self.config: EtcdConfig | None = ONE
        self.asked: list[str] = []
        self.fault = ""
        self.gate = threading.Event()
        self.gate.set()
        self.quiet_since: float | None = None
        self.promised: PeerPromise | None = None
        self.reports: queue.SimpleQueue[RenewalConfirmed | MediumQuiet | MediumUnread]
        self.reports = queue.SimpleQueue()
        self.issues = ActiveIssues("deb1", logging.getLogger("witness test"))
        self.renewals = WitnessRenewals(
            OWN,
            lambda: self.config,
            lambda config: PlayedWitness(self, config),
            self.reports.put,
            self.issues,
        )
        self.looks = WitnessLooks(
            lambda: self.promised,
            lambda: 0.01,
            lambda: self.config,
            lambda config: PlayedWitness(self, config),
            self.reports.put,
        )

    def confirmed(self) -> int:
        """The number that the next confirmed renewal has."""
        event = self.reports.get(timeout=LIMIT_S)
        assert isinstance(event, RenewalConfirmed) and event.medium == WITNESS_MARK
        assert event.began_at <= event.confirmed_at
        return event.seq


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Ends the threads."""
    made = Rig()
    yield made
    made.gate.set()
    made.renewals.stop()
    made.looks.stop()


def test_renewal_is_confirmed_once_the_witness_has_it(rig: Rig) -> None:
    """And a withdrawal; both nodes call an incarnation alike."""
    rig.renewals.order(RenewWitness(5, 2))
    assert rig.confirmed() == 5
    rig.renewals.order(WithdrawWitness(6))
    assert rig.confirmed() == 6
    assert rig.asked == ["a:2379 renew 7.abc 2 5", "a:2379 withdraw 7.abc"]


def test_of_renewals_that_wait_the_newest_is_made(rig: Rig) -> None:
    """A witness that is slow, or away, causes no backlog."""
    rig.gate.clear()
    rig.renewals.order(RenewWitness(1))
    until(lambda: rig.asked)
    for seq in range(2, 9):
        rig.renewals.order(RenewWitness(seq))
    rig.fault = "no majority"
    rig.gate.set()
    until(lambda: rig.issues.texts == ("witness not usable: no majority",))
    until(lambda: len(rig.asked) == 2)
    rig.fault = ""
    rig.renewals.order(RenewWitness(9))
    assert rig.confirmed() == 9
    assert [each.split()[-1] for each in rig.asked] == ["1", "8", "9"]
    until(lambda: rig.issues.texts == ())


def test_promise_is_withdrawn_where_it_is_not_renewed_any_more(rig: Rig) -> None:
    """Whoever still looks there would take it for quiet; before that none is renewed elsewhere."""
    rig.renewals.order(RenewWitness(1))
    assert rig.confirmed() == 1
    rig.config, rig.fault = OTHER, "away"
    rig.renewals.order(RenewWitness(2))
    until(lambda: rig.issues.texts)
    rig.fault = ""
    rig.renewals.order(RenewWitness(3))
    assert rig.confirmed() == 3
    withdrawn = "a:2379 withdraw 7.abc"
    assert rig.asked[1:] == [withdrawn, withdrawn, "a:2379 close", "b:2379 renew 7.abc None 3"]
    rig.config = None
    rig.renewals.order(WithdrawWitness(4))
    assert rig.confirmed() == 4
    assert rig.asked[-2:] == ["b:2379 withdraw 7.abc", "b:2379 close"]


def test_peer_is_looked_for_while_its_promise_names_the_witness(rig: Rig) -> None:
    """All the time, for what is unchanged needs two looks; a look that fails proves nothing."""
    rig.looks.start()
    rig.promised = PeerPromise(PEER, Promise(11.4, frozenset({b"12345678"})), 6)
    rig.fault = "away"
    rig.promised = PeerPromise(PEER, Promise(11.4, frozenset({b"12345678", WITNESS_MARK})), 6)
    assert rig.reports.get(timeout=LIMIT_S) == MediumUnread(WITNESS_MARK, "away")
    assert rig.looks.problem == "away"
    rig.fault = ""
    none = MediumUnread(WITNESS_MARK, "it has no record of deb2")
    until(lambda: rig.reports.get(timeout=LIMIT_S) == none)
    until(lambda: not rig.looks.problem)
    rig.quiet_since = 90.0
    until(lambda: isinstance(rig.reports.get(timeout=LIMIT_S), MediumQuiet))
    first, second = (rig.reports.get(timeout=LIMIT_S) for _ in range(2))
    assert isinstance(first, MediumQuiet) and isinstance(second, MediumQuiet)
    assert (first.medium, first.since) == (WITNESS_MARK, 90.0)
    assert first.read_at < second.read_at <= clock.monotonic()
    assert set(rig.asked) == {"a:2379 look 8.1 6"}
    rig.config = OTHER
    until(lambda: "b:2379 look 8.1 6" in rig.asked)
