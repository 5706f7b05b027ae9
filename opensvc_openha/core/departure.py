"""Follow this node's own end: the order to leave, the goodbyes, the last step."""

from __future__ import annotations

from opensvc_openha.core.beat import Goodbye
from opensvc_openha.core.events import Leaving
from opensvc_openha.core.managed_services import ManagedServices
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.timing import GOODBYE_REPEATS, LEAVE_SCRIPT_WAIT_S


@state_marks(not_state={"_began_at"})
class Departure:
    """The departure of one daemon, as far as it has got."""

    def __init__(self, now: float) -> None:
        self.leaving: Leaving | None = None
        self._began_at = now
        self._goodbyes = 0

    @property
    def is_announced(self) -> bool:
        """True once a goodbye was sent. It must stay true: nothing starts after it."""
        return self._goodbyes > 0

    @property
    def is_over(self) -> bool:
        """True once the last goodbye was sent."""
        return self._goodbyes >= GOODBYE_REPEATS

    def order(self, leaving: Leaving, now: float) -> None:
        """Begin to leave; an order to stop the services is not taken back by a laxer one."""
        if self.leaving is not Leaving.STOP_SERVICES and not self.is_announced:
            self.leaving, self._began_at = leaving, now

    def record_goodbye(self) -> None:
        """Count a goodbye that is sent now."""
        self._goodbyes += 1

    def goodbye(self, services: ManagedServices, now: float) -> Goodbye:
        """Return the goodbye to send now, NONE while scripts run or services are to be stopped."""
        if self.leaving is None:
            return Goodbye.NONE
        if self.is_announced:
            return Goodbye.RESTART if self.leaving is Leaving.KEEP_SERVICES else Goodbye.LEFT
        if self.leaving is Leaving.KEEP_SERVICES:
            # The services run on without a daemon: only scripts are waited for, and not for ever.
            is_waiting = services.is_busy and now - self._began_at < LEAVE_SCRIPT_WAIT_S
            return Goodbye.NONE if is_waiting else Goodbye.RESTART
        # The step that took the order to leave has already withdrawn services from START_READY.
        return Goodbye.NONE if services.is_busy or services.is_any_started else Goodbye.LEFT

    @property
    def deadline(self) -> float | None:
        """When a daemon that keeps its services leaves even if scripts run."""
        if self.leaving is not Leaving.KEEP_SERVICES:
            return None
        return self._began_at + LEAVE_SCRIPT_WAIT_S
