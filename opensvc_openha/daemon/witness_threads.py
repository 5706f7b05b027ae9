"""Renew this node's sign of life at the witness, and look for the peer's; a thread for each.

A witness that does not answer delays nothing else: its renewals are one medium among others, and a
look that failed proves nothing. Of renewals that wait only the newest is carried out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from opensvc_openha.core.actions import RenewWitness, WithdrawWitness
from opensvc_openha.core.beat import BootId
from opensvc_openha.core.events import MediumQuiet, MediumUnread, RenewalConfirmed
from opensvc_openha.core.lease_view import PeerPromise
from opensvc_openha.core.promise import WITNESS_MARK
from opensvc_openha.daemon.issues import ActiveIssues, Issue
from opensvc_openha.formats.lease_config import EtcdConfig
from opensvc_openha.hints import Protocol
from opensvc_openha.system import clock
from opensvc_openha.system.thread_names import name_thread

Order = RenewWitness | WithdrawWitness


class Witness(Protocol):
    """The witness as one thread uses it: see ``fence_devices.witness``.

    Each call has a limit and raises SystemFault. ``why_not`` is why the last ``quiet_since`` has
    returned None.
    """

    why_not: str

    def renew(self, life: str, seq: int, since: int | None) -> None:
        """Renew this node's sign of life."""

    def withdraw(self, life: str) -> None:
        """Mark that this life promises nothing."""

    def quiet_since(self, life: str, seq: int) -> float | None:
        """Return since when that life of the peer has the same sign; None if it has none."""

    def close(self) -> None:
        """Leave it."""


def life_of(boot: BootId) -> str:
    """Return how both nodes call an incarnation at the witness."""
    return f"{boot.counter}.{boot.nonce:x}"


class WitnessRenewals:
    """Renewals and withdrawals of this node; ``order`` may be called by any thread."""

    def __init__(
        self,
        boot: BootId,
        config: Callable[[], EtcdConfig | None],
        connect: Callable[[EtcdConfig], Witness],
        report: Callable[[RenewalConfirmed], None],
        issues: ActiveIssues,
    ) -> None:
        """``config`` returns the configuration in force."""
        self._life = life_of(boot)
        self._config = config
        self._connect = connect
        self._report = report
        self._issues = issues
        self._changed = threading.Condition()
        self._order: Order | None = None
        self._is_over = False
        self._has_begun = False
        self._used: EtcdConfig | None = None
        self._witness: Witness | None = None

    def order(self, order: Order) -> None:
        """Replace the order that waits; never block."""
        with self._changed:
            self._order = order
            self._changed.notify()
            if self._has_begun or self._is_over:
                return
            self._has_begun = True
        threading.Thread(target=self._run, name="witness", daemon=True).start()

    def stop(self) -> None:
        """End, without waiting for the witness."""
        with self._changed:
            self._is_over = True
            self._changed.notify()

    def _run(self) -> None:
        name_thread("witness")
        while True:
            with self._changed:
                while self._order is None and not self._is_over:
                    self._changed.wait()
                order, self._order = self._order, None
            if self._is_over or order is None:
                break
            try:
                self._carry_out(order)
                self._issues.solve(Issue.WITNESS)
            # The only catch-all of this thread: the next renewal tries again.
            except Exception as error:
                self._issues.report(Issue.WITNESS, str(error) or type(error).__name__)
        if self._witness is not None:
            self._witness.close()

    def _carry_out(self, order: Order) -> None:
        began_at = clock.monotonic()
        config = self._config()
        if self._witness is not None and config != self._used:
            # Where it is not renewed any more, nothing may seem to be promised.
            self._witness.withdraw(self._life)
            self._witness.close()
            self._witness = None
            if isinstance(order, WithdrawWitness):
                return self._confirm(order, began_at)
        if config is None:
            return None
        if self._witness is None:
            self._witness, self._used = self._connect(config), config
        if isinstance(order, RenewWitness):
            self._witness.renew(self._life, order.seq, order.since)
        else:
            self._witness.withdraw(self._life)
        return self._confirm(order, began_at)

    def _confirm(self, order: Order, began_at: float) -> None:
        self._report(RenewalConfirmed(WITNESS_MARK, order.seq, began_at, clock.monotonic()))


class WitnessLooks:
    """Looks for the peer's sign of life, as long as its promise names the witness."""

    def __init__(
        self,
        promised: Callable[[], PeerPromise | None],
        interval: Callable[[], float],
        config: Callable[[], EtcdConfig | None],
        connect: Callable[[EtcdConfig], Witness],
        report: Callable[[MediumQuiet | MediumUnread], None],
    ) -> None:
        """``promised`` is the engine's; it is asked once in each ``interval``, in seconds."""
        self._promised = promised
        self._interval = interval
        self._config = config
        self._connect = connect
        self._report = report
        self._is_over = threading.Event()
        self._used: EtcdConfig | None = None
        self._witness: Witness | None = None
        self.problem = ""
        """Why the last look failed; empty if it did not."""

    def start(self) -> None:
        """Start to look."""
        threading.Thread(target=self._run, name="witness looks", daemon=True).start()

    def stop(self) -> None:
        """End, without waiting for the witness."""
        self._is_over.set()

    def _run(self) -> None:
        name_thread("witness looks")
        while not self._is_over.wait(self._interval()):
            try:
                self._look()
                self.problem = ""
            # The only catch-all of this thread: a look that failed proves nothing.
            except Exception as error:
                self.problem = str(error) or type(error).__name__
                self._report(MediumUnread(WITNESS_MARK, self.problem))
        if self._witness is not None:
            self._witness.close()

    def _look(self) -> None:
        """Look all the time, also while the peer is heard: unchanged needs two looks."""
        promised, config = self._promised(), self._config()
        if config is None or promised is None or WITNESS_MARK not in promised.promise.media:
            return
        if self._witness is not None and config != self._used:
            self._witness.close()
            self._witness = None
        if self._witness is None:
            self._witness, self._used = self._connect(config), config
        read_at = clock.monotonic()
        since = self._witness.quiet_since(life_of(promised.boot), promised.seq)
        if since is None:
            self._report(MediumUnread(WITNESS_MARK, self._witness.why_not))
        else:
            self._report(MediumQuiet(WITNESS_MARK, read_at, since))
