"""The program that talks to fencing devices, as the daemon asks it: real processes that answer,
hang, lie, end, print too much.
"""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from opensvc_openha.daemon import fence_program
from opensvc_openha.daemon.fence_program import ANSWER_BYTES, FenceAnswer, FenceProgram
from opensvc_openha.system.processes import start_of_process
from tests.waiting import LIMIT_S, until

SOON_S = 0.4


def write(path: Path, body: str) -> str:
    """A program of the test."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def ask(tmp_path: Path, body: str, limit_s: float = LIMIT_S) -> FenceAnswer:
    """The answer of such a program."""
    program = FenceProgram({"OPENHA_HERE": str(tmp_path)}, argv=[write(tmp_path / "p", body)])
    return program.ask({"do": "look", "path": "ipmi"}, limit_s)


def test_program_gets_the_request_and_gives_its_answer(tmp_path: Path) -> None:
    """The request is on standard input, nothing on the command line; what it prints on stderr is no
    part of the answer.
    """
    answer = ask(
        tmp_path,
        'cat > $OPENHA_HERE/request; echo "$#" > $OPENHA_HERE/words; echo noise >&2;'
        """ echo '{"power": "on"}'""",
    )
    assert answer.problem == "" and answer.values == {"power": "on"}
    assert json.loads((tmp_path / "request").read_text()) == {"do": "look", "path": "ipmi"}
    assert (tmp_path / "words").read_text() == "0\n"


def test_what_runs_in_groups_of_its_own_is_killed_as_well(tmp_path: Path) -> None:
    """As agents do, and what they have started."""
    answer = ask(
        tmp_path,
        "setsid sh -c 'sleep 10000 & echo $! > $OPENHA_HERE/child; wait' & wait",
        SOON_S,
    )
    assert answer.problem.startswith("no answer within")
    pid = int((tmp_path / "child").read_text())
    until(lambda: not start_of_process(pid))


@pytest.mark.parametrize(
    "body, problem",
    [
        ("exit 0", "the fence program ended without an answer"),
        ("echo yes", "the fence program ended without an answer"),
        ("echo '[1]'", "the fence program ended without an answer"),
        ("echo '{\"is_proved\": true'", "the fence program ended without an answer"),
        (
            "echo '{\"is_proved\": true}'; echo first >&2; echo '  last word' >&2; exit 3",
            "the fence program ended with 3: last word",
        ),
        (
            "echo '{\"is_proved\": true}'; kill -9 $$",
            "the fence program was ended by signal 9",
        ),
        ("yes '{'", f"an answer of more than {ANSWER_BYTES} bytes: killed"),
        ("exec /nonexistent/program", "the fence program ended with 127 without an answer"),
    ],
)
def test_whatever_is_no_clean_answer_is_none(tmp_path: Path, body: str, problem: str) -> None:
    """No JSON object, another exit code than 0, a signal, endless output: the reason, no values."""
    answer = ask(tmp_path, body)
    assert answer.problem.startswith(problem), answer
    assert not answer.values


def test_nested_answer_is_none(tmp_path: Path) -> None:
    """It would exhaust the parser's stack."""
    answer = ask(tmp_path, "head -c 60000 /dev/zero | tr '\\0' '['")
    assert answer.problem.startswith("the fence program ended without an answer")


def test_program_that_hangs_is_killed_with_all_it_started(tmp_path: Path) -> None:
    """It ignores SIGTERM and has children; none is left, and an answer already printed does not
    count.
    """
    answer = ask(
        tmp_path,
        """trap '' TERM; echo '{"is_proved": true}'; sleep 10000 & echo $! > $OPENHA_HERE/child;"""
        " echo $$ > $OPENHA_HERE/own; wait",
        SOON_S,
    )
    assert answer.problem == f"no answer within {SOON_S:g} s: killed"
    assert not answer.values
    for name in ("own", "child"):
        pid = int((tmp_path / name).read_text())
        until(lambda: not start_of_process(pid), bool, f"{name} {pid} is gone")


def test_answer_counts_although_a_grandchild_keeps_the_pipe_open(tmp_path: Path) -> None:
    """An agent that left something behind: that is killed, and not waited for."""
    answer = ask(
        tmp_path,
        """sleep 10000 & echo $! > $OPENHA_HERE/child; echo '{"power": "off"}'""",
    )
    assert answer.values == {"power": "off"}
    pid = int((tmp_path / "child").read_text())
    until(lambda: not start_of_process(pid))


def test_program_that_is_missing_is_a_problem(tmp_path: Path) -> None:
    """Never an exception: its thread must report an end."""
    answer = FenceProgram({}, argv=[str(tmp_path / "none")]).ask({}, 1)
    assert answer.problem == "the fence program cannot be started: No such file or directory"


def test_closing_kills_what_runs_and_begins_nothing_any_more(tmp_path: Path) -> None:
    """A daemon that ends waits for no device."""
    path = write(tmp_path / "p", f"echo $$ > {tmp_path}/own; sleep 10000")
    program = FenceProgram({}, argv=[path])
    answers: list[FenceAnswer] = []
    asking = threading.Thread(target=lambda: answers.append(program.ask({}, LIMIT_S)))
    asking.start()
    until(lambda: (tmp_path / "own").exists() and (tmp_path / "own").read_text().strip())
    program.close()
    asking.join(LIMIT_S)
    assert answers[0].problem == "the fence program was ended by signal 9 without an answer"
    assert program.ask({}, LIMIT_S).problem == "not run: this daemon ends"


def test_process_that_cannot_be_killed_is_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that hangs in the kernel: the answer comes all the same. Signals are held back here,
    since such a process cannot be made in a test.
    """
    monkeypatch.setattr(fence_program, "send_signal", lambda *_args, **_words: None)
    monkeypatch.setattr(fence_program, "ABANDON_AFTER_S", 0.2)
    answer = ask(tmp_path, "echo $$ > $OPENHA_HERE/own; exec sleep 10000", SOON_S)
    os.kill(int((tmp_path / "own").read_text()), 9)
    assert answer.problem == f"no answer within {SOON_S:g} s: killed"
