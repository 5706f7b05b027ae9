"""Take orders in two steps, and run each as the command that an operator would type.

The first step names what would happen and gets a number that is used once; the second repeats
service and node. Nothing is kept over a restart.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from opensvc_openha.core.events import Command
from opensvc_openha.core.states import ServiceState, state_name
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.errors import RefusedError, UsageError
from opensvc_openha.live.orders import Order, command_of, consequence_of
from opensvc_openha.system import clock

CONFIRM_WITHIN_S = 60.0
_WAITING_MAX = 32
_JOBS_KEPT = 20

Run = Callable[[str, str, str], tuple[bool, str]]
"""Run ``service -A SERVICE ACTION`` for a reason; returns whether it succeeded, and its output."""


@dataclass(frozen=True)
class Question:
    """An order that waits for its confirmation."""

    number: str
    guard: str
    order: Order
    command: Command
    state: ServiceState | None
    """Of the service here, when it was asked: what the order leads to depends on it."""
    service: str
    node: str
    text: str
    ends_at: float


@dataclass(frozen=True)
class Job:
    """An order that was confirmed; ``state`` is running, done or failed."""

    at: float
    by: str
    order: str
    service: str
    node: str
    state: str = "running"
    text: str = ""


class OrderDesk:
    """Orders of one server; any thread may call."""

    def __init__(self, run: Run, status: Callable[[], NodeStatus]) -> None:
        self._run = run
        self._status = status
        self._lock = threading.Lock()
        self._waiting: dict[str, Question] = {}
        self._jobs: list[Job] = []

    def ask(self, guard: str, word: str, service: str) -> Question:
        """Return what is to be confirmed. ``guard`` is of the session, which alone may confirm."""
        try:
            order = Order(word)
        except ValueError:
            raise UsageError(f"no such order: {word[:20]!r}") from None
        status = self._status()
        svc = status.service(service)
        if svc is None:
            raise RefusedError(f"no service {service[:64]!r}")
        command = command_of(order, svc.own_state)
        if command is None:
            state = state_name(svc.own_state)
            raise RefusedError(f"{service} is {state} on {status.node}: it cannot {order.value}")
        text = consequence_of(order, command, service, status.node, status.peer)
        now = clock.monotonic()
        question = Question(
            secrets.token_urlsafe(16),
            guard,
            order,
            command,
            svc.own_state,
            service,
            status.node,
            text,
            now + CONFIRM_WITHIN_S,
        )
        with self._lock:
            for number in [key for key, one in self._waiting.items() if one.ends_at <= now]:
                del self._waiting[number]
            while len(self._waiting) >= _WAITING_MAX:
                self._waiting.pop(next(iter(self._waiting)))
            self._waiting[question.number] = question
        return question

    def confirm(
        self, guard: str, number: str, service: str, node: str, by: str, reason: str = ""
    ) -> Job:
        """Run what was asked for; service and node must be those of the question."""
        with self._lock:
            question = self._waiting.pop(number, None)
        if question is None or question.guard != guard or question.ends_at <= clock.monotonic():
            raise RefusedError("this order is not waiting for a confirmation: give it again")
        if (service, node) != (question.service, question.node):
            raise RefusedError(f"confirmed for {service[:64]!r} on {node[:64]!r}: nothing was done")
        status = self._status()
        svc = status.service(service)
        state = None if svc is None else svc.own_state
        if state is not question.state:
            raise RefusedError(f"{service} is {state_name(state)} by now: nothing was done")
        job = Job(clock.wall(), by, question.order.value, service, node)
        with self._lock:
            if any(one.service == service and one.state == "running" for one in self._jobs):
                raise RefusedError(f"another order for {service} runs")
            self._jobs = [*self._jobs, job][-_JOBS_KEPT:]
        threading.Thread(
            target=self._carry_out,
            args=(job, question.command.value, reason),
            name="order",
            daemon=True,
        ).start()
        return job

    def jobs(self) -> tuple[Job, ...]:
        """Return the newest orders, the newest first."""
        with self._lock:
            return tuple(reversed(self._jobs))

    def _carry_out(self, job: Job, action: str, reason: str) -> None:
        told = f"{reason} (page, from {job.by})" if reason else f"page, from {job.by}"
        try:
            is_done, text = self._run(job.service, action, told)
        except Exception as error:  # Top level of the thread: shown with the order.
            is_done, text = False, f"{type(error).__name__}: {error}"
        ended = replace(job, state="done" if is_done else "failed", text=text)
        with self._lock:
            self._jobs = [ended if one is job else one for one in self._jobs]
