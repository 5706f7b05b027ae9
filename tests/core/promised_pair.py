"""Two nodes with a disk between them, of which deb1 promises to be dead soon after its last sign.

What deb1 promises is put into its beats on the way. Its disk link is a slot that deb2 reads: quiet
as long as nothing new is in it.
"""

from __future__ import annotations

from dataclasses import replace

from opensvc_openha.core.actions import Announce
from opensvc_openha.core.events import BeatReceived, MediumQuiet
from opensvc_openha.core.model import FencePath, LinkSpec, PathKind, Policy, Profile
from opensvc_openha.core.promise import Promise, media_of
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.verify.simulated_node import NODES
from tests.core.pair import TIMEOUT_S, Host
from tests.core.plans import PlanPair

LEASE = FencePath("lease", PathKind.LEASE, 0.0)
READ_S = 0.25
NET = "eth1"
DISK = "/dev/sda"


class PromisedPair(PlanPair):
    """A pair with a network and a disk link each way, and a promise of deb1."""

    key_id = "aabbccdd"

    def __init__(
        self,
        *levels: tuple[FencePath, ...],
        death_s: float = 11.4,
        timeout_s: float = TIMEOUT_S,
        profile: Profile = Profile.TUTORIAL,
        has_arbiter: bool = False,
        names: tuple[str, ...] = ("registry",),
        check: str = "/bin/true",
        retry_s: float = 10.0,
        policy: Policy = Policy(),
        is_duel: bool = False,
    ) -> None:
        super().__init__(
            *(levels or ((LEASE,),)),
            has_arbiter=has_arbiter,
            names=names,
            check=check,
            retry_s=retry_s,
            policy=policy,
            is_duel=is_duel,
        )
        self.profile = profile
        self.links = tuple(
            link
            for index, node in enumerate(NODES)
            for link in (
                LinkSpec(node, "net", NET, f"239.131.50.{index}", 5010, 0, timeout_s),
                LinkSpec(node, "dio", DISK, "", 0, 10 + 10 * index, timeout_s),
            )
        )
        self.disk = self.links[1]
        self.promise: Promise | None = Promise(death_s, frozenset(media_of([self.disk]).values()))
        self.is_readable = True
        self.speaks_facts = True
        self.heard_at = 0.0
        self.schedule(READ_S, self._read)

    def _deliver(self, other: Host, link: LinkSpec, action: Announce, received_at: float) -> None:
        beat = action.beat
        if beat.node == "deb1" and beat.facts is not None:
            beat = replace(beat, facts=replace(beat.facts, promise=self.promise))
        if not self.speaks_facts:
            beat = replace(beat, facts=None)
        if other is self.deb2:
            self.heard_at = received_at
        event = BeatReceived(link, beat, received_at, key_id=self.key_id)
        other.handle(other.life, event)

    def _read(self) -> None:
        """Read the slot of deb1 on deb2, as its listener does while it is of use."""
        self.schedule(READ_S, self._read)
        engine = self.deb2.engine
        if engine is None or engine.promised is None or not self.is_readable:
            return
        if engine.peer_standing is not PeerStanding.LIVE and not self.deb2.is_stalled:
            medium = media_of([self.disk])[self.disk]
            self.deb2.handle(self.deb2.life, MediumQuiet(medium, self.now))

    def sign(self, number: int = 0) -> None:
        """One more beat of deb1 reaches deb2 by a link, an old one that counts for nothing."""
        link = self.links[number]
        event = BeatReceived(link, self.old_beat, self.now, key_id=self.key_id)
        self.deb2.handle(self.deb2.life, event)

    def keep_beat(self) -> None:
        """Keep what deb1 says now, for `sign`."""
        assert self.deb1.engine is not None
        self.old_beat = self.deb1.engine.beat()

    def lose_power(self) -> float:
        """Cut the power of deb1 just after a beat; return when deb2 received that."""
        engine = self.deb1.engine
        assert engine is not None
        seq = engine.seq
        self.keep_beat()
        while engine.seq == seq:
            self.run(0.05)
        self.run(0.01)
        self.deb1.crash()
        return self.heard_at

    def reason(self) -> str:
        """What deb2 shows of the service."""
        return self.deb2.service().reason
