"""Rows of refused beats: which go on, which are repeated, stretched or begun for show."""

from __future__ import annotations

from opensvc_openha.core.beat import BootId
from opensvc_openha.core.contenders import CHAINS_MAX, Contenders

LIFE, OTHER = BootId(1, 11), BootId(2, 22)


def record(rows: Contenders, seq: int, now: float, life: BootId = LIFE) -> float | None:
    """A beat of an incarnation that sends one each second, with a patience of ten."""
    return rows.record(life, seq, now, 10.0, 1.0)


def test_row_lasts_from_its_first_beat_to_its_newest() -> None:
    """The first one is none yet."""
    rows = Contenders()
    assert [record(rows, seq, 100.0 + seq) for seq in range(1, 5)] == [None, 1.0, 2.0, 3.0]


def test_repetition_is_no_beat() -> None:
    """Neither of the newest one, nor does an older one go on with the row."""
    rows = Contenders()
    record(rows, 5, 100.0)
    assert record(rows, 6, 101.0) == 1.0
    assert record(rows, 6, 102.0) is None
    assert record(rows, 4, 103.0) is None
    assert record(rows, 7, 104.0) == 4.0


def test_pause_as_long_as_the_patience_begins_again() -> None:
    """Beats that were held back arrive in bursts."""
    rows = Contenders()
    record(rows, 1, 100.0)
    assert record(rows, 12, 109.99) is not None
    rows = Contenders()
    record(rows, 1, 100.0)
    assert record(rows, 12, 110.0) is None
    assert record(rows, 13, 111.0) == 1.0


def test_row_at_half_the_rate_goes_on_and_a_slower_one_does_not() -> None:
    """A recording cannot be stretched; two beats of slack."""
    rows = Contenders()
    record(rows, 1, 100.0)
    assert record(rows, 2, 106.0) == 6.0  # 1 + 2 beats for 6 s.
    rows = Contenders()
    record(rows, 1, 100.0)
    assert record(rows, 2, 106.1) is None
    rows = Contenders()
    record(rows, 1, 100.0)
    assert rows.record(LIFE, 2, 106.1, 10.0, 2.0) is not None


def test_forged_beat_begins_a_row_of_its_own() -> None:
    """With a number that genuine ones would have to overtake; the row that fits best goes on."""
    rows = Contenders()
    record(rows, 1, 100.0)
    assert record(rows, 2, 101.0) == 1.0
    assert record(rows, 1_000, 101.5) == 1.5
    assert record(rows, 3, 102.0) is None
    assert record(rows, 4, 103.0) == 1.0
    assert record(rows, 1_001, 103.5) == 3.5


def test_incarnations_have_rows_of_their_own() -> None:
    """One goes on with no other one's."""
    rows = Contenders()
    record(rows, 1, 100.0)
    assert record(rows, 2, 101.0, OTHER) is None
    assert record(rows, 2, 102.0) == 2.0
    assert record(rows, 3, 102.0, OTHER) == 1.0


def test_rows_are_few_and_the_one_heard_longest_ago_goes() -> None:
    """A forger cannot push out the one that is heard."""
    rows = Contenders()
    record(rows, 1, 100.0)
    for number in range(CHAINS_MAX - 1):
        record(rows, 1, 100.5 + number / 100, BootId(9, number))
    assert record(rows, 2, 101.0) == 1.0
    assert record(rows, 1, 101.1, BootId(9, 99)) is None
    assert record(rows, 3, 102.0) == 2.0
    assert record(rows, 2, 102.0, BootId(9, 1)) is not None
    assert record(rows, 2, 102.0, BootId(9, 0)) is None, "it was the oldest"
    assert len(rows._chains) == CHAINS_MAX == 8


def test_all_begin_again_once_one_is_believed() -> None:
    """Nothing is left of any row."""
    rows = Contenders()
    record(rows, 1, 100.0)
    rows.forget()
    assert record(rows, 2, 101.0) is None
