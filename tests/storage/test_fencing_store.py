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
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.storage.fencing_store import FencingStore
from opensvc_openha.system import identity

FULL = FencingMemory(
    True,
    Turn.HELD,
    12.5,
    3.25,
    (("/etc/fence", 2.5),),
    turns=Turns(5.0, 2.0, 19.0),
    is_wary=True,
    confirmed_by="Zoë (pid 65)",
)


def test_note_of_a_version_that_kept_no_confirmation_is_read(tmp_path: Path) -> None:
    """Nobody confirmed anything then, as far as is known."""
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
    FencingStore(tree_layout(str(tmp_path))).write(FULL)
    monkeypatch.setattr(identity, "life", lambda: "another")
    for has_run in (False, True):
        assert FencingStore(tree_layout(str(tmp_path))).read(has_run) == FencingMemory(
            measured_s=FULL.measured_s
        )


def test_missing_note_blocks_a_first_start_but_no_upgrade(tmp_path: Path) -> None:
    """A daemon of a version without notes ran since the machine was booted: its standby takes over
    as that one would have.
    """
    store = FencingStore(tree_layout(str(tmp_path)))
    assert not store.read(has_run_in_this_life=False).has_heard
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
