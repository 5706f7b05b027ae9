"""Run scripts of services: a bounded number at once, with time limits, in own process groups.

Scripts that start, stop or check a service never wait behind those that only query a status.

Output goes to ``<log>/<service>.log``. While a script runs, a small file names it, so that a daemon
started after a crash waits for its end instead of running a second one beside it.

If the node was stalled between the decision and the turn of a check-up or start script, that is not
begun, but decided again.
"""

from __future__ import annotations

import collections
import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from opensvc_openha.core.actions import RunScript
from opensvc_openha.core.events import ScriptExited, ScriptKind, ScriptOutcome
from opensvc_openha.core.model import ScriptLimits, ServiceSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import (
    CHECK_LIMIT_S,
    KILL_GRACE_S,
    PROBE_LIMIT_S,
    SCRIPTS_AT_ONCE,
    START_LIMIT_S,
    STOP_LIMIT_S,
)
from opensvc_openha.daemon.check_scripts import find_doubt, reports_status
from opensvc_openha.daemon.memory_guard import MemoryGuard
from opensvc_openha.daemon.spawn_turn import SpawnTurn
from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.script_output import with_output
from opensvc_openha.system import clock
from opensvc_openha.system.bounded_program import ask_program
from opensvc_openha.system.memory_use import give_back
from opensvc_openha.system.processes import (
    end_processes,
    start_of_process,
    wait_for_child,
    wait_for_end,
)
from opensvc_openha.system.programs import NOT_RUN, why_not_runnable
from opensvc_openha.system.script_log import NO_ROOM, ScriptLog

_ARGUMENT = {
    # As in the original, the check-up script is called with "start".
    ScriptKind.CHECK: "start",
    ScriptKind.START: "start",
    ScriptKind.STOP: "stop",
    ScriptKind.PROBE: "status",
    ScriptKind.POWER: "status",
}
_FLUSH = ("/bin/sync",)
"""Waits for what was written to any file system, also to one that was unmounted lazily."""
_QUESTIONS = frozenset({ScriptKind.PROBE, ScriptKind.POWER})
_REVOCABLE = frozenset({ScriptKind.CHECK, ScriptKind.START})
_WORDS_UP = frozenset({"up", "started", "running"})
_WORDS_DOWN = frozenset({"down", "stopped"})
_WORD_IN_PART, _WORD_STANDBY = "warn", "stdby"
"""Words of agents: some parts are up, or unknown.

Or only resources that are always up on a node are up.
"""
_CODE_IN_PART, _CODES_STANDBY = 2, (2, 6, 7)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_MANY = 16
"""Scripts at a time, after which memory is given back."""

_Job = tuple[RunScript, Callable[[], str]]


class ScriptRunner:
    """Run scripts and pass their ends to ``report``, from other threads."""

    def __init__(
        self,
        layout: Layout,
        node: str,
        peer: str,
        report: Callable[[ScriptExited], None],
        memory: MemoryGuard | None = None,
    ) -> None:
        self._memory = MemoryGuard() if memory is None else memory
        self._layout = layout
        self._node = node
        self._peer = peer
        self._report = report
        self._lock = threading.Lock()
        self._spawning = SpawnTurn()
        self._limits: dict[str, ScriptLimits] = {}
        self._at_once = SCRIPTS_AT_ONCE
        self._threads = 0
        self._most_threads = 0
        """Since none ran."""
        self._is_closed = False
        self._urgent: collections.deque[_Job] = collections.deque()
        self._probes: collections.deque[_Job] = collections.deque()

    def configure(self, services: tuple[ServiceSpec, ...], at_once: int) -> None:
        """Apply the limits of these services.

        Running scripts keep theirs, and so do removed services.
        """
        with self._lock:
            self._limits.update({svc.name: svc.limits for svc in services})
            self._at_once = at_once

    def run(self, action: RunScript, why_not: Callable[[], str]) -> None:
        """Queue a script; it runs as soon as there is a place for it.

        ``why_not`` is called from another thread when its turn has come; a text means that the
        decision may be out of date, and why.
        """
        waiting = self._probes if action.kind is ScriptKind.PROBE else self._urgent
        item = action, why_not
        with self._lock:
            if self._is_closed:
                return
            waiting.append(item)
            if self._threads >= self._at_once:
                return
            self._threads += 1
            self._most_threads = max(self._most_threads, self._threads)
        try:
            threading.Thread(target=self._run_waiting, name="scripts", daemon=True).start()
        except RuntimeError as error:
            self._no_thread(waiting, item, error)

    def close(self) -> None:
        """Begin no more scripts; those that run continue, and their ends are reported."""
        with self._lock:
            self._is_closed = True
            self._urgent.clear()
            self._probes.clear()

    def _no_thread(self, waiting: collections.deque[_Job], item: _Job, error: RuntimeError) -> None:
        with self._lock:
            self._threads -= 1
            if self._threads or item not in waiting:
                return  # Another thread takes it.
            waiting.remove(item)
        action = item[0]
        self._report(
            ScriptExited(
                action.service, action.kind, _failure(action.kind), f"could not be run: {error}"
            )
        )

    def _run_waiting(self) -> None:
        """Run one script after the other, until none waits or there are too many threads."""
        while True:
            with self._lock:
                waiting = self._urgent or self._probes
                if not waiting or self._threads > self._at_once:
                    self._threads -= 1
                    is_many = self._threads == 0 and self._most_threads >= _MANY
                    self._most_threads = self._most_threads if self._threads else 0
                    break
                action, why_not = waiting.popleft()
            self._run(action, why_not)
        if is_many:
            give_back()

    def _run(self, action: RunScript, why_not: Callable[[], str]) -> None:
        try:
            if action.kind is ScriptKind.PROBE:
                self._await_orphan(action.service)
            if action.kind in _REVOCABLE and (why := why_not()):
                outcome, detail = ScriptOutcome.POSTPONED, why
            elif action.kind in (ScriptKind.CHECK, ScriptKind.POWER) and find_doubt(
                action.path, self._layout
            ):
                outcome = _failure(action.kind)
                detail = f"not run: {find_doubt(action.path, self._layout)}"
            else:
                outcome, detail = self._run_one(action, why_not)
                if action.flushes and outcome is ScriptOutcome.OK:
                    outcome, text = self._run_one(action, command=_FLUSH)
                    is_written = outcome is ScriptOutcome.OK
                    detail = detail if is_written else f"not all is written to its disks: {text}"
        # The one place of this thread that catches all: its end must be reported.
        except Exception as error:
            outcome, detail = _failure(action.kind), f"could not be run: {error}"
        self._report(ScriptExited(action.service, action.kind, outcome, detail))

    def _limits_of(self, service: str) -> ScriptLimits:
        with self._lock:
            return self._limits.get(service, ScriptLimits())

    def ask(self, service: str, path: str) -> ScriptOutcome:
        """Query the wrapper's `status` outside the engine: takes no place and writes no log."""
        action = RunScript(
            service, ScriptKind.PROBE, path, ServiceState.UNKNOWN, PeerStanding.UNKNOWN
        )
        limit_s = _limit_s(self._limits_of(service), ScriptKind.PROBE)
        answer = ScriptLog("", is_answer=True, may_linger=False)
        try:
            argv = self._with_own_score([path, _ARGUMENT[ScriptKind.PROBE]])
            environment = self._environment(action, limit_s)
            with self._spawning:
                process = _spawn(argv, environment, answer)
            code = _wait(process, limit_s)
            return (
                ScriptOutcome.UNSURE if code is None else _read_probe(path, code, answer.output())
            )
        except OSError:
            return ScriptOutcome.UNSURE
        finally:
            answer.close()

    def _run_one(
        self,
        action: RunScript,
        why_not: Callable[[], str] = lambda: "",
        command: Sequence[str] = (),
    ) -> tuple[ScriptOutcome, str]:
        """Run the script of an action, or another command in its place."""
        command = command or (action.path, _ARGUMENT[action.kind])
        limit_s = _limit_s(self._limits_of(action.service), action.kind)
        began = clock.monotonic()
        path = self._layout.script_log(action.service)
        log = ScriptLog(
            path, is_answer=action.kind in _QUESTIONS, may_linger=action.kind is ScriptKind.START
        )
        try:
            log.note(f"{clock.stamp(clock.wall())} {' '.join(command)}\n")
            try:
                argv = self._with_own_score(list(command))
                environment = self._environment(action, limit_s)
                with self._spawning as has_waited:
                    if has_waited and action.kind in _REVOCABLE and (why := why_not()):
                        log.note(f"not begun: {why}\n")
                        return ScriptOutcome.POSTPONED, why
                    process = _spawn(argv, environment, log)
            except OSError as error:
                reason = why_not_runnable(action.path) or f"{action.path}: {error.strerror}"
                is_start = action.kind is ScriptKind.START
                return (ScriptOutcome.NOT_BEGUN if is_start else _failure(action.kind)), reason
            # The next daemon need not wait for the end of a question.
            if action.kind is not ScriptKind.POWER:
                self._record_running(action, process.pid)
            code = _wait(process, limit_s)
            self._forget_running(action.service, process.pid)
            took_s = clock.monotonic() - began
            if code is None:
                log.note(f"ended after its limit of {limit_s:g} s\n")
                text = f"{' '.join(command)} did not end within {limit_s:g} s and was killed"
                return _failure(action.kind), text
            output = NO_ROOM if log.is_lost else log.output()
        finally:
            log.close()
        return self._judge(action, code, output, took_s)

    def _judge(
        self, action: RunScript, code: int, output: str, took_s: float
    ) -> tuple[ScriptOutcome, str]:
        """Return what the exit code and the output of a script mean, and a line on it."""
        if action.kind is ScriptKind.PROBE:
            return _read_probe(action.path, code, output), f"status: exit code {code}"
        if action.kind is ScriptKind.POWER:
            return _read_power(code, output), f"power status: exit code {code}"
        if code == 0:
            return ScriptOutcome.OK, f"took {took_s:.1f} s"
        ended = f"was ended by signal {-code}" if code < 0 else f"exited with {code}"
        reason = why_not_runnable(action.path) if code in NOT_RUN else ""
        failed = f"{action.path} {_ARGUMENT[action.kind]} {with_output(ended, output)}"
        is_refused = (
            action.kind is ScriptKind.START
            and code == ConfigError.exit_code
            and self._is_down(action)
        )
        outcome = ScriptOutcome.NOT_BEGUN if is_refused else ScriptOutcome.FAILED
        return outcome, f"{failed}: {reason}" if reason else failed

    def _is_down(self, action: RunScript) -> bool:
        """Return True if the wrapper itself reports the service down, after its start failed.

        Its start has then refused a wrong configuration.
        """
        probe = replace(action, kind=ScriptKind.PROBE)
        return self._run_one(probe)[0] is ScriptOutcome.DOWN

    def _with_own_score(self, command: list[str]) -> list[str]:
        """Wrap a command to set its OOM score, unless it cannot run.

        Then the system names the cause.
        """
        return command if why_not_runnable(command[0]) else self._memory.command(command)

    def _environment(self, action: RunScript, limit_s: float) -> Mapping[str, str]:
        return {
            **os.environ,
            "PATH": os.environ.get("PATH") or _PATH,
            **self._layout.environment(),
            "OPENHA_SERVICE": action.service,
            "OPENHA_ACTION": action.kind.value,
            "OPENHA_NODE": self._node,
            "OPENHA_PEER": self._peer,
            "OPENHA_PEER_STATE": action.peer_state.name,
            "OPENHA_PEER_STANDING": action.peer_standing.value,
            "OPENHA_LIMIT_S": f"{limit_s:.15g}",
        }

    def _record_running(self, action: RunScript, pid: int) -> None:
        """Note the running script in a file.

        A full disk must not stop the service from being started.
        """
        try:
            with open(self._layout.script_file(action.service), "w", encoding="ascii") as file:
                file.write(f"{pid} {start_of_process(pid)} {action.kind.value}\n")
        except OSError:
            pass

    def _forget_running(self, service: str, pid: int) -> None:
        """Remove the note of a script, unless it already names the next one.

        An engine that began again may have run that.
        """
        path = self._layout.script_file(service)
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                is_other = file.read().split()[:1] not in ([], [str(pid)])
            if not is_other:
                os.unlink(path)
        except OSError:
            pass

    def _await_orphan(self, service: str) -> None:
        """Wait for the script of a crashed daemon, up to the limit of the longest one."""
        try:
            with open(self._layout.script_file(service), encoding="ascii") as file:
                words = file.read().split()
            pid, started = int(words[0]), words[1]
        except (OSError, ValueError, IndexError):
            return
        limits = self._limits_of(service)
        limit_s = max(_limit_s(limits, kind) for kind in ScriptKind)
        if wait_for_end([pid], limit_s, lambda pid: start_of_process(pid) != started):
            end_processes([pid], KILL_GRACE_S, is_group=True)
        self._forget_running(service, pid)


def ask_wrapper(path: str) -> ScriptOutcome:
    """Return a wrapper's `status`, for a command while no daemon answers."""
    environment = {**os.environ, "PATH": os.environ.get("PATH") or _PATH}
    answer = ask_program([path, _ARGUMENT[ScriptKind.PROBE]], PROBE_LIMIT_S, environment)
    return ScriptOutcome.UNSURE if answer is None else _read_probe(path, *answer)


def _limit_s(limits: ScriptLimits, kind: ScriptKind) -> float:
    own_s, default_s = {
        ScriptKind.CHECK: (limits.check_s, CHECK_LIMIT_S),
        ScriptKind.START: (limits.start_s, START_LIMIT_S),
        ScriptKind.STOP: (limits.stop_s, STOP_LIMIT_S),
        ScriptKind.PROBE: (limits.probe_s, PROBE_LIMIT_S),
        ScriptKind.POWER: (limits.check_s, CHECK_LIMIT_S),
    }[kind]
    return default_s if own_s is None else own_s


def _failure(kind: ScriptKind) -> ScriptOutcome:
    return ScriptOutcome.UNSURE if kind in _QUESTIONS else ScriptOutcome.FAILED


def _spawn(
    argv: list[str], environment: Mapping[str, str], log: ScriptLog
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=log.handle,
        stderr=log.handle,
        cwd="/",
        start_new_session=True,
        env=environment,
    )


def _wait(process: subprocess.Popen[bytes], limit_s: float) -> int | None:
    """Return the exit code; None if the process group had to be killed at the limit."""
    # Popen.wait with a limit polls, here in dozens of threads.
    if wait_for_child(process.pid, limit_s):
        return process.wait()
    end_processes(
        [process.pid], KILL_GRACE_S, lambda pid: process.poll() is not None, is_group=True
    )
    return None


def _read_power(code: int, output: str) -> ScriptOutcome:
    """Parse a fence's report on the peer's power: its last word and its exit code must agree."""
    answer = code, (output.split() or [""])[-1]
    return {(2, "off"): ScriptOutcome.DOWN, (0, "on"): ScriptOutcome.UP}.get(
        answer, ScriptOutcome.UNSURE
    )


def _read_probe(path: str, code: int, output: str) -> ScriptOutcome:
    """Parse the answer to `status`.

    Many scripts do not implement it: only a recognizable answer counts. An agent's wrapper is known
    by the target of its link (exit codes 0 up, 1 down; not that of agent 1.5, which exits with 0
    whatever runs); any other must print a word.
    """
    words = output.split()
    word = words[0].lower() if words else ""
    is_agent = reports_status(path)
    if code == 0 and (word in _WORDS_UP or (is_agent and not word)):
        return ScriptOutcome.UP
    if (code == 1 and is_agent) or (code in (0, 1, 3) and word in _WORDS_DOWN):
        return ScriptOutcome.DOWN
    if word == _WORD_STANDBY and code in _CODES_STANDBY:
        return ScriptOutcome.DOWN
    if word == _WORD_IN_PART and code == _CODE_IN_PART:
        return ScriptOutcome.SOME
    return ScriptOutcome.UNSURE
