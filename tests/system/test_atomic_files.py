"""Small files on a real file system: whole after a crash, written over where there is no room, and
no litter.
"""

from __future__ import annotations

import errno
import itertools
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensvc_openha.core.states import ServiceState
from opensvc_openha.errors import ConfigError, SystemFault
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.formats.state_file import StoredState, decode, encode
from opensvc_openha.storage.state_store import clean_up, write_state
from opensvc_openha.system import atomic_files, clock
from opensvc_openha.system.atomic_files import (
    make_dir,
    open_log,
    open_plain,
    read_text,
    remove_leftovers,
    write_atomically,
    write_record,
)

_LONG = StoredState(ServiceState.STOPPING, ServiceState.FROZEN_STOP)
_SHORT = StoredState(ServiceState.STARTED)


def refuse_new_files(monkeypatch: pytest.MonkeyPatch, number: int = errno.ENOSPC) -> None:
    """As on a disk without a free block: what would be a new file cannot be had."""

    def refuse(path: str) -> tuple[str, int]:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(atomic_files, "_open_beside", refuse)


@pytest.mark.parametrize("old, new", [(_LONG, _SHORT), (_SHORT, _LONG), (_LONG, _LONG)])
def test_record_is_written_over_where_nothing_new_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: StoredState, new: StoredState
) -> None:
    """Longer over shorter and the reverse: the new record alone is left.

    A quota is as good as a full disk.
    """
    path = tmp_path / "STATE.deb1"
    for number in (errno.ENOSPC, errno.EDQUOT):
        path.write_bytes(encode(old))
        refuse_new_files(monkeypatch, number)
        write_record(str(path), encode(new))
        assert path.read_bytes() == encode(new)


@pytest.mark.parametrize(
    "old, new, is_written", [(512, 2, True), (2, 512, True), (513, 2, False), (2, 513, False)]
)
def test_record_is_written_over_within_one_sector_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: int, new: int, is_written: bool
) -> None:
    """More than a sector may be half written when the power fails: the old content stays, and the
    error is that of the disk.
    """
    path = tmp_path / "record"
    path.write_bytes(b"o" * old)
    refuse_new_files(monkeypatch)
    open_files = os.listdir("/proc/self/fd")
    if is_written:
        write_record(str(path), b"n" * new)
    else:
        with pytest.raises(OSError, match="No space left"):
            write_record(str(path), b"n" * new)
    assert path.read_bytes() == (b"n" * new if is_written else b"o" * old)
    assert len(os.listdir("/proc/self/fd")) == len(open_files)


def test_record_of_which_a_part_was_written_over_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk took one byte of two: the caller must not believe that it was."""
    path, pwrite = tmp_path / "record", os.pwrite
    path.write_bytes(b"2\0")
    refuse_new_files(monkeypatch)
    monkeypatch.setattr(os, "pwrite", lambda handle, data, offset: pwrite(handle, data[:1], offset))
    with pytest.raises(OSError, match="No space left"):
        write_record(str(path), b"0\0")


def test_crash_before_the_end_is_cut_off_leaves_the_new_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written over a longer one, and killed between the write and the cut: read as the new record,
    not as a mixture.
    """
    path = tmp_path / "STATE.deb1"
    path.write_bytes(encode(_LONG))
    refuse_new_files(monkeypatch)
    monkeypatch.setattr(os, "ftruncate", lambda handle, size: None)
    write_record(str(path), encode(StoredState(ServiceState.STOPPING)))
    assert len(path.read_bytes()) == len(encode(_LONG)) and decode(
        path.read_bytes()
    ) == StoredState(ServiceState.STOPPING)


def test_record_that_is_not_there_cannot_be_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new or an empty file has no block to write to: the error is that of the disk."""
    refuse_new_files(monkeypatch)
    (tmp_path / "empty").write_bytes(b"")
    for name in ("new", "empty"):
        with pytest.raises(OSError, match="No space left"):
            write_record(str(tmp_path / name), b"2\0")


def test_leftovers_of_a_killed_writer_are_removed_and_nothing_else(tmp_path: Path) -> None:
    """A process is killed before the rename: its file goes at the next start.

    That of one that lives, and an operator's, stay.
    """
    layout = tree_layout(str(tmp_path))
    writer = (
        "import os, signal, sys; from opensvc_openha.system import atomic_files as files;"
        " os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL);"
        " files.write_atomically(sys.argv[1], b'x')"
    )
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


def test_name_left_by_a_process_with_our_pid_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number is taken: the next one is used."""
    for number in range(200_000, 200_003):
        (tmp_path / f".record.{os.getpid()}.{number}.tmp").write_bytes(b"left")
    monkeypatch.setattr(atomic_files, "_numbers", itertools.count(200_000))
    write_atomically(str(tmp_path / "record"), b"new")
    assert (tmp_path / "record").read_bytes() == b"new"
    remove_leftovers(str(tmp_path))
    assert os.listdir(tmp_path) == ["record"]


def test_former_leftovers_go_once_they_are_old_and_what_only_looks_like_one_stays(
    tmp_path: Path,
) -> None:
    """Their names do not report who writes them: an hour must have passed, or the clock was set.

    A folder may be missing.
    """
    names = {".boot.ab_c12de": 3000, ".managed.ab_c12de": -3000, ".nodes.ab_c12de": 90_000}
    for name, age_s in {
        **names,
        ".STATE.deb1.ab_c12de": 4200,
        ".peer-lives.ab_c12de": -4200,
    }.items():
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (clock.wall() - age_s, clock.wall() - age_s))
    (tmp_path / ".boot.dangling").symlink_to(tmp_path / "gone")
    remove_leftovers(str(tmp_path))
    remove_leftovers(str(tmp_path / "gone"))
    assert set(os.listdir(tmp_path)) == {*names, ".boot.dangling"}


def test_leftovers_are_removed_wherever_a_configuration_file_is(tmp_path: Path) -> None:
    """Each of the three may be in a directory of its own, of another package, for example."""
    layout = tree_layout(str(tmp_path))._replace(
        **{
            name: str(tmp_path / name / "it")
            for name in ("nodes_file", "monitor_file", "services_file")
        },
    )
    for path in (layout.nodes_file, layout.monitor_file, layout.services_file):
        os.mkdir(os.path.dirname(path))
        Path(os.path.dirname(path), f".it.{os.getpid()}.0.tmp").write_bytes(b"left")
    clean_up(layout)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_error_of_a_write_is_the_one_reported_even_if_what_was_written_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody tidied up between the failed rename and our own removal."""

    def fail(old: str, new: str) -> None:
        os.unlink(old)
        raise OSError(errno.EIO, os.strerror(errno.EIO), new)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="Input/output error"):
        write_atomically(str(tmp_path / "record"), b"new")


@pytest.fixture(params=[0o000, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Of the user who starts the daemon or a command: open to all, or closed to all others."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode_of(path: Path) -> int:
    """Who may do what with it."""
    return stat.S_IMODE(path.stat().st_mode)


def test_modes_follow_no_umask(tmp_path: Path, umask: int) -> None:
    """Records are for all to read, logs for root and its group, directories for all to enter."""
    write_atomically(str(tmp_path / "atomic"), b"x")
    write_record(str(tmp_path / "record"), b"x")
    write_state(tree_layout(str(tmp_path / "tree")), "web", "deb1", _SHORT)
    make_dir(str(tmp_path / "a" / "b"))
    for name, opener in (("log", open_log), ("plain", open_plain)):
        with open(tmp_path / name, "w", opener=opener) as file:
            file.write("line\n")
        assert (tmp_path / name).read_text() == "line\n"
    found = {path.relative_to(tmp_path).as_posix(): mode_of(path) for path in tmp_path.rglob("*")}
    assert found == {
        "atomic": 0o644,
        "record": 0o644,
        "a": 0o755,
        "a/b": 0o755,
        "log": 0o640,
        "plain": 0o644,
        "tree": 0o755,
        "tree/services": 0o755,
        "tree/services/web": 0o755,
        "tree/services/web/STATE.deb1": 0o644,
    }


def test_log_of_an_older_version_is_closed_to_others_and_a_pipe_is_left_alone(
    tmp_path: Path,
) -> None:
    """What was open to all is not any more.

    A pipe or a device that the operator chose keeps its mode.
    """
    (tmp_path / "log").write_text("")
    os.chmod(tmp_path / "log", 0o666)
    os.mkfifo(tmp_path / "pipe")
    os.chmod(tmp_path / "pipe", 0o666)
    for name in ("log", "pipe"):
        os.close(open_log(str(tmp_path / name), os.O_RDWR))
    assert (mode_of(tmp_path / "log"), mode_of(tmp_path / "pipe")) == (0o640, 0o666)


def test_no_other_user_can_open_a_secret_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key is on its way into its file: until that has its mode it is root's alone."""
    modes, fchmod = [], os.fchmod

    def watch(handle: int, mode: int) -> None:
        modes.append((stat.S_IMODE(os.fstat(handle).st_mode), os.fstat(handle).st_size))
        fchmod(handle, mode)

    monkeypatch.setattr(os, "fchmod", watch)
    before = os.umask(0)
    write_atomically(str(tmp_path / "key"), b"secret", 0o640)
    os.umask(before)
    assert modes == [(0o600, len(b"secret"))] and mode_of(tmp_path / "key") == 0o640


def test_directory_is_made_where_this_process_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path without a leading slash, as in EZ=cluster.

    One that the kernel refuses is an error with its reason.
    """
    monkeypatch.chdir(tmp_path)
    make_dir("a/b/")
    assert (tmp_path / "a" / "b").is_dir()
    with pytest.raises(SystemFault, match="cannot make directory /proc/none: No such file"):
        make_dir("/proc/none")


def test_line_of_a_damaged_text_is_counted_from_the_first(tmp_path: Path) -> None:
    """An empty first line is one, too."""
    (tmp_path / "nodes").write_bytes(b"\n\xff")
    with pytest.raises(ConfigError, match="nodes:2: "):
        read_text(str(tmp_path / "nodes"))


def test_link_replaces_what_is_there_and_leaves_nothing_where_it_cannot(tmp_path: Path) -> None:
    """A file, another link, a directory; a leftover of the same name is passed over."""
    path = tmp_path / "link"
    for target in ("a", "b"):
        atomic_files.replace_by(str(path), lambda name, to=target: os.symlink(to, name))  # type: ignore[misc]
        assert os.readlink(path) == target
    Path(tmp_path, f".kept.{os.getpid()}.{next(atomic_files._numbers) + 1}.tmp").touch()
    kept = tmp_path / "kept"
    kept.write_text("old")
    atomic_files.replace_by(str(kept), lambda name: os.link(path, name, follow_symlinks=False))
    assert os.readlink(kept) == "b"
    before = sorted(os.listdir(tmp_path))
    os.mkdir(tmp_path / "full")
    with pytest.raises(OSError):
        atomic_files.replace_by(str(tmp_path / "full"), lambda name: os.symlink("c", name))
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "full"])
