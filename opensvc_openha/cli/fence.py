"""``openha fence``: how this node would fence its peer; tests of that; confirmations by hand."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing

from opensvc_openha.cli import installation
from opensvc_openha.cli.fence_output import confirmation, fence_report
from opensvc_openha.cli.parsing import Parser
from opensvc_openha.control import client
from opensvc_openha.core.status import FenceGroup, NodeStatus, PathStatus
from opensvc_openha.core.wording import NAMED
from opensvc_openha.errors import (
    NotAnsweringError,
    NotRunningError,
    OpenhaError,
    RefusedError,
    SystemFault,
    UsageError,
)
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.system import clock

if TYPE_CHECKING:
    from opensvc_openha.core.model import ClusterSpec
    from opensvc_openha.formats.layout import Layout
    from opensvc_openha.formats.lease_config import EtcdConfig


def build_parser() -> Parser:
    """Return the parser of ``openha fence``."""
    parser = Parser(
        "openha fence",
        "Show and test how this node would fence its peer; confirm that the peer is out.",
    )
    status = parser.add_verb(
        "status", "show what would be done about a silent peer, and when that last worked"
    )
    status.add_flag("--json", dest="is_json", help="as JSON")
    status.add_flag(
        "--history",
        dest="is_history",
        help="what each path did and when it last proved anything, instead; works without a daemon",
    )
    status.epilog = (
        "Exit code with a fence plan ([fencing] levels): 0 all paths are armed, 1 some path is"
        " broken, 2 no proof is possible.\n"
        "Without one: 0 a check-up script that worked before, 1 one that was never seen to work or"
        " failed last,\n2 a service whose check-up script proves nothing.\n"
        "With --history: 0."
    )
    test = parser.add_verb("test", "look at each path of the fence plan, or at PATH, now")
    test.add_argument("path", nargs="?", default="", metavar="PATH", help="a path of levels")
    test.add_flag(
        "--power",
        dest="is_drill",
        help="cut the power of the peer by PATH, and measure it: asks for the peer's name",
    )
    test.add_flag(
        "--watchdog",
        dest="is_watchdog",
        help="let the watchdog of this node reset it, and measure that: asks for this node's name",
    )
    test.add_reason()
    test.add_flag("--json", dest="is_json", help="as JSON")
    test.epilog = (
        "Without --power nothing is switched. With it, the peer loses its power: only while it is"
        " heard and\neach of its services is STOPPED or FROZEN_STOP there.\n"
        "With --watchdog the node on which it is typed is reset: only while nothing runs there.\n"
        "\n"
        "Exit code: as status; of --power: 0 the power was cut, 5 refused: nothing was done,"
        " 6 it was not cut."
    )
    plan = parser.add_verb("plan", "what would be done if the peer fell silent now; runs nothing")
    plan.add_flag("--json", dest="is_json", help="as JSON")
    confirm = parser.add_verb(
        "confirm", '"I made sure that NODE runs nothing": start here what waits for that'
    )
    confirm.add_argument("node", metavar="NODE", help="the whole name of the peer")
    confirm.add_reason()
    confirm.add_flag("--json", dest="is_json", help="as JSON")
    confirm.epilog = (
        "Confirm only what you made sure of yourself: the power is off, or the machine was reset"
        " and its services\nare not started there. It is refused while NODE is heard, and kept in"
        " log and history with who confirmed it\nand when. It is valid until any heartbeat of"
        " NODE comes in, this node is stalled for a link timeout, or\nits daemon ends: what is"
        " unfrozen or repaired later needs no other confirmation.\n"
        "\n"
        "Exit code: 0 confirmed, what becomes of each service is printed; 4 the daemon does not"
        " run, or did not answer:\nthen it is not known whether NODE is confirmed, see fence"
        " status; 5 refused."
    )
    release = parser.add_verb(
        "release", "let this node, which the arbiter has ejected, fence and start again"
    )
    release.add_reason()
    release.add_flag("--json", dest="is_json", help="as JSON")
    release.epilog = (
        "Exit code: 0 registered again, 5 refused: it is not ejected, a service still runs here, or"
        " its peer\nneither acknowledges it nor is confirmed out."
    )
    return parser


def main(args: list[str]) -> int:
    """Run ``openha fence``; return the exit code."""
    options = build_parser().read(args)
    verbs: Mapping[str, Callable[[Layout, Namespace], int]] = {
        "status": _status,
        "test": _test,
        "plan": _plan,
        "confirm": _confirm,
        "release": _release,
    }
    return verbs[options.verb](installation.layout(), options)


def _status(layout: Layout, options: Namespace) -> int:
    if options.is_history:
        return _history(layout, options)
    status = installation.shown_status(layout)
    groups = status.fencing.groups
    if options.is_json:
        from opensvc_openha.cli import json_views

        sys.stdout.write(json_views.fence_status(status).text())
    else:
        sys.stdout.write(fence_report(status, clock.wall(), _plans(groups)))
    installation.expect_present(status)
    from opensvc_openha.cli.fence_plan_output import armament_of, is_broken

    has_broken = is_broken(status.fencing.service_paths)
    if status.fencing.plan:
        return armament_of(status) or int(has_broken)
    if any(not group.name for group in groups):
        return 2
    is_doubtful = has_broken or any(
        group.worked_at is None or group.worked_at < (group.failed_at or 0.0) for group in groups
    )
    return 1 if is_doubtful else 0


def _history(layout: Layout, options: Namespace) -> int:
    from opensvc_openha.cli import fence_history
    from opensvc_openha.cli.history import warn_of_rest

    paths = fence_history.collect(layout)
    warn_of_rest(layout)
    if options.is_json:
        from opensvc_openha.cli import json_views

        sys.stdout.write(json_views.fence_history(paths).text())
    else:
        sys.stdout.write("".join(f"{line}\n" for line in fence_history.lines_of(paths)))
    return 0


def _confirm(layout: Layout, options: Namespace) -> int:
    lines = client.confirm_peer_out(layout, options.node)
    if options.is_json:
        from opensvc_openha.cli import json_views

        view = json_views.FenceConfirmView(options.node, True, tuple(lines))
        sys.stdout.write(view.text())
    else:
        sys.stdout.write(confirmation(options.node, lines))
    return 0


def _release(layout: Layout, options: Namespace) -> int:
    _print_lines(client.release(layout), options.is_json)
    return 0


def _plan(layout: Layout, options: Namespace) -> int:
    from opensvc_openha.cli.fence_plan_output import (
        armament_of,
        forecast,
        look_ahead,
    )
    from opensvc_openha.core.prediction import start_ready_s
    from opensvc_openha.core.timing import PACES
    from opensvc_openha.storage.configuration import read_options

    status = client.fetch_status(layout)
    _expect_plan(status)
    pace = PACES[read_options(layout).timing.profile]
    steps = look_ahead(status, start_ready_s(status.fencing, "", pace))
    if options.is_json:
        from opensvc_openha.cli import json_views

        sys.stdout.write(json_views.fence_plan(status, steps).text())
    else:
        sys.stdout.write(forecast(status, steps))
    return armament_of(status)


def _test(layout: Layout, options: Namespace) -> int:
    from opensvc_openha.cli.fence_plan_output import armament_of

    if options.is_watchdog:
        return _drill_watchdog(layout, options)
    if options.is_drill:
        return _drill(layout, options)
    try:
        status = client.fetch_status(layout)
    except NotAnsweringError:
        raise
    except NotRunningError:
        return _test_without_daemon(layout, options)
    _expect_plan(status)
    names = [options.path] if options.path else [path.name for path in status.fencing.paths]
    found = [client.look_at_path(layout, name) for name in names]
    _print_paths(found, options.is_json)
    return armament_of(status, found)


def _drill(layout: Layout, options: Namespace) -> int:
    if not options.path:
        raise UsageError("openha fence test --power: expected PATH (see openha fence test --help)")
    status = client.fetch_status(layout)
    _expect_plan(status)
    node = asked_for(f"This cuts the power of {status.peer} by {options.path}.", status.peer)
    _print_lines(client.drill(layout, options.path, node), options.is_json)
    return 0


def _drill_watchdog(layout: Layout, options: Namespace) -> int:
    from opensvc_openha.formats.lease_config import LEASE

    if options.path or options.is_drill:
        raise UsageError("openha fence test --watchdog: expected nothing else, it is this node's")
    status = client.fetch_status(layout)
    node = asked_for(
        f"This resets {status.node}, the node on which you are, by its watchdog.", status.node
    )
    _print_lines(client.drill(layout, LEASE, node), options.is_json)
    return 0


def asked_for(text: str, name: str) -> str:
    """Say what will happen, and return the name once it was typed in full."""
    sys.stderr.write(f"{text} Its name in full, or nothing to leave it: ")
    sys.stderr.flush()
    typed = sys.stdin.readline().strip()
    sys.stderr.write("\n" if not sys.stdin.isatty() else "")
    if typed != name:
        raise RefusedError(f"{typed or 'nothing'} is not {name}: nothing was done")
    return typed


def _test_without_daemon(layout: Layout, options: Namespace) -> int:
    """Look at the paths as they are configured: whether the peer is heard is not known then."""
    from opensvc_openha.core.timing import POWER_LOOK_LIMIT_S
    from opensvc_openha.daemon.fence_program import FenceProgram
    from opensvc_openha.daemon.fence_runner import text_of
    from opensvc_openha.storage.configuration import read_cluster, read_options

    settings = read_options(layout)
    spec = read_cluster(layout, settings)
    paths = [path for path in spec.fencing.paths if options.path in ("", path.name)]
    if not paths:
        known = ", ".join(path.name for path in spec.fencing.paths) or "there is none"
        raise RefusedError(f"{options.path or 'levels'}: no path of [fencing] levels: {known}")
    program, found = FenceProgram(layout.environment()), []
    for path in paths:
        look = PathStatus(path.name, path.kind.value, 0, text="not looked at: its daemon does that")
        if path.kind.has_device:
            request = settings.fence_plan.request("look", path.name, spec.peer, POWER_LOOK_LIMIT_S)
            answer = program.ask(request, POWER_LOOK_LIMIT_S)
            power = str(answer.values.get("power", ""))
            is_clear = power in ("on", "off")
            look = PathStatus(
                path.name,
                path.kind.value,
                0,
                "answers" if is_clear else "unreachable",
                answer.problem
                or (power.upper() if is_clear else text_of(answer.values.get("text"))),
                clock.wall(),
                answer.took_s,
                device=settings.fence_plan.address_of(path.name, spec.peer),
            )
        found.append(look)
    witness = settings.fence_plan.arbiter_witness
    if witness is not None and not options.path:
        found.append(_look_at_witness(witness, spec))
    _print_paths(found, options.is_json)
    if not options.is_json:
        print(f"no daemon runs here: whether {spec.peer} is heard is not known")
    return 1 if any(path.state == "unreachable" for path in found) else 0


def _look_at_witness(witness: EtcdConfig, spec: ClusterSpec) -> PathStatus:
    """Ask the witness what an arbiter's look asks; it is told nothing."""
    from opensvc_openha.cli.fence_plan_output import ARBITER
    from opensvc_openha.fence_devices.etcd_arbiter import EtcdArbiter

    began, state = clock.monotonic(), "answers"
    try:
        with closing(EtcdArbiter(witness, spec.node, spec.peer)) as arbiter:
            text = arbiter.look().text
    except SystemFault as error:
        state, text = "unreachable", str(error)
    took_s = clock.monotonic() - began
    return PathStatus(
        ARBITER, ARBITER, -1, state, text, clock.wall(), took_s, device=witness.address
    )


def _expect_plan(status: NodeStatus) -> None:
    if not status.fencing.plan:
        raise RefusedError(
            "there is no fence plan: [fencing] levels in openha.conf names none (openha fence"
            f" status shows the check-up scripts){_not_taken_over(status)}"
        )


def _not_taken_over(status: NodeStatus) -> str:
    """Return what is wrong with the files, so that the daemon has another configuration."""
    from opensvc_openha.daemon.issues import Issue

    head = f"{Issue.CONFIGURATION.value}: "
    found = [text for text in status.warnings if text.startswith(head)]
    return "".join(f"; {text}" for text in found)


def _print_paths(paths: Sequence[PathStatus], is_json: bool) -> None:
    from opensvc_openha.cli.fence_plan_output import path_lines

    if is_json:
        from opensvc_openha.cli import json_views

        sys.stdout.write(json_views.fence_test(paths).text())
    else:
        sys.stdout.write("".join(f"{line}\n" for line in path_lines(paths, clock.wall())))


def _print_lines(lines: Sequence[str], is_json: bool) -> None:
    if is_json:
        from opensvc_openha.cli import json_views

        sys.stdout.write(json_views.FenceReportView(tuple(lines)).text())
    else:
        sys.stdout.write("".join(f"{line}\n" for line in lines))


def _plans(groups: Iterable[FenceGroup]) -> dict[str, str]:
    """Return the plan of the generated check-up scripts, level by level, by service.

    Covers only as many services of each group as the output names.
    """
    from opensvc_openha.storage.configuration import read_services

    checks = {svc.name: svc.check for svc in read_services(installation.layout())}
    named = [name for group in groups if group.name for name in group.services[:NAMED]]
    found = {name: plan_of(checks.get(name, "")) for name in named}
    return {name: text for name, text in found.items() if text}


def plan_of(check: str) -> str:
    """Return the sections that a generated check-up script runs; empty for any other script."""
    path = f"{os.path.splitext(check)[0]}.env"
    if not check.endswith(".stonith") or not os.path.exists(path):
        return ""
    from opensvc_openha.agent.config import schema
    from opensvc_openha.agent.config.service_file import parse_service_text
    from opensvc_openha.system.atomic_files import read_text
    from opensvc_openha.system.identity import node_name

    try:
        svcname = os.path.basename(os.path.splitext(check)[0])
        sections = parse_service_text(read_text(path), path, svcname, node_name().lower()).sections
        fences = [
            each for each in sections if each.group == "stonith" and not each.value(schema.DISABLE)
        ]
        levels: dict[int, list[str]] = {}
        for each in fences:
            asked = " (then asked whether it is off)" if each.value(schema.FENCE_STATUS_CMD) else ""
            levels.setdefault(each.value(schema.FENCE_LEVEL), []).append(f"{each.name}{asked}")
    except OpenhaError as error:
        return f"its plan cannot be read: {error}"
    shown = [f"level {level}: {' and '.join(names)}" for level, names in sorted(levels.items())]
    return (
        "; if that fails, ".join(shown)
        or f"no [stonith#N] section in {path}: it fences nothing and fails"
    )
