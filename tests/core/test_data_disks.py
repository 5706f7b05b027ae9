"""What a node knows of the disks of its services, for how long, and when it is news."""

from __future__ import annotations

import pytest

from opensvc_openha.core.actions import Record, RecordKind
from opensvc_openha.core.data_disks import DataDisks
from opensvc_openha.core.events import DisksLook, DisksLooked
from opensvc_openha.core.facts import DiskAnswer
from opensvc_openha.core.timing import DISK_LOOK_OLD_S, FROZEN_REPORT_S

ANSWERS, UNKNOWN = DisksLook(DiskAnswer.ANSWERS), DisksLook(DiskAnswer.UNKNOWN, text="no path")
NOT_LOOKED = "its disks were not looked at"


def frozen(since: float | None) -> DisksLook:
    return DisksLook(DiskAnswer.FROZEN, since, "/dev/sda")


def seen(look: DisksLook, at: float = 100.0) -> DataDisks:
    """The disks of web."""
    disks = DataDisks()
    disks.record(DisksLooked(at, {"web": look}), at)
    return disks


def test_nothing_is_known_before_the_first_look() -> None:
    """At any time."""
    disks = DataDisks()
    for now in (0.0, 1e9):
        assert disks.look_at("web", now).text == NOT_LOOKED
    assert disks.answer("web", 0.0) is DiskAnswer.UNKNOWN and disks.frozen_s("web", 0.0) == 0.0
    assert disks.watched == frozenset() and disks.facts(["web"], 0.0) == (frozenset(), {})


def test_look_grows_old() -> None:
    """Whatever looks may have ended."""
    disks = seen(ANSWERS)
    assert disks.look_at("web", 100.0 + DISK_LOOK_OLD_S) == ANSWERS
    assert disks.look_at("web", 100.01 + DISK_LOOK_OLD_S).text == NOT_LOOKED
    assert disks.look_at("mail", 100.0).text == NOT_LOOKED and disks.watched == {"web"}


def test_look_is_not_of_the_future() -> None:
    """It is as old as its arrival at most, and as the look at least."""
    disks = DataDisks()
    disks.record(DisksLooked(200.0, {"web": ANSWERS}), 100.0)
    assert disks.answer("web", 100.01 + DISK_LOOK_OLD_S) is DiskAnswer.UNKNOWN
    disks.record(DisksLooked(90.0, {"web": ANSWERS}), 94.0)
    assert disks.answer("web", 90.01 + DISK_LOOK_OLD_S) is DiskAnswer.UNKNOWN


@pytest.mark.parametrize(
    "look, seconds",
    [(frozen(60.0), 40.0), (frozen(None), 0.0), (frozen(101.0), 0.0), (ANSWERS, 0.0)],
)
def test_frozen_disk_is_so_since_the_read_that_has_not_ended(
    look: DisksLook, seconds: float
) -> None:
    """Never for less than no time."""
    assert seen(look).frozen_s("web", 100.0) == seconds


def test_only_the_time_counts_in_which_this_node_was_awake() -> None:
    """After a stall from then on; a read that began later from its own beginning."""
    disks = seen(frozen(60.0))
    disks.restart(98.0)
    assert disks.frozen_s("web", 100.0) == 2.0
    disks.record(DisksLooked(100.0, {"web": frozen(99.0)}), 100.0)
    assert disks.frozen_s("web", 100.0) == 1.0


def test_facts_name_what_is_asked_for_and_was_looked_at() -> None:
    """Whole seconds, rounded down; nothing of what is not known."""
    looks = {"web": ANSWERS, "mail": frozen(60.5), "db": UNKNOWN, "other": ANSWERS}
    disks = DataDisks()
    disks.record(DisksLooked(100.0, looks), 100.0)
    assert disks.facts(["web", "mail", "db", "new"], 100.0) == (frozenset({"web"}), {"mail": 39})


def test_freeze_is_recorded_once_it_lasts_and_its_end_once() -> None:
    """An unknown answer in between is neither."""
    disks, since = DataDisks(), 100.0

    def look(what: DisksLook, at: float) -> list[Record]:
        return disks.record(DisksLooked(at, {"web": what}), at)

    assert look(ANSWERS, 99.0) == []
    assert look(frozen(since), since + FROZEN_REPORT_S - 0.01) == []
    assert look(frozen(since), since + FROZEN_REPORT_S) == [
        Record(
            RecordKind.SERVICE, "web", "", "DISKS FROZEN", "no answer of /dev/sda", is_alarm=True
        )
    ]
    assert look(frozen(since), since + 20.0) == []
    assert look(UNKNOWN, since + 21.0) == []
    assert look(ANSWERS, since + 22.0) == [
        Record(RecordKind.SERVICE, "web", "", "DISKS ANSWER", "its disks answer again")
    ]
    assert look(ANSWERS, since + 23.0) == []
    assert look(UNKNOWN, since + 24.0) == []


def test_service_that_is_not_looked_at_any_more_is_forgotten() -> None:
    """Its disks are news again when they are frozen the next time; other services stay known."""
    disks = DataDisks()
    both = {"web": frozen(60.0), "mail": frozen(60.0)}
    assert len(disks.record(DisksLooked(100.0, both), 100.0)) == 2
    assert disks.record(DisksLooked(101.0, {"mail": frozen(60.0)}), 101.0) == []
    (record,) = disks.record(DisksLooked(102.0, both), 102.0)
    assert record.name == "web" and record.new == "DISKS FROZEN"


def test_word_of_the_peer_counts_once_it_has_heard_a_beat_of_after_the_freeze() -> None:
    """Of the first one; a disk that answered in between is frozen from the next time on."""
    disks = DataDisks()

    def look(what: DisksLook, next_seq: int) -> None:
        disks.record(DisksLooked(100.0, {"web": what, "mail": ANSWERS}), 100.0, next_seq)

    look(frozen(90.0), 7)
    look(frozen(90.0), 9)
    assert [disks.is_frozen_unheard("web", acked) for acked in (-1, 6, 7)] == [True, True, False]
    assert not disks.is_frozen_unheard("mail", -1) and not disks.is_frozen_unheard("new", -1)
    look(ANSWERS, 10)
    assert not disks.is_frozen_unheard("web", -1)
    look(frozen(95.0), 12)
    assert disks.is_frozen_unheard("web", 11) and not disks.is_frozen_unheard("web", 12)
