"""Fixtures shared by several folders of tests."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster_dir import ClusterDir


def pytest_configure(config: pytest.Config) -> None:
    """Restore Ctrl-C, which a shell disables for background tests and their children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def cluster_dir(tmp_path: Path) -> Iterator[ClusterDir]:
    """Yield a cluster directory of this node; its daemon is terminated at the end."""
    cluster = ClusterDir(tmp_path / "cluster")
    yield cluster
    cluster.close()


@pytest.fixture
def open_path() -> Iterator[Path]:
    """Yield a directory that any user may traverse.

    pytest's own belong to its user alone, and it restores that repeatedly.
    """
    made = Path(tempfile.mkdtemp(prefix="openha-open."))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def open_cluster_dir(open_path: Path) -> Iterator[ClusterDir]:
    """Yield a cluster directory that other users reach like a system's own."""
    cluster = ClusterDir(open_path / "cluster")
    yield cluster
    cluster.close()
