"""Ask and order both nodes of a drill.

This one by the control socket, the other one by the peer link.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opensvc_openha.cli.patient_peer import expected_peer
from opensvc_openha.control import client, protocol
from opensvc_openha.core.events import Command
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.drill.refusals import why_not
from opensvc_openha.errors import (
    ActionError,
    OpenhaError,
    PeerLinkLostError,
    RefusedError,
)
from opensvc_openha.formats.layout import Layout
from opensvc_openha.peer_link.channel import Channel
from opensvc_openha.peer_link.client import ANSWER_LIMIT_S, ask, new_job_id
from opensvc_openha.peer_link.protocol import (
    DrillRequest,
    DrillWord,
    HistoryRequest,
    Request,
    StatusRequest,
)
from opensvc_openha.storage.history_entry import Entry, EntryKind, entry_from_json
from opensvc_openha.system import clock
from opensvc_openha.system.order_reason import given_reason

ENTRIES = 200
_CLOCK_S = 0.5
"""By so much the clocks of the nodes, as they are compared, may differ."""
_STALLED = "STALLED"
_INSTEAD = "a drill asks both nodes, over the peer link (openha key, [peer_link] of openha.conf)"


@dataclass(frozen=True)
class PeerSeen:
    """The status of the other node, and by how much its wall clock is ahead."""

    status: NodeStatus
    ahead_s: float


class Cluster:
    """Both nodes; for one thread."""

    def __init__(self, layout: Layout) -> None:
        """Find the other node; raises RefusedError if it cannot be asked."""
        self.layout = layout
        self._node = expected_peer(layout, _INSTEAD)
        self._channel: Channel | None = None

    def close(self) -> None:
        """Close the connection to the other node."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    # --- asking -----------------------------------------------------------------------------------

    def own(self) -> NodeStatus:
        """Return this node's status; a daemon that is busy is asked again for a while."""
        give_up = clock.monotonic() + ANSWER_LIMIT_S
        while True:
            try:
                return client.fetch_status(self.layout)
            except OpenhaError:
                if clock.monotonic() >= give_up:
                    raise
            clock.pause(0.2)

    def peer(self) -> PeerSeen:
        """Return the other node's status. Raises RefusedError if its daemon does not answer."""
        asked_at = clock.wall()
        found = self._ask(StatusRequest()).get("status")
        answered_at = clock.wall()
        if not isinstance(found, dict) or "daemon" not in found:
            why = found.get("problem") if isinstance(found, dict) else "no status"
            raise RefusedError(f"{self._node.name}: {why}")
        try:
            status = protocol.status_from_json(found["daemon"])
            ahead_s = float(found["wall"]) - (asked_at + answered_at) / 2
        except (KeyError, TypeError, ValueError) as error:
            raise RefusedError(
                f"{self._node.name} gave a status of another version ({error!r})"
            ) from error
        return PeerSeen(status, ahead_s)

    def history(self) -> list[Entry]:
        """Return the newest entries of this node's history."""
        return client.fetch_history(self.layout)

    def peer_history(self) -> list[Entry]:
        """Return the newest entries of the other node's history, by its own clock."""
        found = self._ask(HistoryRequest("", ENTRIES)).get("history")
        entries = []
        for each in found if isinstance(found, list) else []:
            with contextlib.suppress(KeyError, TypeError, ValueError):
                entries.append(entry_from_json(each))
        return entries

    def look(self) -> tuple[NodeStatus, NodeStatus, list[str]]:
        """Return both statuses, and what speaks against any drill now."""
        own, seen = self.own(), self.peer()
        return own, seen.status, why_not(own, seen.status, self._stalls_s(seen.ahead_s))

    def _stalls_s(self, ahead_s: float) -> list[float]:
        """Return how long ago each stall of either node was, in seconds."""
        now = clock.wall()
        own = [now - entry.at for entry in self.history() if is_stall(entry)]
        return own + [now + ahead_s - entry.at for entry in self.peer_history() if is_stall(entry)]

    def moment(
        self, service: str, is_own: bool, state: str, since: float, is_old: bool = False
    ) -> float | None:
        """Return when a service entered a state on a node, or left it if ``is_old``.

        The first time since ``since``, by the clock of this node; None if the history lacks it.
        """
        ahead_s = 0.0 if is_own else self.peer().ahead_s
        for entry in self.history() if is_own else self.peer_history():
            at = entry.at - ahead_s
            is_meant = (entry.old if is_old else entry.new) == state and entry.old != entry.new
            is_of_it = entry.kind is EntryKind.SERVICE and entry.name == service
            if is_of_it and is_meant and at >= since - _CLOCK_S:
                return at
        return None

    def _ask(self, request: Request) -> dict[str, object]:
        """Return an answer over a channel that is kept open; opened again if it was lost."""
        try:
            return self._ask_once(request)
        except PeerLinkLostError:
            self.close()
            return self._ask_once(request)

    def _ask_once(self, request: Request) -> dict[str, object]:
        if self._channel is None:
            self._channel = self._node.channel()
        return ask(self._channel, request)

    # --- ordering ---------------------------------------------------------------------------------

    def act(self, command: Command, services: Sequence[str]) -> None:
        """Give an order to this node's daemon and wait for its end. Raises ActionError."""
        obey(self.layout, command, services)

    def order_peer(
        self,
        word: DrillWord,
        services: Sequence[str] = (),
        seconds: float = 60.0,
        on_line: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Have the other node do its part; raises ActionError if that failed there."""
        request = DrillRequest(
            new_job_id(), word, tuple(services), int(seconds), order_reason=given_reason()
        )
        self.close()  # What is asked meanwhile gets a channel of its own.
        end = self._node.execute(request, on_line)
        if end.code:
            what = f"{word.value} {' '.join(services)}".rstrip()
            raise ActionError(
                f"{self._node.name}: {what}: exit code {end.code}: {'; '.join(end.lines[-3:])}"
            )


def obey(layout: Layout, command: Command, services: Sequence[str]) -> None:
    """Give an order to this node's daemon and wait for its end. Raises ActionError."""
    from opensvc_openha.cli.output import answer_line

    problems = [
        answer_line(answer)
        for answer in client.act(layout, command, list(services))
        if not answer.is_ok
    ]
    if problems:
        raise ActionError("; ".join(problems))


def is_stall(entry: Entry) -> bool:
    """Return True for the entry of a stall."""
    return entry.kind is EntryKind.NODE and entry.new == _STALLED
