"""Listen for connections of the peer link and hand over those that prove the secret.

Before its proof a connection costs at most one thread, a few kilobytes and PROOF_LIMIT_S; one
address has few of them and all addresses together have a limit, the known ones of the peer beside
it, so that neither a flood nor clients that say nothing keep out the peer. A connection over a
limit is closed at once, unread.
"""

from __future__ import annotations

import contextlib
import ipaddress
import selectors
import socket
import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence, Set

from opensvc_openha.errors import NoPeerLinkError, OpenhaError, SystemFault
from opensvc_openha.peer_link.channel import (
    PROOF_LIMIT_S,
    RESERVED_PORTS,
    Channel,
    Secret,
    accept,
)
from opensvc_openha.system import clock

UNPROVEN = 16
UNPROVEN_OF_ONE = 4
"""Connections without a proof at a time: of all addresses but the peer's, and of one of them."""
PROVEN = 24
"""Open channels at a time."""
_BACKLOG = 64
_ACCEPT_AGAIN_S = 0.1
_REPORT_EVERY_S = 10.0
_ALL_IPV6 = "::"
_ALL = ("0.0.0.0", _ALL_IPV6)  # noqa: S104 - what an operator did not restrict


class Listener:
    """The listening sockets of one port, and the connections that came in through them."""

    def __init__(
        self,
        addresses: Sequence[str],
        port: int,
        secrets: Callable[[], Sequence[Secret]],
        own_name: str,
        handle: Callable[[Channel], None],
        log: Callable[[str], None],
        proof_limit_s: float = PROOF_LIMIT_S,
        peer_addresses: Collection[str] = (),
        is_for_root: bool = False,
    ) -> None:
        """Bind; empty ``addresses``: all of this node. Port 0: a free one.

        ``secrets`` is asked for each connection; ``handle`` is called in the thread of a channel,
        which is closed after it. What comes from ``peer_addresses`` has places of its own. With
        ``is_for_root`` a connection must come from a port that root alone can use. Raises
        SystemFault if an address cannot be used.
        """
        self._secrets, self._own_name, self._handle = secrets, own_name, handle
        self._log, self._proof_limit_s = log, proof_limit_s
        self._is_for_root = is_for_root
        self._places = _Places(_groups_of(peer_addresses))
        self._channels: set[Channel] = set()
        self._open = 0
        self._lock = threading.Lock()
        self._is_closed = False
        self._quiet_until, self._unreported = clock.monotonic(), 0
        self._sockets: list[socket.socket] = []
        self._woken, self._waker = socket.socketpair()
        try:
            for address in addresses or _ALL:
                try:
                    self._sockets.append(_bound(address, port))
                except SystemFault:
                    if addresses or address != _ALL_IPV6:
                        raise  # A node may have no IPv6.
                port = port or self._sockets[0].getsockname()[1]
        except SystemFault:
            self._close_sockets()
            raise
        self.port = port

    def serve(self) -> None:
        """Accept connections until ``close``; each is served by a thread of its own."""
        with selectors.DefaultSelector() as ready:
            for listening in self._sockets:
                ready.register(listening, selectors.EVENT_READ)
            ready.register(self._woken, selectors.EVENT_READ)
            while not self._is_closed:
                for key, _ in ready.select():
                    if key.fileobj in self._sockets:
                        assert isinstance(key.fileobj, socket.socket)
                        self._take(key.fileobj)

    def close(self) -> None:
        """End ``serve`` and every open channel; any thread may call it."""
        self._is_closed = True
        with contextlib.suppress(OSError):
            self._waker.send(b".")
        with self._lock:
            channels = list(self._channels)
        for channel in channels:
            channel.abort()

    def stop_accepting(self) -> None:
        """Release the port and end ``serve``; open channels stay. Any thread may call it."""
        self._is_closed = True
        self._close_sockets()

    def __enter__(self) -> Listener:
        """Return the listener, whose sockets are closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close everything."""
        self.close()
        self._close_sockets()

    def _close_sockets(self) -> None:
        for listening in (*self._sockets, self._woken, self._waker):
            listening.close()

    def _take(self, listening: socket.socket) -> None:
        try:
            raw, address = listening.accept()
        except BlockingIOError:
            return  # It has ended already.
        except OSError:
            clock.pause(_ACCEPT_AGAIN_S)  # Too many open files: no reason to end.
            return
        if self._is_for_root and address[1] not in RESERVED_PORTS:
            self._report_refusal(f"{address[0]}: it connects from a port that any user may use")
            raw.close()
            return
        group = _group_of(str(address[0]))
        if not self._places.take(group):
            raw.close()
            return
        try:
            threading.Thread(
                target=self._serve_one, args=(raw, group), name="peer request", daemon=True
            ).start()
        except RuntimeError:  # No thread is available.
            self._places.give_back(group)
            raw.close()

    def _serve_one(self, raw: socket.socket, group: str) -> None:
        try:
            channel = self._proven(raw, group)
            if channel is None:
                return
            try:
                with self._lock:
                    self._channels.add(channel)
                with channel:
                    if not self._is_closed:
                        self._handle(channel)
            finally:
                with self._lock:
                    self._channels.discard(channel)
                    self._open -= 1
        except OpenhaError as error:
            self._log(str(error))
        # The one place of this thread that catches all: one request must not end the listener.
        except Exception as error:
            self._log(f"a connection ended: {type(error).__name__}: {error}")

    def _proven(self, raw: socket.socket, group: str) -> Channel | None:
        """Return the channel once both ends are proven; None if that fails."""
        has_place = False

        def may_open() -> bool:
            nonlocal has_place
            with self._lock:
                has_place = self._open < PROVEN
                self._open += has_place
            return has_place

        try:
            return accept(raw, self._secrets(), self._own_name, self._proof_limit_s, may_open)
        except BaseException as error:
            if has_place:
                with self._lock:
                    self._open -= 1
            if not isinstance(error, NoPeerLinkError):
                raise
            self._report_refusal(str(error))
            return None
        finally:
            self._places.give_back(group)

    def _report_refusal(self, text: str) -> None:
        """Log a refusal; a flood of them only once in a while."""
        with self._lock:
            now = clock.monotonic()
            if now < self._quiet_until:
                self._unreported += 1
                return
            more, self._unreported = self._unreported, 0
            self._quiet_until = now + _REPORT_EVERY_S
        self._log(f"refused: {text}{f' (and {more} more since the last line)' if more else ''}")


class _Places:
    """Count connections that have proven nothing yet, by the group of their address.

    A machine may have any number of addresses: those of the peer have places that no other takes.
    """

    def __init__(self, peer_groups: Set[str]) -> None:
        self._peer_groups = peer_groups
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()

    def take(self, group: str) -> bool:
        """Reserve a place; False if there is none."""
        with self._lock:
            others = sum(
                count for each, count in self._taken.items() if each not in self._peer_groups
            )
            is_full = group not in self._peer_groups and others >= UNPROVEN
            if is_full or self._taken[group] >= UNPROVEN_OF_ONE:
                return False
            self._taken[group] += 1
            return True

    def give_back(self, group: str) -> None:
        """Release the place that ``take`` reserved."""
        with self._lock:
            self._taken[group] -= 1
            if not self._taken[group]:
                del self._taken[group]


def _groups_of(addresses: Collection[str]) -> set[str]:
    """Return the groups of addresses; what is a name has none."""
    groups = set()
    for address in addresses:
        with contextlib.suppress(ValueError):
            groups.add(_group_of(address))
    return groups


def _group_of(address: str) -> str:
    """Return what is counted as one address: of IPv6 the network, which one machine can fill."""
    plain = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(plain, ipaddress.IPv6Address):
        if plain.ipv4_mapped is not None:
            return str(plain.ipv4_mapped)
        return str(ipaddress.ip_network((int(plain), 64), strict=False))
    return str(plain)


def _bound(address: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SystemFault(f"the peer link cannot use {address}: {error.strerror}") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(place)
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise SystemFault(
            f"the peer link cannot listen on {address} port {port}: {error.strerror}"
        ) from error
    return listening
