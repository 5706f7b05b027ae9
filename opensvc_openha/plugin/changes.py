"""The steps of an installation: each describes itself and can be carried out.

A plan holds only the steps that are still necessary: a second run has nothing to do.
"""

from __future__ import annotations

import glob
import os
import subprocess
from dataclasses import dataclass
from typing import Protocol

from opensvc_openha.errors import SystemFault
from opensvc_openha.system.atomic_files import make_dir, replace_by, write_atomically


class Change(Protocol):
    """One step."""

    @property
    def text(self) -> str:
        """Return the step as a line for the operator."""

    def carry_out(self) -> None:
        """Carry out the step; raises OSError or SystemFault."""


@dataclass(frozen=True)
class Write:
    """Write this content to a file."""

    path: str
    content: str
    mode: int = 0o644

    @property
    def text(self) -> str:
        """Return the line of the plan: the path that is written."""
        return f"write {self.path}"

    def carry_out(self) -> None:
        """Replace the file atomically."""
        make_dir(os.path.dirname(self.path))
        write_atomically(self.path, self.content.encode("utf-8"), self.mode, is_durable=False)
        _drop_compiled(self.path)

    @property
    def is_done(self) -> bool:
        """Return whether the file has this content already."""
        try:
            with open(self.path, encoding="utf-8") as file:
                is_same = file.read() == self.content
            return (
                is_same
                and not os.path.islink(self.path)
                and os.stat(self.path).st_mode & 0o777 == self.mode
            )
        except (OSError, ValueError):
            return False


@dataclass(frozen=True)
class Remove:
    """Remove a file."""

    path: str

    @property
    def text(self) -> str:
        """Return the line of the plan."""
        return f"remove {self.path}"

    def carry_out(self) -> None:
        """Remove the file, and those of our directories that become empty."""
        os.unlink(self.path)
        _drop_compiled(self.path)
        folder = os.path.dirname(self.path)
        while "site_opensvc" in folder and not os.listdir(folder):
            os.rmdir(folder)
            folder = os.path.dirname(folder)


@dataclass(frozen=True)
class Move:
    """Keep a file under another name, or restore it.

    ``is_divert``: register it with dpkg, so that an upgrade writes to that name.

    The path holds a file at every moment, also between this step and the next: an agent that finds
    no driver there would run its services without asking the cluster.
    """

    path: str
    target: str
    is_divert: bool = False
    is_back: bool = False

    @property
    def text(self) -> str:
        """Return the line of the plan: keep, divert or restore."""
        how = "dpkg-divert" if self.is_divert else "keep"
        if self.is_back:
            return f"{how if self.is_divert else 'put'} {self.target} back to {self.path}"
        return f"{how} {self.path} as {self.target}"

    def carry_out(self) -> None:
        """Move the file."""
        if self.is_divert:
            _divert(["--remove"] if self.is_back else ["--divert", self.target, "--add"], self.path)
        if self.is_back:
            os.replace(self.target, self.path)
        else:
            replace_by(self.target, lambda name: os.link(self.path, name))
        _drop_compiled(self.path)


@dataclass(frozen=True)
class Undivert:
    """Remove the diversion of a path from dpkg after the diverted file went with its package."""

    path: str

    @property
    def text(self) -> str:
        """Return the line of the plan."""
        return f"remove the dpkg diversion of {self.path}"

    def carry_out(self) -> None:
        """Remove the diversion; moves no file."""
        _divert(["--remove"], self.path)


@dataclass(frozen=True)
class Link:
    """Replace what is at a path by a symbolic link."""

    path: str
    target: str

    @property
    def text(self) -> str:
        """Return the line of the plan."""
        return f"link {self.path} to {self.target}"

    def carry_out(self) -> None:
        """Replace it atomically: the cluster may call it at any moment."""
        make_dir(os.path.dirname(self.path))
        replace_by(self.path, lambda name: os.symlink(self.target, name))


def carry_out(change: Change) -> None:
    """Carry out one step; SystemFault with the reason if the system refuses."""
    try:
        change.carry_out()
    except OSError as error:
        raise SystemFault(f"cannot {change.text}: {error.strerror or error}") from error


def _divert(words: list[str], path: str) -> None:
    """Change dpkg's record only.

    The file is moved by us, without a moment in which it is missing.
    """
    tried = ""
    # dpkg-divert before 1.19.1 lacks this option, and does not rename by default.
    for rename in (["--no-rename"], []):
        command = ["dpkg-divert", "--local", *rename, "--quiet", *words, path]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            return
        tried = tried or f"{' '.join(command)}: {done.stderr.strip() or done.returncode}"
    raise SystemFault(tried)


def _drop_compiled(path: str) -> None:
    """Remove the compiled copies of a Python file.

    Python 2 keeps one beside the source, and may use it for another source; Python 3 in a
    directory.
    """
    if not path.endswith(".py"):
        return
    folder = os.path.join(os.path.dirname(path), "__pycache__")
    for kept in [
        f"{path}c",
        *glob.glob(os.path.join(glob.escape(folder), f"{os.path.basename(path)[:-3]}.*.pyc")),
    ]:
        if os.path.exists(kept):
            os.unlink(kept)
    if os.path.isdir(folder) and not os.listdir(folder):
        os.rmdir(folder)
