"""``openha fence``: how this node would make sure that its peer runs nothing, and an operator's word that it does not."""

from __future__ import annotations

import sys

from opensvc_openha.cli import here
from opensvc_openha.cli.fence_text import confirmation, fence_report
from opensvc_openha.errors import UsageError
from opensvc_openha.runtime import clock, control_client

USAGE = """\
Usage: openha fence status [--json]    what would be done about a silent peer, and when it was last seen to work
       openha fence confirm NODE       "I made sure that NODE runs nothing": what waits for that is started here

 NODE is the peer's whole name. Confirm only what you made sure of yourself: the power is off, or the machine was reset and
 its services are not started there. It is refused while NODE is heard, and kept in log and history with who confirmed it and
 when. It is believed until any heartbeat of NODE comes in, this node stands still for a link timeout, or its daemon ends:
 what is unfrozen or repaired later needs no other confirmation.

 Exit code of confirm: 0 confirmed, what becomes of each service is printed; 4 the daemon does not run, or did not answer: then
 it is not known whether NODE is confirmed, see fence status; 5 refused.
 Exit code of status: 0 a check-up script that worked before, 1 one that was never seen to work or failed last,
 2 a service whose check-up script proves nothing.
"""


def main(args: "list[str]") -> int:
    """Runs ``openha fence``; returns the exit code."""
    if not args or args[0] in ("-h", "--help"):
        (sys.stdout if args else sys.stderr).write(USAGE)
        return 0 if args else UsageError.exit_code
    if args[0] == "confirm":
        if len(args) != 2:
            raise UsageError("fence confirm: expected the whole name of the peer (fence --help tells more)")
        sys.stdout.write(confirmation(args[1], control_client.confirm_peer_out(here.layout(), args[1])))
        return 0
    if args[0] != "status" or args[1:] not in ([], ["--json"]):
        raise UsageError("fence: expected status or confirm NODE (fence --help tells more)")
    status = control_client.fetch_status(here.layout())
    if args[1:]:
        import json

        from opensvc_openha.runtime.wire import status_to_json

        print(json.dumps(status_to_json(status)["fencing"], indent=2))
    else:
        sys.stdout.write(fence_report(status, clock.wall()))
    groups = status.fencing.groups
    if any(not group.name for group in groups):
        return 2
    return 1 if any(group.worked_at is None or group.worked_at < (group.failed_at or 0.0) for group in groups) else 0
