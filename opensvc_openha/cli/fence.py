"""``openha fence``: show how this node would fence its peer; accept a manual confirmation.

The operator confirms that the peer runs nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from opensvc_openha.cli import installation
from opensvc_openha.cli.fence_output import confirmation, fence_report
from opensvc_openha.cli.parsing import Parser
from opensvc_openha.control import client
from opensvc_openha.core.status import FenceGroup
from opensvc_openha.core.wording import NAMED
from opensvc_openha.errors import OpenhaError
from opensvc_openha.system import clock


def build_parser() -> Parser:
    """Return the parser of ``openha fence``."""
    parser = Parser(
        "openha fence", "Show how this node would fence its peer; confirm that the peer is out."
    )
    status = parser.add_verb(
        "status", "show what would be done about a silent peer, and when that last worked"
    )
    status.add_flag("--json", dest="is_json", help="as JSON")
    status.epilog = (
        "Exit code: 0 a check-up script that worked before, 1 one that was never seen to work or"
        " failed last,\n2 a service whose check-up script proves nothing."
    )
    confirm = parser.add_verb(
        "confirm", '"I made sure that NODE runs nothing": start here what waits for that'
    )
    confirm.add_argument("node", metavar="NODE", help="the whole name of the peer")
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
    return parser


def main(args: list[str]) -> int:
    """Run ``openha fence``; return the exit code."""
    options = build_parser().read(args)
    layout = installation.layout()
    if options.verb == "confirm":
        lines = client.confirm_peer_out(layout, options.node)
        sys.stdout.write(confirmation(options.node, lines))
        return 0

    status = client.fetch_status(layout)
    groups = status.fencing.groups
    if options.is_json:
        import json

        from opensvc_openha.control.protocol import status_to_json

        print(json.dumps(status_to_json(status)["fencing"], indent=2))
    else:
        sys.stdout.write(fence_report(status, clock.wall(), _plans(groups)))
    if any(not group.name for group in groups):
        return 2
    is_doubtful = any(
        group.worked_at is None or group.worked_at < (group.failed_at or 0.0) for group in groups
    )
    return 1 if is_doubtful else 0


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
