"""Write states in a thread of its own, so that beats are sent while a disk is slow.

One job at a time: the engine's thread starts it and only waits for its end. If no thread can be
started, the job runs at once.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping

from opensvc_openha.errors import SystemFault
from opensvc_openha.hints import TypeVar
from opensvc_openha.system.thread_names import name_thread

Problems = dict[str, str]
"""Problem of each service whose state could not be written; empty if all were."""
Job = Callable[[], Problems]
_State = TypeVar("_State")
_CLOSE_LIMIT_S = 2.0


def write_each(
    states: Mapping[str, _State],
    write: Callable[[str, _State], None],
    note: Callable[[], None],
) -> Problems:
    """Write the states of services one after the other; ``note`` is called after each."""
    problems = {}
    for service, state in states.items():
        try:
            write(service, state)
            problems[service] = ""
        except SystemFault as error:
            problems[service] = str(error)
        note()
    return problems


class StateWriter:
    """The writing thread, from the first job on."""

    def __init__(self, enter: Callable[[], None]) -> None:
        """Prepare without starting the thread, which calls ``enter`` first."""
        self._enter = enter
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._ends: queue.SimpleQueue[Problems | BaseException] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def begin(self, job: Job) -> None:
        """Start a job; ``wait`` returns its result."""
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="states", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                self._do(job)
                return
            self._thread = thread
        self._jobs.put(job)

    def wait(self, timeout_s: float) -> Problems | None:
        """Return the job's result; None if it takes longer than ``timeout_s`` seconds.

        Raises what the job raised.
        """
        try:
            end = self._ends.get(timeout=max(timeout_s, 0.0))
        except queue.Empty:
            return None
        if isinstance(end, BaseException):
            raise end
        return end

    def close(self) -> None:
        """End the thread after the present job.

        A hung disk is waited for with a limit.
        """
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(_CLOSE_LIMIT_S)

    @property
    def is_at_work(self) -> bool:
        """True while the thread lives, and its job may still be written."""
        return self._thread is not None and self._thread.is_alive()

    def _work(self) -> None:
        self._enter()
        name_thread("states")
        while True:
            job = self._jobs.get()
            if job is None:
                return
            self._do(job)

    def _do(self, job: Job) -> None:
        try:
            self._ends.put(job())
        # The one place of this thread that catches all: the engine's thread raises it.
        except BaseException as error:
            self._ends.put(error)
