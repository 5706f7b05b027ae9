"""Hold the services that this node manages: the configured ones, and removed ones that may run.

A removed service that may still run here is kept until it is stopped: dropping it would leave a
copy that no node announces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from opensvc_openha.core import timing
from opensvc_openha.core.actions import Action, Answer, AnswerCode, MirrorPeer, Record, RecordKind
from opensvc_openha.core.events import (
    CommandReceived,
    RecoveredState,
    ScriptExited,
    ServiceEvent,
    StoreFailed,
)
from opensvc_openha.core.fencing import Fencing
from opensvc_openha.core.model import ClusterSpec, ServiceSpec
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.service_machine import Moment, ServiceMachine
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.states import UP, ServiceState
from opensvc_openha.core.status import ServiceStatus
from opensvc_openha.core.transitions import Trigger
from opensvc_openha.core.wording import named

_ELSEWHERE = "this node is neither primary nor secondary"
_NEW_SERVICE = RecoveredState(ServiceState.FROZEN_STOP, reason="new service")
_WAS_FROZEN = "frozen before it was removed"


@state_marks(not_state={"_mirrored"})
class ManagedServices(Mapping[str, ServiceMachine]):
    """The machine of each service, by name."""

    def __init__(
        self,
        spec: ClusterSpec,
        kept: tuple[ServiceSpec, ...],
        recovered: Mapping[str, RecoveredState],
        fencing: Fencing,
        now: float,
    ) -> None:
        self._fencing = fencing
        self._machines = {
            svc.name: self._new_machine(svc, spec, recovered, now)
            for svc in (*spec.own_services, *kept)
        }
        self._kept = {svc.name: svc for svc in kept}
        self._dropped: dict[str, ServiceState] = {}
        """Last states of services that were removed: what is recovered of one may be older."""
        self._mirrored: dict[str, ServiceState] = {}

    def __getitem__(self, name: str) -> ServiceMachine:
        return self._machines[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._machines)

    def __len__(self) -> int:
        return len(self._machines)

    def _new_machine(
        self,
        svc: ServiceSpec,
        spec: ClusterSpec,
        recovered: Mapping[str, RecoveredState],
        now: float,
    ) -> ServiceMachine:
        role = svc.role_of(spec.node)
        assert role is not None, "only services of this node have a machine"
        state = recovered.get(svc.name, _NEW_SERVICE)
        return ServiceMachine(svc, role, state, now, timing.PACES[spec.profile], self._fencing)

    def begin(self, at: Moment) -> list[Action]:
        """Return the first actions of a daemon."""
        return [action for machine in self._machines.values() for action in machine.begin(at)]

    def handle(self, event: ServiceEvent, at: Moment) -> list[Action]:
        """Handle an event of one service."""
        machine = self._machines.get(event.service)
        if machine is None:
            return [_not_configured(event)] if isinstance(event, CommandReceived) else []
        if isinstance(event, CommandReceived):
            return machine.command(event, at)
        if isinstance(event, ScriptExited):
            return machine.script_exited(event, at)
        if isinstance(event, StoreFailed):
            return machine.store_failed(event.detail, at)
        machine.mark_seen_up()
        return []

    def reconfigure(
        self, spec: ClusterSpec, recovered: Mapping[str, RecoveredState], at: Moment
    ) -> list[Action]:
        """Apply an edited configuration: add, change and remove services."""
        wanted = {svc.name: svc for svc in spec.own_services}
        done: list[Action] = []
        for name in [name for name in self._machines if name not in wanted]:
            done += self._remove(name, at)
        for name, svc in wanted.items():
            self._kept.pop(name, None)
            existing = self._machines.get(name)
            if existing is not None:
                role = svc.role_of(spec.node)
                assert role is not None
                pace = timing.PACES[spec.profile]
                existing.spec, existing.role, existing.pace = svc, role, pace
                continue
            known = self.taken_for(name, recovered.get(name, _NEW_SERVICE))
            machine = self._machines[name] = self._new_machine(svc, spec, {name: known}, at.now)
            done += machine.begin(at)
            if self._dropped.pop(name, None) is not None:
                done.append(machine.persist())
            text = f"added: {known.reason}"
            done.append(Record(RecordKind.SERVICE, name, "", machine.state.name, text))
        return done

    def taken_for(self, name: str, recovered: RecoveredState) -> RecoveredState:
        """Return what a service is taken for that is added, by what was recovered of it."""
        # It was frozen, and removed, after its file had been read: no freeze is lost.
        if self._dropped.get(name) is not ServiceState.FROZEN_STOP:
            return recovered
        state = ServiceState.FROZEN_STOP
        return replace(recovered, state=state, frozen_target=None, reason=_WAS_FROZEN)

    def _remove(self, name: str, at: Moment) -> list[Action]:
        machine = self._machines[name]
        state = machine.state.name
        # Only what surely does not run is dropped; the rest is announced until it is stopped.
        if not machine.may_run:
            self._dropped[name] = self._machines.pop(name).state
            text = "removed by an operator"
            return [
                *machine.abandon("the service was removed", at),
                Record(RecordKind.SERVICE, name, state, "REMOVED", text),
            ]
        if name in self._kept:
            return []
        self._kept[name] = machine.spec
        text = "no longer in the services file, but it may run here: kept until it is stopped"
        return [Record(RecordKind.SERVICE, name, state, state, text, is_alarm=True)]

    def evaluate(self, names: Iterable[str], at: Moment) -> list[Action]:
        """Evaluate these services; drop kept ones that are stopped."""
        done = [action for name in names for action in self._machines[name].evaluate(at)]
        for name in [name for name in self._kept if not self._machines[name].may_run]:
            del self._kept[name]
            self._dropped[name] = self._machines.pop(name).state
            text = "stopped, and no longer in the services file"
            done.append(Record(RecordKind.SERVICE, name, "", "REMOVED", text))
        return done

    def mirror(self, names: Iterable[str], view: PeerView) -> list[Action]:
        """Return the writes of the peer's states that have changed."""
        done: list[Action] = []
        for name in names:
            state = view.state_of(name)
            if name in self._machines and self._mirrored.get(name) is not state:
                self._mirrored[name] = state
                done.append(MirrorPeer(name, state))
        return done

    def fence_ended(self, trigger: Trigger, detail: str, at: Moment) -> list[Action]:
        """Pass the end of a round that proved nothing to every service that waits for it."""
        waiting = [machine for machine in self._machines.values() if machine.is_fencing]
        return [
            action for machine in waiting for action in machine.fence_ended(trigger, detail, at)
        ]

    @property
    def is_any_in_use(self) -> bool:
        """True while some of a service may be in use here."""
        return any(machine.may_run for machine in self._machines.values())

    @property
    def settled(self) -> frozenset[str]:
        """The services that are up here, not being started or stopped; safe from any thread."""
        return frozenset(
            name
            # Copied in one step, since the engine may add and remove services meanwhile.
            for name, machine in list(self._machines.items())
            if machine.state in UP
        )

    @property
    def is_busy(self) -> bool:
        """True while a script runs."""
        return any(machine.running is not None for machine in self._machines.values())

    @property
    def is_any_started(self) -> bool:
        """True while a service is STARTED."""
        return any(machine.state is ServiceState.STARTED for machine in self._machines.values())

    def statuses(self, spec: ClusterSpec, at: Moment) -> list[ServiceStatus]:
        """Return the status of every configured or kept service, in the order of the file."""
        listed = {svc.name for svc in spec.services}
        return [
            self._machines[svc.name].status(at)
            if svc.name in self._machines
            else _status_elsewhere(svc)
            for svc in spec.services
        ] + [self._machines[name].status(at) for name in self._kept if name not in listed]

    def after_confirmation(self, at: Moment) -> str:
        """Describe what happens to each service now that the peer is confirmed out, in lines."""
        found: dict[str, list[str]] = {}
        for name, machine in self._machines.items():
            found.setdefault(machine.explain_confirmed(at), []).append(name)
        return "\n".join(
            f"{named(names)}: {text.replace('NAME', names[0]) if len(names) == 1 else text}"
            for text, names in found.items()
        )


def _status_elsewhere(svc: ServiceSpec) -> ServiceStatus:
    unknown = ServiceState.UNKNOWN
    return ServiceStatus(
        svc.name, svc.primary, svc.secondary, unknown, unknown, None, None, _ELSEWHERE
    )


def _not_configured(event: CommandReceived) -> Answer:
    return Answer(
        event.command_id,
        event.command.value,
        event.service,
        AnswerCode.NOT_CONFIGURED,
        ServiceState.UNKNOWN,
        ServiceState.UNKNOWN,
        _ELSEWHERE,
        is_last=True,
        is_ok=False,
    )
