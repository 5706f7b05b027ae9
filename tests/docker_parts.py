"""Requirements of tests with real docker daemons."""

from __future__ import annotations

import os

import pytest

from opensvc_openha.demo.containers import missing_for_containers


def require_docker() -> None:
    """Skip if no docker daemon can be started; fail in CI, where it can."""
    reason = missing_for_containers()
    if reason:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
