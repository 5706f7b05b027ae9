"""Manage the ends of the heartbeat links: a thread for each on a disk, one for all on networks."""

from __future__ import annotations

import collections
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from opensvc_openha.core.model import ClusterSpec, LinkSpec
from opensvc_openha.core.status import LinkStatus, StageFigure
from opensvc_openha.daemon.inbox import EngineInbox
from opensvc_openha.daemon.link_cut import LinkCut
from opensvc_openha.errors import RefusedError, SystemFault
from opensvc_openha.heartbeat.authentication import Authentication
from opensvc_openha.heartbeat.codec.base import Names
from opensvc_openha.heartbeat.codec.own import NewestFields
from opensvc_openha.heartbeat.codec.registry import codec_for
from opensvc_openha.heartbeat.datagram_ends import DatagramListener, DatagramSender
from opensvc_openha.heartbeat.datagram_loop import DatagramLoop
from opensvc_openha.heartbeat.link_end import LinkEnd, ListenerEnd, SenderEnd
from opensvc_openha.heartbeat.link_workers import (
    NO_REPORTS,
    LeaseReports,
    ListenerThread,
    SenderThread,
)
from opensvc_openha.heartbeat.outbox import BeatOutbox
from opensvc_openha.heartbeat.stage_meter import StageMeter
from opensvc_openha.storage.history_entry import EntryKind
from opensvc_openha.storage.history_writer import History
from opensvc_openha.system import clock

_SUSPICIOUS = {
    "own": "this node hears its own heartbeats: the address or port of this link is wrong",
    "namesake": "another node uses the name of this one",
    "foreign cluster": "another cluster sends here: give it addresses and ports of its own",
    "source": (
        "datagrams come from another address than the peer's: see peer_address in openha.conf"
    ),
    "forged": (
        "frames come with a wrong tag: they were altered, made for another link, or made by"
        " somebody without the key"
    ),
    "node": "heartbeats of a node come in that is not the peer",
    "overwritten": (
        "something else writes to this node's slot: another node of this name, or a wrong offset"
    ),
}
"""Warning for each reason for which frames are dropped that hints at a mistake or an attack."""
_FLUSH_LIMIT_S = 1.0
_FLUSH_POLL_S = 0.01


class LinkManager:
    """The ends of all links, fed by ``outbox`` and feeding ``inbox``.

    ``reconcile`` is called by one thread at a time, the one that applies a configuration; ``flush``
    and ``stop`` by the main thread. Everything else only reads, and may be called by any thread: it
    works on a copy of the dictionary, whose ends may end meanwhile.
    """

    def __init__(
        self,
        outbox: BeatOutbox,
        datagrams: DatagramLoop,
        inbox: EngineInbox,
        authentication: Authentication,
        own_names: Names,
        history: History,
        logger: logging.Logger,
        enter: Callable[[], None],
        reports: LeaseReports = NO_REPORTS,
    ) -> None:
        """Start nothing yet; each thread of links calls ``enter`` first."""
        self._reports = reports
        self._outbox = outbox
        self._inbox = inbox
        self._authentication = authentication
        self._own_names = own_names
        self._history = history
        self._log = logger
        self._enter = enter
        self._datagrams = datagrams
        # Of all disks: a beat that is not counted since two threads count at once is no matter.
        self._written = StageMeter("posted -> read back from a slot")
        self._taken = StageMeter("slot read -> taken")
        self._newest = NewestFields()
        self._ends: dict[tuple[LinkSpec, str], LinkEnd] = {}
        self._cut_lock = threading.Lock()
        self._cut: LinkCut | None = None

    def cut(self, links: Sequence[str], seconds: float) -> LinkCut:
        """Close both ends of these links for a drill; the caller ends it by ``end_cut``.

        Raises RefusedError while another cut lasts, SystemFault if an end cannot be closed.
        """
        with self._cut_lock:
            if self._cut is not None:
                raise RefusedError(f"another drill runs: {self._cut.text}")
            ends = [end for (link, _), end in list(self._ends.items()) if link.link_id in links]
            self._cut = LinkCut(ends, links, seconds)
        if not self._cut.begin():
            self.end_cut()
            raise SystemFault(
                f"{' and '.join(links)} could not be closed: is it a disk that hangs?"
            )
        return self._cut

    def end_cut(self) -> None:
        """Open again what a drill has cut."""
        with self._cut_lock:
            cut, self._cut = self._cut, None
        if cut is not None:
            cut.end()

    @property
    def present_cut(self) -> LinkCut | None:
        """What a drill has cut at the moment; None for nothing; any thread."""
        return self._cut

    def reconcile(self, spec: ClusterSpec) -> None:
        """Begin to use each new end of a link; end those of removed links.

        A link is the same only if its whole row is: one with another timeout gets new ends.
        """
        wanted = {(link, SenderEnd.role) for link in spec.senders} | {
            (link, ListenerEnd.role) for link in spec.listeners
        }
        # The old ones first: a new end may need the port or the slot of an old one.
        for key in [key for key in self._ends if key not in wanted]:
            self._ends.pop(key).stop()
        for link, role in sorted(wanted - set(self._ends), key=lambda key: key[0].line):
            end = self._make_sender(link) if role == SenderEnd.role else self._make_listener(link)
            self._ends[link, role] = end
            end.start(self._enter)

    def _make_sender(self, link: LinkSpec) -> LinkEnd:
        newest = None if link.is_disk else self._newest
        codec = codec_for(link, self._own_names, self._authentication, newest)
        if link.is_disk:
            return SenderThread(
                link, codec, self._outbox, self._log_link, self._reports, self._written
            )
        return DatagramSender(link, codec, self._log_link, self._datagrams)

    def _make_listener(self, link: LinkSpec) -> LinkEnd:
        codec = codec_for(link, self._own_names, self._authentication)
        report, log = self._inbox.put, self._log_link
        if link.is_disk:
            offer, reports = self._inbox.offer, self._reports
            return ListenerThread(link, codec, offer, report, log, reports, self._taken)
        offer = self._inbox.offer_quietly
        return DatagramListener(link, codec, offer, report, log, self._datagrams)

    def flush(self) -> None:
        """Wait until each sender that works has sent the newest beat, for a second at most."""
        number = self._outbox.number
        senders = [
            end for end in list(self._ends.values()) if isinstance(end, SenderEnd) and not end.fault
        ]
        clock.wait_until(
            lambda: all(end.has_sent(number) for end in senders),
            _FLUSH_LIMIT_S,
            _FLUSH_POLL_S,
        )

    def stop(self) -> None:
        """End all ends: asked together, then waited for."""
        ends = list(self._ends.values())
        for end in ends:
            end.ask_to_end()
        for end in ends:
            end.stop()
        self._datagrams.stop()

    def stages(self, now: float) -> tuple[StageFigure, ...]:
        """How long beats took lately on their way through the links."""
        meters = (self._datagrams.sent, self._datagrams.read, self._written, self._taken)
        return tuple(found for meter in meters if (found := meter.figure(now)) is not None)

    def statuses(
        self, links: Iterable[LinkSpec], heard: Iterable[LinkStatus]
    ) -> tuple[LinkStatus, ...]:
        """Return the status of each end of these links, with wall-clock times.

        ``heard`` is what the engine knows of the listeners. One that it does not know yet, since a
        changed configuration still waits in the inbox, is left out.
        """
        known = {link.spec: link for link in heard}
        found = []
        for spec in links:
            sender = self._ends.get((spec, SenderEnd.role))
            listener = self._ends.get((spec, ListenerEnd.role))
            if isinstance(sender, SenderEnd):
                found.append(sender.status())
            elif isinstance(listener, ListenerEnd) and spec in known:
                found.append(_completed(known[spec], listener))
        return tuple(
            replace(
                link,
                updated_at=clock.wall_if_known(link.updated_at),
            )
            for link in found
        )

    def warnings(self) -> list[str]:
        """Return a warning for each kind of suspicious frame that came in on a link recently."""
        return [
            f"link {end.link.link_id}: {text}"
            for end in list(self._ends.values())
            for reason, text in _SUSPICIOUS.items()
            if end.saw_lately(reason)
        ]

    def listener_faults(self) -> list[str]:
        """Return why links are not listened to, by link."""
        return [
            f"{end.link.link_id}: {end.fault}"
            for end in list(self._ends.values())
            if isinstance(end, ListenerEnd) and end.fault
        ]

    def _log_link(self, link: LinkSpec, is_fault: bool, text: str) -> None:
        """Log what an end of a link reports; called from the thread that serves it."""
        self._log.log(
            logging.WARNING if is_fault else logging.INFO, "link %s: %s", link.link_id, text
        )
        self._history.record(
            EntryKind.LINK, link.link_id, "FAULT" if is_fault else "NOTE", text, is_alarm=is_fault
        )


def _completed(link: LinkStatus, listener: ListenerEnd) -> LinkStatus:
    """Return the engine's view of a listener, with what the listener itself knows."""
    reason, refused = link.reason, ", ".join(listener.refused_lately)
    if refused and not link.is_up:
        reason += f"{', ' if '; refused: ' in reason else '; refused: '}{refused}"
    counts = collections.Counter(listener.counts)
    counts.update(link.counts)
    return replace(
        link,
        reason=listener.fault or listener.remark or reason,
        thread=listener.thread_id,
        counts=dict(counts),
        timing=listener.timing,
    )
