"""What the daemon words for commands, while the disk that holds the package hangs."""

from __future__ import annotations

import sys
import threading

import pytest

from opensvc_openha import cli
from opensvc_openha.cli.rendering import CommandRenderer
from opensvc_openha.formats.layout import tree_layout
from tests.waiting import LIMIT_S

JSON = "opensvc_openha.cli.json_status"


class HangingDisk:
    """Finds the module that words JSON when the disk is back, and never answers before."""

    def __init__(self) -> None:
        self.is_asked, self.is_back = threading.Event(), threading.Event()

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Leave each module to the other finders, that one after a while."""
        if name == JSON:
            self.is_asked.set()
            assert self.is_back.wait(LIMIT_S)


def test_first_json_from_a_disk_that_hangs_collects_no_callers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One thread waits for it; other commands read as ever, and who asks for JSON does it alone."""
    disk = HangingDisk()
    monkeypatch.delitem(sys.modules, JSON, raising=False)
    monkeypatch.delattr(cli, "json_status", raising=False)
    monkeypatch.setattr(sys, "meta_path", [disk, *sys.meta_path])
    renderer = CommandRenderer(tree_layout())
    first = threading.Thread(target=renderer.view, args=(["service", "-s", "--json"],), daemon=True)
    first.start()
    try:
        assert disk.is_asked.wait(LIMIT_S)
        assert renderer.view(["service", "-s"]) is not None
        assert renderer.view(["service", "-s", "--json"]) is None
        assert renderer.view(["hb", "-s", "--json"]) is None
    finally:
        disk.is_back.set()
        first.join(LIMIT_S)
    assert renderer.view(["hb", "-s", "--json"]) is not None
