"""Write the daemon's own records, which the next daemon reads."""

from __future__ import annotations

from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.layout import Layout
from opensvc_openha.system.atomic_files import make_dir, write_record


def write_proc_file(layout: Layout, path: str, data: bytes, mode: int = 0o644) -> None:
    """Replace a record of the daemon; it is on disk on return. Raises SystemFault."""
    try:
        make_dir(layout.proc_dir)
        write_record(path, data, mode)
    except OSError as error:
        raise SystemFault(f"cannot write {path}: {error.strerror}") from error
