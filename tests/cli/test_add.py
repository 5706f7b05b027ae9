"""`openha add` and `openha remove` on one node: what they refuse, and when nothing is done.

Two nodes are in tests/e2e/test_peer_link.py.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cluster_dir import HERE, PEER, ClusterDir
from tests.local_user import needs_root

pytestmark = needs_root

ENV = f"""\
[DEFAULT]
nodes = {HERE} {PEER}

[app#1]
script = /bin/true
start = 10

[hb#0]
type = OpenHA
"""


WRAPPER = "#!/bin/sh\n[ $1 = status ] && { echo %s; exit %d; }\n"


@pytest.fixture
def cluster(tmp_path: Path) -> ClusterDir:
    """A cluster directory with the embedded agent beside it, and no daemon."""
    cluster = ClusterDir(tmp_path / "cluster")
    for word in ("ETC", "VAR", "LOG", "BIN"):
        folder = tmp_path / word.lower()
        folder.mkdir()
        cluster.env[f"OSVC_{word}"] = str(folder)
    (tmp_path / "web.env").write_text(ENV)
    return cluster


def install_agent(cluster: ClusterDir) -> None:
    """Stand for `openha install --embedded-agent`, which writes to the system's directories."""
    svcmgr = Path(cluster.env["OSVC_BIN"], "svcmgr")
    svcmgr.write_text("#!/bin/sh\n# Made by `openha install`\nexit 0\n")
    svcmgr.chmod(0o755)


def refused(cluster: ClusterDir, command: str, code: int) -> str:
    """Run a command that must end with that code; return its error."""
    done = cluster.run(command)
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stderr.count("\n") >= 1
    return done.stderr


def test_service_is_added_once_and_removed(cluster: ClusterDir, tmp_path: Path) -> None:
    """File, wrappers and line are there after the first run; the second changes nothing; after a
    remove only the file is left, under another name.
    """
    file = tmp_path / "web.env"
    etc = Path(cluster.env["OSVC_ETC"])
    no_agent = refused(cluster, f"openha add --here {file}", 5)
    assert "the embedded agent is not installed on this node" in no_agent
    assert os.listdir(etc) == []
    install_agent(cluster)

    assert "this node has no peer link" in refused(cluster, f"openha add {file}", 5)
    assert cluster.run(f"openha add --here --dry-run {file}").returncode == 0
    assert os.listdir(etc) == []
    assert "Done." in cluster.run(f"openha add --here {file}").stdout
    line = f"web\t{etc}/web.cluster\t{HERE}\t{PEER}\t{cluster.path('bin/fence')}"
    assert line in cluster.path("conf/services").read_text()
    assert (etc / "web.env").read_text() == ENV
    assert all(os.access(etc / f"web.{kind}", os.X_OK) for kind in ("cluster", "stonith"))
    before = {path.name: path.lstat().st_mtime_ns for path in etc.iterdir()}
    assert "web: nothing to do" in cluster.run(f"openha add --here {file}").stdout
    assert {path.name: path.lstat().st_mtime_ns for path in etc.iterdir()} == before

    assert "--yes does it" in refused(cluster, "openha remove --here web", 5)
    assert cluster.run("openha remove --here --yes web").returncode == 0
    assert "web" not in cluster.path("conf/services").read_text()
    assert os.listdir(etc) == ["web.env.removed"]
    assert "no service web" in refused(cluster, "openha remove --here web", 2)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[hb#0]\ntype = OpenHA\n", "", "it needs a section [hb#0] with type = OpenHA"),
        (f"nodes = {HERE} {PEER}", f"nodes = {HERE} other", "web.env:2: "),
        ("script = /bin/true", "", "[app#1] start is '10' and script is missing"),
        ("[app#1]", "[app#1", "web.env:4: "),
    ],
)
def test_wrong_file_is_refused_with_its_line_and_adds_nothing(
    cluster: ClusterDir, tmp_path: Path, old: str, new: str, expected: str
) -> None:
    """The file that was given is named, not a copy of it."""
    install_agent(cluster)
    file = tmp_path / "web.env"
    file.write_text(ENV.replace(old, new))
    error = refused(cluster, f"openha add --here {file}", 3)
    assert str(file) in error and expected in error
    assert os.listdir(cluster.env["OSVC_ETC"]) == []


def test_name_that_is_no_service_removes_nothing(cluster: ClusterDir, tmp_path: Path) -> None:
    """Neither the service file itself, if it is a link, nor anything outside of the directory."""
    install_agent(cluster)
    etc = Path(cluster.env["OSVC_ETC"])
    (etc / "web.env").symlink_to(tmp_path / "web.env")
    (tmp_path / "outside").symlink_to("/dev/null")
    for name in ("web.env", "../outside", str(tmp_path / "outside")):
        refused(cluster, f"openha remove --here --yes {name}", 2)
    assert (etc / "web.env").is_symlink() and (tmp_path / "outside").is_symlink()


def test_service_that_runs_outside_of_the_cluster_is_not_removed(cluster: ClusterDir) -> None:
    """No line of the cluster says that it runs: its wrapper does."""
    install_agent(cluster)
    etc = Path(cluster.env["OSVC_ETC"])
    (etc / "web.env").write_text(ENV)
    wrapper = etc / "web.cluster"
    wrapper.write_text("#!/bin/sh\necho up\n")
    wrapper.chmod(0o755)
    assert "is up on this node" in refused(cluster, "openha remove --here --yes web", 5)
    assert sorted(os.listdir(etc)) == ["web.cluster", "web.env"]


def test_private_file_stays_private(cluster: ClusterDir, tmp_path: Path) -> None:
    """A service file with a password is not opened to all by adding it."""
    install_agent(cluster)
    (tmp_path / "web.env").chmod(0o600)
    cluster.run(f"openha add --here {tmp_path}/web.env")
    assert os.stat(f"{cluster.env['OSVC_ETC']}/web.env").st_mode & 0o777 == 0o600


def test_a_running_service_keeps_what_stops_its_resources(
    cluster: ClusterDir, tmp_path: Path
) -> None:
    """A file without one of its sections is refused while it may be up; once it is down, taken."""
    install_agent(cluster)
    file = tmp_path / "web.env"
    more = ENV + "\n[app#2]\nscript = /bin/true\nstart = 20\n"
    file.write_text(more)
    assert "Done." in cluster.run(f"openha add --here {file}").stdout
    etc = Path(cluster.env["OSVC_ETC"])
    wrapper = etc / "web.cluster"
    wrapper.unlink()
    wrapper.write_text(WRAPPER % ("up", 0))
    wrapper.chmod(0o755)
    file.write_text(ENV)
    error = refused(cluster, f"openha add --here --yes {file}", 5)
    assert "the new file has no [app#2] any more" in error and "nothing was done" in error
    assert (etc / "web.env").read_text() == more
    # A section that is added can be stopped later.
    file.write_text(f"{more}\n[app#3]\nscript = /bin/true\nstart = 30\n")
    assert "replace" in cluster.ok(f"openha add --here --dry-run {file}")

    wrapper.write_text(WRAPPER % ("down", 1))
    file.write_text(ENV)
    cluster.run(f"openha add --here --yes {file}")
    assert (etc / "web.env").read_text() == ENV
