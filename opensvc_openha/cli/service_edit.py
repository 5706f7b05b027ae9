"""``service -a`` and ``service -r``: add a service to this node, or remove one."""

from __future__ import annotations

import os
import stat
import sys

from opensvc_openha.cli import installation
from opensvc_openha.control import client
from opensvc_openha.core.events import ScriptKind, ScriptOutcome
from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.core.states import FROZEN, MAY_RUN, UP_OR_IN_SCRIPT, ServiceState
from opensvc_openha.core.timing import FIRST_STATUS_LIMIT_S
from opensvc_openha.daemon.script_runner import ask_wrapper
from opensvc_openha.errors import ConfigError, NotRunningError, RefusedError, UsageError
from opensvc_openha.formats.conf_lines import add_line
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.services_file import (
    change_check,
    check_service_name,
    format_service,
    remove_service,
)
from opensvc_openha.formats.state_file import StoredState, decode
from opensvc_openha.formats.suggestion import which_service
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.storage import configuration
from opensvc_openha.storage.state_store import write_state
from opensvc_openha.system import clock
from opensvc_openha.system.atomic_files import make_dir
from opensvc_openha.system.identity import node_name
from opensvc_openha.system.programs import why_not_runnable

if TYPE_CHECKING:
    from opensvc_openha.core.status import ServiceStatus


def add(name: str, script: str, primary: str, secondary: str, check: str) -> int:
    """Run ``service -a``: create the service's directory and STATE files, then add its line.

    Everything is checked before the first change.
    """
    layout = installation.layout()
    print(f"Creating service {name} :", flush=True)
    try:
        spec = _checked(layout, ServiceSpec(name, script, primary, secondary, check))
        for line in _make_state_files(layout, spec):
            print(line, flush=True)

        def with_line(text: str) -> str:
            return add_line(text, format_service(spec))

        configuration.edit(layout, layout.services_file, with_line)
        client.reload_if_running(layout)
    except Exception:
        print("Failed.", flush=True)
        raise
    for line in _found(layout, name):
        print(line)
    print("Done.")
    return 0


def _found(layout: Layout, name: str) -> list[str]:
    """Return the lines about a service that runs already: it keeps running.

    No other node may start it.
    """
    svc = _first_status(layout, name)
    if svc is None or svc.own_state not in FROZEN:
        return []
    if svc.own_state is ServiceState.FROZEN_START:
        return [
            f"Service {name} is up on this node: it is FROZEN_START here, and the other node does"
            " not start it."
        ]
    return [f"Service {name} is FROZEN_STOP: {svc.reason}"] if svc.has_parts_up else []


def _first_status(layout: Layout, name: str) -> ServiceStatus | None:
    """Return the daemon's status of the service once its wrapper has answered or timed out.

    None if no daemon runs.
    """
    give_up = clock.monotonic() + FIRST_STATUS_LIMIT_S
    while True:
        try:
            svc = client.fetch_status(layout).service(name)
        except NotRunningError:
            return None
        if svc is None or svc.script != ScriptKind.PROBE.value or clock.monotonic() >= give_up:
            return svc
        clock.pause(0.05)


def _checked(layout: Layout, spec: ServiceSpec) -> ServiceSpec:
    """Return the service if it is valid in all respects."""
    try:
        check_service_name(spec.name)
    except ValueError as error:
        raise UsageError(str(error)) from error
    nodes = configuration.read_nodes(layout)
    for node in (spec.primary, spec.secondary):
        if node not in nodes:
            raise UsageError(
                f"unknown host {node}: {layout.nodes_file} lists {' and '.join(nodes)}"
            )
    if spec.primary == spec.secondary:
        raise UsageError("primary and secondary node must differ.")
    configuration.own_name(layout, nodes)
    if any(known.name == spec.name for known in configuration.read_services(layout)):
        raise RefusedError(f"Service {spec.name} already created.")
    _make_wrapper(spec.script)
    _make_wrapper(spec.check)
    _check_script("startup script", spec.script)
    _check_script("check script", spec.check)
    configuration.check_fence(spec, layout.services_file, configuration.read_options(layout))
    return spec


def _check_script(what: str, path: str) -> None:
    if not os.path.isabs(path) or any(char.isspace() for char in path):
        raise UsageError(f"{what} {path!r}: expected an absolute path without blanks")
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise ConfigError(f"unable to open {what} file {path}: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise ConfigError(f"{what} {path} is not a file")
    problem = why_not_runnable(path)
    if problem:
        raise ConfigError(f"{what}: {problem}")


def _make_wrapper(path: str) -> None:
    """Create the embedded agent's wrapper if it is the named script and has a service file."""
    agent_layout = installation.agent()
    svcname, dot, kind = os.path.basename(path).rpartition(".")
    is_wrapper = (
        os.path.dirname(path) == agent_layout.etc_dir and kind in ("cluster", "stonith") and dot
    )
    if (
        not is_wrapper
        or os.path.exists(path)
        or not os.path.exists(agent_layout.service_file(svcname))
    ):
        return
    if os.path.exists(f"{agent_layout.bin_dir}/svcmgr"):
        from opensvc_openha.agent.config.wrappers import ensure_all_wrappers

        ensure_all_wrappers(agent_layout)


def _make_state_files(layout: Layout, spec: ServiceSpec) -> list[str]:
    folder = layout.service_dir(spec.name)
    lines = []
    if not os.path.isdir(folder):
        make_dir(folder)
        lines.append(f"Directory {folder} created")
    for node in (spec.primary, spec.secondary):
        path = layout.state_file(spec.name, node)
        if os.path.exists(path):
            # The service may run: do not overwrite its recorded state.
            lines.append(f"State file {path} exists and is kept")
            continue
        initial = StoredState(_initial_state(layout, spec, node))
        write_state(layout, spec.name, node, initial)
        lines.append(f"State file {path} created with initial state {initial.state.name}")
    return lines


def _initial_state(layout: Layout, spec: ServiceSpec, node: str) -> ServiceState:
    """Return FROZEN_STOP, or FROZEN_START if the wrapper reports that the service runs here.

    A running daemon asks the wrapper itself.
    """
    is_here = node.lower() == node_name().lower()
    if is_here and client.running_pid(layout) == 0 and ask_wrapper(spec.script) is ScriptOutcome.UP:
        return ServiceState.FROZEN_START
    return ServiceState.FROZEN_STOP


def remove(name: str) -> int:
    """Run ``service -r``; refuse a service that runs here."""
    layout = installation.layout()
    known = expect_removable(layout, name)

    def without_line(text: str) -> str:
        return remove_service(text, name)

    configuration.edit(layout, layout.services_file, without_line)
    client.reload_if_running(layout)
    _forget_state_files(layout, name)
    print(f"Remove of service {name} done")
    print("Done.", flush=True)
    if known is not None and known.own_state is not None and known.peer_state in UP_OR_IN_SCRIPT:
        peer = known.secondary if known.primary.lower() == node_name().lower() else known.primary
        sys.stderr.write(
            f"warning: service {name} is {known.peer_state.name} on {peer}, and has no node to fail"
            " over to now: add it here again (service -a), or remove it there too\n"
        )
    return 0


def expect_removable(layout: Layout, name: str) -> ServiceStatus | None:
    """Return the daemon's status of a service that can be removed now; None without a daemon.

    Raises ConfigError for an unknown service, RefusedError for one that may run here.
    """
    services = configuration.read_services(layout)
    if not any(svc.name == name for svc in services):
        configured = (svc.name for svc in services)
        raise ConfigError(f"Service {name} not found: {which_service(name, configured)}")
    configuration.read_options(layout).check_services(
        tuple(svc for svc in services if svc.name != name)
    )
    status = installation.status_if_running(layout)
    known = None if status is None else status.service(name)
    state = _own_state(layout, name, known)
    if state in MAY_RUN:
        raise RefusedError(
            f"service {name} is {state.name} on this node: stop it first ($EZ_BIN/service -A {name}"
            " freeze-stop), then remove it"
        )
    return known


def replace_check(name: str, check: str) -> None:
    """Give a service another check-up script; the daemon applies it at once."""
    layout = installation.layout()
    _check_script("check script", check)

    def with_check(text: str) -> str:
        return change_check(text, name, check)

    configuration.edit(layout, layout.services_file, with_check)
    client.reload_if_running(layout)


def _own_state(layout: Layout, name: str, known: ServiceStatus | None) -> ServiceState:
    """Return this node's state from the daemon, or from the STATE file if no daemon runs."""
    if known is not None and known.own_state is not None:
        return known.own_state
    try:
        with open(layout.state_file(name, node_name()), "rb") as file:
            return decode(file.read(64)).state
    except FileNotFoundError:
        return ServiceState.FROZEN_STOP
    except (OSError, ValueError):
        return ServiceState.UNKNOWN


def _forget_state_files(layout: Layout, name: str) -> None:
    """Remove the STATE files, so that a later service of this name starts from scratch."""
    folder = layout.service_dir(name)
    try:
        for entry in os.listdir(folder):
            if entry.startswith("STATE."):
                os.unlink(f"{folder}/{entry}")
        os.rmdir(folder)
    except OSError:
        pass  # The directory holds other files, which are not ours to remove.
