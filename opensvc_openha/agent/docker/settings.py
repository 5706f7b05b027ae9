"""Settings of a service's docker daemon, and the places of its files.

A private daemon has its data in ``docker_data_dir``, on a file system that moves with the service,
and everything that belongs to one node only in the service's var directory and below /run.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.service_file import Section, ServiceFile

RUN_DIR = "/run/openha-docker"
SHARED_SOCKET = "/var/run/docker.sock"
SOCKET_PATH_BYTES_MAX = 107

_OURS = {
    "--data-root": "docker_data_dir",
    "--graph": "docker_data_dir",
    "-g": "docker_data_dir",
    "--pidfile": "nothing: the agent sets it",
    "-p": "nothing: the agent sets it",
}


@dataclass(frozen=True)
class DockerSettings:
    """Properties of one service's daemon that do not change while the service runs."""

    svcname: str
    var_dir: str
    is_private: bool
    data_dir: str = ""
    daemon_args: tuple[str, ...] = ()
    docker_exe: str = "docker"
    dockerd_exe: str = "dockerd"
    mount_points: tuple[str, ...] = ()
    address_names: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """Name of the daemon's objects on this node: directory below /run, control group."""
        return f"{self.svcname[:24]}-{_digest(self.var_dir)}"

    @property
    def socket(self) -> str:
        """Path of the daemon's socket."""
        return f"{self.var_dir}/docker.sock" if self.is_private else SHARED_SOCKET

    @property
    def pid_file(self) -> str:
        """Path of the daemon's pid file."""
        return f"{self.var_dir}/docker.pid"

    @property
    def log_file(self) -> str:
        """Path of the daemon's output."""
        return f"{self.var_dir}/docker.log"

    @property
    def containerd_log_file(self) -> str:
        """Path of containerd's output."""
        return f"{self.var_dir}/containerd.log"

    @property
    def run_dir(self) -> str:
        """exec-root of the daemon: sockets and state that are removed with it."""
        return option_value(self.daemon_args, "--exec-root") or f"{RUN_DIR}/{self.unit}"

    @property
    def cgroup(self) -> str:
        """Parent of the containers' control groups."""
        return f"/opensvc/{self.unit}"

    @property
    def bridge(self) -> str:
        """Interface of the containers' network; the kernel allows 15 bytes."""
        letters = re.sub("[^a-z0-9]", "", self.svcname.lower())[:5]
        return f"ha-{letters}-{_digest(self.svcname + self.var_dir)}"

    def container_name(self, rid: str) -> str:
        """Return the name of the container of one resource."""
        return f"{self.svcname}.{rid.replace('#', '.')}"

    def is_own(self, name: str) -> bool:
        """Return whether the service file could mean a container of this name."""
        return name.startswith(f"{self.svcname}.container")

    def docker_command(self, *words: str) -> list[str]:
        """Return the docker command line for this daemon."""
        to_daemon = ["-H", f"unix://{self.socket}"] if self.is_private else []
        return [self.docker_exe, *to_daemon, *words]


def read_settings(file: ServiceFile, var_dir: str) -> DockerSettings:
    """Read the settings of a service file; ConfigError for those that cannot work."""
    default = file.default
    settings = DockerSettings(
        svcname=file.svcname,
        var_dir=var_dir,
        is_private=default.value(schema.DOCKER_DAEMON_PRIVATE),
        data_dir=default.value(schema.DOCKER_DATA_DIR),
        daemon_args=_daemon_args(default),
        docker_exe=default.value(schema.DOCKER_EXE),
        dockerd_exe=default.value(schema.DOCKERD_EXE),
        mount_points=tuple(_mount_points(file.sections)),
        address_names=tuple(_address_names(file.sections)),
    )
    if settings.is_private and not settings.data_dir:
        raise default.error(
            "docker_data_dir",
            "is missing, expected the directory on the service's file system where its docker"
            " daemon keeps images and containers (or docker_daemon_private = false to use the"
            " daemon of the system)",
        )
    if len(os.fsencode(settings.socket)) > SOCKET_PATH_BYTES_MAX:
        problem = (
            f"cannot be served: {settings.socket} is too long for a socket, expected a shorter"
            " service name"
        )
        raise default.error("docker_data_dir", problem)
    return settings


def option_value(args: Sequence[str], name: str) -> str:
    """Return the value of an option in a command line; empty if it is absent."""
    for position, word in enumerate(args):
        if word == name and position + 1 < len(args):
            return args[position + 1]
        if word.startswith(name + "="):
            return word[len(name) + 1 :]
    return ""


def option_names(args: Iterable[str]) -> set[str]:
    """Return the options in a command line, without their values."""
    return {word.partition("=")[0] for word in args if word.startswith("-")}


def _daemon_args(default: Section) -> tuple[str, ...]:
    args = default.value(schema.DOCKER_DAEMON_ARGS)
    for name in sorted(option_names(args)):
        if name in _OURS:
            raise default.error("docker_daemon_args", f"holds {name}, expected {_OURS[name]}")
    return args


def _mount_points(sections: Iterable[Section]) -> Iterable[str]:
    for section in sections:
        if (
            section.group == "fs"
            and section.text("type").lower() != "directory"
            and section.text("mnt")
        ):
            yield os.path.normpath(section.text("mnt"))


def _address_names(sections: Iterable[Section]) -> Iterable[str]:
    for section in sections:
        if (
            section.group == "ip"
            and section.value(schema.DOCKER_DAEMON_IP)
            and section.text("ipname")
        ):
            yield section.text("ipname")


def holding_mount(settings: DockerSettings) -> str | None:
    """Return the mount point of the service's file system with the data directory, or None."""
    path = settings.data_dir
    above = [
        point for point in settings.mount_points if path == point or path.startswith(point + "/")
    ]
    return max(above, key=len) if above else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:6]
