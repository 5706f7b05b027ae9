"""The two nodes of the end-to-end tests, and a cluster on them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from opensvc_openha.demo.nodes import TwoNodes
from opensvc_openha.errors import SystemFault
from tests.e2e.two_node_cluster import Cluster


@pytest.fixture
def two_nodes() -> Iterator[TwoNodes]:
    """Yield two booted nodes; skip if the system forbids them, but fail in CI."""
    try:
        nodes = TwoNodes()
    except SystemFault as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    with nodes:
        yield nodes


@pytest.fixture
def make_cluster(two_nodes: TwoNodes) -> Callable[..., Cluster]:
    """Return a function that creates a cluster from a check-up script for each service."""

    def make(**checks: str) -> Cluster:
        return Cluster(two_nodes, checks or {"registry": "/bin/true"})

    return make
