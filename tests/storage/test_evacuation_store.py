"""The file that keeps a node evacuated."""

from __future__ import annotations

from pathlib import Path

import pytest

from opensvc_openha.core.evacuation import NOT_EVACUATED, Evacuation
from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.layout import Layout
from opensvc_openha.storage.evacuation_store import read_evacuation, write_evacuation


@pytest.mark.parametrize("is_off_limits", [False, True])
def test_evacuation_is_read_back_until_it_ends(layout: Layout, is_off_limits: bool) -> None:
    """Its end removes the file, and once more does nothing."""
    assert read_evacuation(layout) == NOT_EVACUATED
    wanted = Evacuation(True, is_off_limits, "since 18:00 by root (CHG-12, ü)")
    write_evacuation(layout, wanted)
    assert read_evacuation(layout) == wanted
    for _ in range(2):
        write_evacuation(layout, NOT_EVACUATED)
        assert read_evacuation(layout) == NOT_EVACUATED


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b'{"text": "x"}', b"\xff", b'{"off_limits": 1}']
)
def test_damaged_file_is_taken_for_an_evacuation(layout: Layout, data: bytes) -> None:
    """One that still takes over from a dead peer, and that an operator gets to see."""
    write_evacuation(layout, Evacuation(True))
    Path(layout.evacuation_file).write_bytes(data)
    found = read_evacuation(layout)
    assert found.is_on and not found.is_off_limits and layout.evacuation_file in found.text
    assert found.is_damaged


def test_file_that_cannot_be_removed_is_an_error(layout: Layout) -> None:
    """Otherwise the next daemon would be evacuated again."""
    Path(layout.evacuation_file).mkdir(parents=True)
    with pytest.raises(SystemFault, match="cannot remove"):
        write_evacuation(layout, NOT_EVACUATED)
