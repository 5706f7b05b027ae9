"""Carry out the steps of a fence, one at a time, each as a child process with a limit.

A step that was decided on but not begun - this node stood still, or the peer is heard again - is
not begun. One that has begun runs to its end: what its success is worth is decided in core. A
daemon that ends waits for none.
"""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping

from opensvc_openha.core.actions import FenceStep, StepKind
from opensvc_openha.core.events import FenceStepEnded, StepOutcome
from opensvc_openha.core.model import FencingPolicy, PathKind
from opensvc_openha.daemon.fence_program import FenceAnswer, FenceProgram
from opensvc_openha.formats.one_line import one_line
from opensvc_openha.hints import Protocol
from opensvc_openha.system import clock

TEXT_CHARACTERS = 300
HINTS_MAX = 8
_OFF_TWICE = ["off", "off"]
CLAIM, CUT, PREEMPT = "claim", "cut", "preempt"
_CLAIMS = {"won": StepOutcome.DONE, "lost": StepOutcome.LOST, "unable": StepOutcome.UNABLE}


class FencePlan(Protocol):
    """What the configuration in force says of the paths."""

    def request(
        self, do: str, path: str, peer: str, limit_s: float, services: tuple[str, ...] = ()
    ) -> Mapping[str, object]:
        """Return the request to the fence program; KeyError for a path that is not configured."""


class FenceRunner:
    """Run steps, and pass their ends to ``report``, from another thread."""

    def __init__(
        self,
        program: FenceProgram,
        plan: Callable[[], tuple[FencingPolicy, FencePlan]],
        peer: str,
        report: Callable[[FenceStepEnded], None],
        on_done: Callable[[str, float], None] = lambda path, took_s: None,
    ) -> None:
        """``plan`` returns the configuration in force; it is called when a step begins.

        ``on_done`` gets the path of a step that was a success, and its seconds.
        """
        self._program = program
        self._plan = plan
        self._peer = peer
        self._report = report
        self._on_done = on_done
        self._lock = threading.Lock()
        self._waiting: collections.deque[tuple[FenceStep, Callable[[], bool]]] = collections.deque()
        self._is_at_work = False
        self._is_closed = False
        self._turn = threading.Lock()

    @property
    def is_busy(self) -> bool:
        """True while a step runs or waits."""
        return self._is_at_work

    def run(self, step: FenceStep, is_overtaken: Callable[[], bool]) -> None:
        """Queue a step; it begins as soon as the one before has ended.

        ``is_overtaken`` is called from another thread right before it begins.
        """
        with self._lock:
            if self._is_closed:
                return
            self._waiting.append((step, is_overtaken))
            if self._is_at_work:
                return
            self._is_at_work = True
        try:
            threading.Thread(target=self._work, name="fence", daemon=True).start()
        except RuntimeError as error:
            with self._lock:
                self._waiting.clear()
                self._is_at_work = False
            self._report(_failed(step, f"not begun: {error}", 0.0))

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Begin no step meanwhile: for another user of the devices."""
        with self._turn:
            yield

    def close(self) -> None:
        """Begin no more steps; returns at once. What runs is the program's to end."""
        with self._lock:
            self._is_closed = True
            self._waiting.clear()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._is_at_work = False
                    return
                step, is_overtaken = self._waiting.popleft()
            began = clock.monotonic()
            try:
                with self._turn:
                    ended = self._run(step, is_overtaken)
            # The one place of this thread that catches all: its end must be reported.
            except Exception as error:
                text = f"could not be run: {type(error).__name__}: {error}"
                ended = _failed(step, text, clock.monotonic() - began)
            self._report(ended)
            if ended.outcome is StepOutcome.DONE and step.path:
                self._on_done(step.path, ended.took_s)

    def _run(self, step: FenceStep, is_overtaken: Callable[[], bool]) -> FenceStepEnded:
        if is_overtaken():
            text = f"this node stood still, or {self._peer} is heard: not begun"
            return FenceStepEnded(step.number, StepOutcome.NOT_BEGUN, text, took_s=0.0)
        policy, plan = self._plan()
        path = policy.path(step.path)
        if step.kind is StepKind.CLAIM:
            do = CLAIM
        elif path is None:
            return _failed(step, f"{step.path} is not in levels any more", 0.0)
        else:
            do = CUT if path.kind.has_device else PREEMPT
        request = plan.request(do, step.path, self._peer, step.limit_s, step.services)
        answer = self._program.ask(request, step.limit_s)
        return ended_of(step, None if path is None else path.kind, answer)


def ended_of(step: FenceStep, kind: PathKind | None, answer: FenceAnswer) -> FenceStepEnded:
    """Return how a step on a path of this kind has ended; None is a claim.

    Whatever is not clearly a success is none.
    """
    if answer.problem:
        return _failed(step, answer.problem, answer.took_s)
    values = answer.values
    text, hints = text_of(values.get("text")), hints_of(values.get("hints"))
    if step.kind is StepKind.CLAIM:
        outcome = _CLAIMS.get(str(values.get("outcome")), StepOutcome.UNABLE)
        return FenceStepEnded(step.number, outcome, text, hints, None, answer.took_s)
    problem = why_not_proved(kind, values)
    if problem:
        return _failed(step, problem, answer.took_s, hints)
    covers = _names(values.get("covers"))
    return FenceStepEnded(step.number, StepOutcome.DONE, text, hints, covers, answer.took_s)


def why_not_proved(kind: PathKind | None, values: Mapping[str, object]) -> str:
    """Return why this answer of the fence program is no success; empty if it is one."""
    if values.get("is_proved") is not True:
        return text_of(values.get("text")) or "not proved"
    readings = values.get("readings")
    if kind is PathKind.POWER and not (isinstance(readings, list) and readings[-2:] == _OFF_TWICE):
        return f"not proved: read {one_line(str(readings))[:TEXT_CHARACTERS]}, not OFF twice"
    if kind is PathKind.RESERVATION and _names(values.get("covers")) is None:
        return "not proved: the services whose disks are reserved are not named"
    return ""


def text_of(value: object) -> str:
    """Return a text of the fence program as one line of limited length."""
    return one_line(value)[:TEXT_CHARACTERS] if isinstance(value, str) else ""


def hints_of(value: object) -> tuple[str, ...]:
    """Return the hints of the fence program, a limited number."""
    found = map(text_of, value[:HINTS_MAX]) if isinstance(value, list) else ()
    return tuple(text for text in found if text)


def _names(value: object) -> frozenset[str] | None:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return None
    return frozenset(value)


def _failed(
    step: FenceStep, text: str, took_s: float, hints: tuple[str, ...] = ()
) -> FenceStepEnded:
    """Return a failure; a claim that gave no answer was not lost."""
    outcome = StepOutcome.UNABLE if step.kind is StepKind.CLAIM else StepOutcome.FAILED
    return FenceStepEnded(step.number, outcome, text, hints, None, took_s)
