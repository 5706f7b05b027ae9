"""``openha why``: why a service is where it is on this node, what it waits for, and what to do.

Works while no daemon answers, from the files alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opensvc_openha.cli import installation
from opensvc_openha.cli.history import (
    newest_of_daemon,
    no_such_service,
    read_history,
)
from opensvc_openha.core.model import Profile
from opensvc_openha.core.prediction import start_ready_s
from opensvc_openha.core.status import FencingStatus, NodeStatus
from opensvc_openha.core.timing import PACES
from opensvc_openha.errors import NotRunningError, OpenhaError, SystemFault
from opensvc_openha.formats import state_file
from opensvc_openha.formats.layout import Layout
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.storage import configuration
from opensvc_openha.storage.explanation import (
    CONTEXT_S,
    SCRIPT_NAMES,
    Explanation,
    episode,
    explain,
    sight_lines,
)
from opensvc_openha.storage.history_entry import Entry, EntryKind
from opensvc_openha.storage.outlook import Circumstances
from opensvc_openha.system import clock
from opensvc_openha.system.kernel_log import refused_writes
from opensvc_openha.system.processes import start_of_process

if TYPE_CHECKING:
    from opensvc_openha.cli.parsing import Parser

_NEWEST_OF_SERVICE = 400


def build_parser() -> Parser:
    """Return the parser of ``openha why``."""
    from opensvc_openha.cli.parsing import Parser

    parser = Parser(
        "openha why",
        "Why a service is where it is on this node, what it waits for, and what to do.",
    )
    parser.add_argument("service", metavar="SERVICE", help="name of the service")
    parser.add_flag("--json", dest="is_json", help="as JSON")
    return parser


def main(args: list[str]) -> int:
    """Run ``openha why``; return the exit code."""
    service = service_in(args)
    if service:
        sys.stdout.write(why_text(installation.layout(), service))
        return 0
    options = build_parser().read(args)
    if options.is_json:
        from opensvc_openha.cli import json_views

        explanation = explain(collect(installation.layout(), options.service))
        sys.stdout.write(json_views.why(explanation).text())
    else:
        sys.stdout.write(why_text(installation.layout(), options.service))
    return 0


def service_in(args: Sequence[str]) -> str:
    """Return the service of the usual call, which needs no parser; empty for another one."""
    return args[0] if len(args) == 1 and not args[0].startswith("-") else ""


@dataclass(frozen=True)
class Sources:
    """Where the facts come from that only the daemon has, and where a warning goes."""

    status: Callable[[], NodeStatus]
    newest: Callable[[], list[Entry]]
    warn: Callable[[str], object]


def why_text(layout: Layout, service: str, sources: Sources | None = None) -> str:
    """Return the text of ``openha why``; raises if nothing is known."""
    return "".join(f"{line}\n" for line in explanation_lines(layout, service, sources))


def explanation_lines(layout: Layout, service: str, sources: Sources | None = None) -> list[str]:
    """Return the text of ``openha why`` line by line; raises if nothing is known."""
    return _why_lines(explain(collect(layout, service, sources)))


def collect(layout: Layout, service: str, sources: Sources | None = None) -> Circumstances:
    """Collect all available facts about a service; raise only if there are none."""
    sources = sources or Sources(
        lambda: installation.shown_status(layout),
        lambda: newest_of_daemon(layout),
        sys.stderr.write,
    )
    configured = {svc.name: svc for svc in configuration.read_services(layout)}
    spec = configured.get(service)
    status, no_daemon = _ask(sources)
    try:
        # After the status, so that each state that it shows is explained.
        newest = sources.newest()
        entries = tuple(read_history(layout, newest, service, limit=_NEWEST_OF_SERVICE))
        way = episode(entries, service)
        since = way[0].at - CONTEXT_S if way else 0.0
        context = (
            tuple(read_history(layout, newest, service, since, is_with_node=True)) if way else ()
        )
    except SystemFault as error:
        if status is None and spec is None:
            raise
        entries, context = (), ()
        no_daemon = no_daemon or ("" if status is not None else str(error))
        sources.warn(f"{error}\n")
    if spec is None and not any(entry.kind is EntryKind.SERVICE for entry in entries):
        raise no_such_service(service, list(configured))
    node, peer = _names(layout, status)
    return Circumstances(
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
        _delay_s(layout, status, service),
        _has_plan(layout, status),
        refused_writes(),
    )


def _ask(sources: Sources) -> tuple[NodeStatus | None, str]:
    try:
        return sources.status(), ""
    except (NotRunningError, SystemFault) as error:
        return None, str(error)


def _names(layout: Layout, status: NodeStatus | None) -> tuple[str, str]:
    if status is not None:
        return status.node, status.peer
    return configuration.names_or(layout, "the peer")


def _delay_s(layout: Layout, status: NodeStatus | None, service: str) -> float:
    try:
        pace = PACES[configuration.read_cluster(layout).profile]
    except OpenhaError:
        pace = PACES[Profile.TUTORIAL]
    return start_ready_s(FencingStatus() if status is None else status.fencing, service, pace)


def _has_plan(layout: Layout, status: NodeStatus | None) -> bool:
    if status is not None:
        return bool(status.fencing.plan)
    try:
        return configuration.read_options(layout).fence_plan.has_levels
    except OpenhaError:
        return False


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


def _why_lines(explanation: Explanation) -> list[str]:
    since = "" if explanation.since is None else f" since {clock.precise_stamp(explanation.since)}"
    role = f", its {explanation.role}" if explanation.role else ""
    lines = [
        f"{explanation.service}: {explanation.state or 'no state'} on {explanation.node}"
        f"{role}{since}"
    ]
    if explanation.no_daemon:
        lines += [
            f"  {explanation.no_daemon}",
            "  the following is from the files, as of when the daemon last ran",
        ]
    else:
        lines.append(
            f"  peer {explanation.peer}: {explanation.peer_state or 'no state'}"
            f" ({explanation.peer_standing})"
        )
    reason = explanation.reason or "nothing is recorded"
    lines += [
        "",
        "Why",
        *(
            [f"  {explanation.cause}", f"  then: {reason}"]
            if explanation.cause
            else [f"  {reason}"]
        ),
    ]
    lines += [f"  proof: {proof}" for proof in explanation.proofs]
    if explanation.rule:
        lines.append(f"  rule: {explanation.rule}")
    if explanation.steps:
        lines += ["", "How it came to this"]
        lines += [_step_line(step.entry, step.text, step.took_s) for step in explanation.steps]
    if explanation.decision is not None and explanation.decision.sight is not None:
        lines += [
            "",
            (
                f"What was seen at {clock.precise_stamp(explanation.decision.at)}, at"
                f" {explanation.decision.rule or explanation.decision.new}"
            ),
        ]
        lines += [f"  {line}" for line in sight_lines(explanation.decision.sight)]
    for title, texts in (
        ("Ruled out", explanation.ruled_out),
        ("Waits for", (explanation.waits_for,)),
        ("Warnings", explanation.warnings),
        ("What to do", explanation.advice),
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
