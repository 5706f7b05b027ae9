"""`openha config edit`: what an operator has typed is not lost, whoever refuses it.

Two nodes are in tests/e2e/test_peer_link.py.
"""

from __future__ import annotations

from pathlib import Path

from tests.cluster_dir import ClusterDir
from tests.local_user import needs_root

pytestmark = needs_root

MEANWHILE = "[scripts]\nparallel = 3\n"
TYPED = "[scripts]\nparallel = 4\n"


def test_text_is_kept_when_the_file_was_changed_meanwhile(tmp_path: Path) -> None:
    """The valid text is beside the file that somebody else has changed, and the error names it."""
    cluster = ClusterDir(tmp_path / "cluster")
    file = cluster.path("conf/openha.conf")
    editor = tmp_path / "editor"
    editor.write_text(
        f"#!/bin/sh\nprintf '{MEANWHILE!r}' > {file}\nprintf '{TYPED!r}' > $1\n".replace("''", "'")
    )
    editor.chmod(0o755)
    cluster.env["EDITOR"] = str(editor)
    error = cluster.fails("openha config edit --here openha.conf", 5)
    assert "was changed meanwhile: nothing was done" in error
    assert file.read_text() == MEANWHILE
    kept = cluster.path("conf/openha.conf.rejected")
    assert kept.read_text() == TYPED and f"your text is {kept}" in error
    assert kept.stat().st_mode & 0o777 == 0o600
