"""Serve the requests of the control socket: status, commands, confirmations, the end."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import replace

from opensvc_openha.control.client import CONFIRM_LIMIT_S
from opensvc_openha.core.actions import Answer, AnswerCode
from opensvc_openha.core.evacuation import Evacuation
from opensvc_openha.core.events import (
    Command,
    DrillOrder,
    DrillOrdered,
    EvacuationSet,
    Event,
    LeaveRequested,
    Leaving,
    PeerConfirmedOut,
    PeerForgotten,
)
from opensvc_openha.core.model import ClusterSpec
from opensvc_openha.core.status import NodeStatus, PathStatus, PeerStanding
from opensvc_openha.daemon.engine_loop import EngineLoop
from opensvc_openha.daemon.fence_service import FenceService
from opensvc_openha.daemon.inbox import EngineInbox
from opensvc_openha.daemon.lease_service import LeaseService
from opensvc_openha.daemon.link_cut import why_no_cut
from opensvc_openha.daemon.link_manager import LinkManager
from opensvc_openha.daemon.live_configuration import LiveConfiguration
from opensvc_openha.daemon.open_commands import Answers, OpenCommands
from opensvc_openha.daemon.removed_services import RemovedServices
from opensvc_openha.daemon.status_report import StatusReport
from opensvc_openha.errors import NotAnsweringError, RefusedError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.lease_config import LEASE
from opensvc_openha.storage.evacuation_store import read_evacuation, write_evacuation
from opensvc_openha.storage.history_entry import Entry, EntryKind
from opensvc_openha.storage.history_writer import History
from opensvc_openha.system import clock
from opensvc_openha.system.peer_credentials import Caller

_CONFIRM_LIMIT_S = 5.0
"""A confirmation that the engine takes later than this, in seconds, is refused."""
_CONFIRM_ANSWER_LIMIT_S = 8.0
"""Seconds until the answer to a confirmation.

It comes once the states of what it starts are on disk. Below the time-out of the command.
"""
assert _CONFIRM_LIMIT_S < _CONFIRM_ANSWER_LIMIT_S < CONFIRM_LIMIT_S


class ControlService:
    """What the control server calls, from the thread of each connection.

    Nothing here touches the engine: it puts events into the inbox and waits for answers, each wait
    with a limit except that of ``act``, whose answers the caller takes.
    """

    def __init__(
        self,
        layout: Layout,
        logger: logging.Logger,
        configuration: LiveConfiguration,
        loop: EngineLoop,
        inbox: EngineInbox,
        commands: OpenCommands,
        report: StatusReport,
        links: LinkManager,
        history: History,
        removed: RemovedServices,
        fence: FenceService,
        lease: LeaseService,
        leaving: Leaving | None,
    ) -> None:
        self.leaving = leaving
        """How the daemon was ordered to leave; None if it was not."""
        self._layout = layout
        self._log = logger
        self._configuration = configuration
        self._loop = loop
        self._inbox = inbox
        self._commands = commands
        self._report = report
        self._links = links
        self._history = history
        self._removed = removed
        self._fence = fence
        self._lease = lease
        self._evacuating = threading.Lock()

    @property
    def _spec(self) -> ClusterSpec:
        return self._configuration.current.spec

    def status(self) -> NodeStatus:
        """Return the engine's snapshot, completed with what the threads know."""
        return self._report.complete(self._loop.status(), self._spec)

    def newest_status(self) -> NodeStatus:
        """Return the snapshot; of an engine that hangs the newest one, with a warning."""
        status = self._report.complete(self._loop.newest_status(), self._spec)
        if not status.age_s:
            return status
        warning = f"this status is {status.age_s:.1f} s old: the engine of nmond does not answer"
        return replace(status, warnings=(warning, *status.warnings))

    def recent(self) -> list[Entry]:
        """Return the newest entries of the history, with those of all that a status has shown.

        A status may be answered while states are written, and what is recorded with them comes
        after that. An engine that does not answer adds nothing.
        """
        self._loop.await_records()
        return self._history.recent

    def record_start(self, caller: Caller) -> None:
        """Record who started the daemon, and why."""
        self._history.record(EntryKind.COMMAND, "", "start of the daemon", f"by {caller.text}")

    def reload(self, caller: Caller) -> None:
        """Read the configuration files again, and wait until the engine has the result.

        Every edit comes with it: it is recorded only where somebody gives a reason.
        """
        if caller.order_reason:
            self._history.record(EntryKind.COMMAND, "", "reload", f"by {caller.text}")
        self._configuration.reload()
        self._loop.await_events()  # Queued behind the change.

    def act(
        self, command: Command, services: list[str] | None, answers: Answers, caller: Caller
    ) -> int:
        """Submit a command for each service; for all of this node's if none is named."""
        names = (
            [svc.name for svc in (*self._spec.own_services, *self._removed.present())]
            if services is None
            else services
        )
        if not names:
            raise RefusedError("this node has no service")
        self._history.record_command(command, services, caller)
        for name in names:
            self._inbox.put(self._commands.add(name, command, caller.by, answers))
        return len(names)

    def record_observation(self, service: str, word: str, reason: str, is_alarm: bool) -> None:
        """Record what the resource monitor observed or did with a service."""
        self._log.log(
            logging.WARNING if is_alarm else logging.INFO,
            "monitor %s: %s: %s",
            service,
            word,
            reason,
        )
        self._history.record(EntryKind.MONITOR, service, word, reason, is_alarm=is_alarm)

    def forget_peer(self, caller: Caller) -> None:
        """Accept a lower boot counter of the peer from now on."""
        self._history.record(EntryKind.COMMAND, "", "forget-peer", f"by {caller.text}")
        self._inbox.put(PeerForgotten())
        self._loop.await_events()  # Answered behind it: when this returns, it is done.

    def evacuate(self, is_on: bool, is_off_limits: bool, caller: Caller) -> None:
        """Keep services away from this node, or no longer; on disk before the engine has it.

        A second order keeps what the first one has set.
        """
        what = "evacuation" if is_on else "end of the evacuation"
        self._history.record(EntryKind.COMMAND, "", what, f"by {caller.text}")
        text = f"since {clock.stamp(clock.wall())} by {caller.text}" if is_on else ""
        order = Evacuation(is_on, is_on and is_off_limits, text)
        with self._evacuating:
            evacuation = read_evacuation(self._layout).ordered(order)
            write_evacuation(self._layout, evacuation)
            self._inbox.put(EvacuationSet(evacuation))
        self._loop.await_events()

    def leave(self, leaving: Leaving, who: str) -> None:
        """Order the engine to leave; ``who`` names the source of the order."""
        what = "stop of this node" if leaving is Leaving.STOP_SERVICES else "end of the daemon"
        self._history.record(EntryKind.COMMAND, "", what, f"by {who}")
        if self.leaving is not Leaving.STOP_SERVICES:
            self.leaving = leaving
        self._inbox.put(LeaveRequested(leaving))

    def confirm_peer_out(self, node: str, caller: Caller) -> list[str]:
        """Submit an operator's confirmation that the peer runs nothing.

        Raises RefusedError, and NotAnsweringError if the result is unknown. The operator's name is
        in the history before the engine gets the event: what that starts may outlive this daemon.
        """
        self._history.record(
            EntryKind.COMMAND, "", f"confirm {node}", f"by {caller.text}", is_alarm=True
        )
        if node != self._spec.peer:
            why = (
                f"{node} is not the peer of this node, which is {self._spec.peer}: type its whole"
                " name"
            )
            self._record_result(node, AnswerCode.REFUSED.name, why)
            raise RefusedError(why)
        try:
            answer = self._answer_of(
                lambda number, at_latest: PeerConfirmedOut(number, caller.text, at_latest)
            )
        except NotAnsweringError as error:
            self._record_result(
                node, "NOT ANSWERED", f"{error}: whether it is believed is not known"
            )
            raise
        if not answer.is_ok:
            # The engine's own record of it is in the history already.
            self._log_result(node, AnswerCode.REFUSED.name, answer.detail)
            raise RefusedError(f"not believed: {answer.detail}{self._before_confirming()}")
        return answer.detail.splitlines()

    def look_at_path(self, path: str) -> PathStatus:
        """Look at a path of the fence plan now; return what is known of it then."""
        return self._fence.look_at_path(path)

    def drill(self, path: str, node: str, caller: Caller) -> list[str]:
        """Cut the power of the peer, which runs nothing, by a path; return what was measured.

        With the path of a lease, let the watchdog of this node reset it.
        """
        if path == LEASE:
            return self._lease.drill(self.status, node, caller)
        return self._fence.drill(self.status, path, node, caller)

    def cut_links(self, links: tuple[str, ...], seconds: float, caller: Caller) -> None:
        """Cut these links for a drill. Raises RefusedError if no other one would be left."""
        why = why_no_cut(self.status(), links)
        if why:
            raise RefusedError(f"not cut: {why}")
        text = f"by {caller.text}, for {seconds:g} s at most"
        self._history.record(EntryKind.COMMAND, "", f"drill: cut {' and '.join(links)}", text)
        self._links.cut(links, seconds)

    def why_cut_ends(self, links: tuple[str, ...]) -> str:
        """Return why the links that are cut have to be opened again; empty if they do not."""
        cut = self._links.present_cut
        if cut is None or cut.is_over:
            return "its time is over"
        try:
            return why_no_cut(self.status(), links)
        except NotAnsweringError as error:
            return str(error)

    def end_cut(self) -> None:
        """Open again what a drill has cut."""
        self._links.end_cut()

    def order_drill(self, order: DrillOrder, seconds: float, caller: Caller) -> list[str]:
        """Have the engine do its part of a drill of a takeover. Raises as ``confirm_peer_out``."""
        is_word = order is DrillOrder.PEER_STOPPED
        text = f"by {caller.text}"
        self._history.record(EntryKind.COMMAND, "", f"drill: {order.value}", text, is_alarm=is_word)
        who = f"{caller.text}, in a drill"
        answer = self._answer_of(
            lambda number, at_latest: DrillOrdered(number, order, seconds, at_latest, who)
        )
        if not answer.is_ok:
            raise RefusedError(f"{order.value}: {answer.detail}")
        return answer.detail.splitlines()

    def note_drill(self, word: str, text: str, is_alarm: bool, caller: Caller) -> None:
        """Record the beginning or the end of a drill."""
        self._log.log(
            logging.WARNING if is_alarm else logging.INFO,
            "node %s: drill: %s: %s",
            self._spec.node,
            word,
            text,
        )
        self._history.record(
            EntryKind.COMMAND, "", f"drill: {word}", f"by {caller.text}: {text}", is_alarm=is_alarm
        )

    def release(self, caller: Caller) -> list[str]:
        """Register this node on the arbiter again; return what follows."""
        return self._fence.release(self.status(), caller)

    def _answer_of(self, event: Callable[[int, float], Event]) -> Answer:
        """Give the engine an order that it refuses once it is too late; return its answer."""
        answers: Answers = queue.SimpleQueue()
        number = self._commands.add_confirmation(answers)
        self._inbox.put(event(number, clock.monotonic() + _CONFIRM_LIMIT_S))
        try:
            return answers.get(timeout=_CONFIRM_ANSWER_LIMIT_S)
        except queue.Empty:
            self._commands.drop(number)
            text = f"the engine did not answer within {_CONFIRM_ANSWER_LIMIT_S:g} s"
            raise NotAnsweringError(text) from None

    def _record_result(self, node: str, what: str, why: str) -> None:
        self._log_result(node, what, why)
        self._history.record(EntryKind.COMMAND, "", what, why, old=f"confirm {node}", is_alarm=True)

    def _log_result(self, node: str, what: str, why: str) -> None:
        self._log.warning("node %s: confirm %s: %s: %s", self._spec.node, node, what, why)

    def _before_confirming(self) -> str:
        """Return what has to be done before the peer can be confirmed out.

        Empty while it is heard.
        """
        if self._loop.peer_standing is not PeerStanding.UNKNOWN:
            return ""
        if not self._loop.is_deaf:
            return "; confirm again once each link was listened to for its timeout"
        faults = self._links.listener_faults()
        found = f" ({'; '.join(faults)})" if faults else ""
        return (
            f"{found}. Repair one of them, or correct {self._layout.monitor_file}, wait for its"
            " timeout, and confirm again. If none can be had, start a service by hand with its"
            " script, then type service -A NAME force-start"
        )
