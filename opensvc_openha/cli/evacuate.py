"""``openha evacuate``: hand all services of a node to the other one, for maintenance.

It reports when it is safe to switch the machine off.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from opensvc_openha.cli import installation, output
from opensvc_openha.cli.interrupted import after_interrupt
from opensvc_openha.cli.parsing import Parser
from opensvc_openha.control import client
from opensvc_openha.core.events import BY_EVACUATION, Command
from opensvc_openha.core.states import FAILED, PASSING, PEER_OUT, UP, ServiceState, state_name
from opensvc_openha.core.status import NodeStatus, PeerStanding, ServiceStatus
from opensvc_openha.errors import NotRunningError, OpenhaError, RefusedError, UsageError
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.peer_link.protocol import EVACUATE_WAIT_MAX_S, EvacuateRequest
from opensvc_openha.storage.evacuation_store import read_evacuation
from opensvc_openha.system import clock

if TYPE_CHECKING:
    import argparse

    from opensvc_openha.formats.layout import Layout

SAFE, NOT_SAFE, NOT_UP = range(3)
"""Exit codes: it is safe to switch the node off; something of it stays; a service is not up."""
WAIT_S = 600
_LOOK_S = 0.3
_AT_ONCE = 100
"""Services that one order names."""
_AGAIN = "openha evacuate looks again, openha evacuate --undo ends it"
_S = ServiceState


def build_parser() -> Parser:
    """Return the parser of ``openha evacuate``."""
    parser = Parser(
        "openha evacuate",
        "Hand every service that runs on a node to the other one, keep it away from there, and"
        " report whether it is safe to switch that node off. It ends by --undo alone: it outlives"
        " the daemon and reboots.",
    )
    parser.add_argument(
        "node", metavar="NODE", nargs="?", default="", help="the node, by default this one"
    )
    parser.add_argument(
        "--wait",
        metavar="S",
        type=int,
        default=WAIT_S,
        help=f"seconds to wait for the other node to run all ({WAIT_S})",
    )
    parser.add_flag("--force", help="hand over what can be, and leave the rest where it is")
    parser.add_flag(
        "--off-limits", help="the node does not take services over either if the other one dies"
    )
    parser.add_flag("--stop", help="once it is safe, stop the node daemon in order")
    parser.add_flag("--undo", help="end it: services may be started on the node again")
    parser.add_reason()
    return parser


def main(args: list[str]) -> int:
    """Run ``openha evacuate``; return the exit code."""
    parser = build_parser()
    options = parser.read(args)
    if not 0 < options.wait <= EVACUATE_WAIT_MAX_S:
        expected = f"expected seconds from 1 to {EVACUATE_WAIT_MAX_S}"
        parser.error(f"--wait: {expected}, found {options.wait}")
    if options.undo and (options.force or options.off_limits or options.stop):
        parser.error("--undo takes no other option")
    layout = installation.layout()
    if options.node and not _is_own(layout, options.node):
        if options.stop:
            parser.error("--stop is for the node itself: run it there")
        return _on_peer(layout, options)
    return _undo(layout) if options.undo else _evacuate(layout, options)


def _is_own(layout: Layout, node: str) -> bool:
    from opensvc_openha.storage import configuration

    own, peer = configuration.both_names(layout)
    for name, is_own in ((own, True), (peer, False)):
        if node.lower() in (name.lower(), name.lower().partition(".")[0]):
            return is_own
    raise UsageError(f"{node} is neither this node, {own}, nor the other one, {peer}")


# --- what there is to do ----------------------------------------------------------------------


@dataclass
class Plan:
    """What becomes of each service: to be handed over, or why it stays."""

    moves: list[str] = field(default_factory=list)
    stays: dict[str, str] = field(default_factory=dict)
    waits: list[str] = field(default_factory=list)
    """Services that are being started or stopped."""


def plan_of(status: NodeStatus) -> Plan:
    """Return what can be handed over now."""
    plan = Plan()
    for svc in _own(status):
        if svc.script or svc.own_state in PASSING:
            plan.waits.append(svc.name)
        elif svc.own_state in PEER_OUT and not svc.has_parts_up:
            continue
        elif svc.own_state is _S.STARTED and not _why_not_taken(svc, status):
            plan.moves.append(svc.name)
        else:
            plan.stays[svc.name] = _why_it_stays(svc, status)
    return plan


def _why_it_stays(svc: ServiceStatus, status: NodeStatus) -> str:
    state = svc.own_state
    if state is _S.STARTED:
        return _why_not_taken(svc, status)
    if state is _S.FROZEN_START:
        return f"it is frozen as started here: service -A {svc.name} unfreeze"
    if svc.has_parts_up:
        return f"parts of it are up here: service -A {svc.name} freeze-stop"
    return f"it is {state_name(state)} here: service -A {svc.name} freeze-stop"


def _why_not_taken(svc: ServiceStatus, status: NodeStatus) -> str:
    """Return why the peer would not start it; empty if it would."""
    peer = status.peer
    if status.peer_standing is not PeerStanding.LIVE:
        return f"{peer} is {status.peer_standing.value}"
    if svc.peer_cannot_start:
        return f"{peer} reports that it could not start it: service -s -v there"
    if svc.peer_state is not _S.STOPPED:
        return f"it is {state_name(svc.peer_state)} on {peer}"
    return ""


def why_not_safe(status: NodeStatus) -> list[str]:
    """Return what stands against switching this node off, in words; empty if nothing does."""
    peer = status.peer
    found = []
    if status.peer_standing is not PeerStanding.LIVE:
        found.append(f"{peer} is {status.peer_standing.value}: {status.peer_reason}")
    for svc in _own(status):
        is_out = svc.own_state in PEER_OUT and not svc.script and not svc.has_parts_up
        if not is_out:
            found.append(f"{svc.name} is {state_name(svc.own_state)} here")
        elif svc.peer_state not in UP and svc.own_state is _S.STOPPED:
            there = state_name(svc.peer_state)
            found.append(f"{svc.name} is {there} on {peer}, and does not run there")
    lease = status.lease
    if lease is not None and (lease.death_s is not None or lease.is_withdrawing):
        found.append(f"{peer} may still believe in a promise of this node, which is withdrawn")
    return found


def _own(status: NodeStatus) -> Iterator[ServiceStatus]:
    return (svc for svc in status.services if svc.own_state is not None)


# --- on this node -----------------------------------------------------------------------------


def _undo(layout: Layout) -> int:
    client.evacuate(layout, is_on=False)
    status = client.fetch_status(layout)
    print(
        f"{status.node} is not evacuated any more: services may be started here. Those with"
        " failback come back by themselves, others stay on"
        f" {status.peer}: svcmgr -s SERVICE switch"
    )
    return SAFE


def _evacuate(layout: Layout, options: argparse.Namespace) -> int:
    from opensvc_openha.cli.shell_guard import refuse_stop_from_within

    refuse_stop_from_within(layout)
    node = client.fetch_status(layout).node
    with _naming_what_stays(layout, node):
        return _evacuate_here(layout, options)


@contextmanager
def _naming_what_stays(layout: Layout, node: str) -> Iterator[None]:
    """Print that the node stays evacuated if an error ends the command."""
    try:
        yield
    except OpenhaError:
        found = read_evacuation(layout)
        if found.is_on and not found.is_damaged:
            _report_evacuated(node)
        raise


def _evacuate_here(layout: Layout, options: argparse.Namespace) -> int:
    give_up = clock.monotonic() + options.wait
    plan, status = _settled_plan(layout, give_up)
    node, peer = status.node, status.peer
    was_on = read_evacuation(layout).is_on
    unchanged = "nothing was changed" if was_on else "not evacuated"
    if plan.waits:
        raise RefusedError(f"{unchanged}: {_waits_text(plan)}")
    if status.peer_standing is not PeerStanding.LIVE:
        raise RefusedError(
            f"{unchanged}: {peer}, which would run the services, is"
            f" {status.peer_standing.value}: {status.peer_reason}"
        )
    if plan.stays and not options.force:
        unchanged = "nothing was changed" if was_on else "not evacuated, and nothing was changed"
        _report(f"{unchanged}: {peer} cannot take all of {node}", plan)
        print("--force hands over the rest", file=sys.stderr)
        if was_on:
            _report_evacuated(node)
        return NOT_SAFE

    with after_interrupt(
        f"{node} stays evacuated, and the nodes continue what they began, see service -s -c;"
        f" {_AGAIN}"
    ):
        client.evacuate(layout, is_on=True, is_off_limits=options.off_limits)
        # What was begun here before that.
        plan, status = _settled_plan(layout, give_up)
        if plan.waits:
            problems = [_waits_text(plan), *why_not_safe(status)]
            return _conclude(layout, options, status, problems)
        if plan.moves:
            print(f"handing over to {peer}: {', '.join(plan.moves)}", flush=True)
        status = _hand_over(layout, plan.moves, give_up)
        status, problems = _await_safety(layout, status, plan, give_up)
    return _conclude(layout, options, status, problems)


def _waits_text(plan: Plan) -> str:
    return f"{', '.join(plan.waits)} is still being started or stopped here"


def _settled_plan(layout: Layout, give_up: float) -> tuple[Plan, NodeStatus]:
    """Return the plan once nothing is being started or stopped here, or the time is over."""
    is_said = False
    while True:
        status = client.fetch_status(layout)
        plan = plan_of(status)
        if not plan.waits or clock.monotonic() >= give_up:
            return plan, status
        if not is_said:
            print(f"waiting for {', '.join(plan.waits)}, being started or stopped", flush=True)
            is_said = True
        clock.pause(_LOOK_S)


def _hand_over(layout: Layout, names: Sequence[str], give_up: float) -> NodeStatus:
    """Order the stops, and print each change until every service has come to rest."""
    failures: list[str] = []
    orders = threading.Thread(target=_order, args=(layout, names, failures), daemon=True)
    orders.start()
    shown: dict[str, tuple[str, str]] = {}
    while True:
        is_ordered = not orders.is_alive()
        try:
            status = client.fetch_status(layout)
        except NotRunningError:
            # It is restarted, or busy: the orders report which.
            if clock.monotonic() >= give_up:
                raise
            clock.pause(_LOOK_S)
            continue
        for name in names:
            svc = status.service(name)
            if svc is None or svc.own_state is None or svc.peer_state is None:
                continue
            pair = svc.own_state.name, svc.peer_state.name
            if shown.setdefault(name, (_S.STARTED.name, _S.STOPPED.name)) != pair:
                shown[name] = pair
                print(f"{name}: {pair[0]} here, {pair[1]} on {status.peer}", flush=True)
        is_heard = status.peer_standing is PeerStanding.LIVE
        is_over = is_ordered and all(_has_ended(status.service(name), is_heard) for name in names)
        if is_over or clock.monotonic() >= give_up:
            for text in failures:
                print(text, file=sys.stderr)
            return status
        if is_ordered and failures:
            give_up = min(give_up, clock.monotonic() + 5.0)
        clock.pause(_LOOK_S)


def _order(layout: Layout, names: Sequence[str], failures: list[str]) -> None:
    for at in range(0, len(names), _AT_ONCE):
        part = list(names[at : at + _AT_ONCE])
        try:
            for answer in client.act(layout, Command.STOP, part, BY_EVACUATION):
                if not answer.is_ok:
                    failures.append(output.answer_line(answer))
        except OpenhaError as error:
            failures.append(str(error))


def _has_ended(svc: ServiceStatus | None, is_peer_heard: bool) -> bool:
    """Return True if a service has come to rest; it is back here if the peer has died meanwhile."""
    if svc is None or (not is_peer_heard and svc.own_state in UP):
        return True
    is_there = svc.peer_state in UP and svc.own_state in PEER_OUT
    return is_there or svc.own_state in FAILED or svc.peer_state in FAILED


def _await_safety(
    layout: Layout, status: NodeStatus, plan: Plan, give_up: float
) -> tuple[NodeStatus, list[str]]:
    """Wait until nothing stands against it but what was left on purpose, or has failed."""
    while True:
        problems = why_not_safe(status)
        is_failed = any(svc.own_state in FAILED or svc.peer_state in FAILED for svc in _own(status))
        is_alone = status.peer_standing is PeerStanding.SILENT
        if not problems or is_failed or is_alone or plan.stays or clock.monotonic() >= give_up:
            return status, problems
        clock.pause(_LOOK_S)
        try:
            status = client.fetch_status(layout)
        except NotRunningError as error:
            return status, [str(error)]


def _conclude(
    layout: Layout, options: argparse.Namespace, status: NodeStatus, problems: list[str]
) -> int:
    node, peer = status.node, status.peer
    if problems:
        print(f"it is not safe to switch {node} off:", file=sys.stderr)
        for text in problems:
            print(f"  {text}", file=sys.stderr)
        print(f"{node} stays evacuated: openha evacuate --undo ends that", file=sys.stderr)
        is_down = any(
            svc.own_state not in UP
            and svc.peer_state not in UP
            and svc.own_state is not _S.FROZEN_STOP
            for svc in _own(status)
        )
        return NOT_UP if is_down else NOT_SAFE
    names = [svc.name for svc in _own(status) if svc.peer_state in UP]
    runs = f"{peer} runs {', '.join(names)}" if names else f"{peer} hears it"
    print(f"{node} is evacuated: it runs nothing, and {runs}")
    if options.stop:
        from opensvc_openha.cli import ezha

        if not client.running_pid(layout):
            fences = f"without a goodbye, so that {peer} may fence it: ezha start, then again"
            print(
                f"it is not safe to switch {node} off: its node daemon ended by itself, {fences}",
                file=sys.stderr,
            )
            _report_evacuated(node)
            return NOT_SAFE
        ezha.main(["stop"])
        print("its node daemon has said goodbye, and has ended: no fence comes")
        print(f"it is safe to switch {node} off")
        return SAFE
    print(f"it is safe to switch {node} off: shut it down in order, so that it says goodbye first")
    unless = "" if read_evacuation(layout).is_off_limits else f", unless {peer} dies"
    print(f"nothing is started here{unless}, before: openha evacuate --undo")
    return SAFE


def _report_evacuated(node: str) -> None:
    print(f"{node} stays evacuated: {_AGAIN}", file=sys.stderr)


def _report(title: str, plan: Plan) -> None:
    print(f"{title}:", file=sys.stderr)
    for name, why in plan.stays.items():
        print(f"  {name}: {why}", file=sys.stderr)


# --- on the other node ------------------------------------------------------------------------


def _on_peer(layout: Layout, options: argparse.Namespace) -> int:
    """Have the other node do it, over the peer link, or else by ssh."""
    from opensvc_openha.cli.patient_peer import patient_peer
    from opensvc_openha.errors import NoPeerLinkError
    from opensvc_openha.peer_link.client import new_job_id
    from opensvc_openha.storage import configuration
    from opensvc_openha.system.order_reason import given_reason

    _, peer = configuration.both_names(layout)
    request = EvacuateRequest(
        new_job_id(),
        options.wait,
        options.force,
        options.off_limits,
        options.undo,
        order_reason=given_reason(),
    )
    continues = f"{peer} continues, and stays evacuated: openha evacuate --undo {peer} ends that"
    with after_interrupt(continues):
        try:
            return patient_peer(layout).execute(request, lambda line: print(line, flush=True)).code
        except NoPeerLinkError as error:
            if error.reason != "OFF":
                print(f"{error}, so ssh is used", file=sys.stderr)
        return _by_ssh(peer, ssh_words(request))


def ssh_words(request: EvacuateRequest) -> list[str]:
    """Return the command for the other node, with the reason: ssh does not carry the variable."""
    from opensvc_openha.cli.peer_node import evacuation_words

    reason = ["--reason", request.order_reason] if request.order_reason else []
    return ["openha", *evacuation_words(request), *reason]


def _by_ssh(peer: str, words: list[str]) -> int:
    import subprocess

    from opensvc_openha.agent.host.commands import CommandResult, command_environment
    from opensvc_openha.agent.host.ssh import SSH_FAILED, remote_shell, why_unreachable

    argv, lines = remote_shell(peer, words), []
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=command_environment(),
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise RefusedError(f"cannot run ssh: {error.strerror}; or run it on {peer}") from error
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            _show(line)
    result = CommandResult(process.returncode, "".join(lines))
    if result.exit_code == SSH_FAILED:
        raise RefusedError(f"{why_unreachable(peer, result)}; or run it on {peer}")
    return result.exit_code


def _show(line: str) -> None:
    print(line, end="", flush=True)
