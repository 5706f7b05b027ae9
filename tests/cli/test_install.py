"""What `openha install` lays out, in both layouts and with the embedded agent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from opensvc_openha.formats.layout import agent_layout, fhs_layout, find_layout, tree_layout


def _install(*options: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith(("EZ", "OSVC"))}
    return subprocess.run(
        [sys.executable, "-m", "opensvc_openha", "install", *options],
        capture_output=True,
        text=True,
        env=env,
    )


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})


def test_everything_stays_below_a_prefix(tmp_path: Path) -> None:
    """With --prefix the embedded agent goes there too, and its commands find their directories by
    themselves.
    """
    done = _install("--prefix", str(tmp_path / "ez"), "--embedded-agent")
    assert done.returncode == 0, done.stderr
    etc = tmp_path / "ez/etc/opensvc"
    (etc / "web.env").write_text(f"[DEFAULT]\nnodes = {os.uname().nodename}\n")
    shown = _run(str(tmp_path / "ez/usr/share/opensvc/bin/svcmon"))
    assert shown.returncode == 0 and "web" in shown.stdout, shown.stderr
    assert (etc / "web.cluster").exists() and (etc / "web.stonith").exists()
    status = _run(str(etc / "web"), "print", "status")
    assert status.stdout.startswith("web\noverall"), status


def test_fhs_layout_works_with_its_own_command(tmp_path: Path) -> None:
    """`openha status` of the newer layout finds its configuration without any variable."""
    done = _install("--layout", "fhs", "--root", str(tmp_path))
    assert done.returncode == 0, done.stderr
    shown = _run(str(tmp_path / "usr/bin/openha"), "start")
    assert shown.returncode == 3 and f"{tmp_path}/etc/openha/nodes" in shown.stderr


def test_check_up_command_of_the_fence_plan_proves_nothing_by_itself(tmp_path: Path) -> None:
    """Run where no plan is configured, it fails, and its last line is the reason of the failure."""
    _install("--prefix", str(tmp_path))
    done = _run(f"{tmp_path}/bin/fence")
    assert done.returncode == 1 and "there is no fence plan: nothing was fenced" in done.stderr


def test_functions_of_env_sh_work_in_a_plain_shell(tmp_path: Path) -> None:
    """Sourced from `sh`: the variables point below the prefix and the functions report what they
    ask.
    """
    _install("--prefix", str(tmp_path))
    shown = _run("sh", "-c", f". {tmp_path}/env.sh; echo $EZ $EZ_SERVICES; ez_svc_status")
    assert shown.stdout.splitlines() == [
        f"{tmp_path} {tmp_path}/conf/services",
        f"=> Querying OpenHA services status [{tmp_path}/bin/service -s -c]",
    ]
    assert shown.returncode == 4 and "nmond is not running" in shown.stderr


def test_foreign_command_is_not_replaced(tmp_path: Path) -> None:
    """A /usr/bin/openha that another package put there stays."""
    foreign = tmp_path / "usr/bin/openha"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("#!/bin/sh\necho mine\n")
    assert _install("--layout", "fhs", "--root", str(tmp_path)).returncode == 0
    assert foreign.read_text() == "#!/bin/sh\necho mine\n"


def test_command_is_on_the_path_for_those_who_source_nothing(tmp_path: Path) -> None:
    """sudo, watch and cron know no shell function: /usr/local/bin/openha finds its installation
    without any variable.
    """
    done = _install("--root", str(tmp_path))
    assert f"Command {tmp_path}/usr/local/bin/openha\n" in done.stdout
    shown = _run("env", "-i", f"PATH={tmp_path}/usr/local/bin:/usr/bin:/bin", "openha", "start")
    assert shown.returncode == 3 and f"{tmp_path}/usr/local/cluster/conf/nodes" in shown.stderr
    assert _install("--root", str(tmp_path)).returncode == 0, "ours is written again"


def test_foreign_command_on_the_path_is_left_alone_and_reported(tmp_path: Path) -> None:
    """Another openha in /usr/local/bin; a prefix elsewhere puts nothing there at all."""
    foreign = tmp_path / "usr/local/bin/openha"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("#!/bin/sh\necho mine\n")
    assert f"Command {foreign} is not ours: left alone" in _install("--root", str(tmp_path)).stdout
    assert foreign.read_text() == "#!/bin/sh\necho mine\n"
    assert "Command " not in _install("--prefix", str(tmp_path / "elsewhere")).stdout


def test_prefix_and_fhs_do_not_go_together(tmp_path: Path) -> None:
    """A clear line instead of a guess."""
    done = _install("--layout", "fhs", "--prefix", str(tmp_path))
    assert done.returncode == 2 and "--root" in done.stderr and done.stderr.count("\n") == 1


def test_directory_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    """A file stands in the way."""
    (tmp_path / "file").write_text("")
    done = _install("--prefix", str(tmp_path / "file/ez"))
    assert done.returncode == 7 and f"{tmp_path}/file" in done.stderr


def test_layout_in_force_is_found_by_variables_then_by_what_is_there() -> None:
    """EZ wins; then the tree, then FHS; with neither there it is the tree, as the tutorial
    shows.
    """

    def find(env: dict[str, str], *there: str) -> str:
        return find_layout(env, lambda path: path in there).monitor_file

    assert find({"EZ": "/srv/ez/"}) == "/srv/ez/conf/monitor"
    assert find({}, "/usr/local/cluster/conf", "/etc/openha") == "/usr/local/cluster/conf/monitor"
    assert find({}, "/etc/openha") == "/etc/openha/monitor"
    assert find({}) == "/usr/local/cluster/conf/monitor"
    assert find({"EZ": "/srv/ez", "EZ_MONITOR": "/srv/m"}) == "/srv/m"
    for layout in (tree_layout("/srv/ez"), fhs_layout("/srv")):
        assert find_layout(layout.environment(), lambda path: False) == layout


def test_agent_directories_can_each_be_moved() -> None:
    """OSVC_* variables, one by one."""
    layout = agent_layout("", {"OSVC_ETC": "/srv/etc"})
    assert (layout.etc_dir, layout.var_dir) == ("/srv/etc", "/var/lib/opensvc")
    assert agent_layout("", agent_layout("/srv").environment()) == agent_layout("/srv")


def _key(root: Path) -> Path:
    return root / "conf/openha.key"


def test_node_gets_a_heartbeat_key_and_install_reports_how_to_share_it(tmp_path: Path) -> None:
    """Mode 0600, named with the command that brings it to the other node.

    A second installation leaves it as it is.
    """
    done = _install("--prefix", str(tmp_path))
    assert os.stat(_key(tmp_path)).st_mode & 0o777 == 0o600
    assert f"ssh OTHER_NODE {tmp_path}/bin/openha key install - < {_key(tmp_path)}" in done.stdout
    before = _key(tmp_path).read_bytes()
    assert "Heartbeat key" not in _install("--prefix", str(tmp_path)).stdout
    assert _key(tmp_path).read_bytes() == before


def test_no_key_is_made_where_there_must_be_none(tmp_path: Path) -> None:
    """On request, in an image, with authentication off, with a C OpenHA as the peer, and where one
    was in use and is gone.
    """
    _install("--prefix", str(tmp_path / "asked"), "--no-key")
    _install("--layout", "fhs", "--root", str(tmp_path / "image"))
    assert (
        not _key(tmp_path / "asked").exists()
        and not (tmp_path / "image/etc/openha/openha.key").exists()
    )
    for name, text in (("off", "authentication = off"), ("old", "wire = legacy")):
        root = tmp_path / name
        (root / "conf").mkdir(parents=True)
        (root / "conf/openha.conf").write_text(f"[heartbeat]\n{text}\n")
        assert _install("--prefix", str(root)).returncode == 0
        assert not _key(root).exists()
    (tmp_path / "asked/conf/openha.key.in-use").write_text("")
    _install("--prefix", str(tmp_path / "asked"))
    assert not _key(tmp_path / "asked").exists()


def test_broken_options_do_not_keep_a_node_from_being_installed(tmp_path: Path) -> None:
    """No key is made on a guess, and the line that is wrong is reported."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/openha.conf").write_text("[heartbeat]\nauthentification = off\n")
    done = _install("--prefix", str(tmp_path))
    assert done.returncode == 0 and "openha.conf:2" in done.stderr and not _key(tmp_path).exists()


def test_first_link_of_a_node_comes_with_a_key(tmp_path: Path) -> None:
    """`hb -a` on a node without links makes one, unless it is asked not to, and later links do
    not.
    """
    _install("--prefix", str(tmp_path), "--no-key")
    here = os.uname().nodename
    (tmp_path / "conf/nodes").write_text(f"{here}\npeer.opensvc.com\n")
    add = (
        str(tmp_path / "bin/hb"),
        "-a",
        "-n",
        here,
        "-t",
        "net",
        "-i",
        "lo",
        "-p",
        "5010",
        "-T",
        "10",
        "-d",
    )
    done = _run(*add, "239.131.50.10", "--no-key")
    assert (done.returncode, done.stdout) == (0, "heartbeat added.\n"), done
    assert (
        _run(*add, "239.131.50.11").stdout == "heartbeat added.\n" and not _key(tmp_path).exists()
    )
    (tmp_path / "conf/monitor").write_text("# none yet\n")
    done = _run(*add, "239.131.50.12")
    assert done.stdout.startswith("heartbeat added.\nHeartbeat key ") and _key(tmp_path).exists(), (
        done
    )
