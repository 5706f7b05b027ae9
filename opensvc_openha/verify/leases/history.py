"""Play one history: what happens to the two machines, drawn from a seed, and what must hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from opensvc_openha.core import timing
from opensvc_openha.core.beat import Goodbye
from opensvc_openha.verify.invariants import InvariantBroken
from opensvc_openha.verify.leases.keeper_process import Trap
from opensvc_openha.verify.leases.machine import Machine
from opensvc_openha.verify.leases.pair import LeasePair
from opensvc_openha.verify.leases.plan import LeasePlan, drawn

_SET_UP_S = 1.5
_FOR_GOOD_S = math.inf
_FAULTS_MAX = 5
_WAITS = (0.0, 0.05, 0.1, 0.3, 0.6, 1.0)
"""Time to the next fault, in parts of the promised time."""
_KILLED_S = (0.2, 0.2, 1.0, 3.0, 8.0, 20.0, math.inf)
_RESTARTED_S = (1.0, 4.0, 12.0, 20.0, 60.0)
"""Within the time for which the keeper pets by itself nobody is reset."""
_LEAVES_EVERY = 11
"""In one seed of so many the survivor leaves."""
_LATE_S = (0.3, 0.9, 1.4, 2.5, 6.0, 15.0)

Fault = Callable[[LeasePair, Random], None]


@dataclass(frozen=True)
class Outcome:
    """What became of one history."""

    seed: int
    failure: str
    virtual_s: float
    proofs: int
    bites: int
    least_spare_s: float


# --- network --------------------------------------------------------------------------------------


def _cut(pair: LeasePair, dice: Random) -> None:
    pair.cut |= {pair.owner.name, pair.survivor.name}
    pair.check_media()


def _cut_one_way(pair: LeasePair, dice: Random) -> None:
    pair.cut.add(dice.choice(pair.machines).name)
    pair.check_media()


def _lossy(pair: LeasePair, dice: Random) -> None:
    pair.loss = dice.choice((0.3, 0.7))
    pair.check_media()


def _heal(pair: LeasePair, dice: Random) -> None:
    pair.cut.clear()
    pair.loss = 0.0
    pair.check_media()


# --- disks and witness ----------------------------------------------------------------------------


def _no_writes(pair: LeasePair, dice: Random) -> None:
    pair.land_s[dice.choice((pair.owner, pair.owner, pair.survivor)).name] = math.inf
    pair.check_media()


def _no_writes_of_owner(pair: LeasePair, dice: Random) -> None:
    pair.land_s[pair.owner.name] = math.inf
    pair.check_media()


def _writes_of_owner(pair: LeasePair, dice: Random) -> None:
    pair.land_s.pop(pair.owner.name, None)


def _blind_survivor(pair: LeasePair, dice: Random) -> None:
    pair.blind.add(pair.survivor.name)


def _witness_away_for_owner(pair: LeasePair, dice: Random) -> None:
    pair.away[pair.owner.name] = math.inf
    pair.check_media()


def _witness_back_for_owner(pair: LeasePair, dice: Random) -> None:
    pair.away.pop(pair.owner.name, None)


def _witness_away_for_survivor(pair: LeasePair, dice: Random) -> None:
    pair.away[pair.survivor.name] = math.inf
    pair.check_media()


def _witness_back_for_survivor(pair: LeasePair, dice: Random) -> None:
    pair.away.pop(pair.survivor.name, None)


def _late_writes(pair: LeasePair, dice: Random) -> None:
    pair.land_s[pair.owner.name] = dice.choice(_LATE_S)
    pair.check_media()


def _unconfirmed(pair: LeasePair, dice: Random) -> None:
    pair.confirm_s[pair.owner.name] = dice.choice((math.inf, math.inf, 1.5, 2.8))
    pair.check_media()


def _blind(pair: LeasePair, dice: Random) -> None:
    pair.blind.add(dice.choice((pair.survivor, pair.survivor, pair.owner)).name)


def _mended_disk(pair: LeasePair, dice: Random) -> None:
    pair.land_s.clear()
    pair.confirm_s.clear()
    if dice.random() < 0.5:
        pair.blind.clear()


def _replaced_disk(pair: LeasePair, dice: Random) -> None:
    pair.replace_disk(pair.owner, is_edit=dice.random() < 0.5)
    pair.sick(pair.owner, _FOR_GOOD_S)


def _witness_away(pair: LeasePair, dice: Random) -> None:
    pair.away[dice.choice(pair.machines).name] = dice.choice((math.inf, 0.8, 2.5, 5.0))
    pair.check_media()


def _witness_back(pair: LeasePair, dice: Random) -> None:
    pair.away.clear()


# --- daemons --------------------------------------------------------------------------------------


def _kill(machine: Machine, back_s: float) -> None:
    if machine.daemon is None:
        return
    machine.note("its daemon is killed")
    machine.daemon.end()
    machine.pair.sick(machine, back_s + 2.0)
    if back_s < math.inf:
        machine.after(back_s, machine.pair.start_daemon, machine)


def _kill_owner(pair: LeasePair, dice: Random) -> None:
    _kill(pair.owner, dice.choice(_KILLED_S))


def _kill_survivor(pair: LeasePair, dice: Random) -> None:
    _kill(pair.survivor, dice.choice(_KILLED_S))


def _restart(machine: Machine, back_s: float) -> None:
    daemon = machine.daemon
    if daemon is None or daemon.leaving is not Goodbye.NONE:
        return
    machine.note("its daemon is restarted")
    daemon.leaving = Goodbye.RESTART
    daemon.nudge()
    # The goodbye waits for what it promises.
    machine.after(back_s + 7.0, machine.pair.start_daemon, machine)
    pair = machine.pair
    # What holds without a daemon is confirmed by the peer, or by a disk: the witness cannot.
    is_known = pair.has_disk(machine)
    pair.sick(machine, 0.0 if is_known and back_s < 15 else back_s + 9.0)
    peer = pair.other(machine)
    if not pair.has_medium(peer):
        pair.sick(peer, back_s + 9.0)


def _restart_owner(pair: LeasePair, dice: Random) -> None:
    _restart(pair.owner, dice.choice(_RESTARTED_S))


def _restart_survivor(pair: LeasePair, dice: Random) -> None:
    _restart(pair.survivor, dice.choice(_RESTARTED_S))


def _leave(pair: LeasePair, dice: Random) -> None:
    """Stop the service of the owner, and end its daemon, which is started again."""
    daemon = pair.owner.daemon
    if daemon is None or daemon.leaving is not Goodbye.NONE:
        return
    pair.owner.note("its service is stopped, and its daemon ends")
    pair.owner.runs_service = False
    daemon.wants_service = False
    daemon.leaving = Goodbye.LEFT
    daemon.nudge()
    pair.owner.after(dice.choice((8.0, 20.0)), pair.start_daemon, pair.owner)
    pair.sick(pair.owner, 30.0)


def _survivor_leaves(pair: LeasePair, dice: Random) -> None:
    """Stop what runs on the survivor, and end its daemon, which is started again or not."""
    machine = pair.survivor
    daemon = machine.daemon
    if daemon is None or daemon.leaving is not Goodbye.NONE:
        return
    machine.note("its daemon ends, with all services")
    machine.runs_service = machine.runs_own = daemon.wants_service = False
    daemon.leaving = Goodbye.LEFT
    daemon.nudge()
    back_s = dice.choice((8.0, 20.0, math.inf))
    if back_s < math.inf:
        machine.after(back_s, pair.start_daemon, machine)
    pair.sick(machine, 30.0)


def _stop_daemon(pair: LeasePair, dice: Random) -> None:
    machine = dice.choice(pair.machines)
    if machine.daemon is None:
        return
    seconds = dice.choice((0.5, 2.0, 4.0, 9.0, 30.0))
    is_engine_alone = dice.random() < 0.5
    who = "engine" if is_engine_alone else "daemon"
    machine.note(f"its {who} stands still for {seconds:g} s")
    machine.daemon.stop(seconds, is_engine_alone)
    pair.sick(machine, seconds + 2.0)


def _stop_service(pair: LeasePair, dice: Random) -> None:
    machine = pair.owner
    if machine.runs_service and machine.daemon is not None:
        machine.note("its service is stopped")
        machine.runs_service = False
        machine.daemon.nudge()


def _start_service(pair: LeasePair, dice: Random) -> None:
    machine, daemon = pair.owner, pair.owner.daemon
    # A daemon that ends starts nothing.
    if not machine.runs_service and daemon is not None and daemon.leaving is Goodbye.NONE:
        machine.note("its service is to start")
        daemon.want()


# --- keeper and machine ---------------------------------------------------------------------------


def _kill_keeper(pair: LeasePair, dice: Random) -> None:
    machine = dice.choice((pair.owner, pair.owner, pair.survivor))
    machine.note("its keeper is killed")
    # Counting one timeout rests on nobody killing both.
    machine.kill_keeper(with_holder=pair.plan.holders == 2 and dice.random() < 0.6)
    pair.sick(machine, 4.0)


def _kill_keeper_in_circle(pair: LeasePair, dice: Random) -> None:
    machine = pair.owner
    machine.note("its keeper is killed in a circle")
    _kill_again(machine, dice.choice((0.4, 0.9, 1.9)), 30)
    pair.sick(machine, _FOR_GOOD_S)


def _kill_again(machine: Machine, every_s: float, count: int) -> None:
    machine.kill_keeper(with_holder=machine.pair.plan.holders == 2)
    machine.start_keeper()
    if count:
        machine.after(every_s, _kill_again, machine, every_s, count - 1)


def _trap_keeper(pair: LeasePair, dice: Random) -> None:
    machine = dice.choice((pair.owner, pair.owner, pair.survivor))
    if machine.keeper is None:
        return
    plan = pair.plan
    stop_s = dice.choice(
        (
            0.0,
            0.3 * plan.answer_s,
            1.2 * plan.answer_s,
            1.9 * plan.answer_s,
            plan.timeout_s - 0.05,
            plan.timeout_s,
            9.0,
        )
    )
    point, is_killed = dice.randint(1, 14), dice.random() < 0.5
    machine.note(f"its keeper is stopped for {stop_s:g} s at its point {point}: {is_killed}")
    machine.keeper.trap = Trap(point, stop_s, is_killed)
    pair.sick(machine, stop_s + 6.0)


def _stop_keeper(pair: LeasePair, dice: Random) -> None:
    machine = pair.owner
    if machine.keeper is None:
        return
    seconds = dice.choice((0.5, 2.5, 3.9, 7.0, 30.0))
    machine.note(f"its keeper is stopped for {seconds:g} s")
    machine.keeper.stop(seconds * machine.rate)
    pair.sick(machine, seconds + 4.0)


def _pause(pair: LeasePair, dice: Random) -> None:
    machine = dice.choice(pair.machines)
    seconds = dice.choice((0.2, 1.0, 3.0, 8.0, 15.0))
    machine.pause(seconds, is_clock_still=pair.plan.is_virtual)
    pair.sick(machine, seconds + 3.0)


def _lose_power(pair: LeasePair, dice: Random) -> None:
    machine = dice.choice((pair.owner, pair.owner, pair.survivor))
    machine.lose_power()
    if dice.random() < 0.3:
        pair.scheduler.after(dice.choice((8.0, 20.0)), machine.boot)


def _cut_off(pair: LeasePair, dice: Random) -> None:
    """Take from the owner everything by which it could renew, at once."""
    _cut(pair, dice)
    pair.land_s[pair.owner.name] = dice.choice((math.inf, math.inf, 0.9, 1.4, 6.0))
    pair.away[pair.owner.name] = dice.choice((math.inf, 5.0))
    pair.check_media()


def _cut_off_for_good(pair: LeasePair, dice: Random) -> None:
    _cut(pair, dice)
    pair.land_s[pair.owner.name] = pair.away[pair.owner.name] = math.inf
    pair.check_media()


FAULTS: dict[str, tuple[Fault, int]] = {
    "network cut": (_cut, 3),
    "network cut one way": (_cut_one_way, 2),
    "network lossy": (_lossy, 1),
    "network healed": (_heal, 2),
    "disk takes nothing": (_no_writes, 2),
    "disk late": (_late_writes, 2),
    "disk not confirmed": (_unconfirmed, 1),
    "slot not read": (_blind, 2),
    "disk mended": (_mended_disk, 1),
    "disk replaced on one node": (_replaced_disk, 1),
    "witness away": (_witness_away, 1),
    "witness back": (_witness_back, 1),
    "daemon of the owner killed": (_kill_owner, 2),
    "daemon of the survivor killed": (_kill_survivor, 1),
    "owner restarts": (_restart_owner, 1),
    "survivor restarts": (_restart_survivor, 1),
    "owner leaves": (_leave, 1),
    "daemon stands still": (_stop_daemon, 2),
    "service stopped": (_stop_service, 1),
    "service started": (_start_service, 1),
    "keeper killed": (_kill_keeper, 1),
    "keeper killed in a circle": (_kill_keeper_in_circle, 1),
    "keeper stopped between two steps": (_trap_keeper, 2),
    "keeper stopped": (_stop_keeper, 1),
    "machine pauses": (_pause, 1),
    "machine without power": (_lose_power, 1),
    "owner cut off": (_cut_off, 3),
}


def _restart_owner_soon(pair: LeasePair, dice: Random) -> None:
    _restart(pair.owner, 12.0)


def _survivor_reads_again(pair: LeasePair, dice: Random) -> None:
    pair.blind.clear()


def _writes_land_after_the_proof(pair: LeasePair, dice: Random) -> None:
    pair.land_s[pair.owner.name] = 17.0
    pair.check_media()


def _replaced_by_hotplug(pair: LeasePair, dice: Random) -> None:
    pair.replace_disk(pair.owner, is_edit=False)
    pair.sick(pair.owner, _FOR_GOOD_S)


def _confirms_late(pair: LeasePair, dice: Random) -> None:
    pair.confirm_s[pair.owner.name] = 2.8
    pair.check_media()


def _stop_before_petting(pair: LeasePair, dice: Random) -> None:
    assert pair.owner.keeper is not None
    pair.owner.keeper.trap = Trap(5, 2.0)
    pair.sick(pair.owner, 8.0)


def _owner_loses_power(pair: LeasePair, dice: Random) -> None:
    pair.owner.lose_power()


def _pause_owner(pair: LeasePair, dice: Random) -> None:
    pair.owner.pause(40.0, is_clock_still=pair.plan.is_virtual)
    pair.sick(pair.owner, 50.0)


TOLD: dict[str, Fault] = {
    "owner restarts soon": _restart_owner_soon,
    "slot read again by the survivor": _survivor_reads_again,
    "disk confirms late for the owner": _confirms_late,
    "keeper of the owner stopped before a petting": _stop_before_petting,
    "disk takes writes of the owner after the proof": _writes_land_after_the_proof,
    "path of the owner names another disk": _replaced_by_hotplug,
    "owner without power": _owner_loses_power,
    "owner pauses for long": _pause_owner,
    "survivor leaves": _survivor_leaves,
    "owner cut off for good": _cut_off_for_good,
    "disk takes nothing for the owner": _no_writes_of_owner,
    "disk takes writes of the owner": _writes_of_owner,
    "slot not read by the survivor": _blind_survivor,
    "witness away for the owner": _witness_away_for_owner,
    "witness back for the owner": _witness_back_for_owner,
    "witness away for the survivor": _witness_away_for_survivor,
    "witness back for the survivor": _witness_back_for_survivor,
}
"""Others, for stories."""
_NAMES = tuple(FAULTS)
_WEIGHTS = tuple(weight for _, weight in FAULTS.values())


# --- one history ----------------------------------------------------------------------------------


def run_history(
    seed: int,
    trace: Callable[[str], None] | None = None,
    plan: LeasePlan | None = None,
    faults: tuple[tuple[float, str], ...] | None = None,
) -> Outcome:
    """Play the history of a seed, or another one that a test describes."""
    plan = drawn(seed) if plan is None else plan
    dice = Random(f"{seed} lease faults")
    pair = LeasePair(plan, trace)
    failure = ""
    if trace is not None:
        trace(f"{plan}")
    try:
        pair.check_media()
        pair.run(_SET_UP_S + dice.random())
        if faults is None:
            faults = tuple(
                (dice.choice(_WAITS), dice.choices(_NAMES, _WEIGHTS)[0])
                for _ in range(dice.randint(1, _FAULTS_MAX))
            )
            if seed % _LEAVES_EVERY == 5:
                leaves = Random(f"{seed} survivor leaves")
                place = leaves.randrange(len(faults) + 1)
                left = leaves.choice(_WAITS), "survivor leaves"
                faults = (*faults[:place], left, *faults[place:])
        for wait, name in faults:
            pair.run(wait * plan.death_s * (0.9 + 0.2 * dice.random()))
            pair.note("*", name)
            fault = TOLD.get(name) or FAULTS[name][0]
            fault(pair, dice)
        _finish(pair)
    except InvariantBroken as error:
        failure = str(error)
    return Outcome(seed, failure, pair.scheduler.now, pair.proofs, pair.bites, pair.least_spare_s)


def _finish(pair: LeasePair) -> None:
    """Let the promised time pass, and see whether a machine without power is proved out."""
    owner, survivor = pair.owner, pair.survivor
    is_due, proofs = _is_proof_due(pair), pair.proofs
    deadline = pair.scheduler.now + pair.proof_bound_s
    while pair.scheduler.now < deadline:
        powers = owner.power, survivor.power
        pair.run(1.0)
        is_due = is_due and not owner.is_on and (owner.power, survivor.power) == powers
        if (pair.proofs > proofs and not owner.is_on) or pair.is_calm:
            break
    if is_due and pair.proofs == proofs:
        pair.fail(f"{owner.name} is dead, and {survivor.name} does not prove it")
    if owner.is_on or not survivor.runs_service or not survivor.runs_own:
        return
    # Alone, it must not die of what it promised.
    pair.run(timing.LEASE_CONFIRM_S + 2.0)
    if survivor.runs_service and not owner.is_on and pair.is_well(survivor) and pair.is_known_out:
        pair.must_live = survivor
        pair.note("*", "the lone survivor loses its media")
        pair.land_s[survivor.name] = pair.away[survivor.name] = math.inf
        pair.check_media()
        pair.run(2 * pair.plan.timeout_s + 3.0)


def _is_proof_due(pair: LeasePair) -> bool:
    """Return True if the owner died just now, and the survivor has all that a proof takes."""
    owner, survivor = pair.owner, pair.survivor
    daemon, now = survivor.daemon, pair.scheduler.now
    is_fresh = not owner.is_on and owner.lost_at == now and owner.was_in_use
    is_written = pair.land_s.get(owner.name, 0.0) < 0.1
    # A write that is on its way lands later, as a sign of life.
    is_written = is_written and now >= pair.hung_until.get(owner.name, 0.0)
    is_read = survivor.name not in pair.blind and survivor.name not in pair.away
    is_watching = survivor.is_on and daemon is not None and daemon.is_watching
    is_paused = now < survivor.paused_until
    # A beat on its way may be the first of another daemon, or promise the time of a restart.
    is_known = daemon is not None and daemon.knows(owner)
    is_known = is_known and 0 < owner.last_promised_s <= pair.plan.death_s
    return is_fresh and is_written and is_read and is_watching and not is_paused and is_known
