"""Find senders of this node that are mute: their interface is down, has no carrier or is gone.

The kernel reports changes (netlink). Without netlink nothing is known and nothing is announced;
links have their timeouts. An interface that keeps going down is announced only from time to time.
"""

from __future__ import annotations

import math
import os
import select
import socket
import threading
from collections.abc import Callable

from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.timing import MUTE_REST_S
from opensvc_openha.formats.netlink import InterfaceNews, ask_for_all, read_news
from opensvc_openha.system import clock
from opensvc_openha.system.thread_names import name_thread

_RTMGRP_LINK = 1
_DATAGRAM = 65_536
_WAIT_S = 10.0
"""Longest wait for news; a look without any covers what the kernel may not have reported."""
_RETRY_S = 1.0
Report = Callable[[frozenset[LinkSpec]], None]


class MuteSenders:
    """Derive the mute senders from the state of interfaces, and when to announce them."""

    def __init__(self, index_of: Callable[[str], int]) -> None:
        """Start with nothing known.

        ``index_of`` returns the number of an interface, 0 if none has that name.
        """
        self._index_of = index_of
        self._senders: tuple[LinkSpec, ...] = ()
        self._works: dict[int, bool] = {}
        self._is_blind = True
        self._announced: frozenset[LinkSpec] = frozenset()
        self._announced_at: dict[str, float] = {}

    def use(self, senders: tuple[LinkSpec, ...]) -> None:
        """Apply a new set of senders."""
        self._senders = tuple(link for link in senders if not link.is_disk)
        devices = {link.device for link in self._senders}
        self._announced_at = {
            device: at for device, at in self._announced_at.items() if device in devices
        }

    def forget(self) -> None:
        """Clear what is known of interfaces: none counts as down."""
        self._works = {}
        self._is_blind = True

    def learn(self, news: list[InterfaceNews]) -> None:
        """Apply news from the kernel."""
        self._is_blind = False
        for each in news:
            if each.is_gone:
                self._works.pop(each.index, None)
            else:
                self._works[each.index] = each.works

    def changed(self, now: float) -> frozenset[LinkSpec] | None:
        """Return the mute senders if they differ from those announced last, else None.

        An interface that came up is announced at once.
        """
        mute = [link for link in self._senders if self._is_mute(link.device)]
        known = {link.device for link in self._announced}
        announced = frozenset(
            link for link in mute if link.device in known or now >= self._rests_until(link.device)
        )
        if announced == self._announced:
            return None
        for link in announced - self._announced:
            self._announced_at[link.device] = now
        self._announced = announced
        return announced

    def rests_until(self) -> float:
        """Return when a mute sender that rests may be announced; infinity if none does."""
        known = {link.device for link in self._announced}
        return min(
            (
                self._rests_until(link.device)
                for link in self._senders
                if link.device not in known and self._is_mute(link.device)
            ),
            default=math.inf,
        )

    def _is_mute(self, device: str) -> bool:
        index = self._index_of(device)
        # The kernel's news of a new interface is still on its way.
        return not self._is_blind and not (self._works.get(index, True) if index else False)

    def _rests_until(self, device: str) -> float:
        return self._announced_at.get(device, -math.inf) + MUTE_REST_S


class InterfaceWatch:
    """Watch the kernel's interface news in a thread.

    Calls ``report`` with all mute senders at each change.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._mute = MuteSenders(_index_of)
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._main, name="interfaces", daemon=True)
        self._enter: Callable[[], None] = lambda: None
        self._wake: int | None = None

    def use(self, senders: tuple[LinkSpec, ...]) -> None:
        """Apply the senders of a new configuration."""
        with self._lock:
            self._mute.use(senders)
        self._report_changes()
        # One that rests may now be the first to be announced.
        self._end_wait()

    def start(self, enter: Callable[[], None]) -> None:
        """Start the thread if the system reports interfaces; it calls ``enter`` first."""
        if not hasattr(socket, "AF_NETLINK"):
            return
        self._enter = enter
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread.start()

    def stop(self, limit_s: float = 1.5) -> None:
        """End the thread, waiting ``limit_s`` seconds at most."""
        self._ending.set()
        self._end_wait()
        if self._thread.is_alive():
            self._thread.join(limit_s)

    def _end_wait(self) -> None:
        with self._lock:
            if self._wake is not None:
                os.eventfd_write(self._wake, 1)

    def _report_changes(self) -> None:
        with self._lock:
            announced = self._mute.changed(clock.monotonic())
            if announced is not None:
                self._report(announced)

    def _main(self) -> None:
        self._enter()
        name_thread("interfaces")
        while not self._ending.is_set():
            try:
                self._listen()
            except OSError:
                # More news than the socket holds, or no netlink here: everything known may be wrong
                # now.
                with self._lock:
                    self._mute.forget()
                self._report_changes()
            self._ending.wait(_RETRY_S)
        with self._lock:
            if self._wake is not None:
                os.close(self._wake)
            self._wake = None

    def _listen(self) -> None:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
            sock.bind((0, _RTMGRP_LINK))
            sock.setblocking(False)
            sock.send(ask_for_all(1))
            poll = select.poll()
            poll.register(sock, select.POLLIN)
            assert self._wake is not None
            poll.register(self._wake, select.POLLIN)
            while not self._ending.is_set():
                with self._lock:
                    rest_s = self._mute.rests_until() - clock.monotonic()
                ready = [fd for fd, _ in poll.poll(max(0.0, min(_WAIT_S, rest_s)) * 1000)]
                if self._wake in ready:
                    os.eventfd_read(self._wake)
                if sock.fileno() in ready:
                    self._learn(sock)
                else:
                    self._report_changes()

    def _learn(self, sock: socket.socket) -> None:
        data, (port, _) = sock.recvfrom(_DATAGRAM)
        if port:
            return  # Not from the kernel.
        with self._lock:
            self._mute.learn(read_news(data))
        self._report_changes()


def _index_of(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0
