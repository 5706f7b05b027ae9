"""The note of fencing on disk: read back in the same life of the machine, and what is believed
without it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from opensvc_openha.core.facts import Turn
from opensvc_openha.core.fencing_memory import FencingMemory, Turns
from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.storage.fencing_store import FenceTimes, FencingStore
from opensvc_openha.system import clock, identity

FULL = FencingMemory(
    True,
    Turn.HELD,
    12.5,
    3.25,
    (("/etc/fence", 2.5),),
    turns=Turns(5.0, 2.0, 19.0),
    is_wary=True,
    confirmed_by="Zoë (pid 65)",
    draining=(("files", 71.5), ("registry", 60.0)),
)


def test_note_of_a_version_that_kept_no_confirmation_is_read(tmp_path: Path) -> None:
    """Nothing was confirmed then, as far as is known."""
    layout = tree_layout(str(tmp_path))
    FencingStore(layout).write(FULL)
    found = json.loads(Path(layout.fencing_file).read_bytes())
    del found["confirmed_by"]
    Path(layout.fencing_file).write_text(json.dumps(found), encoding="ascii")
    assert FencingStore(layout).read() == replace(FULL, confirmed_by="")


def test_note_is_read_back_in_the_same_life_of_the_machine(tmp_path: Path) -> None:
    """All of it; without the turns too, which a version before them did not write."""
    for memory in (FULL, FencingMemory()):
        FencingStore(tree_layout(str(tmp_path))).write(memory)
        assert FencingStore(tree_layout(str(tmp_path))).read() == memory


def test_boot_forgets_all_but_how_long_fences_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a daemon ran before or not."""
    FencingStore(tree_layout(str(tmp_path))).write(replace(FULL, draining=()))
    monkeypatch.setattr(identity, "life", lambda: "another")
    for has_run in (False, True):
        assert FencingStore(tree_layout(str(tmp_path))).read(has_run) == FencingMemory(
            measured_s=FULL.measured_s
        )


@pytest.mark.parametrize("is_noted", [True, False])
def test_writes_that_had_time_to_land_have_the_rest_of_it_after_a_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_noted: bool
) -> None:
    """What was left when the note was written, by the clock of this boot; older notes lack that."""
    layout = tree_layout(str(tmp_path))
    monkeypatch.setattr(clock, "monotonic", lambda: 50.0)
    FencingStore(layout).write(FULL)
    if not is_noted:
        found = json.loads(Path(layout.fencing_file).read_bytes())
        del found["written_at"]
        Path(layout.fencing_file).write_text(json.dumps(found), encoding="ascii")
    monkeypatch.setattr(clock, "monotonic", lambda: 4.0)
    monkeypatch.setattr(identity, "life", lambda: "another")
    left = (("files", 25.5), ("registry", 14.0)) if is_noted else ()
    assert FencingStore(layout).read().draining == left


def test_missing_note_blocks_a_first_start_but_no_upgrade(tmp_path: Path) -> None:
    """A daemon of a version without notes ran since the machine was booted: its standby takes over
    as that one would have.
    """
    store = FencingStore(tree_layout(str(tmp_path)))
    assert not store.read(has_run_in_this_life=False).has_heard and not store.read().has_heard
    assert store.read(has_run_in_this_life=True) == FencingMemory(has_heard=True)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b"null", b"\xff\xfe", b'{"turn": "X"}']
)
def test_damaged_note_blocks(tmp_path: Path, content: bytes) -> None:
    """Nothing is known, and the peer must be heard, or an operator must confirm."""
    layout = tree_layout(str(tmp_path))
    FencingStore(layout).write(FULL)
    Path(layout.fencing_file).write_bytes(content)
    assert FencingStore(layout).read(has_run_in_this_life=True) == FencingMemory()


@pytest.mark.parametrize(
    "damage",
    [
        ('"turns": [5.0, 2.0, 19.0]', '"turns": [5.0]'),
        ('"turns": [5.0', '"turns": ["x"'),
        ("12.5", "[]"),
        ("12.5", '"12.5"'),
        ('"HELD"', "7"),
    ],
)
def test_note_damaged_in_part_blocks(tmp_path: Path, damage: tuple[str, str]) -> None:
    """The same, wherever the damage is."""
    layout = tree_layout(str(tmp_path))
    FencingStore(layout).write(FULL)
    text = Path(layout.fencing_file).read_text(encoding="ascii")
    assert damage[0] in text
    Path(layout.fencing_file).write_text(text.replace(*damage), encoding="ascii")
    assert FencingStore(layout).read(has_run_in_this_life=True) == FencingMemory()


def test_last_success_and_failure_of_each_fence_are_kept_over_a_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By wall clock, for display; one does not touch the other, nor another group."""
    monkeypatch.setattr(clock, "wall_of", lambda instant: 1000.0 + instant)
    store = FencingStore(tree_layout(str(tmp_path)))
    store.write(replace(FULL, ended=(("a", True, 1.0), ("a", False, 2.0), ("b", False, 3.0))))
    store.write(replace(FULL, ended=(("a", True, 4.0), ("c", True, 5.0))))
    monkeypatch.setattr(identity, "life", lambda: "another")
    again = FencingStore(tree_layout(str(tmp_path)))
    assert again.times == {}
    again.read()
    assert again.times == {
        "a": FenceTimes(1004.0, 1002.0),
        "b": FenceTimes(None, 1003.0),
        "c": FenceTimes(1005.0, None),
    }


def test_words_that_are_no_truth_are_none(tmp_path: Path) -> None:
    """1 is not true: what makes a node dare more must be written exactly."""
    layout = tree_layout(str(tmp_path))
    FencingStore(layout).write(FULL)
    text = Path(layout.fencing_file).read_text(encoding="ascii")
    Path(layout.fencing_file).write_text(text.replace("true", "1"), encoding="ascii")
    assert FencingStore(layout).read() == replace(FULL, has_heard=False, is_wary=False)


def test_note_of_a_version_without_turns_is_read(tmp_path: Path) -> None:
    """Neither the turns nor whether the peer may fence at any time."""
    layout = tree_layout(str(tmp_path))
    FencingStore(layout).write(FULL)
    found = json.loads(Path(layout.fencing_file).read_bytes())
    del found["turns"], found["is_wary"]
    found["silent_since"] = 12  # A whole number is a number, too.
    Path(layout.fencing_file).write_text(json.dumps(found), encoding="ascii")
    read = FencingStore(layout).read()
    assert read == replace(FULL, turns=None, is_wary=False, silent_since=12.0)
    assert isinstance(read.silent_since, float)


def test_note_that_cannot_be_read_blocks(tmp_path: Path) -> None:
    """Something else stands there, or more than a note ever is."""
    layout = tree_layout(str(tmp_path))
    FencingStore(layout).write(FULL)
    path = Path(layout.fencing_file)
    path.write_text(path.read_text() + " " * 300_000 + "x")
    assert FencingStore(layout).read() == FULL
    path.write_text(" " * 300_000 + path.read_text())
    assert FencingStore(layout).read(has_run_in_this_life=True) == FencingMemory()
    path.unlink()
    path.mkdir()
    assert FencingStore(layout).read(has_run_in_this_life=True) == FencingMemory()


def test_note_that_cannot_be_written_is_an_error_with_its_path(tmp_path: Path) -> None:
    """Its place is a directory, or the place of its directory is a file."""
    layout = tree_layout(str(tmp_path))
    Path(layout.fencing_file).mkdir(parents=True)
    with pytest.raises(SystemFault, match=f"cannot write {layout.fencing_file}: Is a directory"):
        FencingStore(layout).write(FULL)
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemFault, match="cannot make directory"):
        FencingStore(tree_layout(str(tmp_path / "file" / "x"))).write(FULL)


def test_note_of_a_node_without_a_plan_is_that_of_before(tmp_path: Path) -> None:
    """What only a plan remembers is left out, so that an older version finds nothing new in it."""
    layout = tree_layout(str(tmp_path))
    FencingStore(layout).write(FencingMemory())
    plain = json.loads(Path(layout.fencing_file).read_bytes())
    assert Path(layout.fencing_file).stat().st_mode & 0o777 == 0o644, "any user may read it"
    full = replace(FencingMemory(), seen_on=("/dev/hb",), ejected_by="deb2", lost_to="deb3")
    FencingStore(layout).write(full)
    found = json.loads(Path(layout.fencing_file).read_bytes())
    assert set(found) - set(plain) == {"seen_on", "ejected_by", "lost_to"}
    assert FencingStore(layout).read() == full
