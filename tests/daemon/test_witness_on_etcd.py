"""The witness threads of an owner and a survivor, on a real etcd that is paused, too."""

from __future__ import annotations

import logging
import queue
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from opensvc_openha.core.actions import RenewWitness, WithdrawWitness
from opensvc_openha.core.beat import BootId
from opensvc_openha.core.events import MediumQuiet, RenewalConfirmed
from opensvc_openha.core.lease_view import PeerPromise
from opensvc_openha.core.promise import WITNESS_MARK, Promise
from opensvc_openha.daemon.issues import ActiveIssues
from opensvc_openha.daemon.witness_threads import WitnessLooks, WitnessRenewals
from opensvc_openha.fence_devices.witness import Witness
from tests.fence_devices.etcd_members import EtcdMembers, needs_etcd
from tests.waiting import LIMIT_S, until

pytestmark = needs_etcd
OWNER = BootId(7, 0xABC)


class Rig:
    """Both nodes; the owner has promised."""

    def __init__(self, folder: Path) -> None:
        self.members = EtcdMembers(folder)
        self.confirmed: queue.SimpleQueue[RenewalConfirmed] = queue.SimpleQueue()
        self.quiet: list[MediumQuiet] = []
        self.issues = ActiveIssues("deb1", logging.getLogger("witness test"))
        options = replace(self.members.options, limit_s=0.5)
        self.renewals = WitnessRenewals(
            OWNER,
            lambda: options,
            lambda config: Witness(config, "deb1", "deb2"),
            self.confirmed.put,
            self.issues,
        )
        promised = PeerPromise(OWNER, Promise(3.1, frozenset({WITNESS_MARK})), 1)
        self.looks = WitnessLooks(
            lambda: promised,
            lambda: 0.02,
            lambda: options,
            lambda config: Witness(config, "deb2", "deb1"),
            lambda event: self.quiet.append(event) if isinstance(event, MediumQuiet) else None,
        )

    def order(self, order: RenewWitness | WithdrawWitness) -> None:
        """Order it until it is confirmed, as each beat does."""

        def is_confirmed() -> bool:
            self.renewals.order(order)
            try:
                return self.confirmed.get(timeout=1.0).seq == order.seq
            except queue.Empty:
                return False

        until(is_confirmed, what=f"{order} is confirmed", story=lambda: str(self.issues.texts))

    def until_quiet(self, after: float) -> float:
        """Wait until the record is quiet since later than that; return since when."""
        self.quiet.clear()
        until(lambda: self.quiet and self.quiet[-1].since > after, story=lambda: self.looks.problem)
        return self.quiet[-1].since

    def close(self) -> None:
        """End all of it."""
        self.renewals.stop()
        self.looks.stop()
        self.members.end()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """The etcd answers, and nothing was written."""
    made = Rig(tmp_path / "etcd")
    try:
        made.members.until_answers()
        yield made
    finally:
        made.close()


def test_survivor_sees_renewals_stop_and_nothing_else(rig: Rig) -> None:
    """A renewal, then another one; a witness that is paused; then the withdrawal."""
    rig.looks.start()
    rig.order(RenewWitness(1, 1))
    first = rig.until_quiet(0.0)
    rig.order(RenewWitness(2, 1))
    second = rig.until_quiet(first)

    rig.members.signal(0, signal.SIGSTOP)
    until(lambda: "no answer from the witness" in rig.looks.problem)
    rig.renewals.order(RenewWitness(3, 1))
    until(lambda: any("no answer from the witness" in text for text in rig.issues.texts))
    rig.members.signal(0, signal.SIGCONT)
    rig.order(RenewWitness(4, 1))
    until(lambda: not rig.looks.problem)
    assert rig.until_quiet(second) > second
    assert not rig.issues.texts

    rig.order(WithdrawWitness(5))
    until(lambda: is_silent(rig))


def is_silent(rig: Rig) -> bool:
    """Whether looks go on and find nothing that could be quiet."""
    rig.quiet.clear()
    with_looks = Witness(replace(rig.members.options, limit_s=LIMIT_S), "deb2", "deb1")
    try:
        for _ in range(20):
            with_looks.quiet_since("7.abc", 1)
    finally:
        with_looks.close()
    return not rig.quiet and not rig.looks.problem
