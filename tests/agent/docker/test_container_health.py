"""What becomes of a container by the result of its HEALTHCHECK, beside an engine whose answers the
tests write.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from opensvc_openha.agent.config.service_file import parse_service_text
from opensvc_openha.agent.docker import settings
from opensvc_openha.agent.docker.engine_view import Health, look_at_engine
from opensvc_openha.agent.monitor.resource_monitor import is_watched
from opensvc_openha.agent.resources import container as container_driver
from opensvc_openha.agent.resources.base import DriverContext, Resource
from opensvc_openha.agent.resources.container import build
from opensvc_openha.agent.service.runner import bring_back
from opensvc_openha.agent.values.action_log import open_log
from opensvc_openha.agent.values.cluster_client import ClusterView
from opensvc_openha.agent.values.resource_status import ResourceStatus
from opensvc_openha.errors import NotRunningError
from opensvc_openha.formats.layout import agent_layout

NODE = "deb1.opensvc.com"
ID = "c" * 64
FAILED = {"ExitCode": 1, "Output": "curl: (7) refused\r\n\x1b[31mport 5000\n"}
DOCKER = """#!/bin/sh
echo "$1" >> {root}/words
case $1 in
stop) echo exited > {root}/state ;;
start) mv {root}/next {root}/state ;;
esac
"""


class ScriptedEngine:
    """An engine with one container, whose state is in the file ``state``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.probes: dict[str, Any] | None = {"FailingStreak": 3, "Log": [FAILED]}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(f"{root}/docker.sock")
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def be(self, state: str, after_start: str = "") -> None:
        """Put the container into a state, as the engine words it: "Up 2 hours (unhealthy)"."""
        (self.root / "state").write_text(state)
        (self.root / "next").write_text(after_start)

    def close(self) -> None:
        """End it."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            with client:
                words = client.recv(4096).split()
                answer = self._answer(words[1].decode())
                client.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps(answer).encode())

    def _answer(self, resource: str) -> Any:
        state = (self.root / "state").read_text().strip()
        if resource.startswith("/images"):
            return [{"Id": "sha256:1", "RepoTags": ["web:1"]}]
        if resource == f"/containers/{ID}/json":
            check = {"Interval": 1_000_000, "Timeout": 1_000_000, "Retries": 1}
            found = {} if self.probes is None else {"Health": self.probes}
            return {"State": found, "Config": {"Healthcheck": check}}
        is_up = state.startswith("Up")
        return [
            {
                "Id": ID,
                "Names": ["/web.container.1"],
                "Image": "web:1",
                "ImageID": "sha256:1",
                "State": "running" if is_up else state,
                "Status": state if is_up else "Exited (0) 1 second ago",
                "Labels": None,
            }
        ]


@dataclass(frozen=True)
class Stage:
    """The engine, and the resource whose container it has."""

    engine: ScriptedEngine
    resource: Resource
    service: Any

    @property
    def words(self) -> list[str]:
        """The docker commands that were given."""
        path = self.engine.root / "words"
        return path.read_text().split() if path.exists() else []


@dataclass(frozen=True)
class _Service:
    """What `bring_back` needs of a service."""

    log: Any
    name: str = "web"
    node: str = NODE


def _no_daemon() -> Any:
    raise NotRunningError("not running")


@pytest.fixture
def keywords() -> str:
    """More lines of the container."""
    return ""


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keywords: str) -> Iterator[Stage]:
    for name in ("etc", "var", "log", "bin"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"OSVC_{name.upper()}", str(tmp_path / name))
    monkeypatch.setattr(settings, "SHARED_SOCKET", f"{tmp_path}/docker.sock")
    monkeypatch.setattr(container_driver, "SETTLE_S", 0.0)
    monkeypatch.setattr(container_driver, "_HEALTH_POLL_S", 0.01)
    monkeypatch.setattr(container_driver, "STOP_SLACK_S", 1.0)
    monkeypatch.setattr("opensvc_openha.agent.docker.docker_daemon.VIEW_AGE_MAX_S", 0.0)
    monkeypatch.setattr("opensvc_openha.agent.service.runner.RESTART_PAUSE_S", 0.01)
    program = tmp_path / "docker"
    program.write_text(DOCKER.format(root=tmp_path))
    program.chmod(0o755)
    text = (
        f"[DEFAULT]\ndocker_daemon_private = false\ndocker_exe = {program}\n[container#1]\n"
        f"type = docker\nrun_image = web:1\nmonitor = true\nrestart = 2\n{keywords}"
    )
    layout = agent_layout("", os.environ)
    engine = ScriptedEngine(tmp_path)
    file = parse_service_text(text, "web.env", "web", NODE)
    with open_log(layout.log_dir, "web") as log:
        cluster = ClusterView(_no_daemon, is_installed=False)
        context = DriverContext("web", NODE, layout, log, cluster, file)
        section = next(part for part in file.sections if part.name == "container#1")
        yield Stage(engine, build(section, context), _Service(log))
    engine.close()


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("Up 2 hours", Health.NONE),
        ("Up 2 hours (Paused)", Health.NONE),
        ("Up 3 seconds (health: starting)", Health.STARTING),
        ("Up 2 hours (healthy)", Health.HEALTHY),
        ("Up 2 hours (unhealthy)", Health.UNHEALTHY),
        ("exited", Health.NONE),
    ],
)
def test_health_is_read_from_the_list_of_containers(
    stage: Stage, status: str, expected: Health
) -> None:
    """An engine of the time before health checks writes none of these words."""
    stage.engine.be(status)
    (container,) = look_at_engine(f"{stage.engine.root}/docker.sock").containers
    assert container.health is expected


def test_unhealthy_container_is_a_warning_with_its_last_probe(stage: Stage) -> None:
    """In one line, without control characters; the monitor takes it for a failure."""
    stage.engine.be("Up 2 hours (unhealthy)")
    found = stage.resource.status()
    assert found.status is ResourceStatus.WARN and found.label == f"{ID[:12]}@web:1"
    assert found.log == (
        "unhealthy by its HEALTHCHECK, 3 times in a row: exit code 1: curl: (7) refused"
        " \\e[31mport 5000",
    )
    assert is_watched(stage.resource)
    stage.engine.probes = {"FailingStreak": 1, "Log": [{"ExitCode": -1, "Output": "x" * 500}]}
    assert stage.resource.status().log == (
        f"unhealthy by its HEALTHCHECK: exit code -1: {'x' * 160}...",
    )


@pytest.mark.parametrize(
    "probes", [None, {}, {"Log": None}, {"Log": [{}]}, {"FailingStreak": "x"}, {"Log": ["x"]}]
)
def test_unhealthy_container_without_a_log_of_probes_is_a_warning(
    stage: Stage, probes: dict[str, Any] | None
) -> None:
    """The engine does not keep them, or words them in another way."""
    stage.engine.be("Up 2 hours (unhealthy)")
    stage.engine.probes = probes
    found = stage.resource.status()
    assert found.status is ResourceStatus.WARN
    assert found.log == ("unhealthy by its HEALTHCHECK",)


@pytest.mark.parametrize(
    ("status", "log"),
    [
        ("Up 1 second (health: starting)", ("its HEALTHCHECK has no result yet",)),
        ("Up 2 hours (healthy)", ()),
        ("Up 2 hours", ()),
    ],
)
def test_container_that_is_not_unhealthy_is_up(
    stage: Stage, status: str, log: tuple[str, ...]
) -> None:
    """One that was just started has a note."""
    stage.engine.be(status)
    found = stage.resource.status()
    assert (found.status, found.log) == (ResourceStatus.UP, log)


@pytest.mark.parametrize(
    ("after", "is_back", "words"),
    [
        ("Up 1 second (healthy)", True, ["stop", "start"]),
        ("Up 1 second", True, ["stop", "start"]),
        ("Up 1 second (unhealthy)", False, ["stop", "start", "stop", "start"]),
    ],
)
def test_unhealthy_container_is_stopped_and_started_as_often_as_restart_allows(
    stage: Stage, after: str, is_back: bool, words: list[str]
) -> None:
    """restart = 2: one that is unhealthy again has failed, as one that ends again has."""
    stage.engine.be("Up 2 hours (unhealthy)", after)
    if not is_back:
        # The second try needs a state to begin with as well.
        (stage.engine.root / "docker").write_text(
            DOCKER.format(root=stage.engine.root).replace("mv", "cp")
        )
    assert bring_back(stage.service, stage.resource) is is_back
    assert stage.words == words


def test_restart_waits_for_the_result_of_the_health_check(stage: Stage) -> None:
    """Just started it is up: it is not back before docker has found out whether it is well."""
    stage.engine.be("exited", "Up 1 second (health: starting)")
    looks = iter(range(1_000_000))

    def answer(resource: str) -> Any:
        is_looked_at = resource.startswith("/containers/json") and stage.words == ["start"]
        if is_looked_at and next(looks) == 5:
            stage.engine.be("Up 2 seconds (unhealthy)", "Up 1 second (healthy)")
        return ScriptedEngine._answer(stage.engine, resource)

    stage.engine._answer = answer  # type: ignore[method-assign]
    assert bring_back(stage.service, stage.resource)
    assert stage.words == ["start", "stop", "start"]


def test_health_check_without_a_result_keeps_nobody_waiting(stage: Stage) -> None:
    """It ran for as long as docker takes for a verdict: it is up, with the note."""
    stage.engine.be("Up 2 hours (unhealthy)", "Up 1 second (health: starting)")
    assert bring_back(stage.service, stage.resource)
    assert stage.words == ["stop", "start"]


@pytest.mark.parametrize("keywords", ["healthcheck = ignore\n"])
def test_health_check_that_is_ignored_is_a_note(stage: Stage) -> None:
    """The container is up, and a restart after its end does not wait for a result."""
    stage.engine.be("Up 2 hours (unhealthy)")
    found = stage.resource.status()
    assert found.status is ResourceStatus.UP
    assert found.log[0].startswith("unhealthy by its HEALTHCHECK, 3 times in a row: exit code 1")
    assert found.log[0].endswith("(healthcheck = ignore)")
    for word in ("health: starting", "unhealthy"):
        stage.engine.be("exited", f"Up 1 second ({word})")
        assert bring_back(stage.service, stage.resource)
    assert stage.words == ["start", "start"]
