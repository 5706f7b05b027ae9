"""What surrounds an engine: made from the files, given the options, and fed by scripts."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from opensvc_openha.core.events import ConfigChanged, ScriptExited, ScriptKind, ScriptOutcome
from opensvc_openha.core.model import ClusterSpec, LinkSpec, Profile, ServiceSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.daemon.incarnation import Incarnation
from opensvc_openha.daemon.live_configuration import Configuration
from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.key_file import KeyRing
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.formats.options_file import Options, parse_options
from opensvc_openha.formats.state_file import StoredState
from opensvc_openha.storage.history_writer import History
from opensvc_openha.storage.key_store import new_key
from opensvc_openha.storage.state_store import write_state
from tests.simulated_clock import SimulatedClock

WEB = ServiceSpec("web", "/opt/web", "deb1", "deb2", "/bin/true")
OLD = ServiceSpec("old", "/opt/old", "deb1", "deb2", "/bin/true", line=2)
LINK = LinkSpec("deb1", "net", "eth1", "239.131.50.10", 5010, 0, 10.0)
PLAIN = parse_options("[scripts]\nparallel = 3\n", "F")


class Node:
    """deb1, with its files in memory, and the parts of its process that outlive an engine."""

    def __init__(self, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = SimulatedClock(monkeypatch)
        self.time.now = 100.0
        self.layout = tree_layout(root)
        Path(self.layout.services_dir).mkdir(parents=True)
        Path(self.layout.conf_dir).mkdir(parents=True, exist_ok=True)
        self.history = History(self.layout, 1, lambda is_fault, text: None)
        self.watched: list[float] = []
        self.warnings: list[str] = []
        self.configuration: Any = SimpleNamespace(
            current=self.read(WEB),
            problems=SimpleNamespace(),
            complete_by=lambda complete: None,
            expect_by=lambda expect: None,
            suspect=lambda: None,
        )
        self.process: Any = SimpleNamespace(
            place=SimpleNamespace(expect=lambda: None),
            memory=SimpleNamespace(command=list),
            history=self.history,
            stall_detector=SimpleNamespace(watch=self.watched.append),
        )
        logger = SimpleNamespace(
            warning=lambda form, *values: self.warnings.append(form % values),
            info=lambda form, *values: None,
        )
        self.logger = cast(logging.Logger, logger)

    def read(
        self,
        *services: ServiceSpec,
        links: tuple[LinkSpec, ...] = (LINK,),
        options: Options = PLAIN,
        profile: Profile = Profile.TUTORIAL,
    ) -> Configuration:
        """A configuration."""
        return Configuration(
            ClusterSpec("deb1", "deb2", links, services, profile), options, None, {}
        )

    def start(self) -> Incarnation:
        """The engine's surroundings; no thread runs."""
        return Incarnation(
            self.layout, self.logger, self.configuration, self.process,
            cast(Any, SimpleNamespace(alive=lambda: None)), lambda: None,
        )  # fmt: skip

    def set_state(self, service: str, state: ServiceState) -> None:
        """Its STATE file."""
        Path(self.layout.state_file(service, "deb1")).parent.mkdir(parents=True, exist_ok=True)
        write_state(self.layout, service, "deb1", StoredState(state))


@pytest.fixture
def node(memory_dir: str, monkeypatch: pytest.MonkeyPatch) -> Node:
    """Nothing has run yet; each state waits for its disk, so that is one in memory."""
    return Node(memory_dir, monkeypatch)


def test_engine_that_follows_knows_what_the_files_hold(node: Node) -> None:
    """Also the limits of a service that was removed while it ran, and how many scripts may run."""
    node.configuration.current = node.read(WEB, OLD)
    node.start()
    node.set_state("old", ServiceState.STARTED)
    limited = parse_options("[scripts]\nparallel = 3\n[[old]]\nstop_timeout = 7\n", "F")
    node.configuration.current = node.read(WEB, options=limited)
    found = node.start()
    assert [svc.name for svc in found.removed.present()] == ["old"]
    runner = cast(Any, found.runner)
    assert runner._limits_of("old").stop_s == 7.0 and runner._at_once == 3
    assert (runner._node, runner._peer) == ("deb1", "deb2")
    assert found.loop.failure is None and found.fencing_store.times == {}
    assert [entry.new for entry in node.history.recent[:2]] == ["STARTED", "UNKNOWN"]


def test_scripts_of_services_are_those_of_the_configuration_in_force(node: Node) -> None:
    """For the agents' caches."""
    found = node.start()
    scripts = cast(Any, found.agent_caches)._scripts
    assert scripts() == {"web": "/opt/web"}
    node.configuration.current = node.read(OLD, replace(WEB, primary="deb3", secondary="deb4"))
    assert scripts() == {"old": "/opt/old"}


def test_nothing_follows_while_a_state_is_being_written(node: Node) -> None:
    """What will be on disk is not known."""
    found = node.start()
    found.expect_written()
    writer = cast(Any, found)._writer
    writer._thread = SimpleNamespace(is_alive=lambda: True)
    with pytest.raises(SystemFault, match="still being written"):
        found.expect_written()
    writer._thread = SimpleNamespace(is_alive=lambda: False)
    found.expect_written()


# --- options --------------------------------------------------------------------------------------


def listener(timeout_s: float) -> LinkSpec:
    return replace(LINK, node="deb2", timeout_s=timeout_s)


@pytest.mark.parametrize(
    ("links", "watched_s"),
    [((), math.inf), ((listener(10.0),), 2.5), ((listener(20.0), listener(8.0), LINK), 2.0)],
)
def test_stall_of_a_quarter_of_the_shortest_timeout_is_one(
    node: Node, links: tuple[LinkSpec, ...], watched_s: float
) -> None:
    """Of the listeners; none is one where nothing is listened to."""
    node.start().apply_options(node.read(WEB, links=links))
    assert node.watched == [watched_s]


@pytest.mark.parametrize(
    ("timeouts", "profile", "patience_s"),
    [
        ((), Profile.TUTORIAL, math.inf),
        ((10.0, 8.0), Profile.TUTORIAL, 8.0),
        ((1.5,), Profile.TUTORIAL, 2.0),
        ((1.5,), Profile.FAST, 1.5),
    ],
)
def test_patience_is_that_of_the_shortest_sender(
    node: Node, timeouts: tuple[float, ...], profile: Profile, patience_s: float
) -> None:
    """And never below two beats."""
    links = tuple(replace(LINK, timeout_s=each) for each in timeouts)
    found = node.start()
    found.apply_options(node.read(WEB, links=(*links, listener(1.0)), profile=profile))
    assert found.ports.patience_s == patience_s


def test_options_reach_runner_and_authentication(node: Node) -> None:
    """Limits of scripts, how many of them, and the mode."""
    found = node.start()
    options = parse_options(
        "[scripts]\nparallel = 5\nstop_timeout = 9\n[heartbeat]\nauthentication = permissive\n", "F"
    )
    current = node.read(WEB, options=options)
    current = replace(
        current,
        spec=replace(current.spec, services=options.complete_services(current.spec.services)),
        ring=KeyRing(new_key()),
    )
    found.apply_options(current)
    runner = cast(Any, found.runner)
    assert runner._at_once == 5 and runner._limits_of("web").stop_s == 9.0
    assert found.authentication.status().mode == "permissive"


@pytest.mark.parametrize("is_off", [False, True])
def test_use_of_a_key_is_forgotten_where_authentication_is_off(node: Node, is_off: bool) -> None:
    """Its mark and the peer's incarnations go; kept otherwise."""
    found = node.start()
    marks = [Path(node.layout.key_mark_file), Path(node.layout.peer_lives_file)]
    for mark in marks:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    options = parse_options("[heartbeat]\nauthentication = off\n" if is_off else "", "F")
    found.apply_options(node.read(WEB, options=options))
    assert [mark.exists() for mark in marks] == [not is_off] * 2 and node.warnings == []


def test_mark_that_cannot_be_removed_is_a_warning(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything else is applied."""

    def fail(layout: object) -> None:
        raise SystemFault("read-only file system")

    monkeypatch.setattr("opensvc_openha.daemon.incarnation.forget_use", fail)
    options = parse_options("[heartbeat]\nauthentication = off\n", "F")
    node.start().apply_options(node.read(WEB, options=options))
    assert node.warnings == ["node deb1: read-only file system"] and len(node.watched) == 1


# --- another configuration ------------------------------------------------------------------------


def test_added_and_removed_services_reach_the_engine(node: Node) -> None:
    """The states of what was added are recovered, of nothing else; what was removed while it runs
    is kept.
    """
    former = node.configuration.current = node.read(WEB)
    found = node.start()
    node.set_state("web", ServiceState.STARTED)
    node.set_state("old", ServiceState.STARTED)
    current = node.read(OLD)
    found.follow(former, current)
    (event,) = [found.inbox.get(0.0)]
    assert isinstance(event, ConfigChanged) and event.spec == current.spec
    assert {name: each.state for name, each in event.recovered.items()} == {
        "old": ServiceState.STARTED
    }
    assert [svc.name for svc in found.removed.present()] == ["web"]


def test_service_that_comes_back_while_it_runs_is_the_engines(node: Node) -> None:
    """Its STATE file belongs to the engine, which manages it all the time: what cannot be read of
    it just now is not written over.
    """
    former = node.configuration.current = node.read(WEB, OLD)
    found = node.start()
    without = node.read(WEB)
    found.follow(former, without)
    path = Path(node.layout.state_file("old", "deb1"))
    path.write_bytes(b"no state")
    found.follow(without, former)
    assert path.read_bytes() == b"no state"
    first, second = (found.inbox.get(0.0) for _ in range(2))
    assert isinstance(first, ConfigChanged) and dict(first.recovered) == {}
    assert isinstance(second, ConfigChanged) and list(second.recovered) == ["old"]
    assert found.removed.present() == ()


def test_managed_services_are_noted_for_the_next_daemon(node: Node) -> None:
    """One that was added, and is removed while no daemon runs, is known."""
    former = node.read(WEB)
    node.start().follow(former, node.read(WEB, OLD))
    node.set_state("old", ServiceState.STARTED)
    assert [svc.name for svc in node.start().removed.present()] == ["old"]


# --- ends of scripts ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(ScriptKind))
def test_end_of_a_script_is_recorded_and_given_to_the_engine(node: Node, kind: ScriptKind) -> None:
    """The answer of a power device is no entry."""
    found, event = node.start(), ScriptExited("web", kind, ScriptOutcome.OK, "took 1.0 s")
    before = len(node.history.recent)
    cast(Any, found)._script_exited(event)
    assert found.inbox.get(0.0) == event and node.time.pauses == []
    assert len(node.history.recent) - before == (kind is not ScriptKind.POWER)


@pytest.mark.parametrize("kind", list(ScriptKind))
@pytest.mark.parametrize("count", [16, 17])
def test_status_waits_behind_a_long_queue(
    node: Node, kind: ScriptKind, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more than 16 events in it, until it is shorter, or the engine has ended; no other script
    waits.
    """
    found, event = node.start(), ScriptExited("web", kind, ScriptOutcome.OK, "")
    for _ in range(count):
        found.inbox.put(ConfigChanged(node.read(WEB).spec))
    pause = node.time._pause

    def pause_and_take(seconds: float) -> None:
        pause(seconds)
        if len(node.time.pauses) == 3:
            found.inbox.get(0.0)

    monkeypatch.setattr("opensvc_openha.system.clock.pause", pause_and_take)
    cast(Any, found)._script_exited(event)
    is_held = kind is ScriptKind.PROBE and count == 17
    assert node.time.pauses == ([0.01] * 3 if is_held else [])
    found.inbox.put(event)
    found.inbox.put(event)
    found.loop.is_over.set()
    cast(Any, found)._script_exited(event)
    assert len(node.time.pauses) == (3 if is_held else 0)
