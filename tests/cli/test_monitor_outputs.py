"""What daemons print that services left behind is bounded by the agent's monitor, wherever it
is.
"""

from __future__ import annotations

from pathlib import Path

from opensvc_openha.cli.monitor import _bound_outputs
from opensvc_openha.formats.layout import AgentLayout
from opensvc_openha.system.script_log import LOG_BYTES


def test_outputs_of_applications_and_of_docker_are_bounded(tmp_path: Path) -> None:
    """Too long: emptied, with the end beside it.

    What is short, and the log that rotates by itself, are left alone.
    """
    layout = AgentLayout(log_dir=str(tmp_path / "log"), var_dir=str(tmp_path / "var"))
    long = [
        tmp_path / "log/web.out",
        tmp_path / "var/web/docker.log",
        tmp_path / "var/web/containerd.log",
    ]
    others = [tmp_path / "log/web.log", tmp_path / "var/web/state", tmp_path / "log/short.out"]
    for path in (*long, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * (10 if path.name == "short.out" else LOG_BYTES + 4096))
    sizes = {path: path.stat().st_size for path in others}
    _bound_outputs(layout)
    assert {path.stat().st_size for path in long} == {0}
    assert {Path(f"{path}.1").stat().st_size for path in long} == {LOG_BYTES}
    assert {path: path.stat().st_size for path in others} == sizes
