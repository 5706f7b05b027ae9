"""Carry the orders of this node's promise to the keeper of its watchdog, in a thread of its own.

The engine's thread never waits for it. A permit that waits is replaced by a newer one: each stands
for all before it. What becomes of the watchdog goes back as WatchdogReady and WatchdogLost.
"""

from __future__ import annotations

import collections
import logging
import threading
from collections.abc import Callable

from opensvc_openha.core.actions import ArmWatchdog, DisarmWatchdog, GrantPermit, HoldWatchdog
from opensvc_openha.core.events import WatchdogLost, WatchdogReady
from opensvc_openha.core.model import LeasePolicy
from opensvc_openha.daemon.issues import ActiveIssues, Issue
from opensvc_openha.errors import SystemFault
from opensvc_openha.hints import TYPE_CHECKING, Protocol
from opensvc_openha.system.sleep_inhibitor import SleepInhibitor
from opensvc_openha.system.thread_names import name_thread

if TYPE_CHECKING:
    from opensvc_openha.watchdog.keeper_client import (
        DisarmOutcome,
        Grant,
        KeeperSettings,
        KeeperStatus,
    )

_LOOK_S = 1.0
"""Time between two looks at a keeper that gets no order."""
STOP_LIMIT_S = 4.0
"""Longest wait for the last orders of a daemon that ends, which may be a hold."""

Order = ArmWatchdog | GrantPermit | HoldWatchdog | DisarmWatchdog


class Keeper(Protocol):
    """The daemon's end of the keeper: see ``KeeperClient``; all of it may raise SystemFault."""

    settings: KeeperSettings

    def ensure_running(self) -> KeeperStatus:
        """Have a keeper that works by the settings."""

    def grant(self, renewed_at: float) -> Grant:
        """Let it pet the watchdog once."""

    def hold(self, until: float) -> KeeperStatus:
        """Let it pet the watchdog by itself until then."""

    def disarm(self) -> DisarmOutcome:
        """Stop the watchdog in order."""

    def status(self) -> KeeperStatus:
        """Look at it."""

    def close(self) -> None:
        """Leave it."""


class Inhibitor(Protocol):
    """What refuses to suspend this machine: see ``SleepInhibitor``."""

    @property
    def why_not(self) -> str:
        """Why that is not refused; empty if it is."""

    def hold(self) -> None:
        """Refuse it, if that is possible."""

    def release(self) -> None:
        """Allow it again."""


class WatchdogThread:
    """Orders to one keeper; ``order`` and ``status`` may be called by any thread."""

    def __init__(
        self,
        policy: Callable[[], LeasePolicy | None],
        connect: Callable[[KeeperSettings], Keeper],
        find_running: Callable[[], KeeperSettings | None],
        is_virtual: Callable[[], bool],
        report: Callable[[WatchdogReady | WatchdogLost], None],
        issues: ActiveIssues,
        logger: logging.Logger,
        disarmed: Callable[[], None] = lambda: None,
        inhibitor: Inhibitor | None = None,
    ) -> None:
        """``policy`` returns the configuration in force.

        ``find_running`` returns what an armed keeper of a former daemon works by; SystemFault if it
        does not answer. ``disarmed`` is called when the watchdog stands still and nothing is
        promised by it.
        """
        self._disarmed = disarmed
        self._inhibitor = inhibitor or SleepInhibitor()
        self._policy = policy
        self._connect = connect
        self._find_running = find_running
        self._is_virtual = is_virtual
        self._report = report
        self._issues = issues
        self._log = logger
        self._changed = threading.Condition()
        self._orders: collections.deque[Order] = collections.deque()
        self._is_over = False
        self._thread: threading.Thread | None = None
        self._keeper: Keeper | None = None
        self._status: KeeperStatus | None = None
        self._is_armed = False
        """It was petted with a permit, or taken over, and not given up since."""
        self._is_sought = False
        """A former daemon may have armed it: its keeper did not answer so far."""
        self._number = 0
        """Of the last order to arm it that was carried out."""

    @property
    def status(self) -> KeeperStatus | None:
        """The keeper as it was last seen; None if there is none."""
        return self._status

    @property
    def is_used(self) -> bool:
        """True while there is a keeper, or an order to have one; or if that is not known."""
        return self._keeper is not None or bool(self._orders) or self._is_sought

    @property
    def why_no_inhibitor(self) -> str:
        """Why this machine may be suspended though its watchdog is armed; empty if it may not."""
        return self._inhibitor.why_not if self._is_armed else ""

    def take_over(self) -> None:
        """Take over the watchdog that a former daemon has armed, if there is one.

        Called before the engine decides anything. A keeper that does not answer is asked again once
        a second: the machine is reset unless it continues.
        """
        self._is_sought = True
        problem = self._seek()
        if problem:
            self._report(WatchdogLost(problem, frozenset()))

    def _seek(self) -> str:
        """Look for the keeper of a former daemon; return why nothing is known of it."""
        try:
            settings = self._find_running()
            if settings is not None:
                self._adopt(settings)
        except SystemFault as error:
            self._issues.report(Issue.WATCHDOG, str(error))
            return str(error)
        self._is_sought = False
        self._issues.solve(Issue.WATCHDOG)
        return ""

    def start(self, enter: Callable[[], None]) -> None:
        """Start to carry orders out; the thread calls ``enter`` first."""
        self._thread = threading.Thread(
            target=self._run, args=(enter,), name="watchdog", daemon=True
        )
        self._thread.start()

    def order(self, order: Order) -> None:
        """Add an order; never block."""
        with self._changed:
            if self._is_over:
                return
            last = self._orders[-1] if self._orders else None
            if isinstance(order, GrantPermit) and isinstance(last, GrantPermit):
                self._orders.pop()
            self._orders.append(order)
            self._changed.notify()

    def stop(self) -> None:
        """Carry out what was ordered, and leave the keeper as it is; with a limit."""
        with self._changed:
            self._is_over = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(STOP_LIMIT_S)

    # --- the thread -------------------------------------------------------------------------------

    def _run(self, enter: Callable[[], None]) -> None:
        name_thread("watchdog")
        enter()
        while True:
            with self._changed:
                if not self._orders and not self._is_over:
                    self._changed.wait(_LOOK_S if self.is_used else None)
                order = self._orders.popleft() if self._orders else None
                is_over = self._is_over and order is None
            if is_over:
                break
            try:
                self._look() if order is None else self._carry_out(order)
            except SystemFault as error:
                self._lose(str(error))
            # The only catch-all of this thread: reported, and the core orders again.
            except Exception as error:
                self._lose(f"internal error: {type(error).__name__}: {error}")
        self._leave()

    def _carry_out(self, order: Order) -> None:
        if isinstance(order, ArmWatchdog):
            self._number = order.number
            self._arm()
        elif self._keeper is None:
            if isinstance(order, DisarmWatchdog) and not self._is_sought:
                self._disarmed()
        elif isinstance(order, GrantPermit):
            self._grant(self._keeper, order.renewed_at)
        elif isinstance(order, HoldWatchdog):
            self._status = self._keeper.hold(order.until)
            self._log.info("the watchdog is kept for the next daemon")
        else:
            self._disarm(self._keeper)

    def _arm(self) -> None:
        policy = self._policy()
        if policy is None:
            raise SystemFault("[[lease]] is not configured any more")
        wanted = settings_of(policy)
        if self._keeper is not None and self._keeper.settings != wanted:
            if self._is_armed:
                self._report_ready(self._keeper, is_former=True)
                return
            self._leave()
        if self._keeper is None:
            running = self._find_running()
            if running is not None and (self._is_sought or running != wanted):
                # The core withdraws what is promised by it, and arms anew.
                self._adopt(running)
                self._is_sought = False
                return
            self._is_sought = False
            self._keeper = self._connect(wanted)
        self._status = self._keeper.ensure_running()

    def _adopt(self, settings: KeeperSettings) -> None:
        keeper = self._connect(settings)
        try:
            self._status = keeper.ensure_running()
        except SystemFault:
            keeper.close()
            raise
        self._keeper, self._is_armed = keeper, True
        self._report_ready(keeper, is_former=True)

    def _grant(self, keeper: Keeper, renewed_at: float) -> None:
        grant = keeper.grant(renewed_at)
        self._status = grant.status
        if grant.is_ready:
            self._is_armed = True
            self._issues.solve(Issue.WATCHDOG)
            self._report_ready(keeper, is_former=False)
        self._inhibitor.hold()

    def _disarm(self, keeper: Keeper) -> None:
        from opensvc_openha.watchdog import keeper_client

        self._is_armed = False
        outcome = keeper.disarm()
        self._status = keeper.status()
        self._issues.solve(Issue.WATCHDOG)
        if outcome is keeper_client.DisarmOutcome.KEPT:
            self._log.warning("%s", self._status.text)
        self._leave()
        self._disarmed()

    def _look(self) -> None:
        if self._keeper is None:
            if self._is_sought:
                self._seek()
            return
        self._status = status = self._keeper.status()
        if self._is_armed and not status.is_armed:
            raise SystemFault(f"the watchdog is not kept any more: {status.text}")

    def _lose(self, reason: str) -> None:
        self._is_armed = False
        self._issues.report(Issue.WATCHDOG, reason)
        self._report(WatchdogLost(reason))

    def _leave(self) -> None:
        self._inhibitor.release()
        keeper, self._keeper = self._keeper, None
        self._is_armed, self._status = False, None
        if keeper is not None:
            keeper.close()

    def _report_ready(self, keeper: Keeper, is_former: bool) -> None:
        status = self._status
        assert status is not None, "it has answered"
        self._report(
            WatchdogReady(
                status.timeout_s,
                status.granularity_s,
                status.holders,
                self._is_virtual(),
                status.name,
                policy_of(keeper.settings) if is_former else None,
                number=None if is_former else self._number,
            )
        )


def settings_of(policy: LeasePolicy) -> KeeperSettings:
    """Return what the keeper works by under this configuration."""
    # Imported here: most nodes have no watchdog.
    from opensvc_openha.watchdog import keeper_client

    return keeper_client.KeeperSettings(
        policy.device, int(policy.timeout_s), policy.answer_s, policy.holders
    )


def policy_of(settings: KeeperSettings) -> LeasePolicy:
    """Return the configuration by which a keeper works."""
    return LeasePolicy(
        settings.device, float(settings.timeout_s), settings.answer_s, settings.holders
    )
