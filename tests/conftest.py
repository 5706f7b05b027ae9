"""Fixtures of more than one folder of tests."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Iterator

import pytest

from tests.cluster_dir import ClusterDir


def pytest_configure(config: pytest.Config) -> None:
    """A shell that runs the tests in the background has them ignore Ctrl-C, and what they start as well."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def cluster_dir(tmp_path: Path) -> Iterator[ClusterDir]:
    """A cluster directory of this node; its daemon is ended at the end."""
    cluster = ClusterDir(tmp_path / "cluster")
    yield cluster
    cluster.close()
