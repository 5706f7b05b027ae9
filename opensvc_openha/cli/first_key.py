"""Generate the heartbeat key of a new node, unless its operator wants none.

Called by ``openha install``, or with the first link. Each node generates its own. Until one of them
is copied to the other, beats are accepted as without a key, so that the order of the steps does not
matter; status and log name the command until then.
"""

from __future__ import annotations

from opensvc_openha.formats.key_file import KeyRing
from opensvc_openha.formats.layout import Layout
from opensvc_openha.storage import configuration
from opensvc_openha.storage.key_store import copy_command, is_key_wanted, new_key, write_keys


def make(layout: Layout) -> list[str]:
    """Generate a key unless there is or was one; return the lines to print."""
    with configuration.edit_lock(layout):
        if not is_key_wanted(layout, configuration.read_options(layout)):
            return []
        ring = KeyRing(new_key())
        write_keys(layout, ring)
    return [
        f"Heartbeat key {ring.current.key_id}: {layout.key_file}",
        (
            "Give it to the other node, once this is installed there: "
            f" {copy_command(layout, 'OTHER_NODE')}"
        ),
    ]
