"""Hold keys and mode, and what the peer has shown of its own, for the codecs of all links.

Decides with which key a beat is sent and whether a received one is authentic. A rotation advances
by itself: beats are sent with the next key once the peer has shown, in an authenticated beat, that
it has that key too; the former key is dropped once the peer sends with the new one. Whether an
authentic beat is fresh is decided in core.incarnations.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from opensvc_openha.core.beat import BootId
from opensvc_openha.core.status import AuthStatus
from opensvc_openha.errors import FrameError
from opensvc_openha.formats.beat_frame import WholeFrame
from opensvc_openha.formats.frame_seal import Key, Seal, cluster_mark
from opensvc_openha.formats.key_file import KeyRing
from opensvc_openha.formats.options_file import HeartbeatOptions
from opensvc_openha.formats.options_schema import AuthMode
from opensvc_openha.records import dataclass

UNKNOWN_KEY = "unknown key"
RETIRE_AFTER_S = 10.0
"""Seconds for which the former key stays accepted after a beat with the new one, since slow links
may lag behind.
"""


@dataclass(frozen=True)
class Judgement:
    """The key that authenticates an accepted frame, or why it is accepted without one."""

    key_id: str = ""
    remark: str = ""


class Authentication:
    """The only object that knows keys.

    Used by all link threads; ``update`` and ``advance`` by the main thread.
    """

    def __init__(self, node: str, boot: BootId, copy_command: str = "") -> None:
        """Start without keys.

        ``copy_command`` is the command with which an operator gives the peer the keys of this node.
        """
        self._copy_command = copy_command
        self._node = node
        self._boot = boot
        self._lock = threading.Lock()
        self._mode: AuthMode | None = AuthMode.OFF
        self._cluster = ""
        self._ring: KeyRing | None = None
        self._is_peer_known = False
        self._peer_sends = ""
        self._peer_knows = ""
        self._strange_key = ""
        """Unknown key used by frames since the peer was last heard with a known one."""
        self._is_keyless = False
        """The last frame that was not authentic, since the peer was heard with a key of ours, had
        no key at all.
        """
        self._shown_next = ""
        self._heard_current_at: float | None = None

    # --- configuration ----------------------------------------------------------------------------

    def update(
        self, options: HeartbeatOptions, ring: KeyRing | None, incarnations: Mapping[str, BootId]
    ) -> None:
        """Apply options and keys; ``incarnations`` has the keys under which the peer was heard.

        Once heard with any key, the peer is known to have one: replacing a key does not make
        unauthenticated frames acceptable again.
        """
        with self._lock:
            if self._ring is None or ring is None or ring.current != self._ring.current:
                self._heard_current_at = None
            self._mode, self._cluster, self._ring = options.authentication, options.cluster, ring
            self._is_peer_known = bool(incarnations)

    def relevant(self, incarnations: Mapping[str, BootId]) -> dict[str, BootId]:
        """Return the incarnations heard under keys that still exist."""
        with self._lock:
            known = set() if self._ring is None else {key.key_id for key in self._ring.keys}
        return {key_id: boot for key_id, boot in incarnations.items() if key_id in known}

    def learn(self, incarnations: Mapping[str, BootId]) -> bool:
        """Record under which keys the peer was heard.

        Returns True if frames without a key are rejected only from now on.
        """
        with self._lock:
            before = self._effective()
            self._is_peer_known = bool(incarnations)
            return before is not self._effective()

    def _effective(self) -> AuthMode:
        if self._ring is None:
            return AuthMode.OFF
        if self._mode is not None:
            return self._mode
        return AuthMode.ENFORCED if self._is_peer_known else AuthMode.PERMISSIVE

    # --- beats ------------------------------------------------------------------------------------

    @property
    def cluster(self) -> str:
        """Name of the cluster; empty without one."""
        return self._cluster

    def seal(self, binding: bytes) -> Seal | None:
        """Return what authenticates the next frame on a link.

        None if beats are not authenticated.
        """
        with self._lock:
            if self._ring is None or self._effective() is AuthMode.OFF:
                return None
            return Seal(self._sending(self._ring), self._ring.newest.key_id, binding)

    def judge(self, frame: WholeFrame, binding: bytes, now: float) -> Judgement:
        """Judge a frame before its fields are decoded; raises FrameError for a rejected one."""
        # Report frames with this node's name, or from another cluster, as such, before checking any
        # tag.
        if frame.node == self._node:
            raise FrameError(
                "own" if frame.boot == self._boot else "namesake",
                f"a frame that bears our name, {self._node}",
            )
        if frame.cluster and self._cluster and frame.cluster != cluster_mark(self._cluster):
            raise FrameError("foreign cluster", "a frame of another cluster")
        with self._lock:
            mode, ring = self._effective(), self._ring
        if mode is AuthMode.OFF or ring is None:
            return Judgement()
        problem = _problem(frame, binding, ring)
        if not problem:
            self._record_peer(frame, now)
            return Judgement(frame.key_id)
        self._is_keyless = not frame.key_id
        if problem == UNKNOWN_KEY:
            self._strange_key = frame.key_id
        if mode is AuthMode.ENFORCED:
            raise FrameError(problem, f"the frame is not authenticated: {problem}")
        return Judgement(remark=problem)

    def is_authentic(self, frame: WholeFrame, binding: bytes) -> bool:
        """Return True if a key of ours authenticates a frame of another node; record nothing."""
        with self._lock:
            mode, ring = self._effective(), self._ring
        is_checked = mode is not AuthMode.OFF and ring is not None and frame.node != self._node
        return is_checked and ring is not None and not _problem(frame, binding, ring)

    def _record_peer(self, frame: WholeFrame, now: float) -> None:
        with self._lock:
            self._peer_sends, self._peer_knows, self._strange_key = (
                frame.key_id,
                frame.newest_id,
                "",
            )
            self._is_keyless = False
            ring = self._ring
            if (
                ring is not None
                and ring.next is not None
                and ring.next.key_id in (frame.key_id, frame.newest_id)
            ):
                self._shown_next = ring.next.key_id
            if (
                ring is not None
                and frame.key_id == ring.current.key_id
                and self._heard_current_at is None
            ):
                self._heard_current_at = now

    def _sending(self, ring: KeyRing) -> Key:
        if ring.next is not None and ring.next.key_id == self._shown_next:
            return ring.next
        return ring.current

    # --- rotation ---------------------------------------------------------------------------------

    def advance(self, now: float) -> KeyRing | None:
        """Return the key ring after the next step of a rotation, to be stored; None without one."""
        with self._lock:
            ring = self._ring
            if ring is None or self._effective() is AuthMode.OFF:
                return None
            if ring.next is not None and self._sending(ring) is ring.next:
                return KeyRing(ring.next, previous=ring.current)
            heard_at = self._heard_current_at
            if (
                ring.previous is not None
                and heard_at is not None
                and now >= heard_at + RETIRE_AFTER_S
            ):
                return KeyRing(ring.current)
            return None

    # --- showing ----------------------------------------------------------------------------------

    def status(self) -> AuthStatus:
        """Return mode and key ids."""
        with self._lock:
            ring, mode = self._ring, self._effective()
            if ring is None or mode is AuthMode.OFF:
                return AuthStatus(mode.value, self._cluster)
            accepts = tuple(key.key_id for key in ring.keys)
            return AuthStatus(
                mode.value,
                self._cluster,
                self._sending(ring).key_id,
                accepts,
                self._peer_sends,
                self._peer_knows,
            )

    @property
    def _how_to_copy(self) -> str:
        return f": `{self._copy_command}`" if self._copy_command else ""

    def warnings(self) -> tuple[str, ...]:
        """Return what operators should know of the current authentication."""
        with self._lock:
            ring, mode = self._ring, self._effective()
            if ring is None:
                return ("heartbeats are not authenticated",)
            if mode is AuthMode.OFF:
                return (
                    "heartbeats are not authenticated (authentication = off, although there is"
                    " a key)",
                )
            found = []
            if mode is AuthMode.PERMISSIVE:
                until = (
                    " until the peer is heard with a key of ours"
                    if self._mode is None
                    else " (authentication = permissive)"
                )
                found.append(f"heartbeats without the key are accepted{until}{self._how_to_copy}")
            if self._strange_key and ring.find(self._strange_key) is None:
                what = "accepted all the same" if mode is AuthMode.PERMISSIVE else "refused"
                found.append(
                    f"the peer sends with key {self._strange_key}, which is not here, and is"
                    f" {what}: the nodes need the same key{self._how_to_copy}"
                )
            known = {key.key_id for key in ring.keys}
            if mode is AuthMode.ENFORCED and self._is_keyless:
                found.append(
                    "frames in the peer's name come without a key, and are"
                    f" refused{self._how_to_copy}"
                )
            if self._peer_knows and self._peer_knows not in known:
                found.append(
                    f"the peer has key {self._peer_knows}, which is not here: install its key file"
                    " on this node"
                )
            elif (
                ring.next is not None and self._peer_knows and self._peer_knows != ring.next.key_id
            ):
                found.append(
                    f"the peer does not have the next key {ring.next.key_id} yet: install this"
                    " node's key file there"
                )
            return tuple(found)


def _problem(frame: WholeFrame, binding: bytes, ring: KeyRing) -> str:
    """Return why a frame is not authentic, as the name of its counter; empty if it is."""
    if not frame.key_id:
        return "unauthenticated"
    key = ring.find(frame.key_id)
    if key is None:
        return UNKNOWN_KEY
    return "" if frame.is_authentic(key, binding) else "forged"
