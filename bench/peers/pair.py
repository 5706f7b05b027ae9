"""Two nodes with another program and one resource, which records when its script runs."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from opensvc_openha.demo.nodes import Node, TwoNodes

LIMIT_S = 120.0
LOOK_S = 0.02
SCRIPT_PATH = "/opt/svc.sh"
SCRIPT = """#!/bin/sh
date +%s.%N >> /var/tmp/$1.times
case $1 in
start) touch /run/up;;
stop) rm -f /run/up;;
esac
"""


class PeerPair(ABC):
    """What all of them have; one that has its own kind of script writes that itself."""

    settle_s = 1.0
    """Seconds from when both nodes know each other to when the next failure may come."""

    def __init__(self, nodes: TwoNodes) -> None:
        self.nodes = nodes
        for node in nodes:
            node.write(SCRIPT_PATH, SCRIPT, 0o755)
            self.configure(node)
            self.start(node)
        self.owner, self.standby = nodes
        self.until(lambda: any(map(self.runs, nodes)), "the resource runs")
        if self.runs(self.standby):
            self.owner, self.standby = self.standby, self.owner
        self.settle()

    @abstractmethod
    def configure(self, node: Node) -> None:
        """Write a node's files."""

    @abstractmethod
    def start(self, node: Node) -> None:
        """Start the program."""

    @abstractmethod
    def is_joined(self, node: Node) -> bool:
        """Return whether this node knows that the other one is there."""

    @abstractmethod
    def move(self) -> None:
        """Ask for the resource on the other node."""

    def runs(self, node: Node) -> bool:
        """Return whether the resource runs on a node."""
        return node.is_alive and os.path.exists(f"{node.root}/run/up")

    def until(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait for something."""
        give_up = time.monotonic() + LIMIT_S
        while not is_so():
            if time.monotonic() > give_up:
                raise SystemExit(f"{type(self).__name__}: not within {LIMIT_S:g} s: {what}")
            time.sleep(LOOK_S)

    def settle(self) -> None:
        """Wait until both nodes know each other."""
        self.until(
            lambda: all(map(self.is_joined, self.nodes)) and self.runs(self.owner),
            "both nodes know each other",
        )
        time.sleep(self.settle_s)

    def calls(self, node: Node, word: str) -> list[float]:
        """Return the wall-clock times of the script's calls with that word."""
        try:
            return [float(line) for line in node.read(f"/var/tmp/{word}.times").split()]
        except OSError:
            return []

    def power_loss(self) -> float:
        """Cut the owner's power; return the seconds to the start script on the other node.

        Leaves both nodes ready for the next run.
        """
        began = len(self.calls(self.standby, "start"))
        cut_at = time.time()
        self.owner.kill()
        self.until(lambda: len(self.calls(self.standby, "start")) > began, "takeover")
        took_s = self.calls(self.standby, "start")[began] - cut_at
        self.owner.boot()
        self.start(self.owner)
        self.owner, self.standby = self.standby, self.owner
        self.settle()
        # The power may fail at any time between two beats.
        time.sleep((took_s * 7919) % 1.0)
        return took_s

    def planned_move(self) -> float:
        """Return the seconds from the stop script to the start script on the other node."""
        began = len(self.calls(self.standby, "start"))
        self.move()
        self.until(lambda: len(self.calls(self.standby, "start")) > began, "planned move")
        gap_s = self.calls(self.standby, "start")[began] - self.calls(self.owner, "stop")[-1]
        self.owner, self.standby = self.standby, self.owner
        self.settle()
        return gap_s

    def starts(self) -> int:
        """Return how many times the script was called to start or to stop, on both nodes."""
        return sum(len(self.calls(node, word)) for node in self.nodes for word in ("start", "stop"))
