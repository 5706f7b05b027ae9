"""What service files state about docker daemons, the networks chosen for them, and the command
lines that come of it.
"""

from __future__ import annotations

import json
import shutil
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from opensvc_openha.agent.config.service_file import parse_service_text
from opensvc_openha.agent.docker import daemon_launch
from opensvc_openha.agent.docker.bridge import POOLS, free_subnet, gateway_of
from opensvc_openha.agent.docker.engine_view import Container, EngineView, Standing
from opensvc_openha.agent.docker.settings import DockerSettings, holding_mount, read_settings
from opensvc_openha.agent.docker.spawn import reasons_in
from opensvc_openha.demo.tutorial_files import BUSYBOX_ENV, REGISTRY_ENV
from opensvc_openha.errors import ActionError, ConfigError


def settings_of(
    text: str,
    svcname: str = "registry.opensvc.com",
    var_dir: str = "/var/lib/opensvc/registry.opensvc.com",
) -> DockerSettings:
    found = read_settings(parse_service_text(text, "x.env", svcname, "deb1.opensvc.com"), var_dir)
    assert found is not None
    return found


def test_the_service_files_of_the_tutorial_are_understood() -> None:
    """registry and busybox: data directory, its file system, arguments, socket and pid file."""
    registry = settings_of(REGISTRY_ENV)
    assert registry.data_dir == holding_mount(registry) == "/opt/registry.opensvc.com/dockerdata"
    assert registry.daemon_args == ("--ip", "37.59.71.25")
    assert registry.docker_command("ps") == [
        "docker",
        "-H",
        "unix:///var/lib/opensvc/registry.opensvc.com/docker.sock",
        "ps",
    ]
    assert registry.container_name("container#1") == "registry.opensvc.com.container.1"
    assert holding_mount(settings_of(BUSYBOX_ENV)) == "/opt/busybox.opensvc.com/appdata"


@pytest.mark.parametrize(
    "default, expected",
    [
        ("app = x", "docker_data_dir is missing"),
        ("docker_data_dir = data", "expected an absolute path"),
        ("docker_data_dir = /", "expected an absolute path below /"),
        ("docker_data_dir = /d\ndocker_daemon_args = --ip '1.2.3.4", "expected matching quotes"),
        ("docker_data_dir = /d\ndocker_daemon_args = -g /e", "holds -g, expected docker_data_dir"),
        (
            "docker_data_dir = /d\ndocker_daemon_args = --data-root=/e",
            "holds --data-root, expected docker_data_dir",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused_with_what_is_expected(
    default: str, expected: str
) -> None:
    """Missing or relative directories, open quotes, and options that are the agent's: an error that
    reports it.
    """
    with pytest.raises(ConfigError, match="x.env") as caught:
        settings_of(f"[DEFAULT]\n{default}\n")
    assert expected in str(caught.value)


def test_a_path_too_long_for_a_socket_is_refused() -> None:
    """The kernel takes 107 bytes: better reported by us than by a daemon that does not start."""
    with pytest.raises(ConfigError, match="too long for a socket"):
        settings_of("[DEFAULT]\ndocker_data_dir = /d\n", var_dir="/var/" + "x" * 100)


def test_a_shared_daemon_needs_no_directory_and_no_address() -> None:
    """docker_daemon_private = false: the docker command as it is, on the system's socket."""
    shared = settings_of("[DEFAULT]\ndocker_daemon_private = false\n")
    assert (shared.docker_command("ps"), shared.socket) == (
        ["docker", "ps"],
        "/var/run/docker.sock",
    )


@pytest.mark.parametrize("name", ["a", "x" * 200, "registry.opensvc.com", "3.14-_."])
def test_bridges_fit_into_an_interface_name_and_differ(name: str) -> None:
    """Any service name: at most 15 bytes, other names for other services."""
    bridge = settings_of("[DEFAULT]\ndocker_data_dir = /d\n", svcname=name, var_dir="/var/a").bridge
    other = settings_of(
        "[DEFAULT]\ndocker_data_dir = /d\n", svcname=name + "b", var_dir="/var/b"
    ).bridge
    assert len(bridge) <= 15 and bridge != other


def test_a_subnet_is_free_and_the_same_on_both_nodes() -> None:
    """What is in use is avoided, whole pools too.

    With nothing else in use the name alone decides; all taken is reported.
    """
    first = free_subnet("registry", [])
    assert free_subnet("registry", []) == first != free_subnet("busybox", [])
    assert not free_subnet("registry", [first]).overlaps(first)
    pool = IPv4Network(POOLS[0])
    assert not free_subnet("registry", [pool]).overlaps(pool)
    assert gateway_of(IPv4Network("172.31.5.0/24")) == "172.31.5.1/24"
    with pytest.raises(ActionError, match="--bip"):
        free_subnet("registry", [IPv4Network(each) for each in POOLS])


def test_arguments_of_the_operator_come_last_and_replace_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """--bridge, --exec-root and cgroup drivers of docker_daemon_args win.

    --bip is for the bridge; ours are there once.
    """
    monkeypatch.setattr(shutil, "which", lambda name, path: f"/usr/bin/{name}")
    argv = daemon_launch.dockerd_command(settings_of(REGISTRY_ENV), [])
    assert argv[-2:] == ["--ip", "37.59.71.25"]
    assert "--bridge" in argv and "native.cgroupdriver=cgroupfs" in argv and "--containerd" in argv
    own = settings_of(
        "[DEFAULT]\ndocker_data_dir = /d\ndocker_daemon_args = --exec-root /run/x --bip 10.1.0.1/24"
        " -D\n"
    )
    argv = daemon_launch.dockerd_command(own, ["10.0.0.9"])
    assert argv[-3:] == ["--ip", "10.0.0.9", "-D"]
    assert (
        argv.count("--exec-root") == 1
        and argv[argv.index("--exec-root") + 1] == "/run/x"
        and "--bip" not in argv
    )
    none = settings_of(
        "[DEFAULT]\ndocker_data_dir = /d\ndocker_daemon_args = --bridge=none --containerd"
        " /run/c.sock\n"
    )
    argv = daemon_launch.dockerd_command(none, [])
    assert (
        not daemon_launch.needs_bridge(none)
        and "--bridge" not in argv
        and argv.count("--containerd") == 1
    )


def test_settings_of_the_system_daemon_are_kept_unless_they_are_the_agents(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """daemon.json: mirrors stay.

    Its data root, hosts and what docker_daemon_args sets are left out, for dockerd refuses both.
    """
    config = {
        "registry-mirrors": ["https://m"],
        "data-root": "/x",
        "hosts": ["tcp://"],
        "ip": "0.0.0.0",
        "labels": ["a=b"],
    }
    system = tmp_path / "daemon.json"
    system.write_text(json.dumps(config))
    monkeypatch.setattr(daemon_launch, "SYSTEM_CONFIG", str(system))
    args = f"--ip 1.2.3.4 --label c=d --exec-root {tmp_path}/run"
    settings = settings_of(
        f"[DEFAULT]\ndocker_data_dir = /d\ndocker_daemon_args = {args}\n", var_dir=str(tmp_path)
    )
    daemon_launch.write_files(settings)
    assert json.loads((tmp_path / "run" / "daemon.json").read_text()) == {
        "registry-mirrors": ["https://m"]
    }


def container(image: str, image_id: str) -> Container:
    return Container("c" * 64, "x", image, image_id, "running", None, {})


@pytest.mark.parametrize(
    "wanted, image, tags, shown",
    [
        ("de9a91835513", "de9a91835513", ("registry:latest",), "registry:latest"),
        ("b:2", "b:1", ("b:1", "b:2"), "b:2"),
        ("c", "b:1", ("a:1", "b:1"), "b:1"),
        ("c", "sha256:123", (), "0123456789ab"),
    ],
)
def test_the_image_is_shown_by_name(
    wanted: str, image: str, tags: tuple[()] | tuple[str, str] | tuple[str], shown: str
) -> None:
    """An id in run_image: the image's name is shown as in the tutorial.

    Without a name its short id.
    """
    image_id = "sha256:0123456789abcdef"
    view = EngineView(Standing.RUNNING, (), {image_id: tags})
    assert view.image_name(container(image, image_id), wanted) == shown


@pytest.mark.parametrize(
    "text, reasons",
    [
        (
            (
                "unknown flag: --x\n\nUsage:  docker run\n\nRun 'docker run --help' for more"
                " information\n"
            ),
            ["unknown flag: --x"],
        ),
        (
            'time="T" level=info msg="Starting up"\nunknown flag: --x\nSee \'dockerd --help\'.\n',
            ["unknown flag: --x"],
        ),
        ('time="T" level=fatal msg="no \\"b\\"" error=boom\n', ['no "b": boom']),
        ('time="T" level=warning msg="no aufs" error="x"\n', []),
    ],
)
def test_the_reason_is_found_in_what_docker_prints(text: str, reasons: list[str]) -> None:
    """Errors in a daemon's log, and plain lines of a command, without what is no reason."""
    assert reasons_in(text) == reasons
