"""The steps an installation is made of: each says what it will do, and does it.

A plan holds only what is not so yet, so a second run has nothing to do.
"""

from __future__ import annotations

import glob
import os
import subprocess
from dataclasses import dataclass
from typing import Protocol

from opensvc_openha.errors import SystemFault
from opensvc_openha.system.atomic_files import make_dir, write_atomically


class Change(Protocol):
    """One step."""

    @property
    def text(self) -> str:
        """The step as a line for the operator."""

    def carry_out(self) -> None:
        """Does it; raises OSError or SystemFault."""


@dataclass(frozen=True)
class Write:
    """A file gets this content."""

    path: str
    content: str
    mode: int = 0o644

    @property
    def text(self) -> str:
        """As a line."""
        return f"write {self.path}"

    def carry_out(self) -> None:
        """Replaces the file in one go."""
        make_dir(os.path.dirname(self.path))
        write_atomically(self.path, self.content.encode("utf-8"), self.mode, is_durable=False)
        _drop_compiled(self.path)

    @property
    def is_done(self) -> bool:
        """True if the file is so already."""
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
    """A file goes."""

    path: str

    @property
    def text(self) -> str:
        """As a line."""
        return f"remove {self.path}"

    def carry_out(self) -> None:
        """Removes it, and the directories of ours that it leaves empty."""
        os.unlink(self.path)
        _drop_compiled(self.path)
        folder = os.path.dirname(self.path)
        while "site_opensvc" in folder and not os.listdir(folder):
            os.rmdir(folder)
            folder = os.path.dirname(folder)


@dataclass(frozen=True)
class Move:
    """A file is kept under another name, or is put back.

    ``is_divert``: dpkg is told, so that an upgrade writes to that name.

    The path holds a file at every moment, also between this step and the next: an agent that finds
    no driver there would run its services without asking the cluster.
    """

    path: str
    target: str
    is_divert: bool = False
    is_back: bool = False

    @property
    def text(self) -> str:
        """As a line."""
        how = "dpkg-divert" if self.is_divert else "keep"
        if self.is_back:
            return f"{how if self.is_divert else 'put'} {self.target} back to {self.path}"
        return f"{how} {self.path} as {self.target}"

    def carry_out(self) -> None:
        """Moves it."""
        if self.is_divert:
            _divert(["--remove"] if self.is_back else ["--divert", self.target, "--add"], self.path)
        if self.is_back:
            os.replace(self.target, self.path)
        else:
            temporary = f"{self.target}.new{os.getpid()}"
            os.link(self.path, temporary)
            os.replace(temporary, self.target)
        _drop_compiled(self.path)


@dataclass(frozen=True)
class Undivert:
    """dpkg is told that a path is no longer diverted, where the diverted file itself went with its
    package.
    """

    path: str

    @property
    def text(self) -> str:
        """As a line."""
        return f"remove the dpkg diversion of {self.path}"

    def carry_out(self) -> None:
        """Moves nothing."""
        _divert(["--remove"], self.path)


@dataclass(frozen=True)
class Link:
    """A symbolic link takes the place of what is there."""

    path: str
    target: str

    @property
    def text(self) -> str:
        """As a line."""
        return f"link {self.path} to {self.target}"

    def carry_out(self) -> None:
        """Replaces it in one go: the cluster may call it at any moment."""
        make_dir(os.path.dirname(self.path))
        temporary = f"{self.path}.new{os.getpid()}"
        os.symlink(self.target, temporary)
        os.replace(temporary, self.path)


def _divert(words: list[str], path: str) -> None:
    """Tells dpkg alone: the file is moved by us, without a moment in which there is none."""
    tried = ""
    # Before 1.19.1 dpkg-divert has no such word, and does not rename unless it is asked to.
    for rename in (["--no-rename"], []):
        command = ["dpkg-divert", "--local", *rename, "--quiet", *words, path]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            return
        tried = tried or f"{' '.join(command)}: {done.stderr.strip() or done.returncode}"
    raise SystemFault(tried)


def _drop_compiled(path: str) -> None:
    """Python 2 keeps the compiled text beside the source, and may take it for that of another one;
    Python 3 in a directory.
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
