"""What starts the daemon at boot: units below a directory that stands for /, and what else may."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from opensvc_openha.cli import boot
from opensvc_openha.errors import RefusedError
from opensvc_openha.formats.layout import AgentLayout, fhs_layout, tree_layout
from tests.cli.test_install import installed, run

LAYOUT = fhs_layout()
WANTS = "etc/systemd/system/multi-user.target.wants"


def write(path: Path, text: str) -> Path:
    """A file with its directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def link(path: Path, target: str) -> Path:
    """A symbolic link with its directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
    return path


def test_units_are_enabled_once_however_often_it_is_asked_for(tmp_path: Path) -> None:
    """Both units are links of multi-user.target, and the daemon's is that of this layout alone."""
    for _ in range(2):
        lines = boot.enable(LAYOUT, AgentLayout(), str(tmp_path))
        assert lines == [
            f"Starts at boot: {tmp_path}/etc/systemd/system/{name}"
            for name in (boot.UNIT, boot.AGENT_UNIT)
        ]
        assert sorted(os.listdir(tmp_path / WANTS)) == sorted([boot.UNIT, boot.AGENT_UNIT])
    assert os.readlink(tmp_path / WANTS / boot.UNIT) == f"/etc/systemd/system/{boot.UNIT}"
    assert boot.has_enabled_unit(LAYOUT, str(tmp_path))
    assert not boot.has_enabled_unit(tree_layout(), str(tmp_path))


def test_disabled_units_are_gone_and_a_second_time_is_nothing(tmp_path: Path) -> None:
    """Links and files; what a person wrote stays."""
    boot.enable(LAYOUT, AgentLayout(), str(tmp_path))
    own = write(tmp_path / f"etc/systemd/system/{boot.UNIT}.d/limits.conf", "[Service]\n")
    assert len(boot.disable(str(tmp_path))) == 4
    assert not list((tmp_path / WANTS).iterdir()) and own.exists()
    assert not boot.has_enabled_unit(LAYOUT, str(tmp_path))
    assert boot.disable(str(tmp_path)) == []


def test_unit_of_the_package_is_used_and_hidden_by_none_of_ours(tmp_path: Path) -> None:
    """An earlier one from `openha install` below /etc would win over that of the package."""
    boot.enable(LAYOUT, None, str(tmp_path))
    hiding = tmp_path / f"etc/systemd/system/{boot.UNIT}"
    packaged = f"usr/lib/systemd/system/{boot.UNIT}"
    write(tmp_path / packaged, boot.unit_text(boot.UNIT, LAYOUT, AgentLayout()))
    boot.enable(LAYOUT, None, str(tmp_path))
    assert not hiding.exists() and os.readlink(tmp_path / WANTS / boot.UNIT) == f"/{packaged}"
    assert boot.has_enabled_unit(LAYOUT, str(tmp_path))
    boot.disable(str(tmp_path))
    assert (tmp_path / packaged).exists() and not list((tmp_path / WANTS).iterdir())


def test_a_masked_or_foreign_unit_is_left_alone(tmp_path: Path) -> None:
    """An operator's decision, and another program of that name."""
    folder = tmp_path / "etc/systemd/system"
    link(folder / boot.UNIT, "/dev/null")
    assert "left alone, not enabled" in boot.enable(LAYOUT, None, str(tmp_path))[0]
    (folder / boot.UNIT).unlink()
    foreign = write(folder / boot.UNIT, "[Service]\nExecStart=/usr/bin/other\n")
    assert "is not ours: left alone, not enabled" in boot.enable(LAYOUT, None, str(tmp_path))[0]
    assert "other" in foreign.read_text() and not (tmp_path / WANTS).exists()
    boot.disable(str(tmp_path))
    assert foreign.exists()


def test_a_second_starter_of_a_daemon_refuses_the_unit(tmp_path: Path) -> None:
    """The C daemons' unit under another name, or an init script that is linked into a run level."""
    unit = "heartbeats.service"
    write(
        tmp_path / f"usr/lib/systemd/system/{unit}",
        "[Service]\nExecStart=/usr/share/openha/init/openha.init start\n",
    )
    wanted = link(tmp_path / WANTS / unit, f"/usr/lib/systemd/system/{unit}")
    with pytest.raises(RefusedError, match="systemctl disable heartbeats.service"):
        boot.enable(LAYOUT, None, str(tmp_path))
    wanted.unlink()
    write(tmp_path / "etc/init.d/ezha", "#!/bin/sh\nexec /usr/local/cluster/ezha.init $1\n")
    started = link(tmp_path / "etc/rc2.d/S97ezha", "../init.d/ezha")
    with pytest.raises(RefusedError, match="update-rc.d ezha disable"):
        boot.enable(LAYOUT, None, str(tmp_path))
    assert not (tmp_path / WANTS / boot.UNIT).exists()
    started.rename(tmp_path / "etc/rc2.d/K03ezha")
    assert boot.enable(LAYOUT, None, str(tmp_path))


def test_units_are_ordered_after_what_services_need(tmp_path: Path) -> None:
    """Network, storage and containers; a node that was never set up is skipped; a reload is
    checked.
    """
    done = installed("--root", str(tmp_path), "--enable", "--embedded-agent")
    text = (tmp_path / f"etc/systemd/system/{boot.UNIT}").read_text()
    after = [
        word for line in text.splitlines() if line.startswith("After=") for word in line.split()
    ]
    for unit in ("network-online.target", "local-fs.target", "remote-fs.target", "docker.service"):
        assert unit in " ".join(after).replace("After=", "").split(), done.stdout
    cluster = f"{tmp_path}/usr/local/cluster"
    assert f"ExecReload={cluster}/bin/openha reload\n" in text
    assert f"ConditionPathExists=|{cluster}/conf/nodes\n" in text and "@" not in text
    agent = (tmp_path / f"etc/systemd/system/{boot.AGENT_UNIT}").read_text()
    assert f"ExecStart={tmp_path}/usr/share/opensvc/bin/svcmgr boot\n" in agent
    assert boot.UNIT in agent and "@" not in agent
    assert (tmp_path / f"usr/local/cluster/doc/{boot.UNIT}").read_text() == text


def test_init_script_has_the_header_of_the_base_specification(tmp_path: Path) -> None:
    """insserv and chkconfig read it; force-reload is one of the words that it must know."""
    installed("--prefix", str(tmp_path))
    text = (tmp_path / "ezha.init").read_text()
    head = text.partition("### BEGIN INIT INFO\n")[2].partition("### END INIT INFO\n")[0]
    fields = [line.removeprefix("# ").partition(":")[0] for line in head.splitlines()]
    assert fields == [
        "Provides",
        "Required-Start",
        "Required-Stop",
        "Should-Start",
        "Should-Stop",
        "Default-Start",
        "Default-Stop",
        "Short-Description",
        "Description",
    ]
    assert "\n# chkconfig: 2345 97 03\n" in text
    for word in ("status", "reload", "force-reload"):
        done = run(str(tmp_path / "ezha.init"), word)
        assert done.returncode == 4 and "nmond is not running" in done.stderr, done
    assert run(str(tmp_path / "ezha.init"), "try-restart").returncode == 0
    assert run(str(tmp_path / "ezha.init"), "nonsense").returncode == 2
