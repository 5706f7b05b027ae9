"""Simulated peer or attacker of a ClusterDir: sends frames to the real daemon and receives its."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping

from opensvc_openha.core.beat import Ack, Beat, BootId, Goodbye
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.errors import FrameError
from opensvc_openha.formats.beat_frame import Frame, encode_beat, open_frame
from opensvc_openha.formats.frame_seal import Key, Seal, link_binding
from opensvc_openha.links.monitor_file import parse_monitor
from tests.cluster_dir import HERE, PEER, ClusterDir


class PeerVoice:
    """Sends beats of the peer on a cluster directory's network link, and receives the daemon's."""

    def __init__(self, cluster: ClusterDir, key: Key | None = None, counter: int = 7) -> None:
        links = parse_monitor(cluster.path("conf/monitor").read_text(), "monitor", (HERE, PEER))
        self.link = self._network(links, PEER)
        self.key = key
        self.boot = BootId(counter, 0x1234 + counter)
        self.seq = 0
        self.ack: Ack | None = None
        self.states: Mapping[str, ServiceState] = {}
        self.cluster_name = ""
        self.heard: Frame | None = None
        self.heard_bytes = b""
        self._ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._ear.bind(("127.0.0.1", self._network(links, HERE).port))
        self._ear.settimeout(0.02)

    @staticmethod
    def _network(links: tuple[LinkSpec, ...], node: str) -> LinkSpec:
        return next(link for link in links if link.node == node and not link.is_disk)

    def close(self) -> None:
        """Release the port."""
        self._ear.close()

    def throw(self, data: bytes) -> None:
        """Send one datagram of any content."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(data, ("127.0.0.1", self.link.port))

    def frame(
        self,
        *,
        key: Key | None = None,
        node: str = PEER,
        link: LinkSpec | None = None,
        seq: int = 0,
        goodbye: Goodbye = Goodbye.NONE,
        with_names: bool = False,
        is_sealed: bool = True,
    ) -> bytes:
        """Return the next frame of the peer without sending it.

        With another key, node or link it is a forged one.
        """
        if not seq:
            self.seq += 1
            seq = self.seq
        key = key or self.key
        seal = (
            Seal(key, key.key_id, link_binding(link or self.link))
            if key is not None and is_sealed
            else None
        )
        beat = Beat(node, self.boot, seq, self.ack, self.states, goodbye, sent_at=time.time())
        return encode_beat(
            beat,
            pid=4242,
            interval_s=1.0,
            with_names=with_names,
            cluster=self.cluster_name,
            seal=seal,
        )

    def send(self) -> None:
        """Send the next frame."""
        self.throw(self.frame())

    @contextlib.contextmanager
    def speaking(self) -> Iterator[None]:
        """Send meanwhile: a command may begin later than the timeout on a busy machine."""
        is_over = threading.Event()

        def speak() -> None:
            while not is_over.wait(0.1):
                self.send()

        self.send()
        speaker = threading.Thread(target=speak)
        speaker.start()
        try:
            yield
        finally:
            is_over.set()
            speaker.join()

    def listen(self) -> Frame | None:
        """Receive all frames of the daemon; record its incarnation for the next acknowledgement."""
        while True:
            try:
                data = self._ear.recv(65_536)
            except OSError:
                return self.heard
            try:
                self.heard, self.heard_bytes = open_frame(data).decode(), data
            except FrameError:
                continue
            self.ack = Ack(self.heard.boot, self.heard.seq)

    def next_frame(self) -> Frame | None:
        """Return the daemon's next unread frame; None if there is none now."""
        while True:
            try:
                data = self._ear.recv(65_536, socket.MSG_DONTWAIT)
            except OSError:
                return None
            try:
                return open_frame(data).decode()
            except FrameError:
                continue

    @property
    def heard_key(self) -> str:
        """Return the key id of the daemon's last beat, empty if it is unauthenticated."""
        return open_frame(self.heard_bytes).key_id if self.heard_bytes else ""

    def talk(self, cluster: ClusterDir, condition: str) -> None:
        """Send and receive until `hb -s -v` shows a text."""

        def is_shown() -> bool:
            self.listen()
            self.send()
            return condition in cluster.ok("hb -s -v")

        cluster.wait(is_shown, condition)

    def meet(self, cluster: ClusterDir) -> None:
        """Send and receive until the daemon accepts the peer as live."""
        self.talk(cluster, f"peer {PEER}: live")
