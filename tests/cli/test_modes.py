"""What the package creates has the same rights under any umask, and what older versions left open
is closed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster_dir import ClusterDir
from tests.file_modes import FILE, wrong_modes


@pytest.fixture(params=[0, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """An umask that closes nothing, and one that closes all."""
    former = os.umask(request.param)
    yield request.param
    os.umask(former)


def test_cluster_directory_has_its_modes_under_any_umask(tmp_path: Path, umask: int) -> None:
    """Installed, used and stopped: directories 0755, locks and keys 0600, logs and history 0640,
    the socket for all.
    """
    cluster = ClusterDir(tmp_path / "cluster")
    try:
        cluster.add("registry", 'echo "as $1"')
        cluster.ok("openha key generate")
        cluster.ok("ezha start")
        cluster.ok("service -A registry force-start")
        cluster.run("service -A registry stop")
        history = cluster.path("services/.proc/history/000000000001.jsonl")
        cluster.wait(history.exists, "the history's file")
        for path in (
            *cluster.root.glob("*.sh"),
            *cluster.root.glob("*.calls"),
            cluster.root / "disk",
            *(cluster.path(f"conf/{name}") for name in ("nodes", "monitor")),
        ):
            path.chmod(
                FILE
            )  # The test's own files; conf/nodes and conf/monitor exist before they are written.
        expected = {
            ".lock": 0o600,
            "openha.key": 0o600,
            ".log": 0o640,
            "states.log": 0o600,
            "history": 0o2750,
            ".jsonl": 0o640,
            "nmond.sock": 0o666,
        }
        assert wrong_modes(cluster.root, expected) == {}
        assert {path.name for path in cluster.root.rglob("*")} >= {
            "nmond.lock",
            "edit.lock",
            "openha.key",
            "nmond.log",
            "registry.log",
            "000000000001.jsonl",
            "nmond.sock",
        }
    finally:
        cluster.close()


def test_files_that_an_older_version_left_open_are_closed(cluster_dir: ClusterDir) -> None:
    """Locks and logs of 0644 from before an update, rotated ones too: closed with the first start
    and the first edit.
    """
    names = (
        "services/.proc/nmond.lock",
        "services/.proc/edit.lock",
        "log/nmond.log",
        "log/nmond.log.1",
        "log/registry.log",
    )
    for name in names:
        path = cluster_dir.path(name)
        path.parent.mkdir(exist_ok=True)
        path.touch()
        path.chmod(0o644)
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    cluster_dir.run("service -A registry stop")
    modes = {name: cluster_dir.path(name).stat().st_mode & 0o777 for name in names}
    assert modes == {name: 0o600 if name.endswith(".lock") else 0o640 for name in names}
