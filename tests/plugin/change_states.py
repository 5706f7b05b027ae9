"""Stands for the node daemon and for the agent of the peer: notes the call, and changes the states
as the cluster would.
"""

from __future__ import annotations

import json
import sys

OWN = {
    "unfreeze": {"frozen_stop": "starting", "frozen_start": "started"},
    "freeze-stop": {},
    "freeze-start": {},
}


def main() -> None:
    """`own registry unfreeze` or `peer NODE stop --remote`."""
    path, calls, who, _, action = sys.argv[1:6]
    with open(calls, "a", encoding="ascii") as file:
        file.write(f"{who} {action}\n")
    with open(path, encoding="ascii") as file:
        states = json.load(file)
    if states.get(f"{who} fails") == action:
        sys.stdout.buffer.write(
            (states.get("output") or "it does not want to").encode("utf-8") + b"\n"
        )
        sys.exit(states.get("code", 3))
    now = states[who]
    if action in ("freeze-stop", "stop") or action == "freeze" and now != "started":
        states[who] = "frozen_stop"
    elif action in ("freeze-start", "freeze"):
        states[who] = "frozen_start"
    elif action == "start":
        states[who] = "starting"
    elif now == "frozen_start":
        states[who] = "started"
    elif now == "frozen_stop":
        other = states["peer" if who == "own" else "own"]
        states[who] = "stopped" if other in ("started", "starting") else "starting"
    with open(path, "w", encoding="ascii") as file:
        json.dump(states, file)


main()
