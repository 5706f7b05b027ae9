"""Files of a set-up that failed are as they were; what a set-up replaced is kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from opensvc_openha.errors import ConfigError, SystemFault
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.setup.files import FileChanges, check_texts
from opensvc_openha.system.identity import node_name


def test_undo_brings_back_content_mode_and_absence(tmp_path: Path) -> None:
    old, new = tmp_path / "openha.key", tmp_path / "conf" / "monitor"
    old.write_text("mine\n")
    old.chmod(0o600)
    changes = FileChanges()
    changes.write(str(old), "theirs\n", 0o600)
    changes.write(str(new), "links\n")
    assert old.read_text() == "theirs\n" and new.read_text() == "links\n"

    assert changes.undo() == []
    assert old.read_text() == "mine\n"
    assert old.stat().st_mode & 0o777 == 0o600
    assert sorted(each.name for each in tmp_path.iterdir()) == ["conf", "openha.key"]
    assert os.listdir(tmp_path / "conf") == []


def test_a_replaced_file_is_kept_beside_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "openha.key"
    for text in ("first\n", "second\n", "third\n"):
        path.write_text(text) if not path.exists() else None
        path.chmod(0o600)
        changes = FileChanges()
        changes.write(str(path), text, 0o600)
    kept = sorted(each for each in tmp_path.iterdir() if each != path)
    assert [each.name for each in kept] == [
        "openha.key.before-setup",
        "openha.key.before-setup-2",
        "openha.key.before-setup-3",
    ]
    assert all(each.stat().st_mode & 0o077 == 0 for each in kept)
    assert kept[-1].read_text() == "second\n" and changes.kept == [str(kept[-1])]


def test_a_directory_that_cannot_be_written_is_an_error_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    changes = FileChanges()
    changes.write(str(tmp_path / "nodes"), "a\nb\n")
    with pytest.raises(SystemFault):
        changes.write(str(tmp_path / "file" / "monitor"), "links\n")
    changes.undo()
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_texts_are_read_as_by_a_daemon_and_errors_name_the_real_file(tmp_path: Path) -> None:
    """Nothing is written, and no other file of the configuration is looked at but the services."""
    layout = tree_layout(str(tmp_path))
    own = node_name()
    nodes = f"{own}\nnode-b\n"
    monitor = f"{own} unicast lo 10.0.0.2 5010 10\nnode-b unicast lo 10.0.0.1 5010 10\n"
    check_texts(layout, nodes, monitor, "")
    with pytest.raises(ConfigError) as caught:
        check_texts(layout, nodes, monitor, "[fencing]\nlevels = ipmi\n")
    assert caught.value.path == layout.options_file and caught.value.line == 2
    with pytest.raises(ConfigError) as caught:
        check_texts(layout, "node-a\nnode-b\n", monitor, "")
    assert caught.value.path in (layout.nodes_file, layout.monitor_file)
    assert list(tmp_path.iterdir()) == []
