"""Fixtures of more than one folder of tests."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster_dir import ClusterDir


def pytest_configure(config: pytest.Config) -> None:
    """A shell that runs the tests in the background has them ignore Ctrl-C, and what they start as
    well.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def cluster_dir(tmp_path: Path) -> Iterator[ClusterDir]:
    """A cluster directory of this node; its daemon is ended at the end."""
    cluster = ClusterDir(tmp_path / "cluster")
    yield cluster
    cluster.close()


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory through which any user may pass.

    Those of pytest are its user's alone, and it makes them so again and again.
    """
    made = Path(tempfile.mkdtemp(prefix="openha-open."))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def open_cluster_dir(open_path: Path) -> Iterator[ClusterDir]:
    """A cluster directory that other users reach as they reach a system's own."""
    cluster = ClusterDir(open_path / "cluster")
    yield cluster
    cluster.close()
