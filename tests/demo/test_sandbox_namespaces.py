"""What the two nodes need from the system, and the words that report what is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from opensvc_openha.demo.sandbox_namespaces import find_tool
from opensvc_openha.errors import SystemFault


def test_a_missing_tool_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ip` is on no path: the error names it and the package to install."""
    monkeypatch.setattr("opensvc_openha.demo.sandbox_namespaces.TOOL_PATH", "/nonexistent")
    with pytest.raises(SystemFault, match="'ip' is missing: install the package iproute2"):
        find_tool("ip")


def test_a_system_without_user_namespaces_is_reported() -> None:
    """A user may make no user namespace: the error reports it, and that root or a sysctl helps."""
    code = "from opensvc_openha.demo.sandbox_namespaces import Sandbox; Sandbox()"
    inside = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    unshare = ["unshare", "--user", "--map-root-user"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no user namespace can be made here")
    argv = [*unshare, "sh", "-c", inside, "sh", sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert "SystemFault: user namespaces are not available to this user" in done.stderr
    assert "run as root, or allow them with 'sysctl" in done.stderr
