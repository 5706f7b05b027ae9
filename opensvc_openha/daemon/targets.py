"""Ask the targets of `[connectivity]` again and again, in a thread of its own.

Nothing waits for it: beats and decisions continue, whatever becomes of a request. Without the
section there is no thread.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence

from opensvc_openha.core.events import PingResult, TargetLook, TargetsAsked
from opensvc_openha.core.model import ConnectivityPolicy
from opensvc_openha.system import clock
from opensvc_openha.system.echo_requests import ask
from opensvc_openha.system.thread_names import name_thread

Ask = Callable[[Sequence[str], float, str], tuple[TargetLook, ...]]


class Targets:
    """Report what the targets of this node do.

    ``check_soon`` is called by the thread that applies a configuration.
    """

    def __init__(
        self,
        policy: Callable[[], ConnectivityPolicy | None],
        put: Callable[[TargetsAsked], None],
        ask_all: Ask = ask,
    ) -> None:
        """``policy`` returns the configuration in force."""
        self._policy = policy
        self._put = put
        self._ask = ask_all
        self._lock = threading.Lock()
        self._has_thread = False
        self._has_begun = False
        self._is_over = threading.Event()

    def start(self) -> None:
        """Start to ask, if targets are configured."""
        self._has_begun = True
        self.check_soon()

    def check_soon(self) -> None:
        """Follow an edited configuration."""
        # Without a thread nothing is known of the targets, and the next edit tries it again.
        with self._lock, contextlib.suppress(RuntimeError):
            is_wanted = self._policy() is not None and not self._is_over.is_set()
            if is_wanted and self._has_begun and not self._has_thread:
                threading.Thread(target=self._run, name="targets", daemon=True).start()
                self._has_thread = True

    def stop(self) -> None:
        """End without waiting for an answer."""
        self._is_over.set()

    def _run(self) -> None:
        name_thread("targets")
        while not self._is_over.is_set():
            with self._lock:
                policy = self._policy()
                if policy is None:
                    self._has_thread = False
                    return
            began_at = clock.monotonic()
            self._put(TargetsAsked(began_at, self._look(policy)))
            self._is_over.wait(max(0.0, began_at + policy.every_s - clock.monotonic()))

    def _look(self, policy: ConnectivityPolicy) -> tuple[TargetLook, ...]:
        try:
            return self._ask(policy.targets, policy.timeout_s, policy.interface)
        # The one place of this thread that catches all: what is not known must be reported.
        except Exception as error:
            self._is_over.wait(policy.timeout_s)
            text = f"{type(error).__name__}: {error}"
            return tuple(TargetLook(each, PingResult.UNABLE, text) for each in policy.targets)
