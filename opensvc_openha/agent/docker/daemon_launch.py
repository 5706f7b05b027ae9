"""Command lines and configuration files of containerd and dockerd of one service.

The service has a containerd of its own too: a dockerd that finds the system's one uses it, and
containers of several daemons in one containerd disturb each other; newer dockers keep their images
there, and these have to move with the service.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence

from opensvc_openha.agent.docker.settings import DockerSettings, option_names
from opensvc_openha.agent.host.commands import command_environment
from opensvc_openha.hints import Any
from opensvc_openha.system.atomic_files import make_dir, open_plain

SYSTEM_CONFIG = "/etc/docker/daemon.json"

_BRIDGE_OPTIONS = frozenset({"--bridge", "-b"})
_OURS = frozenset(
    [
        "hosts",
        "data-root",
        "graph",
        "exec-root",
        "pidfile",
        "bridge",
        "bip",
        "containerd",
        "exec-opts",
        "cgroup-parent",
        "live-restore",
        "group",
        "fixed-cidr",
    ]
)
"""Settings of the system's daemon that conflict with the private one's files or address."""


def needs_bridge(settings: DockerSettings) -> bool:
    """Return whether the agent creates the bridge: not if docker_daemon_args names one."""
    return not option_names(settings.daemon_args) & _BRIDGE_OPTIONS


def has_own_containerd(settings: DockerSettings) -> bool:
    """Return whether the agent starts containerd.

    Otherwise dockerd does, or docker_daemon_args names one.
    """
    if "--containerd" in option_names(settings.daemon_args):
        return False
    return shutil.which("containerd", path=command_environment()["PATH"]) is not None


def containerd_socket(settings: DockerSettings) -> str:
    """Return the path of the socket of the service's containerd."""
    return f"{settings.run_dir}/containerd/containerd.sock"


def containerd_command(settings: DockerSettings) -> list[str]:
    """Return the command line of the service's containerd."""
    return ["containerd", "--config", _containerd_config(settings)]


def dockerd_command(settings: DockerSettings, addresses: Sequence[str]) -> list[str]:
    """Return the daemon's command line; published ports are bound to ``addresses``."""
    given = option_names(settings.daemon_args)
    argv = [
        settings.dockerd_exe,
        "-H",
        f"unix://{settings.socket}",
        "--data-root",
        settings.data_dir,
    ]
    argv += ["--exec-root", settings.run_dir, "--pidfile", settings.pid_file]
    if "--config-file" not in given:
        argv += ["--config-file", _daemon_config(settings)]
    if has_own_containerd(settings):
        argv += ["--containerd", containerd_socket(settings)]
    if needs_bridge(settings):
        argv += ["--bridge", settings.bridge]
    if not any("native.cgroupdriver" in word for word in settings.daemon_args):
        # Control groups made by systemd would need slices that are not defined.
        argv += ["--exec-opt", "native.cgroupdriver=cgroupfs"]
        argv += [] if "--cgroup-parent" in given else ["--cgroup-parent", settings.cgroup]
    for address in addresses:
        argv += ["--ip", address]
    return argv + _without(settings.daemon_args, {"--exec-root", "--bip"})


def write_files(settings: DockerSettings) -> None:
    """Write the files that the two commands read."""
    make_dir(settings.var_dir)
    make_dir(settings.run_dir)
    make_dir(f"{settings.run_dir}/containerd", 0o711)
    state = {
        "root": f"{settings.data_dir}/containerd/daemon",
        "state": f"{settings.run_dir}/containerd/daemon",
    }
    lines = ["version = 2", *(f"{key} = {json.dumps(value)}" for key, value in state.items())]
    lines += ['disabled_plugins = ["io.containerd.grpc.v1.cri"]']
    lines += ["[grpc]", f"address = {json.dumps(containerd_socket(settings))}"]
    _write(_containerd_config(settings), "\n".join(lines) + "\n")
    _write(_daemon_config(settings), json.dumps(_private_config(settings), indent=1) + "\n")


def _private_config(settings: DockerSettings) -> Mapping[str, Any]:
    """Return the system's settings without those that the agent or docker_daemon_args sets.

    dockerd refuses a setting that is given twice.
    """
    try:
        with open(SYSTEM_CONFIG, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    given = {name.lstrip("-") for name in option_names(settings.daemon_args)}
    taken = (
        _OURS
        | given
        | {f"{name}s" for name in given}
        | ({"ip"} if settings.address_names else set())
    )
    return (
        {key: value for key, value in found.items() if key not in taken}
        if isinstance(found, dict)
        else {}
    )


def _containerd_config(settings: DockerSettings) -> str:
    return f"{settings.run_dir}/containerd/config.toml"


def _daemon_config(settings: DockerSettings) -> str:
    return f"{settings.run_dir}/daemon.json"


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8", opener=open_plain) as file:
        file.write(text)


def _without(args: Sequence[str], names: set[str]) -> list[str]:
    """Return the words of a command line without these options and their values."""
    kept = []
    is_value = False
    for word in args:
        if is_value:
            is_value = False
        elif word in names:
            is_value = True
        elif word.partition("=")[0] not in names:
            kept.append(word)
    return kept
