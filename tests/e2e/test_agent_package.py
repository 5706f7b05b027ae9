"""An agent that came as a Debian package: its driver is diverted, so an upgrade of the package
leaves ours in place.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.demo.player import prepare

HOST = Path(__file__).parent.parent / "plugin" / "host"
HOME = "/opt/opensvc"
CONTROL = (
    "Package: opensvc\nVersion: {version}\nArchitecture: all\nMaintainer: nobody"
    " <nobody@localhost>\nDescription: test\n"
)

pytestmark = pytest.mark.skipif(
    shutil.which("dpkg-deb") is None and os.environ.get("CI") != "true", reason="no dpkg here"
)


def install_package(node: Node, version: str) -> None:
    """Builds and installs the package of a minimal agent, in the node."""
    build = f"/run/build{version}"
    node.write(f"{build}/DEBIAN/control", CONTROL.format(version=version))
    for name, source in (
        ("resHb.py", "resHb.py"),
        ("svc.py", "svc.py"),
        ("rcGlobalEnv.py", "rcGlobalEnv_1_8.py"),
        ("resources.py", "resources_1_7.py"),
    ):
        node.write(f"{build}{HOME}/lib/{name}", (HOST / source).read_text())
    node.write(f"{build}{HOME}/lib/resHbOpenHA.py", f"# The stock driver of {version}.\n")
    done = node.run(f"dpkg-deb --build {build} {build}.deb && dpkg --install {build}.deb")
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_upgrade_of_a_packaged_agent_leaves_the_driver_in_place(two_nodes: TwoNodes) -> None:
    """Installed, upgraded, removed: ours is diverted to, the upgrade writes beside it, and the
    newest stock one comes back.
    """
    node = two_nodes[0]
    prepare(node)
    install_package(node, "1.0")

    def run(command: str, code: int = 0) -> str:
        done = node.run(command)
        assert done.returncode == code, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    run("openha install --no-key")
    node.write("/usr/local/cluster/conf/nodes", "deb1.opensvc.com\ndeb2.opensvc.com\n")
    assert f"dpkg-divert {HOME}/lib/resHbOpenHA.py as {HOME}/lib/resHbOpenHA.py.stock" in run(
        "openha agent install"
    )
    assert "openha_driver" in node.read(f"{HOME}/lib/resHbOpenHA.py")
    install_package(node, "2.0")
    assert "openha_driver" in node.read(f"{HOME}/lib/resHbOpenHA.py")
    assert node.read(f"{HOME}/lib/resHbOpenHA.py.stock") == "# The stock driver of 2.0.\n"
    assert "installed" in run("openha agent status")
    assert "nothing to do" in run("openha agent install")
    run("openha agent remove")
    assert node.read(f"{HOME}/lib/resHbOpenHA.py") == "# The stock driver of 2.0.\n"
    assert run(f"dpkg-divert --list {HOME}/lib/resHbOpenHA.py") == ""
    run("openha agent status", 1)
