"""Run one program of notify.d: whatever it does, it ends within its limit and fills no memory."""

from __future__ import annotations

import os
import select
import signal
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from opensvc_openha.system import clock
from opensvc_openha.system.processes import send_signal

PROGRAMS_MAX = 32
_OUTPUT_BYTES = 4_096
_LOOK_S = 0.1
_NOT_PROGRAMS = ("~", ".sample", ".bak", ".disabled", ".orig", ".rpmnew", ".rpmsave")


@dataclass(frozen=True)
class Outcome:
    """How a program ended: ``problem`` is empty if it succeeded, ``output`` the end of its text."""

    problem: str
    output: str


def programs_in(folder: str) -> dict[str, str]:
    """Return the files that are meant to be run, by name, each with why it is not used.

    Hidden files, directories and copies that editors and packages leave are none.
    """
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return {}
    found = {}
    for name in names:
        path = f"{folder}/{name}"
        if not (name.startswith(".") or name.endswith(_NOT_PROGRAMS) or ".dpkg-" in name):
            problem = _why_not(path, folder)
            if problem is not None:
                found[name] = problem
    for name in [name for name, problem in found.items() if not problem][PROGRAMS_MAX:]:
        found[name] = f"not used: there are more than {PROGRAMS_MAX}"
    return found


def _why_not(path: str, folder: str) -> str | None:
    """Return why a file is not run, empty if it is; None for a directory."""
    try:
        of_file, of_folder = os.stat(path), os.stat(folder)
    except OSError as error:
        return f"not used: {error.strerror}"
    if stat.S_ISDIR(of_file.st_mode):
        return None
    if not stat.S_ISREG(of_file.st_mode) or not os.access(path, os.X_OK):
        return "not used: it is not executable"
    for what, found in (("it", of_file), ("its directory", of_folder)):
        if found.st_uid not in (0, os.geteuid()):
            return f"not used: {what} belongs to another user (uid {found.st_uid})"
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return f"not used: {what} can be written by others than its owner"
    return ""


def run_program(
    path: str, text: bytes, limit_s: float, env: Mapping[str, str], running: set[int]
) -> Outcome:
    """Run a program with a text on its standard input; kill it with its group at the limit.

    ``running`` holds its pid as long as it runs.
    """
    # A file: a program that does not read it blocks nobody.
    with open(os.memfd_create("notification"), "w+b") as given:
        given.write(text)
        given.seek(0)
        try:
            process = subprocess.Popen(
                [path],
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,
                env={**os.environ, **env},
            )
        except OSError as error:
            return Outcome(f"cannot be run: {error.strerror}", "")
    with process:
        assert process.stdout is not None
        running.add(process.pid)
        is_over, output = _watch(process, process.stdout.fileno(), limit_s)
        if not is_over:
            send_signal(process.pid, signal.SIGKILL, is_group=True)
        running.discard(process.pid)
    shown = output.decode("utf-8", "replace").strip()
    if not is_over:
        return Outcome(f"did not end within {limit_s:g} s: killed", shown)
    if process.returncode < 0:
        return Outcome(f"was ended by signal {-process.returncode}", shown)
    code = process.returncode
    return Outcome(f"ended with {code}" if code else "", shown)


def _watch(process: subprocess.Popen[bytes], handle: int, limit_s: float) -> tuple[bool, bytes]:
    """Return whether it ended in time, and the end of its output.

    What it left running in the background may keep the output open: it is not waited for.
    """
    output, is_open = b"", True
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    os.set_blocking(handle, False)
    deadline = clock.monotonic() + limit_s
    while True:
        is_over = process.poll() is not None
        while is_open and poll.poll(0):
            try:
                part = os.read(handle, 65_536)
            except BlockingIOError:
                break
            is_open = bool(part)
            output = (output + part)[-_OUTPUT_BYTES:]
            if clock.monotonic() >= deadline:
                break
        if is_over or clock.monotonic() >= deadline:
            return is_over, output
        if is_open:
            poll.poll(_LOOK_S * 1000)
        else:
            clock.pause(_LOOK_S)
