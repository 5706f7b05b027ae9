"""The agent of each line, as fixtures."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugin.minimal_agent import LINES, Host, python_for, pythons_of


@pytest.fixture(
    params=[(line, version) for line in LINES for version in pythons_of(line)],
    ids=lambda param: f"{param[0]}-py{param[1]}",
)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    """Yield the agent of each line under each of its Pythons."""
    line, version = request.param
    made = Host(tmp_path, line, python_for(version))
    yield made
    made.close()


@pytest.fixture
def host18(tmp_path: Path) -> Iterator[Host]:
    """Yield the 1.8 under this Python."""
    made = Host(tmp_path, "1.8", sys.executable)
    yield made
    made.close()
