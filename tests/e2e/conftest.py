"""The two nodes of the end-to-end tests."""

import os

import pytest

from opensvc_openha.demo.nodes import TwoNodes
from opensvc_openha.errors import SystemFault


@pytest.fixture
def two_nodes():
    """Two booted nodes; skipped with the reason where the system allows none, but never in CI."""
    try:
        nodes = TwoNodes()
    except SystemFault as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    with nodes:
        yield nodes
