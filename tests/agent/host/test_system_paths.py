"""Where no file system of a service may be mounted: over the system, and over what the cluster and
its agent need.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from opensvc_openha.agent.host.system_paths import why_not_mounted_over
from opensvc_openha.formats.layout import AgentLayout, agent_layout


@pytest.fixture(name="layout")
def make_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AgentLayout:
    """A cluster and an agent that are installed apart from each other."""
    monkeypatch.setenv("EZ", str(tmp_path / "cluster" / "ez"))
    folders = {
        f"OSVC_{word}": str(tmp_path / "agent" / word.lower())
        for word in ("ETC", "VAR", "LOG", "BIN")
    }
    return agent_layout("", folders)


@pytest.mark.parametrize(
    "point, named",
    [
        ("/", "/"),
        ("/etc", "/etc"),
        ("/etc/", "/etc"),
        ("//etc", "/etc"),
        ("/usr/./lib", "/usr/lib"),
        ("/var//lib", "/var/lib"),
        ("/root/../tmp", "/tmp"),
    ],
)
def test_directory_of_the_system_is_none(layout: AgentLayout, point: str, named: str) -> None:
    """However it is written; the reason reports what would be hidden."""
    assert (
        why_not_mounted_over(point, layout)
        == f"would hide {named} of this node from everything that runs on it"
    )


@pytest.mark.parametrize(
    "point, hidden",
    [
        ("agent/etc", "agent/etc"),
        ("agent/var/", "agent/var"),
        ("agent", "agent/etc"),
        ("cluster", "cluster/ez"),
        ("cluster/ez", "cluster/ez"),
        ("cluster/ez/conf", "cluster/ez/conf"),
        ("cluster/ez/log", "cluster/ez/log"),
    ],
)
def test_what_the_cluster_needs_while_the_service_is_stopped_is_none(
    layout: AgentLayout, tmp_path: Path, point: str, hidden: str
) -> None:
    """Neither such a directory nor one above it."""
    assert (
        why_not_mounted_over(f"{tmp_path}/{point}", layout)
        == f"would hide {tmp_path}/{hidden}, which this cluster or its agent needs while the"
        " service is stopped"
    )


@pytest.mark.parametrize(
    "point", ["data", "agent/etc/data", "agent/et", "cluster/ez/data", "cluster/e"]
)
def test_any_other_place_is_one(layout: AgentLayout, tmp_path: Path, point: str) -> None:
    """Below such a directory, beside it, or with a name that only begins alike."""
    assert why_not_mounted_over(f"{tmp_path}/{point}", layout) == ""
