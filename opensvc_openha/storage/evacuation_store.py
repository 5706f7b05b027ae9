"""Keep on disk that this node is evacuated: it ends by an order alone."""

from __future__ import annotations

import contextlib
import json
import os

from opensvc_openha.core.evacuation import NOT_EVACUATED, Evacuation
from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.one_line import one_line
from opensvc_openha.storage.proc_files import write_proc_file

_FILE_BYTES = 4_096
_TEXT_CHARACTERS = 300


def read_evacuation(layout: Layout) -> Evacuation:
    """Return what the file holds; a damaged one is taken for an evacuation.

    The node takes over from a dead peer all the same, and an operator is asked to look.
    """
    try:
        with open(layout.evacuation_file, encoding="utf-8") as file:
            found = json.loads(file.read(_FILE_BYTES))
        return Evacuation(True, found["off_limits"] is True, one_line(str(found["text"])))
    except FileNotFoundError:
        return NOT_EVACUATED
    except (OSError, ValueError, KeyError, TypeError) as error:
        text = f"(by a damaged file, {layout.evacuation_file}: {error})"
        return Evacuation(True, text=text, is_damaged=True)


def write_evacuation(layout: Layout, evacuation: Evacuation) -> None:
    """Write it, or remove the file where the evacuation is over. Raises SystemFault."""
    path = layout.evacuation_file
    if evacuation.is_on:
        text = evacuation.text[:_TEXT_CHARACTERS]
        found = {"off_limits": evacuation.is_off_limits, "text": text}
        write_proc_file(layout, path, json.dumps(found).encode("ascii") + b"\n")
        return
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    except OSError as error:
        raise SystemFault(f"cannot remove {path}: {error.strerror}") from error
