"""Recognize files, and read those that may be missing."""

from __future__ import annotations

import os


def stamp_of(path: str) -> object:
    """Return a value that changes when a file is edited or replaced; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode, found.st_uid


def identity_of(file: str | int, follow_symlinks: bool = True) -> tuple[int, ...] | None:
    """Return what two paths or handles of one file or device share; None if there is none."""
    try:
        found = os.stat(file, follow_symlinks=follow_symlinks)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_rdev


def text_or_empty(path: str, at_most: int = -1) -> str:
    """Return the first ``at_most`` characters of a text; empty if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(at_most)
    except OSError:
        return ""
