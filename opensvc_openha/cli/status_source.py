"""Keep the newest status of the node daemon for readers that must not wait for it.

A thread asks the daemon: from time to time, and at once when a reader wants a fresh status. The
reader waits for that only for a moment, and gets the last status with its age otherwise.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from opensvc_openha.core.status import NodeStatus
from opensvc_openha.errors import NotAnsweringError, NotRunningError, OpenhaError
from opensvc_openha.system import clock

_ASK_EVERY_S = 5.0


@dataclass(frozen=True)
class Seen:
    """The newest answer: a status and how old it is, or why there is none.

    ``age_s`` counts from the first question where the daemon has never answered.
    """

    status: NodeStatus | None
    is_up: bool
    age_s: float | None
    problem: str = ""


class StatusSource:
    """The status of one node; ``ask`` returns it or raises as ``client.fetch_status`` does.

    ``report`` is called when a problem begins or ends; that no daemon runs is none. Any
    thread may call ``newest``.
    """

    def __init__(self, ask: Callable[[], NodeStatus], report: Callable[[str], None]) -> None:
        self._ask = ask
        self._report = report
        self._changed = threading.Condition()
        self._status: NodeStatus | None = None
        self._given_at: float | None = None
        """When the present status was up to date; of none, since when it is asked for."""
        self._is_up = False
        self._problem = ""
        self._wanted = self._began = self._ended = 0

    def start(self) -> None:
        """Start the thread that asks."""
        threading.Thread(target=self._run, name="status source", daemon=True).start()

    def newest(self, wait_s: float) -> Seen:
        """Return the newest status; wait for one that is asked for now, but not longer."""
        with self._changed:
            self._wanted = wanted = self._began + 1
            self._changed.notify_all()
            # One that did not answer last time is not waited for at all.
            if not self._problem:
                self._changed.wait_for(lambda: self._ended >= wanted, wait_s)
            return self._seen()

    def ask_now(self) -> None:
        """Ask in this thread, for a process that has nothing else to do."""
        began = clock.monotonic()
        status, is_up, problem = None, False, ""
        try:
            status, is_up = self._ask(), True
        except NotAnsweringError as error:
            is_up, problem = True, str(error)
        except NotRunningError:
            pass
        except OpenhaError as error:
            problem = str(error)
        with self._changed:
            if problem != self._problem:
                self._report(problem or "nmond answers")
            self._is_up, self._problem = is_up, problem
            if status is not None:
                self._status, self._given_at = status, began - status.age_s
            elif not is_up:
                self._status, self._given_at = None, None
            elif self._given_at is None:
                self._given_at = began

    def _seen(self) -> Seen:
        age_s = None if self._given_at is None else clock.monotonic() - self._given_at
        return Seen(self._status, self._is_up, age_s, self._problem)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._began += 1
                number = self._began
            self.ask_now()
            with self._changed:
                self._ended = number
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._wanted > self._ended, _ASK_EVERY_S)
