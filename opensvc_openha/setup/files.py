"""Write the files of a new cluster so that a failed set-up leaves what was there before.

What is replaced is kept beside it as ``FILE.before-setup``.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.conf_lines import read_lines
from opensvc_openha.formats.layout import Layout
from opensvc_openha.storage import configuration
from opensvc_openha.system.atomic_files import make_dir, read_text, write_atomically

BACKUP = ".before-setup"


class FileChanges:
    """Files written so far, and how each of them is undone."""

    def __init__(self) -> None:
        self._undo: list[tuple[str, str]] = []
        self.kept: list[str] = []
        """Copies of what was replaced."""

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Replace a file; raise SystemFault."""
        target = os.path.realpath(path)
        try:
            make_dir(os.path.dirname(target))
            backup = _copy_of(target) if os.path.lexists(target) else ""
            self._undo.append((target, backup))
            write_atomically(target, text.encode("utf-8"), mode)
        except OSError as error:
            raise SystemFault(f"cannot write {path}: {error.strerror}") from error
        if backup:
            self.kept.append(backup)

    def undo(self) -> list[str]:
        """Bring everything back; return what could not be."""
        problems = []
        for target, backup in reversed(self._undo):
            try:
                if backup:
                    os.replace(backup, target)
                else:
                    os.unlink(target)
            except FileNotFoundError:
                pass
            except OSError as error:
                problems.append(f"cannot bring back {target}: {error.strerror}")
        self._undo, self.kept = [], []
        return problems


def _copy_of(path: str) -> str:
    number = 1
    while os.path.lexists(backup := f"{path}{BACKUP}{f'-{number}' if number > 1 else ''}"):
        number += 1
    found = os.stat(path)
    with open(path, "rb") as file:
        # Nobody else may read a key in a copy that is being made.
        write_atomically(backup, file.read(), found.st_mode & 0o777)
    os.utime(backup, ns=(found.st_atime_ns, found.st_mtime_ns))
    return backup


@dataclass(frozen=True)
class PresentFiles:
    """The configuration files of this node as they are; empty for one that is not there."""

    nodes: str
    monitor: str
    options: str

    @property
    def is_configured(self) -> bool:
        """True if nodes or links are configured already."""
        return has_lines(self.nodes) or has_lines(self.monitor)


def has_lines(text: str) -> bool:
    """Return False for a text without anything but comments."""
    return bool(list(read_lines(text, "")))


def read_present(layout: Layout) -> PresentFiles:
    """Return the configuration of this node."""
    return PresentFiles(
        *(
            read_text(path) if os.path.exists(path) else ""
            for path in (layout.nodes_file, layout.monitor_file, layout.options_file)
        )
    )


@contextlib.contextmanager
def as_if_written(layout: Layout, nodes: str, monitor: str, options: str) -> Iterator[Layout]:
    """Give a layout in which these texts are the configuration, to have them read and checked."""
    with tempfile.TemporaryDirectory(prefix="openha-setup-") as folder:
        probe = layout._replace(
            conf_dir=folder,
            nodes_file=f"{folder}/nodes",
            monitor_file=f"{folder}/monitor",
        )
        for path, text in (
            (probe.nodes_file, nodes),
            (probe.monitor_file, monitor),
            (probe.options_file, options),
        ):
            if text:
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
        yield probe


def check_texts(layout: Layout, nodes: str, monitor: str, options: str) -> list[str]:
    """Read the texts as a daemon here would; return what the operator should know.

    Raises ConfigError with the name of the file that is meant.
    """
    from opensvc_openha.errors import ConfigError

    with as_if_written(layout, nodes, monitor, options) as probe:
        try:
            read = configuration.read_options(probe)
            configuration.read_cluster(probe, read)
            return configuration.check_devices(read)
        except ConfigError as error:
            name = os.path.basename(error.path)
            path = (
                f"{layout.conf_dir}/{name}"
                if error.path.startswith(probe.conf_dir)
                else (error.path)
            )
            raise ConfigError(error.message, path, error.line) from None
