"""The status that each state of both nodes stands for, as the reference has it."""

from __future__ import annotations

UP, DOWN, WARN = 0, 1, 2

STATUS_OF = {
    "stopped": (DOWN, []),
    "started": (UP, []),
    "unknown": (WARN, ["unable to determine cluster service state"]),
    **{
        state: (WARN, [f"cluster service status is {state}"])
        for state in (
            "stopping",
            "starting",
            "start_failed",
            "stop_failed",
            "frozen_stop",
            "start_ready",
            "force_stop",
            "frozen_start",
        )
    },
}
