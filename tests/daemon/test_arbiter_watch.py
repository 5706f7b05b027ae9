"""The watch of the arbiter's disk: when this node registers, and what an ejection leads to.

The disk is a stand-in with the rules of one; real ones are in the acceptance tests.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from opensvc_openha.core.events import Ejected, Readmitted
from opensvc_openha.daemon.arbiter_watch import KIND, ArbiterWatch
from opensvc_openha.daemon.issues import ActiveIssues
from opensvc_openha.errors import NotAnsweringError, RefusedError, SystemFault
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.storage.arbiter_memory import ArbiterMemory
from tests.waiting import LIMIT_S, until

NODE, PEER = "deb2", "deb1"


@dataclass(frozen=True)
class Look:
    """What the disk shows."""

    is_registered: bool
    by: str
    is_peer_registered: bool
    text: str
    generation: int


class Disk:
    """Registrations of both nodes, and a counter of their changes."""

    def __init__(self, path: str, generation: int | None) -> None:
        self.path, self.known = path, generation
        self.keys = {PEER}
        self.generation = 1
        self.fault = ""
        self.registered: list[bool] = []
        """Each registration: whether as one that was ejected."""
        self.is_closed = False

    def watch(self) -> Look:
        """The keys, as ArbiterDisk judges them."""
        if self.fault:
            raise SystemFault(self.fault)
        is_ours = NODE in self.keys
        if is_ours:
            self.known = self.generation
        elif self.known is not None and self.generation <= self.known:
            self.known = None
        by = PEER if PEER in self.keys and not is_ours and self.known is not None else ""
        text = f"{' and '.join(sorted(self.keys)) or 'no node'} registered on {self.path}"
        return Look(is_ours, by, PEER in self.keys, text, self.generation)

    def register_in_peace(self, is_readmitted: bool = False) -> str:
        """Adds the key, which is a change."""
        self.registered.append(is_readmitted)
        self.change(self.keys | {NODE})
        return "registered"

    def change(self, keys: set[str]) -> None:
        """Others change the keys."""
        self.keys, self.generation = keys, self.generation + 1

    def close(self) -> None:
        """Release it."""
        self.is_closed = True


class Rig:
    """A watch; the disk can be made to do anything."""

    def __init__(self, root: Path) -> None:
        self.path = "/dev/hb"
        self.may_register = False
        self.is_engine_busy = False
        self.settled = 0
        self.disks: list[Disk] = []
        self.changes: list[tuple[str, str]] = []
        self.reports: queue.SimpleQueue[Ejected | Readmitted] = queue.SimpleQueue()
        self.issues = ActiveIssues(NODE, logging.getLogger("test"))
        layout = tree_layout(str(root))
        Path(layout.proc_dir).mkdir(parents=True, exist_ok=True)
        self.memory = ArbiterMemory(layout)
        self.watch = ArbiterWatch(
            lambda: self.path,
            self._open,
            self.memory,
            lambda: self.may_register,
            self._settle,
            self.reports.put,
            self.issues,
            lambda: 0.01,
            PEER,
            lambda name, problem: self.changes.append((name, problem)),
        )

    def _open(self, path: str, generation: int | None) -> Disk:
        disk = Disk(path, generation)
        if self.disks:
            disk.keys, disk.generation = self.disk.keys, self.disk.generation
        self.disks.append(disk)
        return disk

    def _settle(self) -> None:
        self.settled += 1
        if self.is_engine_busy:
            raise NotAnsweringError("busy")

    @property
    def disk(self) -> Disk:
        """The one that is open, or was last."""
        return self.disks[-1]

    def next(self) -> Ejected | Readmitted:
        """The next report."""
        return self.reports.get(timeout=LIMIT_S)

    def until_shown(self, state: str, text: str = "") -> None:
        """Wait for a status."""
        until(
            lambda: self.watch.status,
            lambda seen: seen is not None and seen.state == state and text in seen.text,
            f"{state} {text}",
        )

    def register(self) -> None:
        """Start, and register in peace."""
        self.may_register = True
        self.watch.start()
        assert self.next() == Readmitted()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Not started yet."""
    made = Rig(tmp_path)
    yield made
    made.watch.stop()


def test_node_registers_once_its_peer_acknowledges_it(rig: Rig) -> None:
    """Not before; the disk's counter at that moment is on disk."""
    rig.watch.start()
    rig.until_shown("wrong", f"deb1 registered on /dev/hb; this node registers once {PEER}")
    assert rig.disk.registered == [] and rig.issues.texts
    rig.may_register = True
    assert rig.next() == Readmitted()
    rig.until_shown("armed", "deb1 and deb2 registered on /dev/hb")
    assert rig.disk.registered == [False]
    assert rig.memory.read("/dev/hb") == rig.watch.generation == rig.disk.generation
    until(lambda: rig.issues.texts == ())
    status = rig.watch.status
    assert status is not None and (status.name, status.kind, status.device) == (
        KIND, KIND, "/dev/hb"
    )  # fmt: skip


def test_node_that_is_registered_already_says_so_and_changes_nothing(rig: Rig) -> None:
    """As after a restart of its daemon in a silence."""
    rig.memory.write("/dev/hb", 1)
    rig.watch.start()
    until(lambda: bool(rig.disks))
    rig.disk.change({PEER, NODE})
    assert rig.next() == Readmitted()
    assert rig.disk.registered == []


def test_node_whose_key_the_peer_has_removed_is_ejected_once(rig: Rig) -> None:
    """And registers again only when the engine allows it: its services are down, and the peer knows
    that.
    """
    rig.register()
    rig.may_register = False
    rig.disk.change({PEER})
    assert rig.next() == Ejected(PEER)
    rig.until_shown("wrong", f"{PEER} has ejected this node: deb1 registered on")
    assert rig.disk.registered == [False] and rig.reports.empty()
    rig.may_register = True
    assert rig.next() == Readmitted()
    assert rig.disk.registered == [False, True]


def test_engine_that_does_not_know_of_the_ejection_yet_allows_nothing(rig: Rig) -> None:
    """It would say that the node may register, as before."""
    rig.register()
    rig.is_engine_busy = True
    rig.disk.change({PEER})
    assert rig.next() == Ejected(PEER)
    seen = rig.settled
    until(lambda: rig.settled > seen + 3)
    assert rig.disk.registered == [False]
    rig.is_engine_busy = False
    assert rig.next() == Readmitted()


def test_disk_that_lost_all_registrations_ejects_nobody(rig: Rig) -> None:
    """A target without power that kept none: both register again in peace."""
    rig.register()
    rig.may_register = False
    rig.disk.keys, rig.disk.generation = set(), 0
    rig.until_shown("wrong", "no node registered on /dev/hb; this node registers once")
    assert rig.reports.empty()
    rig.may_register = True
    assert rig.next() == Readmitted()
    assert rig.disk.registered == [False, False]


def test_disk_that_does_not_answer_is_no_ejection(rig: Rig) -> None:
    """It is opened again, with the counter that is known."""
    rig.register()
    generation = rig.disk.generation
    rig.changes.clear()
    rig.disk.fault = "hung: no answer within 2 s"
    # Each state lasts for one look only: what was shown is asked for, not what is.
    until(lambda: len(rig.changes) == 2)
    assert rig.changes == [("arbiter", "hung: no answer within 2 s"), ("arbiter", "")]
    rig.until_shown("armed")
    assert rig.disks[0].is_closed and rig.disk.known == generation
    assert rig.reports.empty()


def test_ejection_that_happened_while_no_daemon_ran_is_found(rig: Rig) -> None:
    """By the counter that the former daemon has stored."""
    rig.memory.write("/dev/hb", 0)
    rig.watch.start()
    assert rig.next() == Ejected(PEER)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"disk": "/dev/hb"}', '{"disk": 1}'])
def test_damaged_note_is_none(rig: Rig, text: str, tmp_path: Path) -> None:
    """Then the node registers as one that never was."""
    Path(tree_layout(str(tmp_path)).arbiter_file).write_text(text)
    assert rig.memory.read("/dev/hb") is None
    rig.memory.write("/dev/hb", 5)
    assert rig.memory.read("/dev/hb") == 5 and rig.memory.read("/dev/other") is None


def test_edited_path_is_another_arbiter(rig: Rig) -> None:
    """The former disk is closed; no arbiter has no status."""
    rig.register()
    rig.path = "/dev/other"
    assert rig.next() == Readmitted()
    until(lambda: rig.disks[0].is_closed)
    assert rig.disk.path == "/dev/other"
    rig.path = ""
    assert rig.watch.status is None
    until(lambda: rig.disk.is_closed)


def test_operator_lets_an_ejected_node_register_again(rig: Rig) -> None:
    """Though the engine would not by itself: the peer is confirmed out."""
    rig.register()
    rig.may_register = False
    rig.disk.change({PEER})
    rig.next()
    assert rig.watch.release() == "deb1 and deb2 registered on /dev/hb"
    assert rig.next() == Readmitted() and rig.disk.registered == [False, True]


def test_release_that_the_disk_does_not_allow_is_refused(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is wrong with it, and not done later either."""
    monkeypatch.setattr("opensvc_openha.daemon.arbiter_watch._RELEASE_LIMIT_S", 0.2)
    rig.register()
    rig.may_register = False
    rig.disk.change({PEER})
    rig.next()
    rig.disk.fault = "no answer"
    monkeypatch.setattr(rig, "_open", rig._open)
    rig.watch._open_disk = _broken
    with pytest.raises(RefusedError, match="not registered: no such disk"):
        rig.watch.release()
    rig.watch._open_disk = rig._open
    rig.until_shown("wrong")
    assert True not in rig.disk.registered


def _broken(_path: str, _generation: int | None) -> Disk:
    raise SystemFault("no such disk")


def test_watch_that_fails_goes_on_and_ends_when_it_is_told_to(rig: Rig) -> None:
    """A bug in it is shown as what it is."""
    rig.watch._open_disk = lambda path, generation: None  # type: ignore[assignment,return-value]
    rig.watch.start()
    rig.until_shown("unreachable", "AttributeError")
    rig.watch._open_disk = rig._open
    rig.until_shown("wrong", "registers once")
    rig.watch.stop()
    until(lambda: not any(each.name == KIND for each in threading.enumerate()))
    assert rig.disk.is_closed
