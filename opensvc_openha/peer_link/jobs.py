"""Run what the peer asked for in processes of their own, each request at most once.

Each request has an id, which is on disk before its process begins: an id that is known is never
run again, also by the next server. What a process prints and how it ends is kept for the one who
asked; a process outlives that one's connection, and the server.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from opensvc_openha.errors import RefusedError, SystemFault
from opensvc_openha.formats.one_line import one_line
from opensvc_openha.system.atomic_files import make_dir, write_atomically
from opensvc_openha.system.order_reason import VARIABLE

RUNNING = 8
"""Requests that are executed at a time."""
LINES = 500
LINE_CHARACTERS = 2_000
"""Of what a process prints, so much is kept."""
_RECORDS = 500
"""Ids that are remembered; ids are random, and asked for within minutes."""
_BEGAN, _DONE, _WITHDRAWN = "began", "done", "withdrawn"
_NOT_STARTED = 127
_OUTPUT_LIMIT_S = 2.0
"""Seconds for the rest of the output once the process has ended."""


@dataclass
class Job:
    """One request that is, or was, executed by this server."""

    lines: list[str] = field(default_factory=list)
    code: int | None = None
    """The exit code; None while it runs."""
    changed: threading.Condition = field(default_factory=threading.Condition)

    def add(self, line: str) -> None:
        """Keep a line of output; of too much only the beginning is kept."""
        with self.changed:
            if len(self.lines) < LINES:
                self.lines.append(line)
            elif len(self.lines) == LINES:
                self.lines.append("... (more lines than are kept)")
            self.changed.notify_all()

    def end(self, code: int) -> None:
        """Keep the exit code: the last that happens."""
        with self.changed:
            self.code = code
            self.changed.notify_all()

    def follow(self, wait_s: float) -> Iterator[str | None]:
        """Yield each line, and None each ``wait_s`` seconds without one, until the end."""
        shown = 0
        while True:
            with self.changed:
                if shown == len(self.lines) and self.code is None:
                    self.changed.wait(wait_s)
                fresh, is_over = self.lines[shown:], self.code is not None
            shown += len(fresh)
            yield from fresh
            if is_over and not fresh:
                return
            if not fresh:
                yield None


class Jobs:
    """The jobs of this server, and the records of those of former ones in ``folder``."""

    def __init__(self, folder: str, env: Mapping[str, str], log: Callable[[str], None]) -> None:
        self._folder, self._env, self._log = folder, env, log
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._running = 0
        self._nice = os.getpriority(os.PRIO_PROCESS, 0)

    def begin(
        self, job_id: str, argv: Sequence[str], given: str = "", order_reason: str = ""
    ) -> Job:
        """Run ``argv`` with ``given`` as its input; return the running job if the id is known.

        ``order_reason`` is why a person gave the order, for the program's environment.

        Raises RefusedError for an id that was withdrawn, or began under a former server, or if too
        many run; SystemFault if it cannot be recorded.
        """
        with self._lock:
            known = self._jobs.get(job_id)
            if known is not None:
                return known
            if self._running >= RUNNING:
                raise RefusedError(f"{RUNNING} requests of the peer are under way already")
            self._record_new(job_id)
            job = self._jobs[job_id] = Job()
            self._running += 1
            self._prune()
        threading.Thread(
            target=self._run,
            args=(job_id, job, argv, given, order_reason),
            name="peer job",
            daemon=True,
        ).start()
        return job

    def outcome(self, job_id: str) -> Job | str:
        """Return the job, or what is recorded of it; withdraw an id that is not known."""
        with self._lock:
            known = self._jobs.get(job_id)
            if known is not None:
                return known
            record = self._read(job_id)
            if not record:
                self._write(job_id, _WITHDRAWN)
                self._prune()
                return _WITHDRAWN
        return record

    def _record_new(self, job_id: str) -> None:
        record = self._read(job_id)
        if record == _WITHDRAWN:
            raise RefusedError("the request was withdrawn")
        if record:
            raise RefusedError("the request came before, and is not executed twice")
        self._write(job_id, _BEGAN)

    def _run(
        self, job_id: str, job: Job, argv: Sequence[str], given: str, order_reason: str
    ) -> None:
        code = _NOT_STARTED
        try:
            # The threads of connections may be nicer than what runs for a proven peer should be.
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._nice)
            code = self._executed(job, argv, given, order_reason)
        except (OSError, ValueError) as error:
            job.add(f"cannot run {argv[0]}: {error}")
        finally:
            with self._lock:
                self._running -= 1
                with contextlib.suppress(SystemFault):  # The one who asked gets it all the same.
                    self._write(job_id, f"{_DONE} {code}")
            job.end(code)
            self._log(f"request {job_id[:8]}: ended with {code}")

    def _executed(self, job: Job, argv: Sequence[str], given: str, order_reason: str) -> int:
        environment = dict(self._env)
        if order_reason:
            environment[VARIABLE] = order_reason
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
        assert process.stdin is not None and process.stdout is not None
        reader = threading.Thread(
            target=_read_lines, args=(process.stdout, job), name="peer output", daemon=True
        )
        reader.start()
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(given.encode("utf-8"))
        code = process.wait()
        # A process that was left behind may hold the pipe for good.
        reader.join(_OUTPUT_LIMIT_S)
        return code if code >= 0 else 128 - code

    def _read(self, job_id: str) -> str:
        try:
            with open(f"{self._folder}/{job_id}", encoding="ascii", errors="replace") as file:
                return file.read(40).strip() or _BEGAN
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise SystemFault(f"cannot read {self._folder}: {error.strerror}") from error

    def _write(self, job_id: str, text: str) -> None:
        try:
            make_dir(self._folder, 0o700)
            write_atomically(f"{self._folder}/{job_id}", f"{text}\n".encode("ascii"), 0o600)
        except OSError as error:
            raise SystemFault(f"cannot write {self._folder}: {error.strerror}") from error

    def _prune(self) -> None:
        """Forget the oldest ids, but those that run."""
        with contextlib.suppress(OSError):
            entries = sorted(os.scandir(self._folder), key=lambda entry: entry.stat().st_mtime_ns)
            for entry in entries[:-_RECORDS]:
                job = self._jobs.get(entry.name)
                if job is None or job.code is not None:
                    os.unlink(entry.path)
        ended = [job_id for job_id, job in self._jobs.items() if job.code is not None]
        for job_id in ended[:-RUNNING]:
            del self._jobs[job_id]


def _read_lines(stream: object, job: Job) -> None:
    with contextlib.suppress(OSError, ValueError):
        for line in iter(lambda: stream.readline(LINE_CHARACTERS), b""):  # type: ignore[attr-defined]  # a pipe
            job.add(one_line(line.decode("utf-8", "backslashreplace").rstrip("\n")))
