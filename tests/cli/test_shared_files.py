"""The files that are the same on both nodes: checked as a whole, replaced all or none, kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from opensvc_openha.cli.shared_files import (
    check_texts,
    digest_of,
    read_seen,
    replace_shared,
    shared_path,
    write_seen,
)
from opensvc_openha.errors import ConfigError, OpenhaError, RefusedError
from opensvc_openha.formats.layout import Layout, tree_layout
from opensvc_openha.peer_link.protocol import NO_FILE, SharedFile

HERE = os.uname().nodename
NODES = f"{HERE}\npeer\n"
MONITOR = f"{HERE}\tunicast\tlo\t127.0.0.1\t5001\t10\npeer\tunicast\tlo\t127.0.0.1\t5002\t10\n"
NODES_FILE, MONITOR_FILE, OPTIONS = SharedFile.NODES, SharedFile.MONITOR, SharedFile.OPTIONS


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Return a cluster directory without a daemon."""
    layout = tree_layout(str(tmp_path))
    for folder in (layout.conf_dir, layout.proc_dir, layout.services_dir):
        os.makedirs(folder, exist_ok=True)
    write(layout, NODES_FILE, NODES)
    write(layout, MONITOR_FILE, MONITOR)
    return layout


def write(layout: Layout, file: SharedFile, text: str, mode: int = 0o644) -> None:
    """Write a file as an operator does."""
    path = Path(shared_path(layout, file))
    path.write_text(text)
    path.chmod(mode)


def read(layout: Layout, file: SharedFile, suffix: str = "") -> str:
    """Return a file's text; empty without one."""
    path = Path(shared_path(layout, file) + suffix)
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        ({MONITOR_FILE: MONITOR + "x\n"}, "conf/monitor:3: "),
        ({NODES_FILE: "a\n"}, "conf/nodes: a cluster has two nodes"),
        ({NODES_FILE: "a\nb\n"}, "conf/nodes: this node is named"),
        ({NODES_FILE: f"{HERE}\nother\n"}, "conf/monitor:2: node peer is not one of"),
        ({OPTIONS: "[timing]\n\nprofile = slow\n"}, "conf/openha.conf:3: profile"),
        ({OPTIONS: "[peer_link]\nenabled = yes\n"}, "conf/openha.conf:2: .*needs a key"),
        ({OPTIONS: "[heartbeat]\n[[net x:1]]\nwire = own\n"}, "conf/openha.conf:2: .*no link of"),
    ],
)
def test_wrong_text_is_reported_with_file_and_line_and_changes_nothing(
    layout: Layout, texts: dict[SharedFile, str], problem: str
) -> None:
    """The texts are checked together, as a daemon reads them; messages name the real place."""
    before = {file: read(layout, file) for file in SharedFile}
    with pytest.raises(ConfigError, match=f"^{layout.ez}/{problem}"):
        replace_shared(layout, texts, {})
    assert {file: read(layout, file) for file in SharedFile} == before
    assert sorted(os.listdir(layout.conf_dir)) == ["monitor", "nodes"]


def test_texts_that_belong_together_are_replaced_together(layout: Layout) -> None:
    """Each alone would be wrong; what was there is kept beside them."""
    texts = {
        NODES_FILE: NODES.replace("peer", "other"),
        MONITOR_FILE: MONITOR.replace("peer", "other"),
    }
    for file, text in texts.items():
        with pytest.raises(ConfigError):
            check_texts(layout, {file: text})
    seen = {NODES_FILE: digest_of(NODES), MONITOR_FILE: digest_of(MONITOR)}
    changed = replace_shared(layout, texts, seen)
    assert changed == [layout.nodes_file, layout.monitor_file]
    assert [read(layout, file) for file in texts] == list(texts.values())
    assert [read(layout, file, ".before") for file in texts] == [NODES, MONITOR]


def test_text_that_was_changed_meanwhile_is_not_replaced(layout: Layout) -> None:
    """The digest that was seen is compared under the lock; nothing of the request is done."""
    with pytest.raises(RefusedError, match="changed meanwhile"):
        replace_shared(layout, {NODES_FILE: f"# x\n{NODES}"}, {NODES_FILE: NO_FILE})
    assert read(layout, NODES_FILE) == NODES


def test_failed_write_leaves_all_files_as_they_were(layout: Layout) -> None:
    """The second file cannot be written: the first is as before."""
    os.symlink(f"{layout.ez}/no-folder-because-a-file/x", layout.options_file)
    Path(f"{layout.ez}/no-folder-because-a-file").write_text("")
    with pytest.raises(OpenhaError):
        replace_shared(layout, {NODES_FILE: f"# x\n{NODES}", OPTIONS: "[scripts]\n"}, {})
    assert read(layout, NODES_FILE) == NODES


@pytest.mark.parametrize(
    ("mode", "private", "expected"),
    [(0o600, (), 0o600), (0o644, (OPTIONS,), 0o644), (0, (OPTIONS,), 0o600), (0, (), 0o644)],
    ids=["stays private", "stays open", "new and private", "new"],
)
def test_file_and_its_copy_are_for_those_that_may_read_it(
    layout: Layout, mode: int, private: tuple[SharedFile, ...], expected: int
) -> None:
    """A file with passwords is not opened by replacing it, nor by keeping the old one."""
    if mode:
        write(layout, OPTIONS, "[scripts]\nparallel = 3\n", mode)
    replace_shared(layout, {OPTIONS: "[scripts]\nparallel = 4\n"}, {}, private)
    paths = [layout.options_file, *([f"{layout.options_file}.before"] if mode else [])]
    assert [os.stat(path).st_mode & 0o777 for path in paths] == [expected] * len(paths)


def test_symbolic_link_stays_one(layout: Layout) -> None:
    """A file that is kept elsewhere is replaced there."""
    real = f"{layout.ez}/kept-elsewhere"
    os.rename(layout.nodes_file, real)
    os.symlink(real, layout.nodes_file)
    replace_shared(layout, {NODES_FILE: f"# x\n{NODES}"}, {})
    assert os.path.islink(layout.nodes_file)
    assert Path(real).read_text() == f"# x\n{NODES}"


def test_what_was_seen_of_the_other_node_is_remembered(layout: Layout) -> None:
    """Each file by itself; a damaged note has seen nothing."""
    assert read_seen(layout) == {}
    write_seen(layout, {NODES_FILE: "a"})
    write_seen(layout, {OPTIONS: ""})
    assert read_seen(layout) == {NODES_FILE: digest_of("a"), OPTIONS: NO_FILE}
    for damaged in ("", "[1]", "{"):
        Path(layout.peer_seen_file).write_text(damaged)
        assert read_seen(layout) == {}


def test_layout_without_files_has_empty_texts(tmp_path: Path) -> None:
    """What does not exist is named as missing."""
    empty = tree_layout(str(tmp_path))
    with pytest.raises(ConfigError, match="no such file"):
        check_texts(empty, {})
