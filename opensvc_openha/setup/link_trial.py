"""Try heartbeat links before they are configured, with the code that will carry beats.

Each node sends a random mark on its ends and listens for that of the other node on theirs: what is
heard is one network or one disk for both, and no firewall is in between. A disk is written only
where its owner's check allows it, and its slot is made blank again if it was blank.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from types import TracebackType

from opensvc_openha.core.model import LinkSpec
from opensvc_openha.errors import RefusedError
from opensvc_openha.formats.disk_slot import BLOCK_BYTES
from opensvc_openha.links.base import LinkFault
from opensvc_openha.links.disk_channel import START_LIMIT_S, channel_for
from opensvc_openha.links.registry import make_listener, make_sender
from opensvc_openha.links.slot_link import IO_LIMIT_S, ForeignData, SlotSender
from opensvc_openha.system import clock

LIMIT_S = 6.0
"""Seconds in which a link must be heard."""
MARK = b"openha-setup "
_SEND_EVERY_S = 0.2
_WATCH_S = 2.5
"""A living cluster writes its slots within this time."""


class LinkTrial:
    """The ends of this node while they are tried; a context manager."""

    def __init__(self, own: str, links: Sequence[LinkSpec], own_mark: str, peer_mark: str) -> None:
        self._senders = [link for link in links if link.node == own]
        self._listeners = [link for link in links if link.node != own]
        self._own_mark = MARK + own_mark.encode()
        self._peer_mark = MARK + peer_mark.encode()
        self._changed = threading.Condition()
        self._is_over = threading.Event()
        self._heard: set[str] = set()
        self._faults: dict[str, str] = {}
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> LinkTrial:
        """Begin to send and to listen."""
        for link in self._senders:
            self._begin(self._send, link)
        for link in self._listeners:
            self._begin(self._listen, link)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all threads, so that the daemon finds the ports free."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def wait(self, limit_s: float = LIMIT_S) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the links that were heard, and the faults, once all is known or time is over.

        The ends continue until the trial is left: the other node may need longer.
        """
        deadline = clock.monotonic() + limit_s
        with self._changed:
            while not self._is_all_known():
                left = deadline - clock.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            heard = tuple(link.link_id for link in self._listeners if link.link_id in self._heard)
            return heard, tuple(self._faults.values())

    def _is_all_known(self) -> bool:
        return all(
            link.link_id in self._heard or link.link_id in self._faults for link in self._listeners
        )

    def _begin(self, work: object, link: LinkSpec) -> None:
        thread = threading.Thread(target=work, args=(link,), name="trial", daemon=True)  # type: ignore[arg-type]
        thread.start()
        self._threads.append(thread)

    def _note_fault(self, link: LinkSpec, error: LinkFault) -> None:
        with self._changed:
            self._faults[link.link_id] = f"{link.link_id}: {error}"
            self._changed.notify_all()

    def _send(self, link: LinkSpec) -> None:
        end = make_sender(link, clock.monotonic)
        number = 0
        try:
            end.open()
            while not self._is_over.is_set():
                number += 1
                # A slot counts when it changes.
                end.send(self._own_mark + b" %d" % number)
                self._is_over.wait(_SEND_EVERY_S)
        except LinkFault as error:
            self._note_fault(link, error)
        finally:
            end.close()

    def _listen(self, link: LinkSpec) -> None:
        end = make_listener(link, clock.monotonic)
        try:
            end.open()
            while not self._is_over.is_set():
                received = end.receive(_SEND_EVERY_S)
                if received is not None and received.data.startswith(self._peer_mark + b" "):
                    with self._changed:
                        self._heard.add(link.link_id)
                        self._changed.notify_all()
        except LinkFault as error:
            self._note_fault(link, error)
        finally:
            end.close()


class DiskSlots:
    """The slots of a new cluster on a disk: unused now, and as they were after a failed set-up."""

    def __init__(self, links: Sequence[LinkSpec]) -> None:
        self._links = [link for link in links if link.is_disk]
        self._blank: list[LinkSpec] = []

    def check(self) -> None:
        """Raise RefusedError for a disk that has another owner, or that a cluster uses.

        Nothing is written.
        """
        before = {}
        for link in self._links:
            self._check_owner(link)
            before[link] = self._read(link)
        if any(data.strip(b"\0") for data in before.values()):
            clock.pause(_WATCH_S)
        for link, data in before.items():
            if self._read(link) != data:
                raise RefusedError(
                    f"{link.device} is a heartbeat disk of a cluster that runs: block"
                    f" {link.offset} is written to; nothing was changed"
                )
        self._blank = [link for link, data in before.items() if not data.strip(b"\0")]

    def _check_owner(self, link: LinkSpec) -> None:
        sender = make_sender(link, clock.monotonic)
        assert isinstance(sender, SlotSender), "a disk type writes slots"
        try:
            sender.open()
        except ForeignData as error:
            found = str(error).partition(": nothing is written")[0]
            raise RefusedError(
                f"{found}: a heartbeat disk holds nothing else; nothing was changed"
            ) from None
        finally:
            sender.close()

    def _read(self, link: LinkSpec) -> bytes:
        channel = channel_for(link.device, True)
        try:
            channel.open(False, START_LIMIT_S)
            return channel.read(
                link.offset * BLOCK_BYTES, link.slot_blocks * BLOCK_BYTES, IO_LIMIT_S
            )
        finally:
            channel.close()

    def restore(self) -> None:
        """Make blank again what was blank, if the disk can still be written."""
        for link in self._blank:
            channel = channel_for(link.device, True)
            with contextlib.suppress(LinkFault):
                info = channel.open(True, START_LIMIT_S)
                size = link.slot_blocks * BLOCK_BYTES // info.block_bytes * info.block_bytes
                channel.write(link.offset * BLOCK_BYTES, bytes(size), IO_LIMIT_S)
            channel.close()
