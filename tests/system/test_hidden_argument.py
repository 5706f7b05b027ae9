"""A secret argument is not shown by the list of processes any more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SECRET = "abcdefghijklmnopqrstuvwxyz234567"
PROGRAM = """
import sys
from opensvc_openha.system.hidden_argument import hide_argument
print(hide_argument(sys.argv[-1]), sys.argv[-1], flush=True)
sys.stdin.read()
"""


def test_the_argument_is_hidden_and_still_known_to_the_program() -> None:
    command = [sys.executable, "-c", PROGRAM, "join", SECRET]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"True {SECRET}\n"
        shown = Path(f"/proc/{process.pid}/cmdline").read_text()
        process.communicate("")
    words = shown.split("\0")
    assert words[-3:] == ["join", "*" * len(SECRET), ""]
    assert SECRET not in shown


def test_a_word_that_is_no_argument_needs_no_hiding() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from opensvc_openha.system.hidden_argument import hide_argument\n"
            "print(hide_argument('neverthere' * 3 + 'x'))",
        ],
        capture_output=True,
        text=True,
    )
    # The source of the program itself is an argument here, and holds no such word.
    assert done.stdout == "True\n"
