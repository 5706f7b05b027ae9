"""Ask the node daemon each second, and keep what was heard on each link in the last minutes.

Status and history are read in threads of their own: a reader never waits for the daemon, and sees
by ``asked_at`` that an answer is overdue.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from opensvc_openha.core.status import LinkStatus, NodeStatus
from opensvc_openha.errors import OpenhaError
from opensvc_openha.storage.history_entry import Entry
from opensvc_openha.system import clock

EVERY_S = 1.0
KEPT_S = 300
"""Seconds of each link that are kept, one sample each."""
_EVENTS_EVERY_S = 2.0


@dataclass(frozen=True)
class Seen:
    """What is known at a moment.

    ``status`` is the newest that was got, at wall-clock ``answered_at``, also if ``problem`` says
    why the last question had no answer. ``samples`` are seconds of silence of each end of a link,
    oldest first, None for a second without an answer.
    """

    version: int = 0
    asked_at: float = 0.0
    """When the last question was asked, in monotonic seconds."""
    is_asking: bool = False
    status: NodeStatus | None = None
    answered_at: float = 0.0
    problem: str = ""
    restarted_at: float | None = None
    """When another process was found to serve this node."""
    events: tuple[Entry, ...] = ()
    samples: dict[str, tuple[float | None, ...]] = field(default_factory=dict)


def end_of(link: LinkStatus) -> str:
    """Return a key for one end of a link."""
    return f"{'sender' if link.is_sender else 'listener'} {link.spec.kind} {link.spec.label}"


class Observer:
    """Read until ``stop``; ``seen`` may be called by any thread."""

    def __init__(
        self,
        read_status: Callable[[], NodeStatus],
        read_events: Callable[[], Sequence[Entry]],
        every_s: float = EVERY_S,
    ) -> None:
        self._read_status = read_status
        self._read_events = read_events
        self._every_s = every_s
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._wake = threading.Event()
        self._version = 0
        self._asked_at = clock.monotonic()
        self._is_asking = False
        self._status: NodeStatus | None = None
        self._answered_at = 0.0
        self._problem = ""
        self._restarted_at: float | None = None
        self._events: tuple[Entry, ...] = ()
        self._samples: dict[str, collections.deque[float | None]] = {}

    def start(self) -> None:
        """Start both threads."""
        for target in (self._watch_status, self._watch_events):
            threading.Thread(target=target, name="observer", daemon=True).start()

    def stop(self) -> None:
        """Let the threads end after their present question."""
        self._over.set()
        self._wake.set()

    def look_now(self) -> None:
        """Ask without waiting for the next second."""
        self._wake.set()

    def seen(self) -> Seen:
        """Return what is known now."""
        with self._lock:
            return Seen(
                self._version,
                self._asked_at,
                self._is_asking,
                self._status,
                self._answered_at,
                self._problem,
                self._restarted_at,
                self._events,
                {key: tuple(kept) for key, kept in self._samples.items()},
            )

    def look(self) -> None:
        """Ask the daemon once."""
        with self._lock:
            self._asked_at, self._is_asking = clock.monotonic(), True
        try:
            status, problem = self._read_status(), ""
        except OpenhaError as error:
            status, problem = None, str(error)
        except Exception as error:  # Top level of the thread: shown, and tried again.
            status, problem = None, f"{type(error).__name__}: {error}"
        with self._lock:
            self._is_asking = False
            self._version += 1
            self._problem = problem
            if status is not None:
                if self._status is not None and self._status.pid != status.pid:
                    self._restarted_at = clock.wall()
                self._status, self._answered_at = status, clock.wall()
            self._sample(status)

    def look_at_events(self) -> None:
        """Read the history once."""
        try:
            events = tuple(self._read_events())
        except Exception:  # The status has the reason why nothing can be read.
            return
        with self._lock:
            if events != self._events:
                self._events, self._version = events, self._version + 1

    def _sample(self, status: NodeStatus | None) -> None:
        is_new = status is not None and not status.age_s
        links = {end_of(link): link for link in status.links} if status is not None else {}
        for key in [key for key in self._samples if status is not None and key not in links]:
            del self._samples[key]
        for key in {**links, **self._samples}:
            kept = self._samples.setdefault(key, collections.deque(maxlen=KEPT_S))
            link = links.get(key)
            at = link.updated_at if link is not None and is_new else None
            kept.append(None if at is None else round(max(0.0, clock.wall() - at), 2))

    def _watch_status(self) -> None:
        while not self._over.is_set():
            began = clock.monotonic()
            self.look()
            self._wake.wait(max(0.05, began + self._every_s - clock.monotonic()))
            self._wake.clear()

    def _watch_events(self) -> None:
        while not self._over.is_set():
            self.look_at_events()
            self._over.wait(_EVENTS_EVERY_S)
