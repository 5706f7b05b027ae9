"""Small files on a real file system: whole after a crash, written over where there is no room, and no litter."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from opensvc_openha.core.states import ServiceState
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.formats.state_file import StoredState, decode, encode
from opensvc_openha.runtime import files
from opensvc_openha.runtime.files import remove_leftovers, write_atomically, write_record
from opensvc_openha.runtime.state_store import clean_up

_LONG = StoredState(ServiceState.STOPPING, ServiceState.FROZEN_STOP)
_SHORT = StoredState(ServiceState.STARTED)


def refuse_new_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk without a free block: what would be a new file cannot be had."""

    def refuse(path: str) -> "tuple[str, int]":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    monkeypatch.setattr(files, "_open_beside", refuse)


@pytest.mark.parametrize("old, new", [(_LONG, _SHORT), (_SHORT, _LONG), (_LONG, _LONG)])
def test_record_is_written_over_where_nothing_new_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: StoredState, new: StoredState
) -> None:
    """Longer over shorter and the reverse: the new record alone is left."""
    path = tmp_path / "STATE.deb1"
    path.write_bytes(encode(old))
    refuse_new_files(monkeypatch)
    write_record(str(path), encode(new))
    assert path.read_bytes() == encode(new)


def test_crash_before_the_end_is_cut_off_leaves_the_new_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written over a longer one, and killed between the write and the cut: read as the new record, not as a mixture."""
    path = tmp_path / "STATE.deb1"
    path.write_bytes(encode(_LONG))
    refuse_new_files(monkeypatch)
    monkeypatch.setattr(os, "ftruncate", lambda handle, size: None)
    write_record(str(path), encode(StoredState(ServiceState.STOPPING)))
    assert len(path.read_bytes()) == len(encode(_LONG)) and decode(path.read_bytes()) == StoredState(ServiceState.STOPPING)


def test_record_that_is_not_there_cannot_be_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new or an empty file has no block to write to: the error is that of the disk."""
    refuse_new_files(monkeypatch)
    (tmp_path / "empty").write_bytes(b"")
    for name in ("new", "empty"):
        with pytest.raises(OSError, match="No space left"):
            write_record(str(tmp_path / name), b"2\0")


def test_leftovers_of_a_killed_writer_are_removed_and_nothing_else(tmp_path: Path) -> None:
    """A process is killed before the rename: its file goes at the next start; that of one that lives, and an operator's, stay."""
    layout = tree_layout(str(tmp_path))
    writer = ("import os, signal, sys; from opensvc_openha.runtime import files;"
              " os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL); files.write_atomically(sys.argv[1], b'x')")
    folders = [layout.conf_dir, layout.proc_dir, f"{layout.services_dir}/web"]
    kept = set()
    for folder in folders:
        os.makedirs(folder)
        done = subprocess.run([sys.executable, "-c", writer, f"{folder}/STATE.deb1"])
        assert done.returncode == -signal.SIGKILL and len(os.listdir(folder)) == 1
        for name in (f".STATE.deb1.{os.getppid()}.0.tmp", ".nodes.original", "STATE.deb1"):
            Path(folder, name).write_bytes(b"kept")
            kept.add(f"{folder}/{name}")
    former = Path(layout.services_dir, "web", ".STATE.deb1.ab_c12de")
    former.write_bytes(b"of a former version")
    os.utime(former, (1, 1))
    clean_up(layout)
    assert {os.path.join(folder, name) for folder in folders for name in os.listdir(folder)} == kept


def test_name_left_by_a_process_with_our_pid_is_in_nobodys_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number is taken: the next one is used."""
    for number in range(200_000, 200_003):
        (tmp_path / f".record.{os.getpid()}.{number}.tmp").write_bytes(b"left")
    monkeypatch.setattr(files, "_numbers", itertools.count(200_000))
    write_atomically(str(tmp_path / "record"), b"new")
    assert (tmp_path / "record").read_bytes() == b"new"
    remove_leftovers(str(tmp_path))
    assert os.listdir(tmp_path) == ["record"]
