"""Run jobs in parallel child processes and return the failures.

Processes instead of threads: a signal that aborts the action reaches whatever each child is doing,
and a child that hangs can be killed. A job's changes in memory are lost; it has to change the
machine.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence

from opensvc_openha.agent.host.signals import ENDING_SIGNALS
from opensvc_openha.errors import ActionError, InterruptedAction, OpenhaError, SystemFault
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.named_tuples import NamedTuple

if TYPE_CHECKING:
    from typing import IO
from opensvc_openha.system.child_process import fork_child
from opensvc_openha.system.processes import end_processes

_GRACE_S = 10.0


class Job(NamedTuple):
    """One job; ``name`` identifies it in messages."""

    name: str
    run: Callable[[], None]


class JobFailure(NamedTuple):
    """Why a job failed."""

    name: str
    message: str


class _Child:
    def __init__(self, job: Job, pid: int, words: IO[bytes]) -> None:
        self.job = job
        self.pid = pid
        self.words = words
        self.is_reaped = False


def run_in_parallel(jobs: Sequence[Job]) -> list[JobFailure]:
    """Run all jobs, wait for all of them, and return those that failed.

    An exception here terminates the jobs first.
    """
    children: list[_Child] = []
    try:
        for job in jobs:
            _fork(job, children)
        return [failure for child in children for failure in _outcome(child)]
    except BaseException:
        _end(children)
        raise
    finally:
        for child in children:
            child.words.close()


def _fork(job: Job, children: list[_Child]) -> None:
    reader, writer = os.pipe()
    # Block signals until the child is registered and can report them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)

    def run() -> int:
        os.close(reader)
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            job.run()
            return 0
        except (OpenhaError, InterruptedAction) as error:
            _report(writer, str(error))
        except Exception as error:  # Top level of the process: the parent waits for a report.
            _report(writer, f"{job.name}: {type(error).__name__}: {error}")
        return 1

    try:
        pid = fork_child(run)
        children.append(_Child(job, pid, os.fdopen(reader, "rb")))
    except OSError as error:
        os.close(reader)
        raise SystemFault(f"{job.name}: cannot start a process: {error.strerror}") from error
    finally:
        os.close(writer)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _report(writer: int, message: str) -> None:
    import json  # Hardly any action has parts that run side by side, and one that fails.

    os.write(writer, json.dumps(message[:2000]).encode())


def _outcome(child: _Child) -> list[JobFailure]:
    report = child.words.read()
    _, status = os.waitpid(child.pid, 0)
    child.is_reaped = True
    exit_code = os.waitstatus_to_exitcode(status)
    if exit_code == 0:
        return []
    import json

    message = (
        json.loads(report) if report else f"{child.job.name}: its process ended with {exit_code}"
    )
    return [JobFailure(child.job.name, message)]


def _end(children: list[_Child]) -> None:
    """Send SIGTERM, so that children end their commands in order; SIGKILL if they do not end."""
    running = {child.pid: child for child in children if not child.is_reaped}
    stuck = end_processes(running, _GRACE_S, lambda pid: os.waitpid(pid, os.WNOHANG)[0] != 0)
    if stuck:
        raise ActionError(
            "processes that cannot be ended:"
            f" {', '.join(f'{running[pid].job.name} (pid {pid})' for pid in stuck)}"
        )
