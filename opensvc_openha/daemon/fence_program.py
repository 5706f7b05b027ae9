"""Ask the program that talks to fencing devices: one request, one answer, one time limit.

A device may hang, and so may whatever talks to it. So each request is a process of its own: a JSON
object on its standard input, one on its standard output. At the limit its whole process group is
killed. A process that cannot even be killed (its disk hangs) is abandoned: nothing waits for it.

Secrets are read by the program itself, from files; none is in a request or on a command line.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import field

from opensvc_openha.daemon.memory_guard import MemoryGuard
from opensvc_openha.formats.one_line import one_line
from opensvc_openha.records import dataclass
from opensvc_openha.system import clock
from opensvc_openha.system.processes import descendants_of, is_ended_child, send_signal
from opensvc_openha.system.self_command import self_command

PROGRAM = "opensvc_openha.fence_devices.run"
ANSWER_BYTES = 65_536
"""An answer that is longer is none; errors are shown from as many bytes at most."""
ABANDON_AFTER_S = 2.0
"""A killed process is waited for at most this long, in seconds."""
_LOOK_S = 0.05
_TEXT_CHARACTERS = 300


@dataclass(frozen=True)
class FenceAnswer:
    """The answer to one request.

    ``values`` are as received: each use checks type and meaning. ``problem`` is why there are none;
    empty if there are. ``took_s`` is in seconds.
    """

    values: Mapping[str, object] = field(default_factory=dict)
    problem: str = ""
    took_s: float = 0.0


class FenceProgram:
    """Run the program; any thread may, and each call is a process of its own."""

    def __init__(
        self,
        environment: Mapping[str, str],
        memory: MemoryGuard | None = None,
        argv: Sequence[str] = (),
    ) -> None:
        self._environment = environment
        self._memory = MemoryGuard() if memory is None else memory
        self._argv = list(argv) or self_command(PROGRAM)
        self._lock = threading.Lock()
        self._running: set[int] = set()
        self._is_closed = False

    def ask(self, request: Mapping[str, object], limit_s: float) -> FenceAnswer:
        """Return the answer, or why there is none, within the limit and ``ABANDON_AFTER_S``.

        Never raises for what the program or the system does wrong.
        """
        began = clock.monotonic()
        try:
            process = self._begin(request)
        except OSError as error:
            return FenceAnswer(problem=f"the fence program cannot be started: {error.strerror}")
        if process is None:
            return FenceAnswer(problem="not run: this daemon ends")
        reading = _Reading(process)
        try:
            problem = reading.read_until(began + limit_s)
        finally:
            reading.close()
            code = self._finish(process)
        took_s = clock.monotonic() - began
        if problem is None:
            problem = f"no answer within {limit_s:g} s: killed"
        if problem:
            return FenceAnswer(problem=problem, took_s=took_s)
        return _answer_of(reading.output, reading.errors, code, took_s)

    def close(self) -> None:
        """Kill what runs, and begin nothing any more; returns at once."""
        with self._lock:
            self._is_closed = True
            for pid in self._running:
                _kill(pid)

    def _begin(self, request: Mapping[str, object]) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._is_closed:
                return None
        text = os.memfd_create("request")
        try:
            os.write(text, json.dumps(request).encode("ascii") + b"\n")
            os.lseek(text, 0, os.SEEK_SET)
            process = subprocess.Popen(
                self._memory.command(self._argv),
                stdin=text,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd="/",
                start_new_session=True,
                env={**os.environ, **self._environment},
            )
        finally:
            os.close(text)
        with self._lock:
            self._running.add(process.pid)
            if self._is_closed:
                _kill(process.pid)
        return process

    def _finish(self, process: subprocess.Popen[bytes]) -> int | None:
        """Kill what is left of the group; return the exit code, None if it cannot be killed."""
        with self._lock:
            # Its leader is not collected before, so that nothing else can have the group's number.
            _kill(process.pid)
            self._running.discard(process.pid)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        try:
            return process.wait(ABANDON_AFTER_S)
        except subprocess.TimeoutExpired:
            return None


def list_of(value: object) -> list[object]:
    """Return a part of an answer that has to be a list; empty for anything else."""
    return value if isinstance(value, list) else []


def _kill(pid: int) -> None:
    """Kill a program that leads a group, and all that it has started, in whatever groups."""
    found = descendants_of(pid)
    send_signal(pid, signal.SIGKILL, is_group=True)
    for each in found:
        send_signal(each, signal.SIGKILL)


class _Reading:
    """What a child prints, up to its end or a deadline."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.output = b""
        self.errors = b""
        assert process.stdout is not None and process.stderr is not None
        self._pid = process.pid
        self._out, self._err = process.stdout.fileno(), process.stderr.fileno()
        self._poll = select.poll()
        for handle in (self._out, self._err):
            os.set_blocking(handle, False)
            self._poll.register(handle, select.POLLIN)
        # Its end is seen at once; a kernel or a filter without that is asked every _LOOK_S.
        self._end = -1
        with contextlib.suppress(OSError):
            self._end = os.pidfd_open(process.pid)
            self._poll.register(self._end, select.POLLIN)

    def close(self) -> None:
        """Close what the end of the child was seen by."""
        if self._end >= 0:
            os.close(self._end)

    def read_until(self, deadline: float) -> str | None:
        """Return what is wrong with the output, empty for nothing; None at the deadline."""
        while True:
            left_s = deadline - clock.monotonic()
            if left_s <= 0:
                return None
            # Looked at before the last reading: what was printed before the end is taken.
            is_ended = is_ended_child(self._pid)
            has_read = False
            for handle, _ in self._poll.poll(0 if is_ended else 1000 * min(left_s, _LOOK_S)):
                has_read = (handle != self._end and self._take(handle)) or has_read
            if len(self.output) > ANSWER_BYTES:
                return f"an answer of more than {ANSWER_BYTES} bytes: killed"
            # What a grandchild prints after the end of the child is no answer.
            if is_ended and not has_read:
                return ""

    def _take(self, handle: int) -> bool:
        try:
            data = os.read(handle, ANSWER_BYTES)
        except OSError:
            return False
        if not data:
            self._poll.unregister(handle)
        elif handle == self._out:
            self.output += data
        else:
            self.errors = (self.errors + data)[-ANSWER_BYTES:]
        return bool(data)


def _answer_of(output: bytes, errors: bytes, code: int | None, took_s: float) -> FenceAnswer:
    try:
        values = json.loads(output.decode("utf-8"))
    # A deeply nested answer exhausts the parser's stack.
    except (ValueError, RecursionError):
        values = None
    if isinstance(values, dict) and code == 0:
        return FenceAnswer(values, took_s=took_s)
    lines = errors.decode("utf-8", "replace").strip().splitlines()
    said = f": {one_line(lines[-1].strip())[:_TEXT_CHARACTERS]}" if lines else ""
    if code is None or code < 0:
        how = "cannot be ended" if code is None else f"was ended by signal {-code}"
    else:
        how = f"ended with {code}" if code else "ended"
    what = "" if isinstance(values, dict) else " without an answer"
    return FenceAnswer(problem=f"the fence program {how}{what}{said}", took_s=took_s)
