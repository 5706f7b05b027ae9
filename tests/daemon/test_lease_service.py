"""What surrounds a promise: the disks that it names, and what the next daemon finds noted of them.

The keeper is played; the disks are files.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from opensvc_openha.core.actions import ArmWatchdog, DisarmWatchdog, GrantPermit
from opensvc_openha.core.beat import BootId
from opensvc_openha.core.events import Event, MediaReplaced, WatchdogLost, WatchdogReady
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.daemon import lease_service
from opensvc_openha.daemon.lease_service import LeaseService
from opensvc_openha.daemon.live_configuration import LiveConfiguration
from opensvc_openha.errors import ConfigError, SystemFault
from opensvc_openha.formats.key_file import KeyRing
from opensvc_openha.formats.layout import Layout, tree_layout
from opensvc_openha.storage import configuration
from opensvc_openha.storage.history_writer import History
from opensvc_openha.storage.key_store import new_key, write_keys
from opensvc_openha.storage.promised_media import read_media, write_media
from opensvc_openha.system.disk_identity import disk_identity
from opensvc_openha.system.identity import node_name
from opensvc_openha.watchdog.keeper_client import KeeperSettings
from tests.daemon.test_watchdog_thread import PlayedKeeper
from tests.waiting import until

SETTINGS = KeeperSettings("/dev/watchdog", 4, 1.0, 2)


class Node:
    """One node's configuration, disks and keeper; each daemon of it begins anew."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout: Layout = tree_layout(str(root))
        self.events: list[Event] = []
        self.running: Callable[[], KeeperSettings | None] = lambda: None
        self.keepers: list[PlayedKeeper] = []
        self.renewing: frozenset[bytes] | None = None
        """What the engine knows of its promises."""
        (root / "conf").mkdir()
        Path(self.layout.nodes_file).write_text(f"{node_name()}\npeer\n")
        Path(self.layout.options_file).write_text(
            "[fencing]\nlevels = lease\n[[lease]]\nvirtual_pause = never\n"
        )
        Path(self.layout.services_file).write_text("")
        write_keys(self.layout, KeyRing(new_key()))
        self.disk = self.add_disk("hb")
        self.configure(("hb", 0))

    def add_disk(self, name: str) -> Path:
        """Another disk in place of the one of that name, if there is one."""
        path = self.root / name
        if path.exists():
            path.rename(self.root / f"former {name}")
        path.write_bytes(bytes(1 << 16))
        return path

    def configure(self, *disks: tuple[str, int]) -> None:
        """Heartbeat disks by name and offset."""
        Path(self.layout.monitor_file).write_text(
            "".join(
                f"{node} dio {self.root}/{name} {offset + place} 10\n"
                for name, offset in disks
                for node, place in ((node_name(), 0), ("peer", 10))
            )
        )

    def daemon(self) -> LeaseService:
        """Start another daemon."""
        self.events.clear()
        node = self

        class Service(LeaseService):
            def _find_running(self) -> KeeperSettings | None:
                return node.running()

            def _connect(self, settings: KeeperSettings) -> PlayedKeeper:
                node.keepers.append(PlayedKeeper(settings, is_armed=True))
                return node.keepers[-1]

        logger = logging.getLogger("lease test")
        self.live = LiveConfiguration(self.layout, logger, lambda _: service.follow())
        self.history = history = History(self.layout, 1, lambda *_: None)
        service = Service(
            self.layout,
            BootId(1, 1),
            self.live,
            self.events.append,
            lambda: cast(Any, self),
            history,
            logger,
        )
        service.start(lambda: None)
        return service

    def opens(self, service: LeaseService) -> LinkSpec:
        """The sender of the first disk opens it."""
        [link, *_] = self.live.current.spec.senders
        service.reports.opened(link, disk_identity(link.device))
        return link

    @property
    def former_media(self) -> frozenset[bytes] | None:
        """What the engine was given of the former daemon's promise."""
        [event] = [each for each in self.events if isinstance(each, WatchdogReady)]
        return event.media


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setattr(configuration, "is_virtual_machine", lambda: False)
    return Node(tmp_path)


def test_disk_that_is_replaced_under_its_name_renews_nothing(node: Node) -> None:
    """The engine has the news, also when the first one is back."""
    service = node.daemon()
    link = node.opens(service)
    first = disk_identity(link.device)
    assert service.reports.renewed_by(link, first) == link.mark and not node.events
    node.add_disk("hb")
    node.opens(service)
    assert service.reports.renewed_by(link, disk_identity(link.device)) is None
    assert node.events == [MediaReplaced(frozenset({link.mark}))]
    service.reports.opened(link, first)
    assert node.events[1:] == [MediaReplaced(frozenset())]
    service.stop()


@pytest.mark.parametrize("has_lease", [True, False])
def test_without_a_lease_nobody_hears_of_disks(
    node: Node, has_lease: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not looked at when the daemon starts, and one that is replaced is no fault."""
    looked_at = []
    monkeypatch.setattr(
        lease_service, "disk_identity", lambda path: looked_at.append(path) or disk_identity(path)
    )
    if not has_lease:
        Path(node.layout.options_file).write_text("")
    service = node.daemon()
    node.opens(service)
    node.add_disk("hb")
    node.opens(service)
    faults = [entry for entry in node.history.recent if entry.new == "FAULT"]
    assert (bool(looked_at), len(faults)) == (has_lease, int(has_lease))
    service.stop()


def test_disk_by_another_path_is_the_same_one(node: Node) -> None:
    """Both while the daemon runs, and for the next one, whose watchdog is armed."""
    service = node.daemon()
    node.opens(service)
    noted = read_media(node.layout)
    (node.root / "by-id").symlink_to(node.disk)
    node.configure(("by-id", 0))
    node.live.reload()
    link = node.opens(service)
    assert link.device.endswith("by-id") and not node.events and read_media(node.layout) == noted
    assert service.reports.renewed_by(link, disk_identity(link.device)) == link.mark
    service.stop()
    node.configure(("hb", 0))
    node.running = lambda: SETTINGS
    node.daemon().stop()
    assert node.former_media == {link.mark}


def test_disk_that_was_replaced_under_its_name_is_no_medium_of_the_former_promise(
    node: Node,
) -> None:
    """While no daemon ran; and one that is replaced before it is opened is none of this one's."""
    service = node.daemon()
    link = node.opens(service)
    service.stop()
    node.running = lambda: SETTINGS
    service = node.daemon()
    assert node.former_media == {link.mark}
    service.stop()
    node.add_disk("hb")
    service = node.daemon()
    assert node.former_media == frozenset()
    node.add_disk("hb")
    node.opens(service)
    assert MediaReplaced(frozenset({link.mark})) in node.events
    service.stop()


def test_disk_whose_file_system_does_not_answer_delays_no_start(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not known is no medium of a former promise."""
    node.daemon().stop()
    node.running = lambda: SETTINGS

    gate = threading.Event()
    monkeypatch.setattr(lease_service, "_IDENTIFY_LIMIT_S", 0.01)
    monkeypatch.setattr(lease_service, "disk_identity", lambda _: gate.wait() and "")
    service = node.daemon()
    assert node.former_media == frozenset()
    gate.set()
    service.stop()


def test_watchdog_that_is_armed_without_a_note_stands_for_nothing_known(node: Node) -> None:
    """The former daemon could not write it: the disk was full."""
    service = node.daemon()
    node.opens(service)
    service.stop()
    Path(node.layout.proc_dir, "watchdog-media").unlink()
    node.running = lambda: SETTINGS
    node.daemon().stop()
    assert node.former_media == frozenset()


def test_note_grows_only_while_nothing_is_promised(node: Node) -> None:
    """A disk that is added beside a promise that stands is not one of that; disarmed, it counts."""
    service = node.daemon()
    mark = node.opens(service).mark
    service.carry_out(ArmWatchdog(4.0))
    service.carry_out(GrantPermit(10.0))
    until(lambda: node.keepers and node.keepers[0].asked)
    node.add_disk("other")
    node.configure(("hb", 0), ("other", 30))
    node.live.reload()
    added = node.live.current.spec.senders[1]
    service.reports.opened(added, disk_identity(added.device))
    assert set(read_media(node.layout) or ()) == {mark}
    service.carry_out(DisarmWatchdog())
    until(lambda: set(read_media(node.layout) or ()) == {mark, added.mark})
    service.stop()


def test_keeper_that_does_not_answer_keeps_what_is_noted(node: Node) -> None:
    """The engine counts with it from the beginning, and once more when the keeper is there."""
    service = node.daemon()
    mark = node.opens(service).mark
    service.stop()
    noted = read_media(node.layout)
    assert noted is not None

    def hangs() -> KeeperSettings | None:
        raise SystemFault("no answer")

    node.running = hangs
    node.add_disk("hb")
    service = node.daemon()
    assert node.events == [WatchdogLost("no answer", frozenset())]
    node.opens(service)
    assert read_media(node.layout) == {}, "another disk is no medium of what stands"
    service.stop()
    (node.root / "former hb").rename(node.root / "hb")
    write_media(node.layout, noted)
    service = node.daemon()
    assert node.events == [WatchdogLost("no answer", frozenset({mark}))]
    node.running = lambda: SETTINGS
    until(lambda: node.events[1:])
    assert node.former_media == {mark} and read_media(node.layout) == noted
    service.stop()


def test_edit_that_leaves_no_medium_of_a_promise_is_refused(node: Node) -> None:
    """With the way to do it, and only while the watchdog is armed."""
    service = node.daemon()
    node.opens(service)
    service.carry_out(ArmWatchdog(4.0))
    until(lambda: node.keepers and node.keepers[0].asked)
    before = node.live.current
    node.add_disk("other")
    for disk in (("hb", 30), ("other", 0)):
        node.configure(disk)
        with pytest.raises(ConfigError) as refused:
            node.live.reload()
        assert str(refused.value) == (
            f"{node.layout.monitor_file}:1: this node promises by dio {node.disk}:0, and nothing of"
            " that would be left: its watchdog might reset it. Add the new link first, beside the"
            " present one; remove that one later"
        )
        assert node.live.current is before
    node.configure(("other", 30), ("hb", 0))
    node.live.reload()
    first = node.opens(service)
    node.configure(("other", 30))
    with pytest.raises(ConfigError):
        node.live.reload()
    # The promise names both by now, and the peer knows that.
    node.renewing = frozenset({first.mark, before.spec.senders[0].mark})
    node.live.reload()
    assert node.live.current.spec.senders == (first,)
    assert read_media(node.layout) == {first.mark: disk_identity(first.device)}
    node.configure(("hb", 0))
    with pytest.raises(ConfigError):
        node.live.reload()
    service.carry_out(DisarmWatchdog())
    until(lambda: node.keepers[0].is_closed)
    node.live.reload()
    service.stop()
