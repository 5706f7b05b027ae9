"""The protocol of a promise alone: histories, and what they find if it is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from opensvc_openha.core import lease_owner
from opensvc_openha.core.actions import DisarmWatchdog
from opensvc_openha.core.beat import Beat
from opensvc_openha.core.events import BeatFound, MediumQuiet, RenewalConfirmed
from opensvc_openha.core.incarnations import PeerIncarnations
from opensvc_openha.core.lease_owner import Circumstances, LeaseOwner
from opensvc_openha.core.lease_view import LeaseView
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.promise import CLOCK_RATIO, Promise, death_after_s, media_of
from opensvc_openha.core.promised_disks import PromisedDisks
from opensvc_openha.fence_devices.witness import Witness
from opensvc_openha.verify.leases import keeper_process, media
from opensvc_openha.verify.leases.history import FAULTS, run_history
from opensvc_openha.verify.leases.main import main
from opensvc_openha.verify.leases.plan import FASTEST, SLOWEST, LeasePlan

WORST = LeasePlan(
    granularity_s=0.05,
    rates=(SLOWEST, FASTEST),
    bites_late=True,
    pets_late=True,
    dies_late=True,
)
"""The owner's clock is slow, the survivor's fast, and all that a promise counts with happens."""
HARDWARE = replace(WORST, granularity_s=1.0)
WITNESSED = replace(WORST, disks=0, has_witness=True)
CUT = ((0.3, "network cut"), (0.0, "disk takes nothing for the owner"))

Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]
KEEPER: Any = keeper_process.KEEPER


def test_histories_by_chance() -> None:
    """Some of what `python -m opensvc_openha.verify.leases` plays."""
    assert main(["--seeds", "1-120"]) == 0


@pytest.mark.parametrize("plan", [WORST, HARDWARE, WITNESSED], ids=["softdog", "hardware", "etcd"])
def test_the_promised_time_is_enough_and_not_much_more(plan: LeasePlan) -> None:
    """If all that it counts with happens."""
    faults = (*CUT, (0.0, "witness away for the owner"))
    outcome = run_history(0, plan=plan, faults=faults)
    assert outcome.failure == "" and outcome.proofs == 1 and outcome.bites == 1
    assert 0 < outcome.least_spare_s < 2.5


def test_each_fault_can_happen() -> None:
    """In a history of its own."""
    for name in FAULTS:
        assert run_history(1, faults=((0.1, name), (0.2, "network healed"))).failure == "", name


def test_the_same_seed_is_the_same_history() -> None:
    """In each process."""
    lines: list[list[str]] = [[], []]
    for each in lines:
        run_history(12, each.append)
    assert lines[0] == lines[1] and len(lines[0]) > 5


# --- planted faults -------------------------------------------------------------------------------


def _death(rule: Callable[[float, float, int, float, float], float]) -> Plant:
    return lambda patch: patch.setattr(lease_owner, "death_after_s", rule)


def _unreadable_is_quiet(patch: Patch) -> None:
    read = media.SlotReader._read

    def wrong(self: media.SlotReader) -> None:
        daemon, now = self._daemon, self._daemon.machine.clock()
        if daemon.machine.name in daemon.machine.pair.blind:
            self._is_due = False
            if daemon.wants_quiet:
                daemon.deliver(MediumQuiet(self._medium, now, self._since))
            self.look()
        else:
            read(self)

    patch.setattr(media.SlotReader, "_read", wrong)


def _any_read_will_do(patch: Patch) -> None:
    patch.setattr(LeaseView, "_is_read", lambda self, medium, *rest: medium in self._quiet_at)


def _content_of_before_is_no_sign(patch: Patch) -> None:
    record = LeaseView.record_quiet
    patch.setattr(
        LeaseView, "record_quiet", lambda self, event: record(self, replace(event, since=-math.inf))
    )


def _any_write_renews(patch: Patch) -> None:
    written = media.SlotWriter._written
    patch.setattr(
        media.SlotWriter,
        "_written",
        lambda self, beat, began_at, is_confirmed: written(self, beat, began_at, True),
    )


def _counts_from_the_confirmation(patch: Patch) -> None:
    confirmed = LeaseOwner.confirmed

    def wrong(self: LeaseOwner, event: RenewalConfirmed, now: float) -> Any:
        return confirmed(self, replace(event, began_at=now), now)

    patch.setattr(LeaseOwner, "confirmed", wrong)


def _pets_without_the_timer(patch: Patch) -> None:
    class NoTimer:
        ITIMER_REAL = 0

        @staticmethod
        def setitimer(which: int, seconds: float) -> None:
            keeper_process.running().step()

    patch.setattr(KEEPER, "signal", NoTimer)


def _opens_without_a_permit(patch: Patch) -> None:
    settings = KEEPER.Keeper._settings

    def wrong(self: Any, *args: str) -> Any:
        outcome = settings(self, *args)
        if not self.is_open:
            self._open(-1)
        return outcome

    patch.setattr(KEEPER.Keeper, "_settings", wrong)


def _any_permit_ends_a_hold(patch: Patch) -> None:
    grant = LeaseOwner._grant

    def wrong(self: LeaseOwner, renewed_at: float, by: str, now: float) -> Any:
        self._is_held = False
        return grant(self, renewed_at, by, now)

    patch.setattr(LeaseOwner, "_grant", wrong)


def _withdraws_without_waiting(patch: Patch) -> None:
    end = LeaseOwner._end

    def wrong(self: LeaseOwner, at: Circumstances, now: float) -> Any:
        was_armed = self._ready is not None
        return [*end(self, at, now), *([DisarmWatchdog()] if was_armed else [])]

    patch.setattr(LeaseOwner, "_end", wrong)


def _lone_survivor_promises(patch: Patch) -> None:
    why_not = LeaseOwner._why_not

    def wrong(self: LeaseOwner, at: Circumstances) -> str:
        self._peer_out = ""
        return why_not(self, at)

    patch.setattr(LeaseOwner, "_why_not", wrong)


def _promises_again_for_an_old_acknowledgement(patch: Patch) -> None:
    acknowledged = LeaseOwner.acknowledged

    def wrong(self: LeaseOwner, seq: int, now: float) -> Any:
        self._out_seq = 0
        return acknowledged(self, seq, now)

    patch.setattr(LeaseOwner, "acknowledged", wrong)


def _virtual_is_believed(patch: Patch) -> None:
    doubt = LeaseView._doubt

    def wrong(self: LeaseView, view: PeerView, promise: Promise, found: list[Beat]) -> str:
        return doubt(self, view, replace(promise, is_virtual=False), found)

    patch.setattr(LeaseView, "_doubt", wrong)


def _replaced_disk_renews(patch: Patch) -> None:
    patch.setattr(PromisedDisks, "medium_of", lambda self, link, disk: media_of(self._media)[link])


def _witness_is_always_quiet(patch: Patch) -> None:
    quiet_since = Witness.quiet_since

    def wrong(self: Witness, life: str, seq: int) -> float:
        quiet_since(self, life, seq)
        return 0.0

    patch.setattr(Witness, "quiet_since", wrong)


def _what_a_slot_held_is_nothing(patch: Patch) -> None:
    def wrong(self: LeaseView, event: BeatFound, view: PeerView) -> None:
        self._opened.discard(event.link)

    patch.setattr(LeaseView, "record_found", wrong)


def _what_is_refused_is_nothing(patch: Patch) -> None:
    patch.setattr(LeaseView, "record_refused", lambda self, beat: None)


def _believes_that_a_peer_which_left_counts_on_it(patch: Patch) -> None:
    patch.setattr(PeerIncarnations, "is_last", lambda self, boot: False)


def _any_renewal_is_one_of_the_known_promise(patch: Patch) -> None:
    patch.setattr(LeaseOwner, "_promised_since", 0)


PROVED, RESET = "proved dead, and alive", "is reset in good health"
PLANTED: dict[str, tuple[Plant, LeasePlan, tuple[tuple[float, str], ...], str]] = {
    "clocks that agree": (
        _death(lambda i, w, n, d, m: i + n * (w + d) + m),
        WORST,
        CUT,
        PROVED,
    ),
    "clocks slewed on one node alone": (
        _death(lambda i, w, n, d, m: 1.0833 * (i + n * (w + d)) + m),
        WORST,
        CUT,
        PROVED,
    ),
    "late once, and petted at the close": (
        _death(lambda i, w, n, d, m: CLOCK_RATIO * (i + n * w) + d + m),
        HARDWARE,
        CUT,
        PROVED,
    ),
    "one timeout": (_death(lambda i, w, n, d, m: death_after_s(i, w, 1, d, m)), WORST, CUT, PROVED),
    "no time for an answer": (
        _death(lambda i, w, n, d, m: death_after_s(0.0, w, n, d, m)),
        WORST,
        CUT,
        PROVED,
    ),
    "unreadable is unchanged": (
        _unreadable_is_quiet,
        WORST,
        ((0.3, "network cut"), (0.0, "slot not read by the survivor")),
        PROVED,
    ),
    "read before the time was over": (
        _any_read_will_do,
        WITNESSED,
        (
            *CUT,
            (0.0, "witness away for the owner"),
            (0.15, "witness away for the survivor"),
            (0.0, "witness back for the owner"),
        ),
        PROVED,
    ),
    "what appears is no sign of life": (
        _content_of_before_is_no_sign,
        WITNESSED,
        (
            *CUT,
            (0.0, "witness away for the owner"),
            (0.0, "witness away for the survivor"),
            (0.1, "witness back for the owner"),
            (0.2, "witness away for the owner"),
            (0.0, "witness back for the survivor"),
        ),
        PROVED,
    ),
    "a promise that lay in a slot when it was opened": (
        _what_a_slot_held_is_nothing,
        replace(WORST, pets_late=False, dies_late=False),
        (
            (0.3, "slot not read by the survivor"),
            (0.0, "network cut"),
            (0.5, "owner restarts soon"),
            (0.3, "slot read again by the survivor"),
        ),
        PROVED,
    ),
    "a write that is not confirmed renews": (
        _any_write_renews,
        WORST,
        CUT,
        PROVED,
    ),
    "counted from the confirmation": (
        _counts_from_the_confirmation,
        WORST,
        (
            (0.3, "network cut"),
            (0.0, "disk confirms late for the owner"),
            (0.1, "disk takes nothing for the owner"),
        ),
        PROVED,
    ),
    "a petting without the timer": (
        _pets_without_the_timer,
        WORST,
        ((0.1, "keeper of the owner stopped before a petting"), *CUT),
        "too late",
    ),
    "opened without a permit": (
        _opens_without_a_permit,
        WORST,
        CUT,
        PROVED,
    ),
    "any permit ends a hold": (
        _any_permit_ends_a_hold,
        replace(WORST, pets_late=False, dies_late=False),
        ((0.1, "owner restarts soon"),),
        RESET,
    ),
    "disarmed before the withdrawal is known": (
        _withdraws_without_waiting,
        replace(WORST, pets_late=False, dies_late=False),
        (*CUT, (0.0, "service stopped")),
        PROVED,
    ),
    "a lone survivor promises": (
        _lone_survivor_promises,
        replace(WORST, is_mutual=True),
        ((0.3, "owner without power"),),
        "is alone, and is reset",
    ),
    "a lone survivor promises for what a dead peer has acknowledged": (
        _promises_again_for_an_old_acknowledgement,
        replace(WORST, is_mutual=True),
        (
            (0.3, "network cut"),
            (0.0, "disk takes writes of the owner after the proof"),
            (0.1, "owner without power"),
        ),
        "is alone, and is reset",
    ),
    "a virtual machine is believed": (
        _virtual_is_believed,
        replace(WORST, is_virtual=True, pets_late=False, dies_late=False),
        ((0.3, "owner pauses for long"),),
        PROVED,
    ),
    "a replaced disk renews": (
        _replaced_disk_renews,
        WORST,
        ((0.1, "path of the owner names another disk"), (0.0, "network cut")),
        PROVED,
    ),
    "a peer that left is believed to count on the promise": (
        _believes_that_a_peer_which_left_counts_on_it,
        replace(WORST, pets_late=False, dies_late=False),
        ((0.3, "survivor leaves"), (0.0, "owner cut off for good")),
        "reset by what it promised to a peer that has left",
    ),
    "the witness is always quiet": (
        _witness_is_always_quiet,
        WITNESSED,
        ((0.3, "network cut"),),
        PROVED,
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_it_finds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong is found, in a history that holds without it."""
    plant, plan, faults, text = PLANTED[name]
    assert run_history(0, plan=plan, faults=faults).failure == ""
    plant(monkeypatch)
    assert text in run_history(0, plan=plan, faults=faults).failure


@pytest.mark.parametrize(
    ("plant", "seed"),
    [
        (_what_a_slot_held_is_nothing, 33915),
        (_any_renewal_is_one_of_the_known_promise, 110199),
        (_what_is_refused_is_nothing, 1760111),
    ],
    ids=[
        "restart",
        "promise that was withdrawn at the witness",
        "restart beside a daemon that was started again",
    ],
)
def test_seed_that_has_found_it_holds(
    plant: Plant, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the fault that it has found."""
    assert run_history(seed).failure == ""
    plant(monkeypatch)
    assert PROVED in run_history(seed).failure


def test_machine_that_has_left_is_no_owner() -> None:
    """Its daemon has stopped the service, and stopped the watchdog without having told anybody."""
    assert run_history(45966).failure == ""
