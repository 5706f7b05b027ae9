"""Modes of files compared with those expected."""

from __future__ import annotations

import stat
from pathlib import Path

FILE, PROGRAM, FOLDER = 0o644, 0o755, 0o755


def wrong_modes(root: Path, expected: dict[str, int]) -> dict[str, str]:
    """Everything below a directory that has other rights than it should, by its name or the end of
    it.
    """
    wrong = {}
    for path in [*root.rglob("*")]:
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:  # A daemon that runs removes its temporary files.
            continue
        if stat.S_ISLNK(mode):
            continue
        named = [rights for end, rights in expected.items() if path.name.endswith(end)]
        right = named or ([FOLDER] if stat.S_ISDIR(mode) else [FILE, PROGRAM])
        if mode & 0o7777 not in right:
            wrong[str(path.relative_to(root))] = oct(mode & 0o7777)
    return wrong
