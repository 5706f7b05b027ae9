"""Inject faults and operators' commands into one history, drawn from the seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random

from opensvc_openha.core.beat import Ack, BootId
from opensvc_openha.core.events import BY_EVACUATION, Command, Leaving
from opensvc_openha.core.model import LinkSpec, ServiceSpec
from opensvc_openha.core.timing import OUTSIDE_LOOK_S
from opensvc_openha.verify.random.cluster_node import ClusterNode
from opensvc_openha.verify.random.simulated_cluster import Cluster
from opensvc_openha.verify.simulated_node import NODES

_ORDERS: tuple[Command, ...] = (Command.UNFREEZE,) * 5 + (
    Command.START,
    Command.STOP,
    Command.FREEZE_STOP,
    Command.FREEZE_START,
)
_FORCING: tuple[Command, ...] = (Command.FORCE_STOP, Command.FORCE_START)
_TOP_SEQ, _TOP_LIFE = 2**64 - 1, BootId(2**32 - 1, 1)
_GARBAGE = (None, b"", b"\xff\x00\x17", b"9999", b"\0\0")


class FaultInjector:
    """Draws faults and orders."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._dice = Random(f"{cluster.plan.seed} faults")
        self._kinds: dict[Callable[[ClusterNode], None], int] = {
            self._order: 30,
            self._cut: 8,
            self._heal: 12,
            self._power_off: 5,
            self._kill_daemon: 4,
            self._kill_between: 4,
            self._leave: 4,
            self._stall: 6,
            self._hang: 2,
            self._step_clock: 2,
            self._spoil_disk: 4,
            self._break_store: 2,
            self._damage_state: 1,
            self._forget_boot: 1,
            self._replay: 3,
            self._configure: 3,
        }
        self._ambushes = (
            self._cut,
            self._cut,
            self._stall,
            self._power_off,
            self._kill_daemon,
            self._leave,
        )
        if cluster.plan.ambush:
            for node in cluster.nodes:
                node.on_decisive = self._lie_in_wait
        self._interface_dice = Random(f"{cluster.plan.seed} interfaces")
        self._await_interface()
        self._hand_dice = Random(f"{cluster.plan.seed} hands")
        self._await_hand()
        self._forger_dice = Random(f"{cluster.plan.seed} forger")
        self._await_forger()
        self._evacuation_dice = Random(f"{cluster.plan.seed} evacuations")
        self._await_evacuation()
        self._lease_dice = Random(f"{cluster.plan.seed} lease faults")
        self._await_lease()
        self._disk_dice = Random(f"{cluster.plan.seed} data disks")
        self._await_disks()
        self._uplink_dice = Random(f"{cluster.plan.seed} uplinks")
        self._await_uplink()
        self._write_dice = Random(f"{cluster.plan.seed} hung writes")
        if cluster.plan.hung_writes:
            cluster.start_hangs_s = self._hang_write
        self._choices = [kind for kind, weight in self._kinds.items() for _ in range(weight)]

    def next_gap_s(self) -> float:
        """Return the seconds until the next fault."""
        return self._dice.choice(self._cluster.plan.gap_s) * self._dice.uniform(0.5, 1.5)

    def strike(self) -> None:
        """Inject one fault or command on one node."""
        self._cluster.disturb()
        node = self._dice.choice(self._cluster.nodes)
        if not node.is_powered:
            if self._dice.random() < 0.6:
                node.power_on()
        elif node.daemon is None:
            if self._dice.random() < 0.6:
                node.boot_daemon()
        else:
            self._dice.choice(self._choices)(node)

    def _lie_in_wait(self, node: ClusterNode) -> None:
        """Fail at a decisive moment, which finds more than any random time."""
        cluster, dice = self._cluster, self._dice
        if cluster.is_calm or dice.random() >= cluster.plan.ambush:
            return
        target, strike = (
            dice.choice((node, cluster.node(node.peer.name))),
            dice.choice(self._ambushes),
        )

        def act() -> None:
            if target.daemon is not None:
                strike(target)

        self._later(dice.choice((0.0, 0.001, 0.01, 0.3, 2.0)), act)

    # --- operators --------------------------------------------------------------------------------

    def _order(self, node: ClusterNode) -> None:
        commands = _ORDERS
        if self._cluster.plan.has_forcing and self._dice.random() < 0.15:
            commands = _FORCING
        node.order(self._dice.choice(commands), self._dice.choice(self._cluster.plan.services))

    def _leave(self, node: ClusterNode) -> None:
        node.leave(self._dice.choice(tuple(Leaving)))
        if self._dice.random() < 0.7:
            self._later(self._dice.choice((0.5, 3.0, 20.0, 50.0)), node.boot_daemon)

    def _configure(self, node: ClusterNode) -> None:
        """Remove, restore or reassign services, on one node or on both."""
        services = list(self._cluster.plan.service_specs())
        kind = self._dice.random()
        if kind < 0.3:
            services.pop(self._dice.randrange(len(services)))
        elif kind < 0.5:
            number = self._dice.randrange(len(services))
            services[number] = _swapped(services[number])
        for target in self._cluster.nodes if self._dice.random() < 0.6 else (node,):
            target.configure(tuple(services))

    # --- network and disk -------------------------------------------------------------------------

    def _cut(self, _: ClusterNode) -> None:
        cluster, dice = self._cluster, self._dice
        if cluster.plan.is_legacy:
            # Its rules were made for networks that work both ways.
            cluster.cut(cluster.links)
            return
        kind = dice.random()
        if kind < 0.4:
            cluster.cut(cluster.links)
        elif kind < 0.7:
            sender = dice.choice(cluster.nodes).name
            cluster.cut(tuple(link for link in cluster.links if link.node == sender))
        elif kind < 0.85:
            cluster.cut(tuple(link for link in cluster.links if not link.is_disk))
        else:
            cluster.cut((dice.choice(cluster.links),))
        if dice.random() < 0.4:
            self._later(dice.choice((0.5, 2.0, 9.0, 12.0, 40.0)), cluster.heal)

    def _hang_write(self) -> float:
        """Return for how long the write before a start hangs; the links may be cut meanwhile."""
        cluster, dice = self._cluster, self._write_dice
        if cluster.is_calm or dice.random() >= cluster.plan.hung_writes:
            return 0.0
        seconds = dice.choice((1.1, 1.5, 2.5)) * cluster.plan.longest_timeout_s
        cluster.note(f"a write hangs for {seconds:.3f} s")
        senders = dice.choice((NODES, NODES, NODES[:1], NODES[1:]))
        links = tuple(link for link in cluster.links if link.node in senders)
        if dice.random() < 0.7:
            self._later(dice.uniform(0.0, 0.3) * seconds, lambda: cluster.cut(links))
        if dice.random() < 0.6:
            self._later(dice.uniform(0.4, 4.0) * seconds, cluster.heal)
        return seconds

    def _heal(self, _: ClusterNode) -> None:
        self._cluster.heal()

    def _spoil_disk(self, node: ClusterNode) -> None:
        cluster, dice = self._cluster, self._dice
        disks = [link for link in cluster.links if link.is_disk]
        if not disks:
            return
        # A disk that answers with what it held before is not among what a promise bears.
        if dice.random() < 0.5 or cluster.plan.fencing.lease is not None:
            node.note("its disk hangs")
            cluster.disk.hung.add(node.name)
            self._later(dice.choice((1.0, 8.0, 60.0)), lambda: cluster.disk.release(node.name))
        else:
            link: LinkSpec = dice.choice(disks)
            cluster.note(f"reads of the slot of {link.node} show old blocks")
            cluster.disk.freeze_reads(link)
            self._later(dice.choice((1.0, 8.0, 60.0)), cluster.disk.thaw_reads)

    def _replay(self, _: ClusterNode) -> None:
        cluster, dice = self._cluster, self._dice
        links = [link for link in cluster.links if not link.is_disk]
        link = dice.choice(links)
        # Only a key shows what is genuine, on a link other than the recorded one too.
        other = dice.choice(links) if cluster.plan.has_key else link
        sender = cluster.node(link.node).incarnation
        if cluster.plan.is_legacy or other.node != link.node or sender is None:
            return
        # Without a key, a replayed incarnation counts as much as the live one: the networks are
        # trusted then.
        boot = None if cluster.plan.has_key else sender
        count = cluster.network.replay(link, other, dice.choice((1, 20, 200)), boot)
        cluster.note(
            f"{count} old frames of {link.node} {other.device} are sent again on {link.device}"
        )

    def _await_forger(self) -> None:
        """Schedule forged beats, drawn separately."""
        self._await(self._cluster.plan.forger_gap_s, self._forger_dice, self._forge)

    def _forge(self) -> None:
        """Forge one datagram of a living node: its true states, with foreign numbers.

        It acknowledges nothing and is no goodbye: a forger who can send those without a key can
        start services.
        """
        cluster, dice = self._cluster, self._forger_dice
        victim = dice.choice(cluster.nodes)
        links = [
            link for link in cluster.links if link.node == victim.peer.name and not link.is_disk
        ]
        daemon, speaker = victim.daemon, victim.peer.engine
        if daemon is not None and speaker is not None and speaker.seq:
            true = speaker.beat()
            boot = dice.choice(
                (true.boot, _TOP_LIFE, BootId(2**32 - 1, dice.getrandbits(64)), BootId(0, 1))
            )
            ack = dice.choice((None, Ack(daemon.engine.boot, _TOP_SEQ)))
            seq = dice.choice((0, true.seq + 1, true.seq + 1000, _TOP_SEQ))
            victim.note(
                f"somebody speaks in the name of {true.node}: life {boot.counter}, number {seq}"
            )
            for link in dice.sample(links, dice.randint(1, len(links))):
                daemon.hear_forged(
                    link, replace(true, boot=boot, seq=seq, ack=ack, mute=frozenset())
                )
        self._await_forger()

    def _await_interface(self) -> None:
        """Schedule faults of interfaces, drawn separately."""
        gap_s = self._cluster.plan.interface_gap_s
        self._await(gap_s, self._interface_dice, self._switch_interface)

    def _switch_interface(self) -> None:
        cluster, dice = self._cluster, self._interface_dice
        node = dice.choice(cluster.nodes)
        device = f"eth{dice.randint(1, cluster.plan.net_links)}"
        node.switch_interface(device, is_up=(node.name, device) in cluster.network.down)
        if dice.random() < 0.6:
            self._later(
                dice.choice((0.01, 0.2, 3.0, 15.0)),
                lambda: node.switch_interface(device, is_up=True),
            )
        self._await_interface()

    def _await_hand(self) -> None:
        """Schedule starts outside the cluster, drawn separately."""
        self._await(self._cluster.plan.by_hand_gap_s, self._hand_dice, self._start_by_hand)

    def _start_by_hand(self) -> None:
        dice, cluster = self._hand_dice, self._cluster
        node, service = dice.choice(cluster.nodes), dice.choice(cluster.plan.services)
        if node.is_powered and not any(other.uses(service) for other in cluster.nodes):
            node.start_by_hand(service)
            self._later(dice.uniform(0, OUTSIDE_LOOK_S), lambda: node.look_at(service))
        self._await_hand()

    def _await_evacuation(self) -> None:
        """Schedule evacuations, drawn separately."""
        self._await(self._cluster.plan.evacuation_gap_s, self._evacuation_dice, self._evacuate)

    def _evacuate(self) -> None:
        """Evacuate a node, order its services to stop, and end that some time later."""
        dice, cluster = self._evacuation_dice, self._cluster
        node = dice.choice(cluster.nodes)
        is_off_limits = dice.random() < 0.3
        node.note(f"is evacuated{', off limits' if is_off_limits else ''}")
        node.evacuate(is_on=True, is_off_limits=is_off_limits)
        for name in cluster.plan.services:
            node.order(Command.STOP, name, BY_EVACUATION)
        self._later(dice.choice((5.0, 30.0, 90.0)), partial(node.evacuate, is_on=False))
        self._await_evacuation()

    # --- watchdogs --------------------------------------------------------------------------------

    def _await_disks(self) -> None:
        """Wait for the next freeze of data disks, drawn separately, too."""
        gap_s, dice = self._cluster.plan.disk_gap_s, self._disk_dice
        if gap_s:
            self._later(dice.choice(gap_s) * dice.uniform(0.5, 1.5), self._freeze_disks)

    def _freeze_disks(self) -> None:
        """Freeze the disks of one service, or of all, for one node, or for both."""
        cluster, dice = self._cluster, self._disk_dice
        if not cluster.is_calm:
            names = cluster.plan.services
            names = names if dice.random() < 0.4 else (dice.choice(names),)
            nodes = list(cluster.nodes)
            dice.shuffle(nodes)
            for_s, apart_s = dice.choice((4.0, 20.0, 50.0, 90.0)), dice.choice((0.0, 2.0, 12.0))
            for number, node in enumerate(nodes if dice.random() < 0.4 else nodes[:1]):
                for name in names:
                    self._later(number * apart_s, partial(self._set_frozen, node, name, True))
                    ends_s = number * apart_s + for_s
                    self._later(ends_s, partial(self._set_frozen, node, name, False))
        self._await_disks()

    def _set_frozen(self, node: ClusterNode, service: str, is_frozen: bool) -> None:
        self._cluster.disturb()
        if not is_frozen or not self._cluster.is_calm:
            node.freeze(service, is_frozen)

    def _await_uplink(self) -> None:
        """Schedule cuts of nodes from their targets, drawn separately."""
        self._await(self._cluster.plan.uplink_gap_s, self._uplink_dice, self._cut_uplink)

    def _cut_uplink(self) -> None:
        """Cut one node, both as if their gateway died, or one with all its heartbeats."""
        cluster, dice = self._cluster, self._uplink_dice
        nodes = list(cluster.nodes)
        dice.shuffle(nodes)
        kind, apart_s = dice.random(), dice.choice((0.0, 0.0, 0.6, 2.0))
        for number, node in enumerate(nodes if kind < 0.35 else nodes[:1]):
            self._later(number * apart_s, node.cut_uplink)
            ends_s = number * apart_s + dice.choice((2.0, 5.0, 20.0, 60.0))
            self._later(ends_s, partial(node.cut_uplink, is_cut=False))
        if kind > 0.6:
            cluster.cut(cluster.links)
            self._later(dice.choice((3.0, 12.0, 40.0, 90.0)), cluster.heal)
        self._await_uplink()

    def _await_lease(self) -> None:
        """Schedule faults of what keeps a promise, drawn separately."""
        self._await(self._cluster.plan.lease_gap_s, self._lease_dice, self._strike_lease)

    def _strike_lease(self) -> None:
        dice = self._lease_dice
        node = dice.choice(self._cluster.nodes)
        if node.is_powered:
            dice.choice(self._lease_faults)(node)
        self._await_lease()

    @property
    def _lease_faults(self) -> tuple[Callable[[ClusterNode], None], ...]:
        return (
            self._kill_keeper,
            self._kill_keeper_in_a_circle,
            self._stop_keeper,
            self._pause,
            self._fail_reads,
            self._let_writes_land_late,
            self._cut_all_but_disks,
            self._lose_sight,
            self._lose_witness,
        )

    def _kill_keeper(self, node: ClusterNode) -> None:
        lease = self._cluster.plan.fencing.lease
        # Where a promise counts one timeout, the holder is trusted to survive.
        may_close = lease is not None and lease.holders > 1
        node.watchdog.kill_keeper(with_holder=may_close and self._lease_dice.random() < 0.6)

    def _kill_keeper_in_a_circle(self, node: ClusterNode) -> None:
        gap_s = self._lease_dice.choice((0.05, 0.4, 0.9, 2.0))
        for number in range(int(20.0 / max(gap_s, 0.4))):
            self._later(number * gap_s, lambda: self._kill_keeper(node))

    def _stop_keeper(self, node: ClusterNode) -> None:
        node.note("keeper is stopped")
        node.watchdog.stop_keeper()
        seconds = self._lease_dice.choice((0.3, 0.9, 1.5, 3.0, 12.0))
        self._later(seconds, node.watchdog.continue_keeper)

    def _pause(self, node: ClusterNode) -> None:
        self._cluster.pause(node, self._lease_dice.choice((0.5, 2.0, 5.0, 12.0, 40.0)))

    def _fail_reads(self, node: ClusterNode) -> None:
        disk = self._cluster.disk
        node.note("its reads of the heartbeat disk fail")
        disk.unreadable.add(node.name)
        seconds = self._lease_dice.choice((1.0, 8.0, 30.0))
        self._later(seconds, lambda: disk.unreadable.discard(node.name))

    def _let_writes_land_late(self, node: ClusterNode) -> None:
        disk = self._cluster.disk
        node.note("its writes to the heartbeat disk land late")
        disk.late.add(node.name)
        seconds = self._lease_dice.choice((2.0, 8.0, 30.0))
        self._later(seconds, lambda: disk.late.discard(node.name))

    def _cut_all_but_disks(self, _: ClusterNode) -> None:
        """Leave the disks as the only way: who lives renews there."""
        cluster = self._cluster
        cluster.cut(tuple(link for link in cluster.links if not link.is_disk))
        self._later(self._lease_dice.choice((5.0, 20.0, 60.0)), cluster.heal)

    def _lose_sight(self, node: ClusterNode) -> None:
        """Cut a node off from all: it dies of its own promise, and its peer may know that."""
        cluster = self._cluster
        cluster.cut(tuple(link for link in cluster.links if not link.is_disk))
        node.note("its disk hangs")
        cluster.disk.hung.add(node.name)
        self._lose_witness(node)
        self._later(self._lease_dice.choice((20.0, 60.0)), cluster.heal)

    def _lose_witness(self, node: ClusterNode) -> None:
        away = self._cluster.witness.away
        away.add(node.name)
        seconds = self._lease_dice.choice((3.0, 20.0, 60.0))
        self._later(seconds, lambda: away.discard(node.name))

    # --- nodes and daemons ------------------------------------------------------------------------

    def _power_off(self, node: ClusterNode) -> None:
        node.power_off("power lost")
        if self._dice.random() < 0.6:
            self._later(self._dice.choice((1.0, 15.0, 60.0)), node.power_on)

    def _kill_daemon(self, node: ClusterNode) -> None:
        node.end_daemon("kill -9")
        if self._dice.random() < 0.7:
            self._later(self._dice.choice((0.1, 3.0, 20.0)), node.boot_daemon)

    def _kill_between(self, node: ClusterNode) -> None:
        node.kill_in = self._dice.randrange(1, 20)

    def _stall(self, node: ClusterNode) -> None:
        timeout_s = self._cluster.plan.shortest_timeout_s
        factor = self._dice.choice((0.3, 0.5, 0.9, 1.1, 1.5, 3.0, 15.0))
        self._cluster.stall(node, factor * timeout_s)

    def _hang(self, node: ClusterNode) -> None:
        self._cluster.hang(node, self._dice.choice((0.2, 2.0, 8.0, 15.0)))

    def _step_clock(self, node: ClusterNode) -> None:
        step_s = self._dice.choice((-86_400.0, -3600.0, -2.0, 2.0, 3600.0, 86_400.0))
        if self._cluster.plan.is_legacy:
            step_s = abs(step_s) / 3600.0
        node.note(f"wall clock set by {step_s:+.1f} s")
        node.wall_step_s += step_s

    def _break_store(self, node: ClusterNode) -> None:
        node.note("state directory cannot be written")
        node.store.is_full = True

        def repair() -> None:
            node.store.is_full = False

        self._later(self._dice.choice((0.5, 5.0, 30.0)), repair)

    def _damage_state(self, node: ClusterNode) -> None:
        node.damage_state(
            self._dice.choice(self._cluster.plan.services), self._dice.choice(_GARBAGE)
        )

    def _forget_boot(self, node: ClusterNode) -> None:
        node.note("boot counter is lost")
        node.store.boot_counter = 0
        if self._cluster.plan.has_key and self._cluster.plan.seed % 2:
            node.note("and so is what it knew of its peer")
            node.store.incarnations = {}

    def _await(self, gap_s: tuple[float, ...], dice: Random, strike: Callable[[], None]) -> None:
        """Schedule the next fault of a kind that has a dice of its own; none without ``gap_s``."""
        if gap_s:
            self._later(dice.choice(gap_s) * dice.uniform(0.2, 1.5), strike)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        def act() -> None:
            if not self._cluster.is_calm:
                self._cluster.disturb()
                call()

        self._cluster.scheduler.after(seconds, act)


def _swapped(svc: ServiceSpec) -> ServiceSpec:
    return replace(svc, primary=svc.secondary, secondary=svc.primary)
