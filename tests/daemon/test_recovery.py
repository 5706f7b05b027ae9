"""An engine is made of the files alone: after a boot, a restart, and a service that was removed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from opensvc_openha.core.beat import BootId
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.model import ClusterSpec, ServiceSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.daemon.live_configuration import Configuration
from opensvc_openha.daemon.recovery import Recovered, recover_engine
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.formats.options_file import parse_options
from opensvc_openha.formats.state_file import StoredState
from opensvc_openha.storage.fencing_store import FencingStore
from opensvc_openha.storage.history_writer import History
from opensvc_openha.storage.state_store import write_state
from opensvc_openha.system import identity
from tests.simulated_clock import SimulatedClock

WEB = ServiceSpec("web", "/opt/web", "deb1", "deb2", "/bin/true")
OLD = ServiceSpec("old", "/opt/old", "deb1", "deb2", "/bin/true", line=2)
OPTIONS = parse_options("[policy]\n[[old]]\npriority = 7\n", "F")
LIVES = {"k1": BootId(3, 9)}


class Node:
    """The files of deb1."""

    def __init__(self, root: str) -> None:
        self.layout = tree_layout(root)
        Path(self.layout.services_dir).mkdir(parents=True)
        Path(self.layout.conf_dir).mkdir(parents=True, exist_ok=True)
        self.history = History(self.layout, 1, lambda is_fault, text: None)

    def start(self, *services: ServiceSpec) -> Recovered:
        """What a daemon starts with."""
        spec = ClusterSpec("deb1", "deb2", (), services)
        return recover_engine(self.layout, Configuration(spec, OPTIONS, None, LIVES), self.history)

    def set_state(self, service: str, state: ServiceState) -> None:
        Path(self.layout.state_file(service, "deb1")).parent.mkdir(parents=True, exist_ok=True)
        write_state(self.layout, service, "deb1", StoredState(state))

    def entries(self) -> list[tuple[str, str, str]]:
        """What the history has."""
        return [(entry.name, entry.new, entry.reason) for entry in self.history.recent]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    """Nothing has run yet."""
    SimulatedClock(monkeypatch).now = 100.0
    return Node(str(tmp_path))


def state(recovered: Recovered, service: str) -> ServiceState | None:
    """The state in which the engine begins."""
    return next(
        svc.own_state for svc in recovered.engine.snapshot(100.0).services if svc.name == service
    )


def test_first_start_of_all(node: Node) -> None:
    """Its identity is on disk, the history has it, and a START_READY in a STATE file may be a
    frozen service of a C OpenHA.
    """
    node.set_state("web", ServiceState.START_READY)
    found = node.start(WEB)
    counter = int(Path(node.layout.boot_file).read_text().split()[0])
    assert found.engine.boot.counter == counter and found.engine.spec.services == (WEB,)
    assert state(found, "web") is ServiceState.UNKNOWN and found.kept == ()
    assert found.removed.present() == ()
    assert node.entries()[0][:2] == ("", "STARTED") and node.entries()[1][:2] == ("web", "UNKNOWN")
    cause = node.history.causality()
    assert cause is not None and cause.own == found.engine.boot
    # Nobody has run here: the peer has to be heard first.
    assert not found.engine.snapshot(100.0).fencing.has_heard


def test_restart_in_the_same_boot_of_the_machine(node: Node) -> None:
    """The identity is a new one, the state the same; a daemon without a note of fencing ran."""
    first = node.start(WEB)
    node.set_state("web", ServiceState.STARTED)
    again = node.start(WEB)
    assert again.engine.boot.counter > first.engine.boot.counter
    assert state(again, "web") is ServiceState.STARTED
    assert "services may run from before" in node.entries()[2][2]
    assert again.engine.snapshot(100.0).fencing.has_heard


def test_start_after_a_boot_of_the_machine(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing runs, and nothing that was removed from the configuration is kept."""
    node.start(WEB, OLD)
    node.set_state("web", ServiceState.STARTED)
    node.set_state("old", ServiceState.STARTED)
    monkeypatch.setattr(identity, "life", lambda: "another boot")
    monkeypatch.setattr("opensvc_openha.storage.state_store.life", lambda: "another boot")
    found = node.start(WEB)
    assert state(found, "web") is ServiceState.STOPPED and found.kept == ()
    assert not found.engine.snapshot(100.0).fencing.has_heard


def test_service_that_was_removed_while_it_ran_is_kept(node: Node) -> None:
    """With the policies of the configuration; it is managed until it is stopped."""
    node.start(WEB, OLD)
    node.set_state("old", ServiceState.STARTED)
    found = node.start(WEB)
    (kept,) = found.kept
    assert replace(kept, line=2, policy=OLD.policy) == OLD and kept.policy.priority == 7
    assert state(found, "old") is ServiceState.STARTED
    assert [svc.name for svc in found.removed.present()] == ["old"]
    assert [name for name, _, _ in node.entries()[-2:]] == ["web", "old"]
    assert [svc.name for svc in node.start(WEB).kept] == ["old"]


def test_note_of_fencing_is_the_engines(node: Node) -> None:
    """Of the daemon before it."""
    node.start(WEB)
    FencingStore(node.layout).write(FencingMemory(has_heard=True, confirmed_by="alice"))
    found = node.start(WEB)
    assert found.engine.snapshot(100.0).fencing.has_heard
    assert found.fencing_store.times == {}


def test_what_a_crash_left_half_written_is_gone(node: Node) -> None:
    """Before anything is concluded from the STATE files."""
    folder = Path(node.layout.state_file("web", "deb1")).parent
    folder.mkdir(parents=True)
    leftover = folder / ".STATE.deb1.999999999.0.tmp"
    leftover.touch()
    node.start(WEB)
    assert not leftover.exists()
