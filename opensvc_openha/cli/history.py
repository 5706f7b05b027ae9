"""``openha history`` and ``openha why``: past events of this node, and reasons for states.

Both read the history file themselves, so that they work while no daemon answers. Users who may not
read it get the newest entries from the daemon, without the output of scripts.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from opensvc_openha.cli import installation
from opensvc_openha.control import client
from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.core.timing import PACES, START_READY_DELAY_S
from opensvc_openha.errors import NotRunningError, OpenhaError, SystemFault, UsageError
from opensvc_openha.formats import state_file
from opensvc_openha.formats.layout import Layout
from opensvc_openha.storage import configuration
from opensvc_openha.storage.explanation import (
    CONTEXT_S,
    SCRIPT_NAMES,
    Explanation,
    Facts,
    describe,
    episode,
    explain,
    sight_lines,
)
from opensvc_openha.storage.history_file import Entry, EntryKind, is_of, read_entries
from opensvc_openha.system import clock
from opensvc_openha.system.identity import node_name
from opensvc_openha.system.processes import start_of_process

USAGE = (
    "Usage: openha history [SERVICE] [--since WHEN] [-n NUMBER] [--json]\n"
    "       openha why SERVICE [--json]\n"
    "\n"
    " history  what happened on this node, oldest first: changes of services, links and peer, "
    "scripts, commands, starts and ends\n"
    "          of the daemon; the newest 50 unless NUMBER says otherwise (0: all)\n"
    "          WHEN is 90s, 10m, 2h or 3d ago, 09:30 today, 2014-06-19, or '2014-06-19 09:30'\n"
    " why      why a service is where it is on this node, what it waits for, and what to do\n"
)
_NEWEST = 50
_OF_A_SERVICE = 400
_NO_WORD = "the daemon before it ended without a word: killed, crashed, or the machine went down"


def history(args: list[str]) -> int:
    """Run ``openha history``; return the exit code."""
    if args in (["-h"], ["--help"]):
        sys.stdout.write(USAGE)
        return 0
    service, since, limit, is_json = _parse(args)
    layout = installation.layout()
    if (
        service
        and service not in {svc.name for svc in configuration.read_services(layout)}
        and not _read(layout, service, limit=1)
    ):
        raise UsageError(
            f"no service {service} is configured here, and none of that name is in the history"
        )
    entries = _read(layout, service, since, limit)
    if not _may_read(layout):
        sys.stderr.write("only root may read the whole history: these are its newest entries\n")
    if is_json:
        sys.stdout.write(json.dumps([_entry_json(entry) for entry in entries], indent=2) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in _history_lines(entries)))
    return 0


def _may_read(layout: Layout) -> bool:
    """Return whether this user may read the history file; True if it is missing.

    Reading a missing file gives the proper message.
    """
    return not os.path.exists(layout.history_file) or os.access(layout.history_file, os.R_OK)


def _read(
    layout: Layout, service: str, since: float = 0.0, limit: int = -1, is_with_node: bool = False
) -> list[Entry]:
    if _may_read(layout):
        return read_entries(layout.history_file, service, since, limit, is_with_node)
    try:
        newest = client.fetch_history(layout)
    except NotRunningError as error:
        raise SystemFault(
            f"only root may read the history {layout.history_file}, and nmond cannot show it:"
            f" {error}"
        ) from error
    found = [entry for entry in newest if is_of(entry, service, since, is_with_node)]
    return found if limit < 0 else found[len(found) - min(limit, len(found)) :]


def _parse(args: list[str]) -> tuple[str, float, int, bool]:
    service, since, limit, is_json = "", 0.0, _NEWEST, False
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if word == "--json":
            is_json = True
        elif word in ("--since", "-n"):
            if not rest:
                raise UsageError(f"history: {word} needs a value")
            value = rest.pop(0)
            if word == "-n":
                if not value.isdigit():
                    raise UsageError(f"history: -n: expected a number; found {value!r}")
                limit = int(value) or -1
                continue
            try:
                since = clock.read_stamp(value)
            except ValueError as error:
                raise UsageError(f"history: --since: {error}") from None
            limit = -1 if "-n" not in args else limit
        elif word.startswith("-") or service:
            raise UsageError(f"history: unexpected {word!r} (history --help tells more)")
        else:
            service = word
    return service, since, limit, is_json


def _history_lines(entries: list[Entry]) -> list[str]:
    lines = []
    is_up = False
    for entry in entries:
        text = describe(entry)
        if entry.kind is EntryKind.DAEMON:
            if entry.new == "STARTED" and is_up:
                text += f" ({_NO_WORD})"
            is_up = entry.new == "STARTED"
        lines.append(f"{clock.precise_stamp(entry.at)} {'!' if entry.is_alarm else ' '} {text}")
    return lines


def why(args: list[str]) -> int:
    """Run ``openha why``; return the exit code."""
    if args in (["-h"], ["--help"]):
        sys.stdout.write(USAGE)
        return 0
    names = [word for word in args if word != "--json"]
    if len(names) != 1 or names[0].startswith("-") or len(args) > 2:
        raise UsageError("why: expected the name of one service (why --help tells more)")
    told = explain(_collect(installation.layout(), names[0]))
    if "--json" in args:
        sys.stdout.write(json.dumps(_why_json(told), indent=2) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in _why_lines(told)))
    return 0


def _collect(layout: Layout, service: str) -> Facts:
    """Collect all available facts; raise only if there are none."""
    spec = next((svc for svc in configuration.read_services(layout) if svc.name == service), None)
    status, no_daemon = _ask(layout)
    try:
        entries = tuple(_read(layout, service, limit=_OF_A_SERVICE))
        way = episode(entries, service)
        since = way[0].at - CONTEXT_S if way else 0.0
        context = tuple(_read(layout, service, since, is_with_node=True)) if way else ()
    except SystemFault as error:
        if status is None and spec is None:
            raise
        entries, context = (), ()
        no_daemon = no_daemon or ("" if status is not None else str(error))
        sys.stderr.write(f"{error}\n")
    if spec is None and not any(entry.kind is EntryKind.SERVICE for entry in entries):
        raise UsageError(
            f"no service {service} is configured here, and none of that name is in the history"
        )
    node, peer = _names(layout, status, spec)
    return Facts(
        service,
        node,
        peer,
        spec,
        entries,
        context,
        status,
        no_daemon,
        _stored(layout, service, node),
        _running_script(layout, service),
        f"{layout.log_dir}/{service}.log",
        _delay_s(layout),
    )


def _ask(layout: Layout) -> tuple[NodeStatus | None, str]:
    try:
        return client.fetch_status(layout), ""
    except (NotRunningError, SystemFault) as error:
        return None, str(error)


def _names(layout: Layout, status: NodeStatus | None, spec: ServiceSpec | None) -> tuple[str, str]:
    if status is not None:
        return status.node, status.peer
    try:
        nodes = configuration.read_nodes(layout)
        here_name = configuration.own_name(layout, nodes)
        return here_name, next(name for name in nodes if name != here_name)
    except (OpenhaError, StopIteration):
        return node_name(), "the peer"


def _delay_s(layout: Layout) -> float:
    try:
        return PACES[configuration.read_cluster(layout).profile].start_ready_delay_s
    except OpenhaError:
        return START_READY_DELAY_S


def _stored(layout: Layout, service: str, node: str) -> str:
    """Return the state in the STATE file; empty if it holds none."""
    try:
        with open(layout.state_file(service, node), "rb") as file:
            return state_file.decode(file.read(64)).state.name
    except (OSError, ValueError):
        return ""


def _running_script(layout: Layout, service: str) -> str:
    """Return which script of the service runs now, and for how long."""
    path = layout.script_file(service)
    try:
        with open(path, encoding="ascii") as file:
            pid, started, kind = file.read().split()
        if start_of_process(int(pid)) != started:
            return ""
        took_s = max(0.0, clock.wall() - os.stat(path).st_mtime)
    except (OSError, ValueError):
        return ""
    return f"the {SCRIPT_NAMES.get(kind, kind)} (pid {pid}), which has run for {took_s:.1f} s"


def _why_lines(told: Explanation) -> list[str]:
    since = "" if told.since is None else f" since {clock.precise_stamp(told.since)}"
    role = f", its {told.role}" if told.role else ""
    lines = [f"{told.service}: {told.state or 'no state'} on {told.node}{role}{since}"]
    if told.no_daemon:
        lines += [
            f"  {told.no_daemon}",
            "  what follows is what the files say, as it was when the daemon last ran",
        ]
    else:
        lines.append(f"  peer {told.peer}: {told.peer_state or 'no state'} ({told.peer_standing})")
    reason = told.reason or "nothing is recorded"
    lines += [
        "",
        "Why",
        *([f"  {told.cause}", f"  then: {reason}"] if told.cause else [f"  {reason}"]),
    ]
    if told.rule:
        lines.append(f"  rule: {told.rule}")
    if told.steps:
        lines += ["", "How it came to this"]
        lines += [_step_line(step.entry, step.text, step.took_s) for step in told.steps]
    if told.decision is not None and told.decision.sight is not None:
        lines += [
            "",
            (
                f"What was seen at {clock.precise_stamp(told.decision.at)}, at"
                f" {told.decision.rule or told.decision.new}"
            ),
        ]
        lines += [f"  {line}" for line in sight_lines(told.decision.sight)]
    for title, texts in (
        ("Ruled out", told.ruled_out),
        ("Waits for", (told.waits_for,)),
        ("Warnings", told.warnings),
        ("What to do", told.advice),
    ):
        if any(texts):
            lines += ["", title, *(f"  {text}" for text in texts)]
    return lines


def _step_line(entry: Entry, text: str, took_s: float | None) -> str:
    lasted = (
        f" [{entry.old} lasted {took_s:.2f} s]"
        if took_s is not None and entry.kind is EntryKind.SERVICE
        else ""
    )
    return f"  {clock.precise_stamp(entry.at)[11:]} {'!' if entry.is_alarm else ' '} {text}{lasted}"


def _why_json(told: Explanation) -> dict[str, Any]:
    return {
        **{key: value for key, value in vars(told).items() if key not in ("steps", "decision")},
        "steps": [
            {**_entry_json(step.entry), "text": step.text, "took_s": step.took_s}
            for step in told.steps
        ],
        "decision": None if told.decision is None else _entry_json(told.decision),
    }


def _entry_json(entry: Entry) -> dict[str, Any]:
    values: dict[str, Any] = {**vars(entry), "kind": entry.kind.value}
    if entry.sight is not None:
        values["sight"] = {
            **vars(entry.sight),
            "standing": entry.sight.standing.value,
            "links": [vars(link) for link in entry.sight.links],
        }
    return values
