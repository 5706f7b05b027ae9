"""Decide which of two living nodes may fence the other: registrations on a heartbeat disk.

::

    in peace   each node registers its key, made from its name            register_in_peace
    always     is our key still there?                                     watch
    silence    remove the peer's key; the device lets one of both do it    claim

Removing a key needs a registration of one's own, and the first of two nodes takes the other's away:
one test-and-set, whoever looks when. A node that registered at that moment would undo the other's
claim, so it never does. There is no reservation, so that beats continue to be written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from opensvc_openha.errors import SystemFault
from opensvc_openha.fence_devices.arbiter_answers import ArbiterLook, Claim, ClaimOutcome
from opensvc_openha.fence_devices.block_devices import DiskAddress, disks_under
from opensvc_openha.fence_devices.scsi_disk import DiskFault, ScsiPort, open_port
from opensvc_openha.fence_devices.shared_disk import DiskState, Ejected, SharedDisk
from opensvc_openha.formats.reservation_key import key_text
from opensvc_openha.system.clock import pause

LIMIT_S = 2.0
"""Limit of one command: the standing look must not keep its thread."""


def arbiter_key(node: str) -> int:
    """Return the key of a node: from its name, so that both nodes know both keys.

    Keys of the configuration could be the same on two nodes, copied with a disk image.
    """
    digest = hashlib.sha256(f"opensvc-openha arbiter {node.lower()}".encode()).digest()
    return int.from_bytes(digest[:8], "big") or 1


def address_of_arbiter(path: str) -> DiskAddress:
    """Return the whole disk that a heartbeat disk is on; DiskFault if it is on none or several."""
    found = disks_under(path)
    if len(found) != 1:
        names = ", ".join(disk.name for disk in found) or "no disk"
        raise DiskFault(f"{path} is on {names}: an arbiter needs one SCSI disk")
    return found[0]


class ArbiterDisk:
    """The arbiter as one node sees it. Raises SystemFault if the disk cannot be asked.

    ``generation`` of the last look of an earlier process at which this node was registered, if
    that is known: its counter distinguishes an ejection from a disk that restarted empty.
    """

    def __init__(
        self,
        path: str,
        node: str,
        peer: str,
        open_path: Callable[[str], ScsiPort] = open_port,
        find: Callable[[str], DiskAddress] = address_of_arbiter,
        wait: Callable[[float], None] = pause,
        generation: int | None = None,
    ) -> None:
        self._path = path
        self._node, self._peer = node, peer
        self._key, self._peer_key = arbiter_key(node), arbiter_key(peer)
        self._generation = generation
        self._disk = SharedDisk(find(path), open_path, wait, LIMIT_S)

    def close(self) -> None:
        """Release the disk."""
        self._disk.close()

    def register_in_peace(self, is_readmitted: bool = False) -> str:
        """Register over each path that is not, and return what the disk shows.

        Only while the peer acknowledges our beats: see the module. Ejected if the peer removed us:
        then only once our services were found down, which ``is_readmitted`` says.
        """
        state = self._disk.read()
        look = self._look(state)
        if look.by and not is_readmitted:
            raise Ejected(f"{self._path}: {look.by} removed {self._node}, which stays out")
        if state.reservation is not None:
            raise DiskFault(
                f"{self._path} is reserved by {state.reservation}: a disk with data cannot be the"
                " arbiter, for the stop of its service removes all keys"
            )
        strangers = set(state.keys) - {self._key, self._peer_key}
        if strangers:
            raise DiskFault(
                f"{self._path} has registrations of others than {self._node} and {self._peer}:"
                f" {', '.join(map(key_text, sorted(strangers)))}: an arbiter needs a disk that"
                " nobody else registers on"
            )
        self._disk.register_missing(self._key, state, self._disk.keeps_registrations())
        look = self.watch()
        if not look.is_registered:
            raise DiskFault(f"{self._path}: registered, but {look.text}")
        return look.text

    def watch(self) -> ArbiterLook:
        """Look whether this node is still registered."""
        return self._look(self._disk.read())

    def _look(self, state: DiskState) -> ArbiterLook:
        is_ours, is_peers = self._key in state.keys, self._peer_key in state.keys
        if is_ours:
            self._generation = state.generation
        elif self._generation is not None and state.generation <= self._generation:
            # Its counter began again: it lost its power, and was never asked to keep anything.
            self._generation = None
        is_ejected = is_peers and not is_ours and self._generation is not None
        by = self._peer if is_ejected else ""
        return ArbiterLook(is_ours, by, is_peers, self._described(state), state.generation)

    def claim(self, generation: int | None = None) -> Claim:
        """Take the right to fence the peer, if it has not taken it first.

        ``generation`` of the last look: with it, a connection that was lost and came back can be
        registered again, if nothing else has changed since.
        """
        try:
            self._disk.unit()
            state = self._disk.read()
            verdict = self._verdict(state)
            if verdict is None:
                verdict = self._contested(state, generation)
        except SystemFault as error:
            return Claim(ClaimOutcome.UNABLE, str(error))
        return verdict

    def _contested(self, state: DiskState, generation: int | None) -> Claim:
        """Both are registered: one test-and-set, then what the disk shows decides."""
        try:
            self._eject_peer()
        except DiskFault:
            if generation != state.generation:
                raise
            # No path of ours is registered any more, though the key is there: reconnected.
            self._disk.register_again(self._key, generation)
            self._eject_peer()
        verdict = self._verdict(self._disk.read())
        return verdict or Claim(ClaimOutcome.UNABLE, f"{self._peer} is still registered")

    def _eject_peer(self) -> None:
        # Whether the peer was faster is read from the disk, not from how the command ended.
        try:
            self._disk.eject(self._key, self._peer_key, may_abort=False)
        except Ejected:
            return

    def _verdict(self, state: DiskState) -> Claim | None:
        """Return the outcome that the disk shows; None while both nodes are registered."""
        is_ours, is_peers = self._key in state.keys, self._peer_key in state.keys
        text = self._described(state)
        if is_ours:
            return None if is_peers else Claim(ClaimOutcome.WON, text)
        if is_peers:
            return Claim(ClaimOutcome.LOST, text, self._peer)
        return Claim(ClaimOutcome.UNABLE, f"{text}: nodes register only while they hear each other")

    def _described(self, state: DiskState) -> str:
        here = [
            node
            for node, key in ((self._node, self._key), (self._peer, self._peer_key))
            if key in state.keys
        ]
        return f"{' and '.join(here) or 'no node'} registered on {self._path}"
