"""Programs that are asked with a time limit: real ones, and all that they leave."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from opensvc_openha.system.bounded_program import ask_program
from opensvc_openha.system.processes import wait_for_end
from tests.waiting import LIMIT_S


def script(folder: Path, body: str) -> str:
    """Write a shell script; return its path."""
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_exit_code_and_output_are_returned(tmp_path: Path) -> None:
    """With its errors, in order, or without; in the root directory, with the given environment."""
    program = script(tmp_path, 'pwd; echo "no $WORD" >&2; printf "\\377 $1"; exit 3')
    env = {**os.environ, "WORD": "disk"}
    assert ask_program([program, "x"], LIMIT_S, env) == (
        3,
        "/\nno disk\n\N{REPLACEMENT CHARACTER} x",
    )
    assert ask_program([program], LIMIT_S, env, with_errors=False) == (
        3,
        "/\n\N{REPLACEMENT CHARACTER} ",
    )


def test_program_that_cannot_be_run_has_no_answer(tmp_path: Path) -> None:
    """No such file."""
    assert ask_program([str(tmp_path / "none")], LIMIT_S) is None


@pytest.mark.parametrize("limit_s", [0.2])
def test_children_of_a_program_end_with_it_at_the_limit(tmp_path: Path, limit_s: float) -> None:
    """One that hangs, and would else stay for each time that the program is asked."""
    child = tmp_path / "child"
    program = script(tmp_path, f"sleep 1000 & echo $! > {child}.new; mv {child}.new {child}; wait")
    while not child.exists():  # A busy machine may not have begun the child yet.
        assert ask_program([program], limit_s) is None
        limit_s *= 2
    assert wait_for_end([int(child.read_text())], LIMIT_S) == []
