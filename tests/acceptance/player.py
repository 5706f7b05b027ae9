"""Type commands in the machines, show them, and check their results."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.acceptance.errors import NotAccepted
from tests.acceptance.machines import Machine, Outcome
from tests.acceptance.transcript import Transcript

PRELUDE = (
    "export EZ=/usr/local/cluster TERM=dumb"
    " PATH=/opt/openha/bin:$PATH:/etc/opensvc:/usr/share/opensvc/bin; [ -r $EZ/env.sh ] && ."
    " $EZ/env.sh\n"
)
LIMIT_S = 120.0
POLL_S = 2.0
"""Each look takes a second of processor time in User-Mode Linux."""


class Player:
    """The story's means: commands, checks, output."""

    def __init__(self, machines: Sequence[Machine], transcript: Transcript) -> None:
        self.deb1, self.deb2 = machines
        self._transcript = transcript
        self.title = transcript.title
        self.note = transcript.note

    def on(
        self,
        machine: Machine,
        command: str,
        expect: tuple[str, ...] = (),
        absent: tuple[str, ...] = (),
        code: int | None = 0,
        limit_s: float = LIMIT_S,
    ) -> str:
        """Run a command that must end with ``code``, or anyhow if that is None.

        Its output must match each pattern of ``expect`` and none of ``absent``.
        """
        self._transcript.command(machine.name, command)
        began = time.monotonic()
        outcome = self._run(machine, command, limit_s)
        self._transcript.output(outcome.output)
        if time.monotonic() - began >= 5:
            self.note(f"took {time.monotonic() - began:.1f} s")
        problem = _problem(outcome, expect, absent, code)
        if problem:
            raise NotAccepted(f"on {machine.name}: {command}: {problem}")
        return outcome.output

    def on_both(self, command: str, expect: tuple[str, ...] = ()) -> None:
        """Run a command on both machines at once; show the first one's."""
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(self._run, self.deb2, command, LIMIT_S)
            self.on(self.deb1, command, expect)
            problem = _problem(second.result(), expect, (), 0)
        if problem:
            raise NotAccepted(f"on {self.deb2.name}: {command}: {problem}")
        self.note("the same on deb2")

    def until(
        self, machine: Machine, command: str, expect: tuple[str, ...], limit_s: float = LIMIT_S
    ) -> str:
        """Repeat a command until its output is as expected; show it then."""
        self._transcript.command(machine.name, command)
        deadline = time.monotonic() + limit_s
        while True:
            outcome = self._run(machine, command, LIMIT_S)
            problem = _problem(outcome, expect, (), 0)
            if not problem or time.monotonic() > deadline:
                self._transcript.output(outcome.output)
                if problem:
                    raise NotAccepted(
                        f"on {machine.name}: {command}: {problem} within {limit_s:g} s"
                    )
                return outcome.output
            time.sleep(POLL_S)

    def fetch(self, url: str, limit_s: float = LIMIT_S) -> str:
        """Return the answer to a client of the service, as soon as there is one."""
        deadline = time.monotonic() + limit_s
        while True:
            try:
                with urllib.request.urlopen(url, timeout=3.0) as answer:
                    text = answer.read().decode("utf-8", "replace")
                self.note(f"client: GET {url}: {text.strip()}")
                return str(text)
            except (urllib.error.URLError, OSError) as error:
                if time.monotonic() > deadline:
                    raise NotAccepted(f"client: GET {url}: {error} within {limit_s:g} s") from error
            time.sleep(0.2)

    def check(self, is_so: bool, what: str) -> None:
        """Print a fact and fail unless it holds."""
        if not is_so:
            raise NotAccepted(what)
        self.note(f"so it is: {what}")

    def check_quietly(self, is_so: bool, what: str) -> None:
        """Fail unless a fact holds."""
        if not is_so:
            raise NotAccepted(f"not so: {what}")

    def last_words(self) -> None:
        """Print the running machines' status and logs after a failure."""
        logs = "tail -n 30 /var/log/opensvc/*.log $EZ/log/nmond.log; dmesg | grep -v locking | tail"
        look = f"$EZ_BIN/service -s -v; $EZ_BIN/hb -s -v; {logs}"
        for machine in (self.deb1, self.deb2):
            if machine.is_on:
                try:
                    self._transcript.output(
                        f"--- {machine.name}\n{machine.run(PRELUDE + look, 60.0).output}"
                    )
                except OSError as error:
                    self._transcript.output(f"--- {machine.name}: {error}")

    def _run(self, machine: Machine, command: str, limit_s: float) -> Outcome:
        try:
            return machine.run(PRELUDE + command, limit_s)
        except OSError as error:
            raise NotAccepted(f"{machine.name} does not take commands: {error}") from error


def _problem(
    outcome: Outcome, expect: tuple[str, ...], absent: tuple[str, ...], code: int | None
) -> str:
    """Return what is wrong with an outcome; empty if nothing."""
    if code is not None and outcome.code != code:
        return f"ended with exit code {outcome.code}, expected {code}"
    for pattern in expect:
        if not re.search(pattern, outcome.output):
            return f"expected {pattern!r} in the output"
    for pattern in absent:
        if re.search(pattern, outcome.output):
            return f"did not expect {pattern!r} in the output"
    return ""
