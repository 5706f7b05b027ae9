"""Fixtures of more than one folder of tests."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from tests.cluster_dir import ClusterDir


@pytest.fixture
def cluster_dir(tmp_path: Path) -> Iterator[ClusterDir]:
    """A cluster directory of this node; its daemon is ended at the end."""
    cluster = ClusterDir(tmp_path / "cluster")
    yield cluster
    cluster.close()
