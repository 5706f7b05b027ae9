"""A daemon behind the control socket that only notes what it is asked to do."""

from __future__ import annotations

import queue
from typing import Any

from opensvc_openha.core.actions import Answer
from opensvc_openha.core.events import Command, DrillOrder, Leaving
from opensvc_openha.core.status import NodeStatus, PathStatus
from opensvc_openha.storage.history_entry import Entry
from opensvc_openha.system.peer_credentials import Caller

PATH = PathStatus("ipmi", "power", 0, text="ON")


class NotedDaemon:
    """Notes what it is asked to do; ``answers`` are those to the next command."""

    def __init__(self, status: NodeStatus, *newest: Entry) -> None:
        self.found, self.newest = status, list(newest)
        self.orders: list[tuple[Any, ...]] = []
        self.answers: list[Answer] = []
        self.error: Exception | None = None
        self.queues: list[queue.SimpleQueue[Answer]] = []
        self.cut_ends: list[str] = []
        """Why a cut ends, at each look."""

    def _note(self, *order: Any) -> None:
        if self.error is not None:
            raise self.error
        self.orders.append(order)

    def status(self) -> NodeStatus:
        self._note("status")
        return self.found

    def newest_status(self) -> NodeStatus:
        self._note("newest status")
        return self.found

    def recent(self) -> list[Entry]:
        self._note("recent")
        return self.newest

    def act(
        self,
        command: Command,
        services: list[str] | None,
        answers: queue.SimpleQueue[Answer],
        caller: Caller,
    ) -> int:
        self._note("act", command, services, caller)
        self.queues.append(answers)
        for answer in self.answers:
            answers.put(answer)
        return len(services or ["web", "db"])

    def record_start(self, caller: Caller) -> None:
        self._note("started", caller)

    def reload(self, caller: Caller) -> None:
        self._note("reload", caller)

    def leave(self, leaving: Leaving, who: str) -> None:
        self._note("leave", leaving, who)

    def record_observation(self, service: str, word: str, reason: str, is_alarm: bool) -> None:
        self._note("observation", service, word, reason, is_alarm)

    def confirm_peer_out(self, node: str, caller: Caller) -> list[str]:
        self._note("confirm", node, caller)
        return ["web: started"]

    def look_at_path(self, path: str) -> PathStatus:
        self._note("look", path)
        return PATH

    def drill(self, path: str, node: str, caller: Caller) -> list[str]:
        self._note("drill", path, node, caller)
        return ["off in 2 s"]

    def release(self, caller: Caller) -> list[str]:
        self._note("release", caller)
        return ["registered"]

    def cut_links(self, links: tuple[str, ...], seconds: float, caller: Caller) -> None:
        self._note("cut", links, seconds, caller)

    def why_cut_ends(self, links: tuple[str, ...]) -> str:
        self._note("look at the cut", links)
        return self.cut_ends.pop(0)

    def end_cut(self) -> None:
        self.orders.append(("end cut",))

    def order_drill(self, order: DrillOrder, seconds: float, caller: Caller) -> list[str]:
        self._note("drill order", order, seconds, caller)
        return ["web: started"]

    def note_drill(self, word: str, text: str, is_alarm: bool, caller: Caller) -> None:
        self._note("drill note", word, text, is_alarm, caller)

    def forget_peer(self, caller: Caller) -> None:
        self._note("forget", caller)

    def evacuate(self, is_on: bool, is_off_limits: bool, caller: Caller) -> None:
        self._note("evacuate", is_on, is_off_limits, caller)
