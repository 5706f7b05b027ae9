"""Keep what survives a simulated daemon, and what survives its machine.

STATE files are bytes in the format of production, and recovered by the rules of production. No
power cut takes a write: with what is not on disk yet, histories have a store of their own.
"""

from __future__ import annotations

from collections.abc import Mapping

from opensvc_openha.core.beat import BootId
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.evacuation import NOT_EVACUATED
from opensvc_openha.core.events import RecoveredState
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.core.states import MAY_RUN, ServiceState
from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.state_file import StoredState, decode, encode
from opensvc_openha.storage.state_recovery import recover


class NodeStore:
    """Files of one node."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        """STATE files by service."""
        self.spoilt: set[str] = set()
        """Services whose STATE file was damaged or could not be written since its last write."""
        self.managed: dict[str, ServiceSpec] = {}
        self.incarnations: dict[str, BootId] = {}
        """The newest incarnation of the peer, by key."""
        self.fencing = FencingMemory()
        self.evacuation = NOT_EVACUATED
        self.boot_counter = 0
        self.is_same_boot = False
        """A daemon has run since the machine was booted."""
        self.is_full = False
        """Nothing can be written."""
        self._of_former_boot: set[str] = set()

    def log_states(self, states: Mapping[str, StoredState]) -> bool:
        """Prepare what `write_state` writes next; return True if a log has it now.

        There is none, as no power cut takes what `write_state` writes.
        """
        return False

    def write_state(self, service: str, stored: StoredState) -> None:
        """Write a STATE file. Raises SystemFault, and the file keeps what it holds."""
        if self.is_full:
            self.spoilt.add(service)
            raise SystemFault("no space left on device")
        self._put(service, encode(stored))
        self.spoilt.discard(service)

    def read_state(self, service: str) -> tuple[StoredState | None, str]:
        """Return the stored state, or why there is none; neither for a service that is new."""
        data = self.files.get(service)
        if data is None:
            return None, "STATE file is missing" if service in self.managed else ""
        try:
            return decode(data), ""
        except ValueError as error:
            return None, f"STATE file: {error}"

    def damage_state(self, service: str, data: bytes | None) -> None:
        """Replace the content of a STATE file; None removes it."""
        self.spoilt.add(service)
        self._put(service, data)

    def _put(self, service: str, data: bytes | None) -> None:
        """Replace a STATE file, as any process does; None removes it."""
        if data is None:
            self.files.pop(service, None)
        else:
            self.files[service] = data

    def remember_incarnations(self, incarnations: dict[str, BootId]) -> None:
        """Store the newest incarnations of the peer, if there is room."""
        if not self.is_full:
            self.incarnations = incarnations

    def remember_fencing(self, memory: FencingMemory) -> None:
        """Store the fencing memory. Raises SystemFault."""
        if self.is_full:
            raise SystemFault("no space left on device")
        self.fencing = memory

    def lose_power(self) -> None:
        """Lose what is not on disk: nothing."""

    def end_daemon(self) -> None:
        """End what an orderly end of the daemon ends."""

    # --- start of a daemon ------------------------------------------------------------------------

    def begin_daemon(
        self, services: tuple[ServiceSpec, ...]
    ) -> tuple[dict[str, RecoveredState], tuple[ServiceSpec, ...]]:
        """Return states for a new daemon, and services that left the file, but may run."""
        self.boot_counter += 1
        kept = self.kept(services) if self.is_same_boot else ()
        if not self.is_same_boot:
            self.fencing = self.fencing.after_boot()
        recovered = self.recover_states((*services, *kept))
        self.record_managed(services)
        self.is_same_boot = True
        return recovered, kept

    def recover_states(
        self, services: tuple[ServiceSpec, ...], unwritten: frozenset[str] = frozenset()
    ) -> dict[str, RecoveredState]:
        """Recover states from the STATE files, by the rules of production.

        Those of ``unwritten`` are the engine's to write.
        """
        if not self.is_same_boot:
            self._end_former_boot({svc.name for svc in services})
        recovered = {}
        for svc in services:
            stored, problem = self.read_state(svc.name)
            is_same_boot = self.is_same_boot and svc.name not in self._of_former_boot
            known = recover(stored, problem, is_same_boot)
            self._of_former_boot.discard(svc.name)
            if svc.name not in unwritten:
                self.write_recovered(svc.name, known)
            recovered[svc.name] = known
        return recovered

    def write_recovered(self, service: str, known: RecoveredState) -> None:
        """Write what a daemon starts with, if there is room."""
        target = known.frozen_target if known.state is not ServiceState.UNKNOWN else None
        try:
            self.write_state(service, StoredState(known.state, target, known.stay))
        except SystemFault:
            return  # The next state to be written reports it.

    def _end_former_boot(self, managed: set[str]) -> None:
        """Reset the STATE files of unmanaged services after a boot; they may be added again."""
        others = set(self.files) - managed
        self._of_former_boot = others if self.is_full else set()
        for name in sorted(others - self._of_former_boot):
            stored, problem = self.read_state(name)
            if stored is not None:
                ended = recover(stored, problem, is_same_life=False)
                self._put(name, encode(StoredState(ended.state)))

    def kept(self, services: tuple[ServiceSpec, ...]) -> tuple[ServiceSpec, ...]:
        """Return managed services that are not in ``services``, but may run."""
        names = {svc.name for svc in services}
        return tuple(
            svc for name, svc in self.managed.items() if name not in names and self._may_run(name)
        )

    def _may_run(self, service: str) -> bool:
        stored, problem = self.read_state(service)
        if stored is not None:
            return stored.state in MAY_RUN
        return service in self.files and bool(problem)

    def record_managed(self, services: tuple[ServiceSpec, ...]) -> None:
        """Store which services the node manages: these, and those that are kept."""
        self.managed = {svc.name: svc for svc in (*services, *self.kept(services))}

    # --- check ------------------------------------------------------------------------------------

    def mismatch(self, engine: Engine) -> str:
        """Return which STATE file does not hold the daemon's state; a restart relies on it."""
        for name, data in self.files.items():
            if name in self.spoilt or not engine.manages(name):
                continue
            stored, own = decode(data), engine.state_of(name)
            if stored.state is not own:
                return f"{name} is {own.name}, and its STATE file holds {stored.state.name}"
            if stored.stay.is_ordered is not engine.stay_of(name).is_ordered:
                return f"the STATE file of {name} does not hold whether an operator moved it"
        return ""
