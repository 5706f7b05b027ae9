"""Carry beats between the two nodes of a rehearsal: networks at once, disks at the reader's pace.

For a node that promises its own death, the slots are read back by their writer, and reads that show
nothing new are reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from opensvc_openha.core.actions import Announce
from opensvc_openha.core.beat import Beat
from opensvc_openha.core.events import BeatReceived, MediumQuiet, RenewalConfirmed, SendersMuted
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.promise import media_of
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import slot_read_s
from opensvc_openha.verify.rehearsal.copied_node import CopiedNode
from opensvc_openha.verify.scheduler import Scheduler

_DELAY_S = 0.001
_READ_BACK_S = 0.002


@dataclass
class _Slot:
    """The newest beat in a slot, and since when its reader has it."""

    beat: Beat
    read_since: float | None = None


class Wires:
    """All heartbeat links."""

    def __init__(self, scheduler: Scheduler, key_id: str, has_lease: bool) -> None:
        """``key_id`` authenticates all beats; empty for none."""
        self._scheduler = scheduler
        self._key_id = key_id
        self._has_lease = has_lease
        self.cut: set[LinkSpec] = set()
        """Nothing that is sent there arrives."""
        self.muted: dict[str, set[LinkSpec]] = {}
        """Links that a node knows that it cannot send on, by node."""
        self._slots: dict[LinkSpec, _Slot] = {}

    def is_dead(self, link: LinkSpec) -> bool:
        """Return True if nothing passes on this link."""
        return link in self.cut or any(link in links for links in self.muted.values())

    def mute(self, node: CopiedNode, links: frozenset[LinkSpec], is_back: bool) -> None:
        """Let an interface of a node go down or come back, which its daemon notices."""
        known = self.muted.setdefault(node.name, set())
        (known.difference_update if is_back else known.update)(links)
        node.later(
            _DELAY_S, SendersMuted(frozenset(link for link in known if link.node == node.name))
        )

    def send(self, node: CopiedNode, action: Announce) -> None:
        """Send a beat on all links of a node."""
        media = media_of(node.spec.senders) if self._has_lease else {}
        for link in node.spec.senders:
            if self.is_dead(link):
                continue
            if not link.is_disk:
                self._scheduler.after(_DELAY_S, self._arrive, node, link, action.beat)
                continue
            self._slots[link] = _Slot(action.beat)
            pause_s = slot_read_s(link.timeout_s)
            instant = (int(self._scheduler.now / pause_s) + 1) * pause_s
            self._scheduler.at(instant, self._read, node, link, action.beat)
            if link in media:
                began_at = node.now
                node.soon(
                    _READ_BACK_S, partial(self._confirm, node, media[link], action.beat, began_at)
                )

    def _confirm(self, node: CopiedNode, medium: bytes, beat: Beat, began_at: float) -> None:
        has_facts = beat.facts is not None
        node.give(RenewalConfirmed(medium, beat.seq, began_at, node.now, has_facts))

    def _read(self, sender: CopiedNode, link: LinkSpec, beat: Beat) -> None:
        """Let the peer read a slot, unless a newer beat is there by now."""
        slot = self._slots[link]
        if slot.beat is beat and not self.is_dead(link):
            slot.read_since = self._scheduler.now
            self._arrive(sender, link, beat)

    def _arrive(self, sender: CopiedNode, link: LinkSpec, beat: Beat) -> None:
        if not self.is_dead(link):
            receiver = sender.peer
            receiver.give(BeatReceived(link, beat, receiver.now, key_id=self._key_id))

    def read_quiet(self, node: CopiedNode) -> None:
        """Let a node read the slots of a peer that has promised, and is not heard."""
        engine = node.engine
        if engine is None or engine.promised is None or engine.peer_standing is PeerStanding.LIVE:
            return
        for link, medium in media_of(node.spec.listeners).items():
            slot = self._slots.get(link)
            if slot is not None and slot.read_since is not None and not self.is_dead(link):
                node.give(MediumQuiet(medium, node.now, slot.read_since))
