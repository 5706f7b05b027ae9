"""Orders to the watchdog's keeper: nobody waits for them, and what becomes of it is reported.

The keeper is played; the real one is in tests/watchdog.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from opensvc_openha.core.actions import ArmWatchdog, DisarmWatchdog, GrantPermit, HoldWatchdog
from opensvc_openha.core.events import WatchdogLost, WatchdogReady
from opensvc_openha.core.model import LeasePolicy
from opensvc_openha.daemon.issues import ActiveIssues
from opensvc_openha.daemon.watchdog_thread import WatchdogThread, policy_of, settings_of
from opensvc_openha.errors import SystemFault
from opensvc_openha.watchdog.keeper_client import (
    DisarmOutcome,
    Grant,
    GrantOutcome,
    KeeperSettings,
    KeeperStatus,
)
from tests.waiting import LIMIT_S, until

POLICY = LeasePolicy("/dev/watchdog1", 4.0, 1.0)
ARMED = KeeperStatus(
    is_running=True, is_armed=True, timeout_s=4.0, granularity_s=0.1, holders=2, name="softdog"
)
READY = WatchdogReady(4.0, 0.1, 2, True, "softdog", number=0)


class PlayedKeeper:
    """Notes what it is asked; the fault, while there is one, is its answer to all."""

    def __init__(self, settings: KeeperSettings, is_armed: bool = False) -> None:
        self.settings = settings
        self.asked: list[str] = []
        self.fault = ""
        self.is_armed = is_armed
        self.is_closed = False
        self.gate = threading.Event()
        self.gate.set()

    def _answer(self, what: str) -> KeeperStatus:
        self.asked.append(what)
        assert self.gate.wait(LIMIT_S)
        if self.fault:
            raise SystemFault(self.fault)
        return replace(ARMED, is_armed=self.is_armed)

    def ensure_running(self) -> KeeperStatus:
        return self._answer("ensure")

    def grant(self, renewed_at: float) -> Grant:
        was_armed, self.is_armed = self.is_armed, True
        return Grant(GrantOutcome.PETTED, self._answer(f"grant {renewed_at:g}"), not was_armed)

    def hold(self, until: float) -> KeeperStatus:
        return self._answer(f"hold {until:g}")

    def disarm(self) -> DisarmOutcome:
        self.is_armed = False
        self._answer("disarm")
        return DisarmOutcome.STOPPED

    def status(self) -> KeeperStatus:
        return self._answer("status")

    def close(self) -> None:
        self.is_closed = True


class PlayedInhibitor:
    """Refuses to suspend the machine, but for a reason."""

    def __init__(self) -> None:
        self.is_held = False

    @property
    def why_not(self) -> str:
        return "no logind" if self.is_held else "nobody asked for it"

    def hold(self) -> None:
        self.is_held = True

    def release(self) -> None:
        self.is_held = False


class Rig:
    """A thread, its keepers, and what it reports."""

    def __init__(self) -> None:
        self.policy: LeasePolicy | None = POLICY
        self.running: KeeperSettings | None = None
        self.fault = ""
        self.keepers: list[PlayedKeeper] = []
        self.disarmed: list[int] = []
        self.inhibitor = PlayedInhibitor()
        self.reports: queue.SimpleQueue[WatchdogReady | WatchdogLost] = queue.SimpleQueue()
        self.issues = ActiveIssues("deb1", logging.getLogger("watchdog test"))
        self.thread = WatchdogThread(
            lambda: self.policy,
            self._connect,
            lambda: self.running,
            lambda: True,
            self.reports.put,
            self.issues,
            logging.getLogger("watchdog test"),
            lambda: self.disarmed.append(1),
            self.inhibitor,
        )

    def _connect(self, settings: KeeperSettings) -> PlayedKeeper:
        keeper = PlayedKeeper(settings, is_armed=settings == self.running)
        keeper.fault = self.fault
        self.keepers.append(keeper)
        return keeper

    def next(self) -> WatchdogReady | WatchdogLost:
        """The next report."""
        return self.reports.get(timeout=LIMIT_S)

    def asked(self, number: int = -1) -> list[str]:
        """What a keeper was asked, without looks."""
        return [each for each in self.keepers[number].asked if each != "status"]


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Ends the thread."""
    made = Rig()
    yield made
    for keeper in made.keepers:
        keeper.gate.set()
    made.thread.stop()


def test_watchdog_is_ready_with_its_first_permit_and_left_once_it_is_disarmed(rig: Rig) -> None:
    """Not before: the keeper opens the device only then."""
    rig.thread.start(lambda: None)
    assert not rig.thread.is_used and rig.thread.status is None
    rig.thread.order(ArmWatchdog(4.0, 3))
    until(lambda: rig.keepers and rig.asked())
    assert rig.keepers[0].settings == KeeperSettings("/dev/watchdog1", 4, 1.0, 2)
    rig.thread.order(GrantPermit(10.0))
    assert rig.next() == replace(READY, number=3)
    rig.thread.order(GrantPermit(11.0))
    rig.thread.order(DisarmWatchdog())
    until(lambda: rig.keepers[0].is_closed)
    assert rig.asked() == ["ensure", "grant 10", "grant 11", "disarm"]
    assert not rig.thread.is_used and rig.thread.status is None and rig.reports.empty()


def test_permit_that_waits_is_replaced_by_a_newer_one(rig: Rig) -> None:
    """A keeper that is slow gets the newest renewal, not a backlog of old ones."""
    rig.thread.start(lambda: None)
    rig.thread.order(ArmWatchdog(4.0))
    until(lambda: rig.keepers and rig.asked())
    rig.keepers[0].gate.clear()
    rig.thread.order(GrantPermit(10.0))
    until(lambda: "grant 10" in rig.asked())
    for second in range(11, 20):
        rig.thread.order(GrantPermit(float(second)))
    rig.thread.order(HoldWatchdog(99.0))
    rig.keepers[0].gate.set()
    until(lambda: "hold 99" in rig.asked())
    assert rig.asked() == ["ensure", "grant 10", "grant 19", "hold 99"]


@pytest.mark.parametrize("order", [ArmWatchdog(4.0), GrantPermit(10.0), HoldWatchdog(5.0)])
def test_order_that_fails_is_a_watchdog_lost(rig: Rig, order: GrantPermit | HoldWatchdog) -> None:
    """With the reason, which is a warning until it is ready again."""
    rig.thread.start(lambda: None)
    if not isinstance(order, ArmWatchdog):
        rig.thread.order(ArmWatchdog(4.0))
        until(lambda: rig.keepers and rig.asked())
        rig.keepers[0].fault = "it hangs"
    rig.fault = "it hangs"
    rig.thread.order(order)
    assert rig.next() == WatchdogLost("it hangs")
    assert rig.issues.texts == ("watchdog not kept: it hangs",)
    rig.keepers[0].fault, rig.keepers[0].is_armed = "", False
    rig.thread.order(ArmWatchdog(4.0))
    rig.thread.order(GrantPermit(20.0))
    assert rig.next() == READY
    until(lambda: rig.issues.texts == ())


def test_keeper_that_has_ended_is_noticed_without_an_order(rig: Rig) -> None:
    """It is looked at from time to time."""
    rig.thread.start(lambda: None)
    rig.thread.order(ArmWatchdog(4.0))
    rig.thread.order(GrantPermit(10.0))
    assert rig.next() == READY
    rig.keepers[0].is_armed = False
    lost = rig.next()
    assert isinstance(lost, WatchdogLost) and lost.reason.startswith("the watchdog is not kept any")


def test_armed_watchdog_of_a_former_daemon_is_taken_over_before_anything_else(rig: Rig) -> None:
    """With the settings by which its keeper works, whatever is configured now."""
    former = KeeperSettings("/dev/watchdog", 6, 2.0, 1)
    rig.running = former
    rig.thread.take_over()
    assert rig.thread.is_used
    taken = replace(READY, settings=LeasePolicy("/dev/watchdog", 6.0, 2.0, 1), number=None)
    assert rig.next() == taken
    rig.thread.start(lambda: None)
    rig.thread.order(ArmWatchdog(4.0))
    assert rig.next() == taken
    assert len(rig.keepers) == 1 and rig.keepers[0].settings == former
    rig.thread.order(GrantPermit(10.0))
    rig.thread.order(DisarmWatchdog())
    until(lambda: rig.keepers[0].is_closed)
    rig.running = None
    rig.thread.order(ArmWatchdog(4.0))
    rig.thread.order(GrantPermit(11.0))
    assert rig.next() == READY
    assert (
        rig.keepers[1].settings == settings_of(POLICY) and policy_of(settings_of(POLICY)) == POLICY
    )


def test_armed_watchdog_that_is_found_only_when_it_is_needed_is_taken_over(rig: Rig) -> None:
    """Its keeper did not answer at the start, or another daemon has armed it since."""
    rig.running = KeeperSettings("/dev/watchdog", 6, 2.0, 1)
    rig.thread.start(lambda: None)
    rig.thread.order(ArmWatchdog(4.0))
    assert rig.next() == replace(
        READY, settings=LeasePolicy("/dev/watchdog", 6.0, 2.0, 1), number=None
    )
    assert [keeper.settings for keeper in rig.keepers] == [rig.running]


def test_what_was_ordered_is_carried_out_before_the_daemon_ends(rig: Rig) -> None:
    """The hold of a goodbye; the keeper is left as it is. Later orders are none."""
    rig.thread.start(lambda: None)
    rig.thread.order(ArmWatchdog(4.0))
    rig.thread.order(GrantPermit(10.0))
    rig.thread.order(HoldWatchdog(50.0))
    rig.thread.stop()
    assert rig.asked() == ["ensure", "grant 10", "hold 50"] and rig.keepers[0].is_closed
    rig.thread.order(GrantPermit(12.0))
    assert rig.asked()[-1] == "hold 50"


def test_lease_that_is_not_configured_any_more_arms_nothing(rig: Rig) -> None:
    """An edit may come between."""
    rig.policy = None
    rig.thread.start(lambda: None)
    rig.thread.order(ArmWatchdog(4.0))
    assert rig.next() == WatchdogLost("[[lease]] is not configured any more")
    assert rig.keepers == []


def test_keeper_that_does_not_answer_is_asked_again_until_it_does(rig: Rig) -> None:
    """It keeps no daemon from starting; the core has to count with what it was armed for."""
    former = KeeperSettings("/dev/watchdog", 6, 2.0, 1)
    is_hung = threading.Event()
    is_hung.set()

    def find() -> KeeperSettings | None:
        if is_hung.is_set():
            raise SystemFault("the keeper gave no answer")
        return former

    rig.thread._find_running = find
    rig.thread.take_over()
    assert rig.issues.texts == ("watchdog not kept: the keeper gave no answer",)
    assert rig.next() == WatchdogLost("the keeper gave no answer", frozenset())
    assert rig.thread.is_used and not rig.keepers
    rig.thread.start(lambda: None)
    rig.thread.order(DisarmWatchdog())
    rig.thread.order(ArmWatchdog(4.0))
    assert rig.next() == WatchdogLost("the keeper gave no answer")
    assert not rig.disarmed
    is_hung.clear()
    assert rig.next() == replace(READY, settings=policy_of(former), number=None)
    until(lambda: rig.issues.texts == ())
    rig.thread.order(GrantPermit(10.0))
    rig.thread.order(DisarmWatchdog())
    until(lambda: rig.disarmed)
    assert rig.asked() == ["ensure", "grant 10", "disarm"] and not rig.thread.is_used


@pytest.mark.parametrize("settings", [None, settings_of(POLICY)])
def test_keeper_that_answers_when_it_is_needed_is_one_of_a_former_daemon(
    rig: Rig, settings: KeeperSettings | None
) -> None:
    """Though it works by the settings in force. If none is armed, this one arms it."""
    answers: list[KeeperSettings | None] = [settings]

    def find() -> KeeperSettings | None:
        if not rig.reports.empty() or not rig.issues.texts:
            raise SystemFault("the keeper gave no answer")
        return answers[0]

    rig.running = settings
    rig.thread._find_running = find
    rig.thread.take_over()
    assert rig.next() == WatchdogLost("the keeper gave no answer", frozenset())
    rig.thread.order(ArmWatchdog(4.0))
    rig.thread.order(GrantPermit(10.0))
    rig.thread.start(lambda: None)
    assert rig.next() == replace(
        READY,
        settings=None if settings is None else POLICY,
        number=0 if settings is None else None,
    )
    assert not rig.disarmed


def test_machine_is_not_suspended_while_its_watchdog_is_armed(rig: Rig) -> None:
    """From the first permit on; and why it may be all the same is shown."""
    rig.thread.start(lambda: None)
    rig.thread.order(ArmWatchdog(4.0))
    until(lambda: rig.keepers and rig.asked())
    assert not rig.inhibitor.is_held and not rig.thread.why_no_inhibitor
    rig.thread.order(GrantPermit(10.0))
    until(lambda: rig.thread.why_no_inhibitor == "no logind")
    rig.thread.order(DisarmWatchdog())
    until(lambda: not rig.inhibitor.is_held)
    until(lambda: not rig.thread.why_no_inhibitor)


def test_adoption_that_fails_is_tried_again(rig: Rig) -> None:
    """The keeper hangs between two questions."""
    rig.running, rig.fault = settings_of(POLICY), "it hangs"
    rig.thread.take_over()
    assert rig.next() == WatchdogLost("it hangs", frozenset()) and rig.keepers[0].is_closed
    rig.fault = ""
    rig.thread.start(lambda: None)
    assert rig.next() == replace(READY, settings=POLICY, number=None)


def test_disarming_is_told_once_nothing_runs(rig: Rig) -> None:
    """Also where there was nothing to disarm: what is noted of the promise may begin anew."""
    rig.thread.start(lambda: None)
    rig.thread.order(DisarmWatchdog())
    until(lambda: rig.disarmed == [1])
    rig.thread.order(ArmWatchdog(4.0))
    rig.thread.order(GrantPermit(10.0))
    assert rig.next() == READY
    rig.keepers[0].fault = "it hangs"
    rig.thread.order(DisarmWatchdog())
    assert rig.next() == WatchdogLost("it hangs")
    assert rig.disarmed == [1]
