"""Fixtures of the agent's tests: a temporary agent, the tutorial's services, a private node."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.embedded import Agent, PrivateNode, hold_namespaces, must_succeed


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Agent]:
    """Yield an agent without services, on a machine without OpenHA."""
    # Not tmp_path: its length grows with the test's name, and socket paths are limited.
    with tempfile.TemporaryDirectory(prefix="agent") as directory:
        root = Path(directory)
        for name in ("etc", "var", "log", "bin"):
            (root / name).mkdir()
            monkeypatch.setenv(f"OSVC_{name.upper()}", str(root / name))
        monkeypatch.setenv("EZ", str(root / "no-openha"))
        yield Agent(root, capsys)


@pytest.fixture
def private_node(tmp_path: Path) -> Iterator[PrivateNode]:
    """Yield a private node; needs root, and without it skips, or fails if CI=true."""
    missing = [tool for tool in ("unshare", "nsenter", "ip", "mount") if not shutil.which(tool)]
    reason = "needs root" if os.geteuid() != 0 else f"needs {', '.join(missing)}" if missing else ""
    if reason:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    for name in ("etc", "var", "log", "bin"):
        (tmp_path / name).mkdir()
    node = hold_namespaces(["unshare", "--mount", "--net", "--uts", "--propagation=private"])
    peer = hold_namespaces(["unshare", "--net"])
    try:
        made = PrivateNode(node.pid, peer.pid, tmp_path)
        for argv in (
            ("ip", "link", "set", "lo", "up"),
            (
                "ip",
                "link",
                "add",
                "eth0",
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                str(peer.pid),
            ),
            ("ip", "link", "set", "eth0", "up"),
            ("ip", "addr", "add", "10.99.0.1/24", "dev", "eth0"),
        ):
            must_succeed(made.run(*argv))
        must_succeed(made.run_on_peer("ip", "link", "set", "eth0", "up"))
        must_succeed(made.run_on_peer("ip", "addr", "add", "10.99.0.2/24", "dev", "eth0"))
        yield made
    finally:
        for process in (node, peer):
            process.kill()
            process.wait()
