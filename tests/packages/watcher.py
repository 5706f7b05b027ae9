"""Asks a service for its answer all the time, from a network namespace; measures its silences."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

_PROGRAM = """
import json, select, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
who, answers, longest = {}, 0, 0.0
last = time.monotonic()
stdin_open = True
while stdin_open:
    try:
        s.sendto(b"?", (sys.argv[1], 7))
    except OSError:
        pass
    ready, _, _ = select.select([s, sys.stdin], [], [], 0.02)
    now = time.monotonic()
    longest = max(longest, now - last)
    if s in ready:
        text = s.recv(64).decode()
        who[text] = who.get(text, 0) + 1
        answers += 1
        last = now
        time.sleep(0.02)
    stdin_open = sys.stdin not in ready
print(json.dumps({"answers": answers, "who": who, "longest_s": longest}))
"""


@dataclass(frozen=True)
class Seen:
    """What was answered, by whom, and the longest time without an answer."""

    answers: int
    who: dict[str, int]
    longest_s: float


class Watcher:
    """A process in the namespace of the switch."""

    def __init__(self, namespace: str, address: str) -> None:
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, sys.executable, "-I", "-c", _PROGRAM, address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def end(self) -> Seen:
        """End it; return what it has seen."""
        output, _ = self._process.communicate("")
        return Seen(**json.loads(output))
