"""``service``: adds, removes and shows services, and has actions carried out on them."""

from __future__ import annotations

import os
import stat
import sys
from typing import Optional

from opensvc_openha.cli import here, render
from opensvc_openha.core.events import Command
from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.core.states import MAY_RUN, ServiceState
from opensvc_openha.errors import (
    ActionError,
    ConfigError,
    NotAnsweringError,
    NotRunningError,
    RefusedError,
    SystemFault,
    UsageError,
)
from opensvc_openha.formats.conf_lines import add_line
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.services_file import check_service_name, format_service, remove_service
from opensvc_openha.formats.state_file import StoredState, decode
from opensvc_openha.runtime import configuration, control_client
from opensvc_openha.runtime.machine import node_name
from opensvc_openha.runtime.state_store import write_state

ACTIONS = tuple(command.value for command in Command)
USAGE = f"""\
Usage: service -s [-c | -v | --json]                               show services and their states
       service -i NAME                                             show one service
       service -a NAME SCRIPT PRIMARY SECONDARY CHECK              add a service
       service -r NAME                                             remove a service
       service -A [NAME] ACTION                                    act on a service, or on all of this node

ACTION is one of: {', '.join(ACTIONS)}
"""


def main(args: "list[str]") -> int:
    """Runs ``service`` with its arguments; returns the exit code."""
    option, rest = (args[0], args[1:]) if args else ("", [])
    if option in ("-h", "--help"):
        sys.stdout.write(USAGE)
        return 0
    if option in ("-s", "-sc", "-c", "--json", "-v"):
        return _show(set(args))
    if option == "-i":
        return _info(_exactly(rest, 1, "-i NAME")[0])
    if option == "-a":
        return _add(*_exactly(rest, 5, "-a NAME SCRIPT PRIMARY SECONDARY CHECK"))
    if option == "-r":
        return _remove(_exactly(rest, 1, "-r NAME")[0])
    if option == "-A":
        return _act(rest)
    what = f"unknown option {option!r}" if option else "an option is missing"
    raise UsageError(f"service: {what}; expected -s, -i, -a, -r or -A (service --help tells more)")


def _exactly(args: "list[str]", count: int, usage: str) -> "list[str]":
    if len(args) != count:
        raise UsageError(f"service: expected `service {usage}`, got {len(args)} argument(s) after the option")
    return args


def _show(options: "set[str]") -> int:
    unknown = options - {"-s", "-c", "-sc", "-v", "--json"}
    if unknown:
        raise UsageError(f"service -s takes -c, -v or --json, not {' '.join(sorted(unknown))}")
    status = control_client.fetch_status(here.layout())
    if "--json" in options:
        import json

        from opensvc_openha.runtime.wire import status_to_json

        print(json.dumps(status_to_json(status), indent=2))
    elif "-v" in options:
        sys.stdout.write(render.service_reasons(status))
    elif options & {"-c", "-sc"}:
        sys.stdout.write(render.service_table(status))
    else:
        sys.stdout.write(render.service_list(status))
    return 0


def _info(name: str) -> int:
    status = control_client.fetch_status(here.layout())
    svc = status.service(name)
    if svc is None:
        raise ConfigError(f"service {name} does not exist")
    if svc.own_state is None:
        raise RefusedError(f"we are not primary nor secondary for service {name}")
    sys.stdout.write(render.service_info(status, svc))
    return 0


# --- adding and removing --------------------------------------------------------------------------------------


def _add(name: str, script: str, primary: str, secondary: str, check: str) -> int:
    layout = here.layout()
    print(f"Creating service {name} :", flush=True)
    try:
        spec = _checked(layout, ServiceSpec(name, script, primary, secondary, check))
        for line in _make_state_files(layout, spec):
            print(line)

        def add(text: str) -> str:
            return add_line(text, format_service(spec))

        configuration.edit(layout, layout.services_file, add)
        _tell_daemon(layout)
    except Exception:
        print("Failed.", flush=True)
        raise
    print("Done.")
    return 0


def _checked(layout: Layout, spec: ServiceSpec) -> ServiceSpec:
    """The service, if everything about it is in order."""
    try:
        check_service_name(spec.name)
    except ValueError as error:
        raise UsageError(str(error)) from error
    nodes = configuration.read_nodes(layout)
    for node in (spec.primary, spec.secondary):
        if node not in nodes:
            raise UsageError(f"unknown host {node}: {layout.nodes_file} lists {' and '.join(nodes)}")
    if spec.primary == spec.secondary:
        raise UsageError("primary and secondary node must differ.")
    configuration.own_name(layout, nodes)
    if any(known.name == spec.name for known in configuration.read_services(layout)):
        raise RefusedError(f"Service {spec.name} already created.")
    _make_wrapper(spec.script)
    _make_wrapper(spec.check)
    _check_script("startup script", spec.script)
    _check_script("check script", spec.check)
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
    if not os.access(path, os.X_OK):
        raise ConfigError(f"{what} {path} is not executable (try: chmod +x {path})")


def _make_wrapper(path: str) -> None:
    """Makes the embedded agent's wrapper if that is what is named and its service file is there."""
    agent_layout = here.agent()
    svcname, dot, kind = os.path.basename(path).rpartition(".")
    is_wrapper = os.path.dirname(path) == agent_layout.etc_dir and kind in ("cluster", "stonith") and dot
    if not is_wrapper or os.path.exists(path) or not os.path.exists(agent_layout.service_file(svcname)):
        return
    if os.path.exists(f"{agent_layout.bin_dir}/svcmgr"):
        from opensvc_openha.agent.wrappers import ensure_all_wrappers

        ensure_all_wrappers(agent_layout)


def _make_state_files(layout: Layout, spec: ServiceSpec) -> "list[str]":
    folder = layout.service_dir(spec.name)
    lines = []
    if not os.path.isdir(folder):
        try:
            os.makedirs(folder, mode=0o755)
        except OSError as error:
            raise SystemFault(f"cannot make directory {folder}: {error.strerror}") from error
        lines.append(f"Directory {folder} created")
    initial = StoredState(ServiceState.FROZEN_STOP)
    for node in (spec.primary, spec.secondary):
        path = layout.state_file(spec.name, node)
        if os.path.exists(path):
            # The service may run: what is known of it is not overwritten.
            lines.append(f"State file {path} exists and is kept")
            continue
        write_state(layout, spec.name, node, initial)
        lines.append(f"State file {path} created with initial state {initial.state.name}")
    return lines


def _remove(name: str) -> int:
    layout = here.layout()
    if not any(svc.name == name for svc in configuration.read_services(layout)):
        raise ConfigError(f"Service {name} not found.")
    state = _own_state(layout, name)
    if state in MAY_RUN:
        raise RefusedError(
            f"service {name} is {state.name} on this node: stop it first (service -A {name} freeze-stop), then remove it"
        )

    def remove(text: str) -> str:
        return remove_service(text, name)

    configuration.edit(layout, layout.services_file, remove)
    _tell_daemon(layout)
    _forget_state_files(layout, name)
    print(f"Remove of service {name} done")
    print("Done.")
    return 0


def _own_state(layout: Layout, name: str) -> ServiceState:
    """This node's state: what the daemon says, or what the STATE file says where no daemon runs."""
    try:
        svc = control_client.fetch_status(layout).service(name)
        if svc is not None and svc.own_state is not None:
            return svc.own_state
    except NotAnsweringError:
        raise
    except NotRunningError:
        pass
    try:
        with open(layout.state_file(name, node_name()), "rb") as file:
            return decode(file.read(64)).state
    except FileNotFoundError:
        return ServiceState.FROZEN_STOP
    except (OSError, ValueError):
        return ServiceState.UNKNOWN


def _forget_state_files(layout: Layout, name: str) -> None:
    """Removes the STATE files, so that a service added later under this name starts from nothing."""
    folder = layout.service_dir(name)
    try:
        for entry in os.listdir(folder):
            if entry.startswith("STATE."):
                os.unlink(f"{folder}/{entry}")
        os.rmdir(folder)
    except OSError:
        pass  # Something else lives there: it is not ours.


def _tell_daemon(layout: Layout) -> None:
    """Has a running daemon take over the edited files at once; none running is fine."""
    try:
        control_client.reload(layout)
    except NotAnsweringError:
        raise
    except NotRunningError:
        pass


# --- actions --------------------------------------------------------------------------------------------------


def _act(args: "list[str]") -> int:
    names: "Optional[list[str]]"
    if len(args) == 1:
        names, typed = None, args[0]
    elif len(args) == 2:
        names, typed = [args[0]], args[1]
    else:
        raise UsageError(f"service: expected `service -A [NAME] ACTION`, got {len(args)} argument(s) after the option")
    try:
        command = Command(typed.lower())
    except ValueError:
        raise UsageError(f"action {typed} not found (expected one of: {', '.join(ACTIONS)})") from None
    layout = here.layout()
    if names is not None and not any(svc.name == names[0] for svc in configuration.read_services(layout)):
        raise ConfigError(f"service {names[0]} not found")
    failures = []
    for answer in control_client.act(layout, command, names):
        line = render.answer_line(answer)
        if answer.is_ok:
            print(line, flush=True)
        else:
            failures.append((answer, line))
    if not failures:
        return 0
    is_refused = all(answer.word.name == "REFUSED" for answer, _ in failures)
    raise (RefusedError if is_refused else ActionError)("\n".join(line for _, line in failures))
