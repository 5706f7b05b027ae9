"""Check a valid service file against this node: scripts, commands, interfaces, mount points.

Only validation uses these checks: an action detects a missing item itself, and an item that is
missing now may exist by the time an action runs. Paths on a file system of the service that is not
mounted are not checked.
"""

from __future__ import annotations

import re
import shlex
import socket
from collections.abc import Iterator, Sequence

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.checks import keywords_of
from opensvc_openha.agent.config.service_file import Section, ServiceFile
from opensvc_openha.agent.host.commands import command_environment
from opensvc_openha.agent.host.mounts import read_mounts, top_mount
from opensvc_openha.agent.resources.base import Resource
from opensvc_openha.errors import ConfigError
from opensvc_openha.system.bounded_program import ask_program
from opensvc_openha.system.programs import why_not_runnable

_PLAIN_WORD = re.compile(r"[\w./+-]+\Z", re.ASCII)
_LIMIT_S = 10.0


def missing_commands(file: ServiceFile, section: Section) -> Iterator[str]:
    """Yield each command of a section that the shell would not find on this node."""
    mounts = read_mounts()
    unmounted = [point for point in file.mount_points if top_mount(point, mounts) is None]
    for name in _command_keywords(section):
        value = section.text(name)
        problem = _why_no_command(value, unmounted) if name in section.own and value else ""
        if problem:
            yield f"{name}: {problem}"


def missing_here(file: ServiceFile, resources: Sequence[Resource]) -> Iterator[ConfigError]:
    """Yield an error for each item that the resources of one service need and this node lacks."""
    sections = {section.name: section for section in file.sections}
    mounts = read_mounts()
    unmounted = [point for point in file.mount_points if top_mount(point, mounts) is None]
    for resource in resources:
        section = sections.get(resource.spec.rid)
        if section is None or resource.spec.is_disabled:
            continue
        for keyword, problem in _missing(section, unmounted):
            yield section.error(keyword, problem)


def _missing(section: Section, unmounted: Sequence[str]) -> Iterator[tuple[str, str]]:
    if section.group == "ip":
        device = section.value(schema.IPDEV).partition("@")[0].partition(":")[0]
        known = [name for _, name in socket.if_nameindex()]
        if device not in known:
            problem = f"this node has no such interface: it has {', '.join(known)}"
            yield "ipdev", f"is {section.value(schema.IPDEV)!r}, and {problem}"
    script = section.value(schema.SCRIPT) if section.group == "app" else ""
    # A script without a directory belongs to the service; its launcher reports it.
    if script.startswith("/") and not _is_below(script, unmounted):
        problem = why_not_runnable(script)
        if problem:
            yield "script", f"cannot be run on this node: {problem}"
    for name in _command_keywords(section):
        value = section.text(name)
        if name in section.own and value:
            problem = _why_no_command(value, unmounted)
            if problem:
                yield name, f"is {value!r}, and {problem}"


def _command_keywords(section: Section) -> Iterator[str]:
    for keyword in keywords_of(section) or ():
        if keyword.type.is_command and isinstance(section.value(keyword), str):
            yield from keyword.names


def _why_no_command(line: str, unmounted: Sequence[str]) -> str:
    """Return why the shell would not find the first word of a command line.

    Empty if it would, or if that cannot be determined.
    """
    word = (line.split() or [""])[0]
    if not _PLAIN_WORD.match(word) or _is_below(word, unmounted):
        return ""
    if word.startswith("/"):
        return why_not_runnable(word)
    argv = ["/bin/sh", "-c", f"command -v {shlex.quote(word)}"]
    answer = ask_program(argv, _LIMIT_S, command_environment())
    return "" if answer is None or answer[0] == 0 else f"there is no command {word} on this node"


def _is_below(path: str, points: Sequence[str]) -> bool:
    return any(path == point or path.startswith(f"{point}/") for point in points)
