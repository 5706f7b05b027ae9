"""One of our engines beside a node with the original's rules, joined by the original's bytes.

The rules of the other node are those measured on the C programs: it checks every service each 2 s,
waits 5 s in START_READY, where only the peer's state file, read at the end, can stop it, and it
keeps no doubt in memory.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from opensvc_openha.core.actions import Announce
from opensvc_openha.core.events import BeatReceived
from opensvc_openha.core.model import LinkSpec, Role, Wire
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.formats.legacy_frame import (
    LegacyRecord,
    decode_disk_record,
    decode_record,
    encode_disk_record,
    encode_record,
)
from opensvc_openha.heartbeat.codec.legacy import LegacyCodec
from opensvc_openha.verify.simulated_node import NODES, SimulatedNode
from tests.core.pair import TIMEOUT_S, Host, Pair
from tests.decoding import heard

LOOP_S = 2.0
GRACE_S = 5.0
SCRIPT_S = 1.0
DISK_POLL_S = 1.0
WALL_AT_START = 1_800_000_000
_STARTABLE = {S.STOPPED, S.FROZEN_STOP, S.UNKNOWN}


class OriginalNode:
    """A C OpenHA with one service, registry."""

    def __init__(self, pair: MixedPair, index: int) -> None:
        self.pair = pair
        self.name = NODES[index]
        self.role = Role.PRIMARY if index == 0 else Role.SECONDARY
        self.state = S.FROZEN_STOP
        self.peer = S.FROZEN_STOP
        self.running: set[str] = set()
        self.states: list[tuple[float, S]] = []
        self.life = 0
        self.is_alive = False
        self.clock_step_s = 0.0
        self._heard: dict[LinkSpec, float] = {}
        self._disk_clock: dict[LinkSpec, int] = {}

    def boot(self) -> None:
        """Boot the machine: services that are not frozen are declared stopped.

        Each sender gets a phase of its own.
        """
        self.life += 1
        self.is_alive = True
        self._heard.clear()
        self._disk_clock.clear()
        if self.state is not S.FROZEN_STOP:
            self._set(S.STOPPED)
        for link in self.pair.links:
            act = (
                self._beat if link.node == self.name else self._read_disk if link.is_disk else None
            )
            if act is not None:
                self.pair.schedule(self.pair.random.random(), act, self.life, link)
        self.pair.schedule(LOOP_S, self._look, self.life)

    def crash(self) -> None:
        """Crash the whole node."""
        self.life += 1
        self.is_alive = False
        self.running.clear()

    def unfreeze(self) -> None:
        """Run `service -A registry unfreeze`."""
        self._set({S.FROZEN_STOP: S.STOPPED, S.START_READY: S.STARTED}.get(self.state, self.state))

    def freeze_stop(self) -> None:
        """Run `service -A registry freeze-stop`."""
        if self.state is S.STARTED:
            self._set(S.STOPPING)
            self.pair.schedule(SCRIPT_S, self._stopped, self.life)
        elif self.state in (S.STOPPED, S.START_FAILED, S.STOP_FAILED):
            self._set(S.FROZEN_STOP)

    def _stopped(self, life: int) -> None:
        if life == self.life:
            self.running.discard("registry")
            self._set(S.FROZEN_STOP)

    def _set(self, state: S) -> None:
        self.state = state
        self.states.append((self.pair.now, state))

    # --- heartbeats -------------------------------------------------------------------------------

    def _beat(self, life: int, link: LinkSpec) -> None:
        if life != self.life:
            return
        clock_s = int(self.pair.wall + self.clock_step_s)
        record = LegacyRecord(
            self.name, (("registry", self.state),), clock_s, 55, 0, link.port, link.address
        )
        self.pair.carry_to_ours(
            link, encode_disk_record(record) if link.is_disk else encode_record(record)
        )
        self.pair.schedule(1.0, self._beat, life, link)

    def hear(self, life: int, link: LinkSpec, data: bytes) -> None:
        """Receive a datagram."""
        if life == self.life:
            self._heard[link] = self.pair.now
            self._take(decode_record(data))

    def _read_disk(self, life: int, link: LinkSpec) -> None:
        """Read the disk once per timeout; a changed clock is enough to be up."""
        if life != self.life:
            return
        data = self.pair.on_disk.get(link)
        if data is not None:
            record = decode_disk_record(data)
            if self._disk_clock.get(link) != record.clock_s:
                self._disk_clock[link] = record.clock_s
                # Up until the next read.
                self._heard[link] = self.pair.now + 0.001
                self._take(record)
        self.pair.schedule(link.timeout_s, self._read_disk, life, link)

    def _take(self, record: LegacyRecord) -> None:
        self.peer = dict(record.states).get("registry", self.peer)

    # --- the daemon -------------------------------------------------------------------------------

    def _look(self, life: int) -> None:
        if life != self.life:
            return
        if not any(self.pair.now < heard + link.timeout_s for link, heard in self._heard.items()):
            self.peer = S.UNKNOWN
        if self.state in (S.STOPPED, S.UNKNOWN) and self.peer in _STARTABLE:
            self._set(S.START_READY)
            self.pair.schedule(GRACE_S, self._grace_is_over, life, self.peer)
        else:
            self.pair.schedule(LOOP_S, self._look, life)

    def _grace_is_over(self, life: int, before: S) -> None:
        if life != self.life:
            return
        yields_to = (S.STARTING, S.STARTED) if self.role is Role.PRIMARY else tuple(S)
        if self.peer is not before and self.peer in yields_to:
            self._set(S.STOPPED)
            self.pair.schedule(LOOP_S, self._look, life)
            return
        self._set(S.STARTING)
        self.pair.scripts.append((self.pair.now, self.name, "start", "registry"))
        self.running.add("registry")
        self.pair.schedule(SCRIPT_S, self._started, life)

    def _started(self, life: int) -> None:
        if life == self.life:
            self._set(S.STARTED)
            self.pair.schedule(LOOP_S, self._look, life)


class MixedPair(Pair):
    """Our node is primary (index 0) or secondary (1); the other is a C OpenHA."""

    def __init__(
        self,
        our_index: int,
        seed: int = 0,
        timeout_s: float = TIMEOUT_S,
        *,
        has_net: bool = True,
        has_disk: bool = False,
    ) -> None:
        super().__init__(timeout_s=timeout_s, link_count=2 if has_net else 0)
        self.random = Random(seed)
        disks = tuple(
            LinkSpec(name, "dio", "/dev/disk", "", 0, 19 * index, timeout_s)
            for index, name in enumerate(NODES)
        )
        self.links = tuple(
            replace(link, wire=Wire.LEGACY) for link in self.links + (disks if has_disk else ())
        )
        self.delay_s = lambda: self.random.uniform(0.0005, 0.005)
        self.ours = Host(self, our_index)
        self.original = OriginalNode(self, 1 - our_index)
        self.on_disk: dict[LinkSpec, bytes] = {}
        self._codecs = {link: LegacyCodec(link, lambda: ("registry",)) for link in self.links}

    @property
    def wall(self) -> float:
        """Return the wall clock of both nodes."""
        return WALL_AT_START + self.now

    def boot_both(self) -> tuple[Host, OriginalNode]:
        """Boot both nodes, the service frozen; return once they hear each other."""
        self.ours.boot()
        self.original.boot()
        self.run(3 if len(self.links) > 2 else 2 * self.links[0].timeout_s)
        return self.ours, self.original

    def node(self, index: int) -> Host | OriginalNode:
        """Return primary (0) or secondary (1)."""
        return self.ours if self.ours.index == index else self.original

    def send(self, node: SimulatedNode, action: Announce) -> None:
        """Send our beats as bytes."""
        for link in self.links:
            if link.node == node.name and (node.name, link) not in self.cut and not self.is_lost():
                data = self._codecs[link].encode(
                    replace(action.beat, sent_at=self.wall), 7, action.with_names
                )
                if link.is_disk:
                    self.on_disk[link] = data
                elif self.original.is_alive:
                    self.schedule(
                        self.delay_s(), self.original.hear, self.original.life, link, data
                    )

    def carry_to_ours(self, link: LinkSpec, data: bytes) -> None:
        """Deliver the C OpenHA's beats as bytes; a disk is read some time after it was written."""
        if (link.node, link) in self.cut or self.is_lost():
            return
        beat = heard(self._codecs[link], data).beat
        received_at = self.now + (
            self.random.uniform(0, DISK_POLL_S) if link.is_disk else self.delay_s()
        )
        self.schedule_at(
            received_at, self._to_ours, self.ours.life, BeatReceived(link, beat, received_at)
        )

    def _to_ours(self, life: int, event: BeatReceived) -> None:
        self.ours.handle(life, event)

    def both_run(self, service: str = "registry") -> bool:
        """Return whether both nodes run the service: the harm this project must prevent."""
        return service in self.ours.running and service in self.original.running

    def watch(self, seconds: float) -> None:
        """Let time pass; fail at the first moment at which both nodes run the service."""
        end = self.now + seconds
        while self.now < end:
            self.run(0.1)
            assert not self.both_run(), self.history()

    def history(self) -> str:
        """Return both nodes' events, for a failure message."""
        ours = [(when, self.ours.name, state.name) for when, _, state in self.ours.states]
        theirs = [(when, self.original.name, state.name) for when, state in self.original.states]
        return "\n".join(
            f"{when:.2f} {name} {state}" for when, name, state in sorted(ours + theirs)
        )


def start_time(pair: MixedPair) -> float | None:
    """Return when the last start script ran, or None."""
    return pair.starts()[-1][0] if pair.starts() else None
