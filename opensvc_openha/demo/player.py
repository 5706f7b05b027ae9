"""Play the story: run each step on its node, show it, check the result, time the takeover."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

import opensvc_openha
from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.demo.screen import Screen
from opensvc_openha.demo.story import (
    EZ,
    LOOP_BODY,
    SERVICES,
    STARTS_FILE,
    PowerCutter,
    Run,
    Step,
    StoryPace,
    Takeover,
    Title,
    app_script,
    service_file,
)
from opensvc_openha.demo.timeline import StateWatcher, TakeoverTimes, takeover_times
from opensvc_openha.errors import ActionError
from opensvc_openha.system import clock

REPEAT_S = 0.3
COMMAND_LIMIT_S = 30.0
SHOWN_LOG_LINES = 25
PRELUDE = f"[ -r {EZ}/env.sh ] && {{ export EZ={EZ}; . $EZ/env.sh; }}; cd; "
"""Each command gets a shell of its own, with the environment the operator loaded once."""
AGENT_PATH = "/etc/opensvc:/usr/share/opensvc/bin"


def prepare(node: Node) -> None:
    """Give a node the `openha` command of the running package."""
    package_root = os.path.dirname(os.path.dirname(os.path.abspath(opensvc_openha.__file__)))
    node.environment["PYTHONPATH"] = os.pathsep.join(
        [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    node.environment["PATH"] = f"{node.environment['PATH']}:{AGENT_PATH}"
    node.write(
        "/usr/local/bin/openha", f'#!/bin/sh\nexec {sys.executable} -m opensvc_openha "$@"\n', 0o755
    )


def install_programs(nodes: TwoNodes, pace: StoryPace) -> None:
    """Write service files and applications on both nodes, and file systems on shared storage."""
    has_block_devices = (
        bool(nodes.disk.loops) and nodes[0].run("command -v mkfs.ext4").returncode == 0
    )
    for service, start_s in zip(SERVICES, (0, pace.busybox_start_s)):
        for node in nodes:
            node.write(
                f"/etc/opensvc/{service}.opensvc.com.env", service_file(service, has_block_devices)
            )
            node.write(
                f"/etc/opensvc/{service}.opensvc.com.d/clock", app_script(service, start_s), 0o755
            )
        image = f"/shared/{service}.img"
        make = (
            f"truncate -s 16M {image} && mkfs.ext4 -q {image}"
            if has_block_devices
            else f"mkdir /shared/{service}"
        )
        done = nodes[0].run(make)
        if done.returncode != 0:
            raise ActionError(f"cannot make the file system of {service}: {done.stderr.strip()}")


class Player:
    """Runner of steps on two nodes within one overall time limit."""

    def __init__(
        self,
        nodes: TwoNodes,
        screen: Screen,
        limit_s: float,
        after_boot: Callable[[Node], None],
        app_starts: Callable[[Node], Mapping[str, float]],
    ) -> None:
        """``after_boot`` does on a node what the machine does before its operator logs in.

        ``app_starts`` finds when the application of each service was last started on a node, in
        wall-clock seconds.
        """
        self._nodes = nodes
        self._after_boot = after_boot
        self._app_starts = app_starts
        self._screen = screen
        self._deadline = clock.monotonic() + limit_s
        self._limit_s = limit_s
        self.times: list[TakeoverTimes] = []
        self.last_output = ""
        self._players: Mapping[type[object], Callable[[Step], None]] = {
            Title: self._title,
            Run: self._run,
            PowerCutter: self._power,
            Takeover: self._takeover,
        }

    def play(self, steps: Sequence[Step]) -> None:
        """Play all steps; ActionError at the first failed one.

        ``last_output`` then holds its last output.
        """
        for step in steps:
            self._players[type(step)](step)

    def _title(self, step: Step) -> None:
        assert isinstance(step, Title)
        self._screen.title(step.title, step.text)

    def _power(self, step: Step) -> None:
        assert isinstance(step, PowerCutter)
        self._screen.note(step.text)
        self._nodes[step.node].boot()
        self._after_boot(self._nodes[step.node])

    def _run(self, step: Step) -> None:
        assert isinstance(step, Run)
        node = self._nodes[step.node]
        deadline = min(clock.monotonic() + step.limit_s, self._deadline)
        directory, command = _where(step.command)
        shown: str | None = None
        while True:
            done = self._in_shell(node, step.command)
            output = done.stdout + done.stderr
            problem = _problem(done.returncode, output, step.expect, step.absent)
            is_last = not problem or clock.monotonic() >= deadline
            if is_last or step.is_story:
                text = output if output != shown else ""
                if text or shown is None:
                    self._screen.command(node.short_name, directory, command)
                    self._screen.output(text)
                    shown = output
            if not problem:
                return
            if is_last:
                raise ActionError(f"on {node.name}: {command}: {problem}")
            clock.pause(REPEAT_S)

    def _takeover(self, step: Step) -> None:
        assert isinstance(step, Takeover)
        victim, witness = self._nodes[step.victim], self._nodes[step.witness]
        self._screen.command(witness.short_name, "~", step.command)
        self._screen.output(self._in_shell(witness, LOOP_BODY).stdout)
        names = [node.name for node in self._nodes]
        with StateWatcher(f"{witness.root}{EZ}/services", SERVICES, names) as watcher:
            cut_at = clock.wall()
            victim.kill()
            self._screen.note(
                f"the power of {victim.short_name} is cut: all its processes are dead, its links"
                " dark"
            )
            self._watch(step, witness)
        starts = self._app_starts(witness)
        self.times = [
            takeover_times(svc, cut_at, victim.name, witness.name, watcher.changes, starts)
            for svc in SERVICES
        ]
        for row in self.times:
            if None in (row.detected, row.decided, row.start_ready, row.app_started, row.started):
                raise ActionError(f"takeover of {row.service}: not every stage was seen: {row}")

    def _watch(self, step: Takeover, witness: Node) -> None:
        """Show the loop's output until the takeover is complete."""
        deadline = min(clock.monotonic() + step.limit_s, self._deadline)
        next_at = clock.monotonic() + step.every_s
        while True:
            # The loop's pace is for the viewer; the end of the takeover is polled in between.
            output = self._in_shell(witness, LOOP_BODY).stdout
            problem = _problem(0, output, step.expect, ())
            now = clock.monotonic()
            if not problem or now >= next_at:
                self._screen.output(output)
                next_at = max(next_at + step.every_s, now)
            if not problem:
                return
            if now >= deadline:
                raise ActionError(f"takeover on {witness.name}: {problem}")
            clock.pause(REPEAT_S)

    def _in_shell(self, node: Node, command: str) -> subprocess.CompletedProcess[str]:
        left = self._deadline - clock.monotonic()
        if left <= 0:
            raise ActionError(f"the demo took longer than {self._limit_s:g} s")
        # The service commands print to an operator's terminal only.
        controller, terminal = pty.openpty()
        try:
            done = node.run(PRELUDE + command, min(left, COMMAND_LIMIT_S), stdin=terminal)
            self.last_output = done.stdout + done.stderr
            return done
        except subprocess.TimeoutExpired as error:
            self.last_output = str(error.output)
            raise ActionError(f"on {node.name}: {command}: did not end in time") from error
        finally:
            os.close(controller)
            os.close(terminal)


def _where(command: str) -> tuple[str, str]:
    """Split off a leading `cd`, for the prompt."""
    match = re.match(r"cd (\S+); (.*)", command, re.S)
    return (match.group(1), match.group(2)) if match else ("~", command)


def _problem(code: int, output: str, expect: Sequence[str], absent: Sequence[str]) -> str:
    """Return what is wrong with an output; empty if nothing."""
    if code != 0:
        return f"ended with exit code {code}"
    for pattern in expect:
        if not re.search(pattern, output):
            return f"expected {pattern!r} in the output"
    for pattern in absent:
        if re.search(pattern, output):
            return f"did not expect {pattern!r} in the output"
    return ""


def starts_of_programs(node: Node) -> dict[str, float]:
    """Return the wall-clock time of the last start of each service's application on a node."""
    return starts_in(node.read(STARTS_FILE), node.name)


def starts_in(text: str, node: str) -> dict[str, float]:
    """Return the last start of each application on a node, of the lines of all."""
    found = {}
    for line in text.splitlines():
        service, where, at = line.split()
        if where == node:
            found[service] = float(at)
    return found


def last_words(nodes: TwoNodes) -> str:
    """Return status and daemon log of every running node, for a failure report."""
    parts = []
    for node in nodes:
        if not node.is_alive:
            parts.append(f"{node.name}: is not running\n")
            continue
        look = (
            f"{PRELUDE} ez_svc_status; ez_hb_status; tail -n {SHOWN_LOG_LINES} $(find {EZ}/log"
            " -type f -name '*log*')"
        )
        try:
            done = node.run(look, COMMAND_LIMIT_S)
            parts.append(f"{node.name}:\n{done.stdout}{done.stderr}")
        except subprocess.TimeoutExpired:
            parts.append(f"{node.name}: does not report its status\n")
    return "\n".join(parts)
