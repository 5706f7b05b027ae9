"""What the history holds of an entry, what readers select, and what a damaged line costs."""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opensvc_openha.core.beat import BootId, Causality
from opensvc_openha.core.status import LinkSight, PeerStanding, Sight
from opensvc_openha.errors import SystemFault
from opensvc_openha.storage import history_entry, history_file, history_segments
from opensvc_openha.storage.history_entry import (
    Entry,
    EntryKind,
    entry_from_json,
    entry_to_json,
    is_of,
    unwritten,
)
from opensvc_openha.storage.history_file import (
    HistoryFile,
    has_service,
    read_after,
    read_entries,
    read_oldest,
    read_words,
)
from opensvc_openha.storage.history_segments import PartlyWritten, numbers_in, path_of

SIGHT = Sight(5.0, (LinkSight("net eth1", False, 10.25, 10.0),), PeerStanding.SILENT, 0.125, 2.5)
CAUSE = Causality(BootId(7, 0xABCDEF), 12, BootId(3, 15), 40)
PLAIN = Entry(10.0, 5.0, EntryKind.SERVICE, "web", "STOPPED", "STARTED", "as asked")


@pytest.fixture
def path(memory_dir: str) -> str:
    """Where the files are to be."""
    return f"{memory_dir}/h"


def write(path: str, *entries: Entry, limit: int = 1_000) -> None:
    """One daemon's entries, at once."""
    file = HistoryFile(path, "m1")
    try:
        file.append(entries, limit)
    finally:
        file.close()


def lines(path: str) -> list[dict[str, Any]]:
    """What the newest file has behind its head."""
    file = Path(path_of(path, numbers_in(path)[-1]))
    return [json.loads(line) for line in file.read_text().splitlines()[1:]]


def damage(path: str, **values: object) -> None:
    """Other values in the last line."""
    file = Path(path_of(path, numbers_in(path)[-1]))
    whole = file.read_text().splitlines(keepends=True)
    whole[-1] = json.dumps(json.loads(whole[-1]) | values, separators=(",", ":")) + "\n"
    file.write_text("".join(whole))


def numbered(count: int, **values: Any) -> list[Entry]:
    """Entries that differ by their new value."""
    return [replace(PLAIN, new=f"S{number}", **values) for number in range(count)]


# --- entries --------------------------------------------------------------------------------------


def test_seconds_between_entries_are_those_of_one_clock() -> None:
    """The monotonic one within a boot of the machine, the wall clock's across boots."""
    first = replace(PLAIN, at=1_000.0, mono=50.0, machine="m1")
    second = replace(PLAIN, at=1_007.0, mono=52.5, machine="m1")
    assert second.seconds_after(first) == 2.5
    assert replace(second, machine="m2").seconds_after(first) == 7.0


@pytest.mark.parametrize("sight", [None, SIGHT, replace(SIGHT, stall_limit_s=None)])
@pytest.mark.parametrize("cause", [None, CAUSE, Causality(BootId(7, 1), 3)])
def test_entry_is_the_same_as_plain_values(sight: Sight | None, cause: Causality | None) -> None:
    """Through JSON and back; what a later version adds is passed over."""
    entry = replace(PLAIN, sight=sight, cause=cause, took_s=1.5, is_alarm=True, number=9)
    data = json.loads(json.dumps(entry_to_json(entry)))
    assert entry_from_json({**data, "something new": 1}) == entry
    if cause is None:
        del data["cause"]  # As an older version has it.
        assert entry_from_json(data) == entry


def test_unwritten_entries_begin_with_the_next_of_the_same_instant() -> None:
    """What is older than the newest one of the file was dropped there."""
    now, old = replace(PLAIN, mono=9.0, new="now"), replace(PLAIN, mono=4.0, new="old")
    assert unwritten([PLAIN], [old, now]) == [now]
    assert unwritten([PLAIN], [old, replace(PLAIN, new="then")]) == [replace(PLAIN, new="then")]


def test_entries_that_file_and_daemon_have_are_shown_once() -> None:
    """Several of one instant; the file gives them numbers, and the daemon has the newest ones."""
    whole = [replace(PLAIN, new=f"S{number}", mono=float(number // 3)) for number in range(9)]
    for count in range(10):
        written = [replace(entry, number=7 + at) for at, entry in enumerate(whole[:count])]
        for first in range(count + 1):
            assert unwritten(written, whole[first:]) == whole[count:]


def test_evidence_is_kept_in_milliseconds(path: str) -> None:
    """A link that is mute, one that was never heard, a standing, each rounded."""
    links = (
        LinkSight("net eth1", False, 1.23456, 10.0, True),
        LinkSight("dio /dev/x", True, None, 15.0),
    )
    sight = Sight(5.0, links, PeerStanding.LIVE, 0.98765, 2.5)
    write(path, replace(PLAIN, sight=sight))
    (found,) = read_entries(path)
    assert found.sight == replace(
        sight, links=(replace(links[0], silence_s=1.235), links[1]), late_s=0.988
    )


def test_entries_of_one_step_share_their_evidence(path: str) -> None:
    """Two of a step, one without, one of another step: each is written once, and read by all, also
    where the entry that has it is not asked for.
    """
    other = replace(SIGHT, at=6.0)
    write(path, *(replace(PLAIN, sight=each) for each in (SIGHT, SIGHT, None, other)), PLAIN)
    assert [entry.sight for entry in read_entries(path)] == [SIGHT, SIGHT, None, other, None]
    assert [line.get("as") for line in lines(path)] == [None, 1, None, None, None]
    assert [entry.sight for entry in read_entries(path, limit=4)] == [SIGHT, None, other, None]
    assert [entry.sight for entry in read_after(path, 1, 1)] == [SIGHT]


def test_texts_are_one_line_of_500_characters(path: str) -> None:
    """Each of the five."""
    long = "x" * 501
    write(path, replace(PLAIN, name=long, old=long, new=long, reason=long, rule=long))
    (found,) = read_entries(path)
    assert {found.name, found.old, found.new, found.reason, found.rule} == {"x" * 500}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_cause_of_the_first_and_of_the_last_entry_is_read(path: str, count: int) -> None:
    """However many are read."""
    entries = [replace(each, cause=CAUSE) for each in numbered(3)]
    write(path, *entries, PLAIN)
    found = read_entries(path, limit=count + 1)
    assert [entry.cause for entry in found] == [CAUSE] * count + [None]


@pytest.mark.parametrize("size", [30, 200, 4_096])
def test_circumstances_are_found_in_any_block(
    path: str, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Of many entries of a step, with their cause and boot, wherever a block begins."""
    step = [replace(each, sight=SIGHT, cause=CAUSE, name=f"s{each.new}") for each in numbered(20)]
    write(path, PLAIN, *step, PLAIN)
    monkeypatch.setattr(history_segments, "_BLOCK_BYTES", size)
    for found in (read_entries(path)[1:-1], read_entries(path, "sS19"), read_after(path, 20, 1)):
        assert {(each.sight, each.cause, each.machine) for each in found} == {(SIGHT, CAUSE, "m1")}
    assert len(Path(path_of(path, 1)).read_bytes()) < 20 * 150 + 1_500


def test_entry_whose_circumstances_are_damaged_is_shown_without_them(path: str) -> None:
    """The line that had them is gone, or holds something else."""
    write(path, *(replace(each, sight=SIGHT) for each in numbered(2)))
    file = Path(path_of(path, 1))
    whole = file.read_bytes()
    for damaged in (
        whole.replace(b'{"id":1,', b'{"id:1,'),
        whole.replace(b'"silent"', b'"asleep"'),
        whole.replace(b'"links":[', b'"links":[7,'),
        whole.replace(b'{"id":1,', b'["id":1,'),
        whole[: whole.index(b'{"id":1,')] + whole[whole.index(b'{"id":2,') :],
    ):
        assert damaged != whole
        file.write_bytes(damaged)
        assert [(entry.new, entry.sight) for entry in read_entries(path)] == [("S1", None)]


# --- the file -------------------------------------------------------------------------------------


def test_first_daemon_makes_the_folder(path: str) -> None:
    """With nothing in it, for root and its group whatever the umask is."""
    former = os.umask(0o777)
    try:
        file = HistoryFile(path, "m1")
        file.append([], 10)
        assert os.listdir(path) == [] and file.is_in_place
        assert read_entries(path) == [] and read_oldest(path) is None
        file.append([PLAIN], 10)
    finally:
        os.umask(former)
    file.close()
    assert os.stat(path).st_mode & 0o7777 == 0o2750
    assert os.stat(path_of(path, 1)).st_mode & 0o777 == 0o640


def test_line_is_what_is_documented(path: str) -> None:
    """docs/files.md: programs read it, too. What is usual is left out."""
    full = replace(PLAIN, rule="a rule", is_alarm=True, took_s=1.5, sight=SIGHT, cause=CAUSE)
    write(path, PLAIN, replace(full, name="w\u00e9b"), full)
    first, second, third = Path(path_of(path, 1)).read_text(encoding="utf-8").splitlines()[1:]
    begin = '"at":10.0,"kind":"service","name"'
    assert first == (
        f'{{"id":1,{begin}:"web","old":"STOPPED","new":"STARTED","reason":"as asked","mono":5.0}}'
    )
    assert second == (
        f'{{"id":2,{begin}:"w\u00e9b","old":"STOPPED","new":"STARTED","reason":"as asked",'
        '"mono":5.0,"rule":"a rule","alarm":true,"took_s":1.5,'
        '"sight":{"at":5.0,"standing":"silent","late_s":0.125,"stall_limit_s":2.5,'
        '"links":[["net eth1",false,10.25,10.0]]},'
        '"cause":["7.abcdef",12,"3.f",40]}'
    )
    assert third.endswith('"took_s":1.5,"as":2}')


def test_boot_is_named_where_it_is_another_one(path: str) -> None:
    """The head names that of the first entry."""
    write(path, PLAIN)
    file = HistoryFile(path, "m2")
    file.append([PLAIN], 100)
    file.close()
    assert [line.get("machine") for line in lines(path)] == [None, "m2"]
    assert [entry.machine for entry in read_entries(path)] == ["m1", "m2"]


def test_entries_of_several_boots_keep_theirs(path: str) -> None:
    """As in a history that is converted, with their numbers."""
    entries = [
        replace(PLAIN, machine=name, number=number) for name, number in zip("aab", (3, 4, 9))
    ]
    file = HistoryFile(path, "")
    file.append(entries, 100, is_numbered=True)
    file.append([PLAIN], 100)
    file.close()
    assert read_entries(path)[:3] == entries
    assert read_entries(path)[3].number == 10 and numbers_in(path) == [3]


def test_entries_that_fail_leave_nothing_behind(path: str) -> None:
    """Those before them neither, nor their evidence; and the next ones are written."""
    file = HistoryFile(path, "m1")
    for took_s in (object(), float("nan"), float("inf")):
        bad = replace(PLAIN, new="bad", took_s=took_s)  # type: ignore[arg-type]
        with pytest.raises((TypeError, ValueError)):
            file.append([replace(PLAIN, new="first", sight=SIGHT), bad], 10)
        assert read_entries(path) == []
    file.append([replace(PLAIN, new="second", sight=SIGHT)], 10)
    assert [(entry.new, entry.sight) for entry in read_entries(path)] == [("second", SIGHT)]
    file.close()


def test_disk_that_is_full_within_a_batch_is_reported(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many entries it has taken."""
    write(path, PLAIN)
    size = os.stat(path_of(path, 1)).st_size
    file = HistoryFile(path, "m1")
    write_all = os.write

    def full(handle: int, data: Any) -> int:
        room = 2 * size - os.fstat(handle).st_size
        if not room:
            raise OSError(28, "No space left on device")
        return write_all(handle, bytes(data)[:room])

    with monkeypatch.context() as patched, pytest.raises(PartlyWritten) as caught:
        patched.setattr(os, "write", full)
        file.append(numbered(9), 10_000)
    assert caught.value.whole == len(read_entries(path)) - 1 > 0
    file.close()


def test_boot_of_a_file_is_that_of_its_first_entry(path: str) -> None:
    """Where the entries have their own: those of another boot name it. They may come one by one."""
    file = HistoryFile(path, "")
    file.append(iter([replace(PLAIN, machine="m7"), replace(PLAIN, machine="m8")]), 10)
    file.close()
    assert [values.get("machine") for values in lines(path)] == [None, "m8"]
    assert [entry.machine for entry in read_entries(path)] == ["m7", "m8"]


def test_file_is_on_disk_and_closed_when_that_is_asked(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same file: nothing of it stays open."""
    handles: list[int] = []
    file = HistoryFile(path, "m1")
    file.append([PLAIN], 10)
    monkeypatch.setattr(os, "fdatasync", handles.append)
    file.sync()
    (handle,) = handles
    assert os.fstat(handle).st_size
    file.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handle)


def test_oldest_go_a_file_at_a_time(path: str) -> None:
    """Once the others hold as many as are kept."""
    write(path, replace(PLAIN, sight=SIGHT, cause=CAUSE), limit=10)
    file = HistoryFile(path, "m2")
    for entry in numbered(11, sight=SIGHT, cause=CAUSE):
        file.append([entry], 10)
    file.close()
    found = read_entries(path)
    assert [entry.new for entry in found] == [f"S{number}" for number in range(11)]
    assert {(entry.sight, entry.cause, entry.machine) for entry in found} == {(SIGHT, CAUSE, "m2")}


# --- what is read ---------------------------------------------------------------------------------


def test_daemon_and_file_select_the_same_entries(path: str) -> None:
    """Of each kind, named after a service, after nothing, and after another one."""
    entries = [
        replace(PLAIN, at=at, kind=kind, name=name, number=0)
        for at in (0.5, 10.0, 10.5)
        for kind in EntryKind
        for name in ("web", "", "eth1")
    ]
    write(path, *entries)
    of_node = {"link", "peer", "node", "daemon"}
    for service, since, is_with_node in itertools.product(
        ("", "web", "mail"), (0.0, 10.0, 11.0), (False, True)
    ):
        found = read_entries(path, service, since, is_with_node=is_with_node)
        asked = [entry for entry in entries if is_of(entry, service, since, is_with_node)]
        assert [replace(entry, number=0, machine="") for entry in found] == asked
        kinds = {entry.kind.value for entry in asked}
        if since < 11.0:
            assert of_node <= kinds if is_with_node or not service else not of_node & kinds
            assert kinds - of_node == {"service", "script", "command", "monitor", "readiness"}


def test_all_entries_are_those_since_1970(path: str) -> None:
    """Where no instant is asked for, none is too early, and no links are shown with a service."""
    write(path, replace(PLAIN, at=0.5), replace(PLAIN, kind=EntryKind.LINK))
    assert len(read_entries(path)) == 2 and len(read_entries(path, "web")) == 1


def test_entry_of_the_very_instant_is_asked_for_as_well() -> None:
    """The instant since when, in wall-clock seconds."""
    assert is_of(PLAIN, "", PLAIN.at, False) and not is_of(PLAIN, "", PLAIN.at + 0.001, False)


@pytest.mark.parametrize("count", [0, 1, 2, 9, 10, 11, 15, 100])
def test_newest_are_as_many_as_asked_for_wherever_the_files_begin(path: str, count: int) -> None:
    """Oldest first, of several files; and no file stays open."""
    file = HistoryFile(path, "m1")
    for entry in numbered(60):
        file.append([entry], 10)
    file.close()
    whole, before = read_entries(path), len(os.listdir("/proc/self/fd"))
    assert len(numbers_in(path)) > 1
    assert read_entries(path, limit=count) == whole[len(whole) - min(count, len(whole)) :]
    assert read_entries(path, "web", limit=count)[-1:] == whole[-1:] * bool(count)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("limit", [10, 30, 1_000])
def test_entries_after_a_number_are_read_without_a_gap(path: str, limit: int) -> None:
    """The oldest of them, at most so many; wherever the files begin, and if some are gone."""
    file = HistoryFile(path, "m1")
    for entry in numbered(100):
        file.append([entry], limit)
    file.close()
    first = numbers_in(path)[0]
    for number in (0, 1, first - 1, first, 88, 89, 90, 91, 99, 100, 101):
        for count in (1, 7, 200):
            found = [entry.number for entry in read_after(path, number, count)]
            assert found == list(range(max(number + 1, first), 101))[:count]
    oldest = read_oldest(path)
    assert oldest is not None and oldest.number == first


def test_reader_that_follows_gets_each_entry_once(path: str) -> None:
    """Whatever the writer does between its turns: files are begun, and dropped behind it."""
    file = HistoryFile(path, "m1")
    got = list[int]()
    written = 0
    for turn in range(60):
        count = (0, 1, 5, 14)[turn % 4]
        file.append(numbered(count), 40)
        written += count
        number = got[-1] if got else 0
        got += [entry.number for entry in read_after(path, number, 8)]
    while new := read_after(path, got[-1], 8):
        got += [entry.number for entry in new]
    file.close()
    assert got == list(range(1, written + 1))


def test_file_that_is_dropped_while_it_is_looked_for_is_passed_over(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer drops the oldest one: what a reader had listed is not there."""
    write(path, *numbered(3))
    monkeypatch.setattr(history_file, "numbers_in", lambda folder: [1, 2, 4])
    os.rename(path_of(path, 1), path_of(path, 4))
    assert len(read_entries(path)) == 3


def test_entries_are_found_by_their_words(path: str) -> None:
    """As old or new value, of the asked kinds only."""
    write(
        path,
        replace(PLAIN, new="FENCED"),
        replace(PLAIN, old="FENCED", new="x"),
        replace(PLAIN, new="LOST", kind=EntryKind.NODE),
        replace(PLAIN, new="LOST", kind=EntryKind.LINK),
        replace(PLAIN, new="FENCE"),
    )
    found = read_words(path, (EntryKind.SERVICE, EntryKind.NODE), ("FENCED", "LOST"))
    assert [entry.number for entry in found] == [1, 2, 3]


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a.b", "wéb", "a|b", "(", "web "])
def test_service_of_any_name_is_found(path: str, name: str) -> None:
    """Its characters mean nothing in what is looked for, and it is no other's part."""
    others = [replace(PLAIN, name=each) for each in ("web", "a", "b", "axb", "we", "webs")]
    write(path, *others, replace(PLAIN, name=name))
    assert [entry.name for entry in read_entries(path, name)] == [name]
    assert has_service(path, name) and not has_service(path, f"{name}.")
    assert not has_service(path, "")


def test_service_is_known_by_its_own_entries_alone(path: str) -> None:
    """Not by those of all services, nor by a link of that name."""
    write(path, replace(PLAIN, kind=EntryKind.COMMAND, name=""))
    write(path, replace(PLAIN, kind=EntryKind.LINK, name="eth1"))
    assert not has_service(path, "web") and not has_service(path, "eth1")
    write(path, replace(PLAIN, kind=EntryKind.SCRIPT), *numbered(5, name="mail"))
    assert has_service(path, "web")


@pytest.mark.parametrize("what", ["folder", "file"])
def test_history_that_cannot_be_read_is_reported(
    path: str, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """With its place and the reason."""
    write(path, PLAIN)
    monkeypatch.setattr(os, "listdir" if what == "folder" else "pread", fails)
    with pytest.raises(SystemFault, match=f"cannot read the history {path}: Input/output error"):
        read_entries(path)


def test_history_whose_file_cannot_be_opened_is_reported(path: str) -> None:
    """A loop of links, for one; what is no file at all as well."""
    write(path, PLAIN)
    os.rename(path_of(path, 1), f"{path}/gone")
    os.symlink(path_of(path, 1), path_of(path, 1))
    with pytest.raises(SystemFault, match="cannot read the history .*symbolic links"):
        read_entries(path)


def fails(*_: object) -> Any:
    """A disk that does not answer."""
    raise OSError(5, "Input/output error")


def test_disk_that_fails_while_it_is_read_is_reported(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its reason; and the file is closed."""
    write(path, PLAIN)
    before = len(os.listdir("/proc/self/fd"))

    def fail(segment: history_segments.Segment) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(history_segments.Segment, "blocks", fail)
    with pytest.raises(SystemFault, match="cannot read the history .*: Input/output error"):
        read_entries(path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_reader_without_permission_is_told_who_has_it(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no file there is nothing to be permitted."""
    monkeypatch.setattr(os, "access", lambda place, wanted: False)
    with pytest.raises(SystemFault, match="there is no history yet"):
        read_entries(path)
    write(path, PLAIN)
    with pytest.raises(SystemFault, match="only root may read the history"):
        read_entries(path)


SEEN: dict[str, object] = {
    "at": 1,
    "standing": "live",
    "late_s": 0,
    "stall_limit_s": None,
    "links": [],
}
EVIDENCE: list[dict[str, object]] = [
    {"links": {}},
    {"at": True},
    {"standing": "asleep"},
    {"late_s": "x"},
    {"stall_limit_s": "x"},
    {"links": ["net1"]},
    {"links": [["n", True, None]]},
    {"links": [["n", True, None, 1, 1, 1]]},
    {"links": [[7, True, None, 1]]},
    {"links": [["n", True, "x", 1]]},
    {"links": [["n", True, None, "x"]]},
]
DAMAGED: list[dict[str, object]] = [
    {"id": "9"},
    {"id": True},
    {"id": 0},
    {"id": 1.5},
    {"at": "noon"},
    {"at": 10**400},
    {"mono": float("inf")},
    {"mono": None},
    {"took_s": "long"},
    {"kind": "feast"},
    {"kind": []},
    {"as": "2"},
    {"cause": 7},
    {"cause": "7.1"},
    {"cause": ["7.1", "many", None, 0]},
    {"cause": ["7.1", 1, None, "many"]},
    {"cause": ["me", 1, None, 0]},
    {"cause": ["7.xyz", 1, None, 0]},
    {"cause": ["7.1", 1, "you", 0]},
    {"cause": ["7.1", 1, None]},
    {"sight": None},
    {"sight": "no object"},
    {"sight": []},
    {"sight": {"at": 1, "standing": "live", "late_s": 0}},
    *(dict[str, object](sight=SEEN | each) for each in EVIDENCE),
]


@pytest.mark.parametrize("values", DAMAGED, ids=str)
def test_line_that_no_version_wrote_is_left_out_and_counted(
    path: str, values: dict[str, object]
) -> None:
    """Not shown as something else; all others are read, by each way to read."""
    write(path, replace(PLAIN, new="whole"), replace(PLAIN, took_s=1.0))
    damage(path, **values)
    ways: tuple[dict[str, Any], ...] = ({}, {"service": "web"}, {"since": 1.0})
    for asked in ways:
        counts = list[int]()
        found = read_entries(path, on_damage=counts.append, **asked)
        assert [entry.new for entry in found] == ["whole"]
        # One that does not look like those that are asked for is not looked at.
        is_other = "kind" in values if "service" in asked else False
        is_other |= bool(asked) and values.get("id", 0) != 0
        assert counts == ([] if is_other else [1])
    assert [entry.new for entry in read_after(path, 0, 10)] == ["whole"]


@pytest.mark.parametrize("missing", ["id", "at", "mono", "kind", "name", "old", "new", "reason"])
def test_line_without_a_value_is_left_out(path: str, missing: str) -> None:
    """Each is there in each line."""
    write(path, PLAIN, PLAIN)
    file = Path(path_of(path, 1))
    whole = file.read_text().splitlines(keepends=True)
    values = json.loads(whole[-1])
    del values[missing]
    file.write_text("".join([*whole[:-1], json.dumps(values) + "\n"]))
    counts = list[int]()
    assert len(read_entries(path, on_damage=counts.append)) == 1 and counts == [1]


@pytest.mark.parametrize(
    "line", [b"\xff\xfe", b"", b"7", b"null", b'{"id":', b"[" * 5_000, bytes(9)], ids=repr
)
def test_line_that_is_no_object_is_left_out(path: str, line: bytes) -> None:
    """Wherever it is; nothing is reported where nothing is damaged."""
    write(path, *numbered(2))
    file = Path(path_of(path, 1))
    whole = file.read_bytes()
    counts = list[int]()
    assert len(read_entries(path, on_damage=counts.append)) == 2 and not counts
    file.write_bytes(whole.replace(b'\n{"id":2', b"\n" + line + b'\n{"id":2'))
    assert len(read_entries(path, on_damage=counts.append)) == 2 and counts == [1]


def test_damaged_head_costs_no_entry(path: str) -> None:
    """But the boot of those that do not name theirs; it counts as a line."""
    write(path, PLAIN)
    file = Path(path_of(path, 1))
    file.write_bytes(file.read_bytes().replace(b'{"history"', b'{"hist'))
    counts = list[int]()
    (entry,) = read_entries(path, on_damage=counts.append)
    assert entry.machine == "" and counts == [1]


def test_file_of_a_later_version_is_left_out(path: str) -> None:
    """What its lines mean is not known: after a return to this version."""
    write(path, PLAIN)
    file = Path(path_of(path, 1))
    file.write_bytes(file.read_bytes().replace(b'"history":1', b'"history":2'))
    counts = list[int]()
    assert read_entries(path, on_damage=counts.append) == [] and counts == [1]


def test_link_of_a_list_that_is_none_is_an_error() -> None:
    """A text of four characters has a first character, too."""
    values: list[object] = ["net1", {"0": 1, "1": 2, "2": 3, "3": 4}, 7, []]
    for value in values:
        with pytest.raises(ValueError, match="no list of its values"):
            history_entry._load_link(value)


@pytest.mark.parametrize("value", [True, "1", None, float("inf"), float("nan")])
def test_value_that_is_no_number_is_an_error(value: object) -> None:
    """It would be shown as one otherwise."""
    with pytest.raises(ValueError, match="expected a number"):
        history_entry.finite_number(value)


def test_whole_number_is_one() -> None:
    """An old file may have it for what was written as 1.0."""
    found = history_entry.finite_number(3)
    assert found == 3.0 and isinstance(found, float)
