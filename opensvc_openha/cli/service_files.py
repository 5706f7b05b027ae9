"""Take over a service file on this node with its wrappers and its line; remove one again.

The same steps run on both nodes: on the one where the operator is, and on the other one for a
request of the peer link. Everything is checked before the first change.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.service_file import (
    COMMAND_NAMES,
    FILE_BYTES_MAX,
    SERVICE_NAME,
    Section,
    ServiceFile,
    parse_service_text,
)
from opensvc_openha.agent.config.wrappers import default_command, ensure_wrappers
from opensvc_openha.agent.resources.base import DriverContext
from opensvc_openha.agent.service.validation import Problem, problems_of
from opensvc_openha.agent.values.action_log import open_log
from opensvc_openha.cli import installation, service_edit
from opensvc_openha.cli.agent_services import node_view
from opensvc_openha.cli.shared_files import BACKUP_SUFFIX, mode_of
from opensvc_openha.core.events import ScriptOutcome
from opensvc_openha.core.model import PLAN_COMMANDS, ServiceSpec
from opensvc_openha.core.states import PEER_OUT
from opensvc_openha.daemon.script_runner import ask_wrapper
from opensvc_openha.errors import ConfigError, RefusedError, SystemFault, UsageError
from opensvc_openha.formats.layout import AgentLayout, Layout
from opensvc_openha.formats.nodes_file import is_same_node
from opensvc_openha.storage import configuration
from opensvc_openha.system.atomic_files import make_dir, read_text, write_atomically
from opensvc_openha.system.identity import node_name

REMOVED_SUFFIX = ".removed"
_NOTHING_RUNS = frozenset({"DEFAULT", "hb", "stonith", "subset", "sync"})
"""Groups of sections that leave nothing behind that runs or is mounted."""


@dataclass(frozen=True)
class NewService:
    """A service file that was checked, and what it becomes in the cluster."""

    service: str
    text: str
    cluster_name: str
    primary: str
    secondary: str
    check: str
    warnings: tuple[Problem, ...] = ()
    is_private: bool = False
    """Readable for root only, as the file that was given."""


def check_service(
    layout: Layout,
    service: str,
    text: str,
    path: str,
    primary: str = "",
    check: str = "",
) -> NewService:
    """Return a service file's service if this node could take it over now.

    ``path`` is what messages name the file; ``primary`` and ``check`` replace what follows from the
    file. Raises ConfigError with all errors of the file, a line each.
    """
    agent = installation.agent()
    _expect_embedded_agent(agent)
    if not SERVICE_NAME.match(service) or service in COMMAND_NAMES:
        raise UsageError(f"no service can be named {service!r}: rename its file")
    if len(text.encode("utf-8")) > FILE_BYTES_MAX:
        raise ConfigError(f"is larger than {FILE_BYTES_MAX} bytes, expected a service file", path)
    nodes = configuration.read_nodes(layout)
    own = configuration.own_name(layout, nodes)
    peer = configuration.peer_of(own, nodes)
    file = parse_service_text(text, path, service, node_name().lower())
    problems = _problems(agent, service, file, peer)
    errors = [problem for problem in problems if not problem.is_warning]
    if errors:
        raise ConfigError("\n".join(str(problem.error) for problem in errors))
    names = [
        section.value(schema.HB_NAME) or service
        for section in file.sections
        if section.group == "hb" and section.text("type").lower() == "openha"
    ]
    if not names:
        raise ConfigError(
            "no cluster decides about it: it needs a section [hb#0] with type = OpenHA", path
        )
    first = primary or _preferred(file, nodes)
    if first not in nodes:
        raise UsageError(f"unknown node {first}: {layout.nodes_file} lists {' and '.join(nodes)}")
    second = next(node for node in nodes if node != first)
    script = check or _check_script(layout, agent, file, service)
    warnings = tuple(problem for problem in problems if problem.is_warning)
    return NewService(service, text, names[0], first, second, script, warnings)


def _expect_embedded_agent(agent: AgentLayout) -> None:
    """Raise RefusedError where the embedded agent is not installed: nothing would run the file."""
    svcmgr = os.path.join(agent.bin_dir, "svcmgr")
    if not installation.is_made_by_us(svcmgr):
        raise RefusedError(
            f"the embedded agent is not installed on this node ({svcmgr} is not of this package):"
            " `openha install --embedded-agent` does that; services of an OpenSVC agent are added"
            " by `openha agent install`"
        )


def _problems(agent: AgentLayout, service: str, file: ServiceFile, peer: str) -> list[Problem]:
    with open_log(agent.log_dir, service) as log:
        context = DriverContext(service, node_name().lower(), agent, log, node_view(), file)
        return problems_of(file, context, peer)


def _preferred(file: ServiceFile, nodes: Sequence[str]) -> str:
    """Return the first of ``autostart_node``, else of ``nodes``, spelled as in the nodes file."""
    for word in (*file.default.words(schema.AUTOSTART_NODE), *file.nodes):
        for node in nodes:
            if is_same_node(word, node):
                return node
    return nodes[0]


def _check_script(layout: Layout, agent: AgentLayout, file: ServiceFile, service: str) -> str:
    """Return the service's own fence, else the command that stands for the fence plan alone.

    Without a plan that one fails: a silent peer's service waits for an operator.
    """
    if any(section.group == "stonith" for section in file.sections):
        return agent.stonith_wrapper(service)
    command = f"{layout.bin_dir}/fence"
    if not command.endswith(PLAN_COMMANDS):
        # The engine knows that command by the places of the usual layouts alone.
        raise UsageError(
            f"{service} has no [stonith#N], and {layout.bin_dir} is no usual place of a cluster:"
            " give --check PATH, the check-up script of the service"
        )
    return command


def what_would_change(layout: Layout, new: NewService) -> list[str]:
    """Return what ``take_service`` would change here, a line each; nothing if all is there."""
    agent = installation.agent()
    path = agent.service_file(new.service)
    lines = []
    if not os.path.exists(path):
        lines.append(f"write {path}")
    elif read_text(path) != new.text:
        _expect_nothing_left_running(layout, agent, new, path)
        lines.append(f"replace {path} (the old one is kept as {path}{BACKUP_SUFFIX})")
    known = _configured(layout, new.cluster_name)
    if known is None:
        wrapper = agent.cluster_wrapper(new.service)
        lines.append(
            f"service -a {new.cluster_name} {wrapper} {new.primary} {new.secondary} {new.check}"
        )
    elif known.script != agent.cluster_wrapper(new.service):
        raise RefusedError(
            f"the cluster has another service {new.cluster_name}, with script {known.script}:"
            " nothing was done"
        )
    return lines


def _expect_nothing_left_running(
    layout: Layout, agent: AgentLayout, new: NewService, path: str
) -> None:
    """Raise RefusedError if a service that may be up here would lose what stops its resources.

    What its file has no more is never stopped: it would be up on both nodes after a takeover.
    """
    gone = sorted(
        {section.name for section in _sections(new.service, read_text(path), path)}
        - {section.name for section in _sections(new.service, new.text, path)}
    )
    if not gone or _is_down(layout, agent, new):
        return
    named = ", ".join(f"[{name}]" for name in gone)
    raise RefusedError(
        f"{new.service} may be up on this node, and the new file has no {named} any more: what"
        " that started would stay up for ever, also beside the other node. Stop the service first,"
        " or keep these sections: nothing was done"
    )


def _sections(service: str, text: str, path: str) -> list[Section]:
    """Return the sections of resources that a service file has; none if it cannot be read."""
    try:
        found = parse_service_text(text, path, service, node_name().lower()).sections
    except ConfigError:
        return []
    return [section for section in found if section.group not in _NOTHING_RUNS]


def _is_down(layout: Layout, agent: AgentLayout, new: NewService) -> bool:
    status = installation.status_if_running(layout)
    svc = None if status is None else status.service(new.cluster_name)
    if svc is not None:
        return svc.own_state in PEER_OUT
    wrapper = agent.cluster_wrapper(new.service)
    return not os.access(wrapper, os.X_OK) or ask_wrapper(wrapper) is ScriptOutcome.DOWN


def take_service(layout: Layout, new: NewService) -> None:
    """Write the file, make the wrappers, add the service; what is there already is left alone."""
    agent = installation.agent()
    what_would_change(layout, new)
    path = agent.service_file(new.service)
    make_dir(agent.etc_dir)
    is_there = os.path.exists(path)
    if not is_there or read_text(path) != new.text:
        try:
            usual = 0o600 if new.is_private else 0o644
            mode = mode_of(path, usual)
            if is_there:
                write_atomically(path + BACKUP_SUFFIX, read_text(path).encode("utf-8"), 0o600)
            write_atomically(os.path.realpath(path), new.text.encode("utf-8"), mode)
        except OSError as error:
            raise SystemFault(f"cannot write {path}: {error.strerror}") from error
        print(f"{path} written", flush=True)
    ensure_wrappers(agent, new.service, default_command(agent))
    if _configured(layout, new.cluster_name) is None:
        wrapper = agent.cluster_wrapper(new.service)
        service_edit.add(new.cluster_name, wrapper, new.primary, new.secondary, new.check)


def _configured(layout: Layout, name: str) -> ServiceSpec | None:
    return next((svc for svc in configuration.read_services(layout) if svc.name == name), None)


@dataclass(frozen=True)
class OldService:
    """What there is of a service on this node: its name in the cluster, its files."""

    service: str
    cluster_name: str
    paths: tuple[str, ...]


def find_service(layout: Layout, service: str) -> OldService:
    """Return what there is of a service here; raise RefusedError if it may run here."""
    if not SERVICE_NAME.match(service) or service in COMMAND_NAMES:
        raise UsageError(f"no service can be named {service!r}: nothing was done")
    agent = installation.agent()
    wrapper = agent.cluster_wrapper(service)
    known = next(
        (svc for svc in configuration.read_services(layout) if svc.script == wrapper), None
    ) or _configured(layout, service)
    if known is not None:
        service_edit.expect_removable(layout, known.name)
        folder, base = os.path.split(known.script)
        if folder == agent.etc_dir and base.endswith(".cluster"):
            service = base.removesuffix(".cluster")
    elif os.access(wrapper, os.X_OK) and ask_wrapper(wrapper) is ScriptOutcome.UP:
        raise RefusedError(
            f"service {service} is up on this node, and not in the cluster here: stop it first"
            f" (svcmgr -s {service} stop), then remove it"
        )
    # What is no link to the agent there is a file of the operator, as web.env for `web.env`.
    link = agent.command_link(service)
    is_link = os.path.islink(link) and os.path.basename(os.readlink(link)) == "svcmgr"
    files = (
        agent.service_file(service),
        *((link,) if is_link else ()),
        agent.cluster_wrapper(service),
        agent.stonith_wrapper(service),
    )
    return OldService(
        service,
        "" if known is None else known.name,
        tuple(path for path in files if os.path.lexists(path)),
    )


def remove_service(layout: Layout, old: OldService) -> None:
    """Remove the service from the cluster here; its file is kept under another name."""
    agent = installation.agent()
    if old.cluster_name:
        service_edit.remove(old.cluster_name)
    for path in old.paths:
        try:
            if path == agent.service_file(old.service):
                os.replace(path, path + REMOVED_SUFFIX)
                print(f"{path} is kept as {path}{REMOVED_SUFFIX}", flush=True)
            else:
                os.unlink(path)
        except OSError as error:
            raise SystemFault(f"cannot remove {path}: {error.strerror}") from error
