"""What `openha install` lays out, in both layouts and with the embedded agent."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import configobj
import psutil
import pytest

import opensvc_openha
from opensvc_openha.cli import boot, install, uninstall
from opensvc_openha.cli.install import Plan, lay_out
from opensvc_openha.formats.layout import agent_layout, fhs_layout, find_layout, tree_layout


def installed(*options: str) -> subprocess.CompletedProcess[str]:
    """What `openha install` prints and writes."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("EZ", "OSVC"))}
    return subprocess.run(
        [sys.executable, "-m", "opensvc_openha", "install", *options],
        capture_output=True,
        text=True,
        env=env,
    )


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """A command as an operator calls it who has sourced nothing."""
    return subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})


def test_everything_stays_below_a_prefix(tmp_path: Path) -> None:
    """With --prefix the embedded agent goes there too, and its commands find their directories by
    themselves.
    """
    done = installed("--prefix", str(tmp_path / "ez"), "--embedded-agent")
    assert done.returncode == 0, done.stderr
    etc = tmp_path / "ez/etc/opensvc"
    (etc / "web.env").write_text(f"[DEFAULT]\nnodes = {os.uname().nodename}\n")
    shown = run(str(tmp_path / "ez/usr/share/opensvc/bin/svcmon"))
    assert shown.returncode == 0 and "web" in shown.stdout, shown.stderr
    assert (etc / "web.cluster").exists() and (etc / "web.stonith").exists()
    status = run(str(etc / "web"), "print", "status")
    assert status.stdout.startswith("web\noverall"), status


def test_fhs_layout_works_with_its_own_command(tmp_path: Path) -> None:
    """`openha status` of the newer layout finds its configuration without any variable."""
    done = installed("--layout", "fhs", "--root", str(tmp_path))
    assert done.returncode == 0, done.stderr
    shown = run(str(tmp_path / "usr/bin/openha"), "start")
    assert shown.returncode == 3 and f"{tmp_path}/etc/openha/nodes" in shown.stderr


def test_check_up_command_of_the_fence_plan_proves_nothing_by_itself(tmp_path: Path) -> None:
    """Run where no plan is configured, it fails, and its last line is the reason of the failure."""
    installed("--prefix", str(tmp_path))
    done = run(f"{tmp_path}/bin/fence")
    assert done.returncode == 1 and "there is no fence plan: nothing was fenced" in done.stderr


def test_functions_of_env_sh_work_in_a_plain_shell(tmp_path: Path) -> None:
    """Sourced from `sh`: the variables point below the prefix and the functions report what they
    ask.
    """
    installed("--prefix", str(tmp_path))
    shown = run("sh", "-c", f". {tmp_path}/env.sh; echo $EZ $EZ_SERVICES; ez_svc_status")
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
    assert installed("--layout", "fhs", "--root", str(tmp_path)).returncode == 0
    assert foreign.read_text() == "#!/bin/sh\necho mine\n"


def test_command_is_on_the_path_for_those_who_source_nothing(tmp_path: Path) -> None:
    """sudo, watch and cron know no shell function: /usr/local/bin/openha finds its installation
    without any variable.
    """
    done = installed("--root", str(tmp_path))
    assert f"Command {tmp_path}/usr/local/bin/openha\n" in done.stdout
    shown = run("env", "-i", f"PATH={tmp_path}/usr/local/bin:/usr/bin:/bin", "openha", "start")
    assert shown.returncode == 3 and f"{tmp_path}/usr/local/cluster/conf/nodes" in shown.stderr
    assert installed("--root", str(tmp_path)).returncode == 0, "ours is written again"


def test_foreign_command_on_the_path_is_left_alone_and_reported(tmp_path: Path) -> None:
    """Another openha in /usr/local/bin; a prefix elsewhere puts nothing there at all."""
    foreign = tmp_path / "usr/local/bin/openha"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("#!/bin/sh\necho mine\n")
    assert f"Command {foreign} is not ours: left alone" in installed("--root", str(tmp_path)).stdout
    assert foreign.read_text() == "#!/bin/sh\necho mine\n"
    assert "Command " not in installed("--prefix", str(tmp_path / "elsewhere")).stdout


def test_prefix_and_fhs_do_not_go_together(tmp_path: Path) -> None:
    """A clear line instead of a guess."""
    done = installed("--layout", "fhs", "--prefix", str(tmp_path))
    assert done.returncode == 2 and "--root" in done.stderr and done.stderr.count("\n") == 1


def test_directory_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    """A file stands in the way."""
    (tmp_path / "file").write_text("")
    done = installed("--prefix", str(tmp_path / "file/ez"))
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
    done = installed("--prefix", str(tmp_path))
    assert os.stat(_key(tmp_path)).st_mode & 0o777 == 0o600
    assert f"ssh OTHER_NODE {tmp_path}/bin/openha key install - < {_key(tmp_path)}" in done.stdout
    before = _key(tmp_path).read_bytes()
    assert "Heartbeat key" not in installed("--prefix", str(tmp_path)).stdout
    assert _key(tmp_path).read_bytes() == before


def test_no_key_is_made_where_there_must_be_none(tmp_path: Path) -> None:
    """On request, in an image, with authentication off, with a C OpenHA as the peer, and where one
    was in use and is gone.
    """
    installed("--prefix", str(tmp_path / "asked"), "--no-key")
    installed("--layout", "fhs", "--root", str(tmp_path / "image"))
    assert (
        not _key(tmp_path / "asked").exists()
        and not (tmp_path / "image/etc/openha/openha.key").exists()
    )
    for name, text in (("off", "authentication = off"), ("old", "wire = legacy")):
        root = tmp_path / name
        (root / "conf").mkdir(parents=True)
        (root / "conf/openha.conf").write_text(f"[heartbeat]\n{text}\n")
        assert installed("--prefix", str(root)).returncode == 0
        assert not _key(root).exists()
    (tmp_path / "asked/conf/openha.key.in-use").write_text("")
    installed("--prefix", str(tmp_path / "asked"))
    assert not _key(tmp_path / "asked").exists()


def test_broken_options_do_not_keep_a_node_from_being_installed(tmp_path: Path) -> None:
    """No key is made on a guess, and the line that is wrong is reported."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/openha.conf").write_text("[heartbeat]\nauthentification = off\n")
    done = installed("--prefix", str(tmp_path))
    assert done.returncode == 0 and "openha.conf:2" in done.stderr and not _key(tmp_path).exists()


def test_first_link_of_a_node_comes_with_a_key(tmp_path: Path) -> None:
    """`hb -a` on a node without links makes one, unless it is asked not to, and later links do
    not.
    """
    installed("--prefix", str(tmp_path), "--no-key")
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
    done = run(*add, "239.131.50.10", "--no-key")
    assert (done.returncode, done.stdout) == (0, "heartbeat added.\n"), done
    assert run(*add, "239.131.50.11").stdout == "heartbeat added.\n" and not _key(tmp_path).exists()
    (tmp_path / "conf/monitor").write_text("# none yet\n")
    done = run(*add, "239.131.50.12")
    assert done.stdout.startswith("heartbeat added.\nHeartbeat key ") and _key(tmp_path).exists(), (
        done
    )


def test_install_ends_with_the_next_step(tmp_path: Path) -> None:
    """What is to be written, then the start."""
    done = installed("--prefix", str(tmp_path))
    last = done.stdout.splitlines()[-1]
    assert f"{tmp_path}/conf/nodes and {tmp_path}/conf/monitor" in last
    assert f"{tmp_path}/bin/openha start" in last
    for name in ("nodes", "monitor"):
        (tmp_path / "conf" / name).write_text("")
    done = installed("--prefix", str(tmp_path))
    assert done.stdout.splitlines()[-1] == f"Next:  {tmp_path}/bin/openha start"


def test_a_package_gets_files_for_the_root_of_a_node(tmp_path: Path) -> None:
    """--destdir: no path of the build remains, and what is a node's own is not made."""
    stage, launch = tmp_path / "stage", f"{sys.executable} -m opensvc_openha"
    done = installed("--layout", "fhs", "--destdir", str(stage), "--launch", launch)
    assert done.returncode == 0, done.stderr
    written = [path for path in stage.rglob("*") if path.is_file()]
    assert len(written) > 12
    for path in written:
        text = path.read_text()
        has_marks = re.search("@[A-Z_]+@", text) and path.name != boot.CATALOG
        assert str(tmp_path) not in text and not has_marks, path
    for shipped in (
        "system/opensvc-openha.service",
        "system/openha-exporter.service",
        "catalog/opensvc-openha.catalog",
    ):
        assert (stage / "usr/lib/systemd" / shipped).exists()
    assert not (stage / "etc/openha/openha.key").exists()
    assert run(str(stage / "usr/bin/openha"), "--version").stdout.startswith("opensvc-openha ")
    for wrong in (["--destdir", "/x"], ["--destdir", "/x", "--launch", "y", "--embedded-agent"]):
        assert installed(*wrong).returncode == 2


def test_uninstall_leaves_to_a_package_what_is_its_own(tmp_path: Path) -> None:
    """Only what `openha install` has added to it goes: the embedded agent, the start at boot."""
    launch = f"{sys.executable} -m opensvc_openha"
    installed("--layout", "fhs", "--destdir", str(tmp_path), "--launch", launch)
    packaged = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    layout, agent = fhs_layout(str(tmp_path)), agent_layout(str(tmp_path))
    boot.enable(layout, agent, str(tmp_path))
    for name in ("svcmgr", "svcmon"):
        path = Path(agent.bin_dir, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n# Made by `openha install`, which writes it again\n")
    uninstall.remove(Plan(layout, True, root=str(tmp_path)), agent, purge=False)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == packaged
    assert not Path(agent.bin_dir).exists()


def test_manual_of_a_virtual_environment_is_linked_to_where_man_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that another program has there stays; a second run links nothing more."""
    venv, root = tmp_path / "venv", tmp_path / "root"
    for name in ("man/man8/openha.8", "man/man8/hb.8", "zsh/site-functions/_openha"):
        (venv / "share" / name).parent.mkdir(parents=True, exist_ok=True)
        (venv / "share" / name).write_text("ours\n")
    foreign = root / "usr/local/share/man/man8/hb.8"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("theirs\n")
    monkeypatch.setattr(sys, "prefix", str(venv))
    plan = Plan(tree_layout(f"{root}/usr/local/cluster"), root=str(root), enable=False)
    assert "Manual pages and completion: 2 links below /usr" in lay_out(plan)
    assert foreign.read_text() == "theirs\n"
    assert (root / "usr/local/share/man/man8/openha.8").read_text() == "ours\n"
    assert not [line for line in lay_out(plan) if "Manual" in line]


def test_commands_survive_the_loss_of_their_python(tmp_path: Path) -> None:
    """An upgrade of the system removes the interpreter of a virtual environment.

    Another one runs the same files; where none can, the commands report what to do.
    """
    site, venv = tmp_path / "site packages", tmp_path / "venv"
    site.mkdir()
    for module in (opensvc_openha, configobj, psutil):
        folder = Path(str(module.__file__)).parent
        (site / folder.name).symlink_to(folder)
    (site / "templates").symlink_to(Path(opensvc_openha.__file__).parent.parent / "templates")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin/python"
    subprocess.run(
        [str(python), "-P", "-m", "opensvc_openha", "install", "--prefix", f"{tmp_path}/ez"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(site)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "python3").symlink_to(os.path.realpath(sys.executable))

    def shown() -> subprocess.CompletedProcess[str]:
        env = {"PATH": f"{tools}:/usr/bin:/bin"}
        command = [str(tmp_path / "ez/bin/openha"), "--version"]
        return subprocess.run(command, capture_output=True, text=True, env=env)

    expected = (0, f"opensvc-openha {opensvc_openha.__version__}\n", "")
    assert (shown().returncode, shown().stdout, shown().stderr) == expected
    for other in venv.glob("bin/python*"):
        other.unlink()
    assert (shown().returncode, shown().stdout, shown().stderr) == expected
    python.symlink_to("/bin/false")  # Present, but another program.
    assert (shown().returncode, shown().stdout, shown().stderr) == expected
    (site / "opensvc_openha").unlink()
    done = shown()
    assert done.returncode == 7 and done.stdout == "" and done.stderr.count("\n") == 1
    assert f"python3 -m venv --clear {venv}" in done.stderr


def test_commands_run_an_older_version_before_its_install_did(tmp_path: Path) -> None:
    """Which has no script for the launchers.

    With a command, and without one.
    """
    site = tmp_path / "site packages"
    package = site / "opensvc_openha"
    (package / "lean").mkdir(parents=True)
    start = package / "lean/start.py"
    start.write_text("import sys; print('new', *sys.argv[1:])\n")
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("import sys; print('old', *sys.argv[1:])\n")
    env = f"env PYTHONPATH={shlex.quote(str(site))} {sys.executable} -P"
    launch = f"{env} -S {shlex.quote(str(start))}"
    layout, stage = tree_layout("/ez"), str(tmp_path / "stage")
    install._write_launcher(Plan(layout, stage=stage, launch=launch), "/ez/bin/service", "service")
    install._write_launcher(Plan(layout, stage=stage, launch=launch), "/usr/bin/openha", "")

    def shown(name: str) -> tuple[int, str]:
        done = run(f"{stage}/{name}", "-A", "a b")
        return done.returncode, done.stdout

    assert shown("ez/bin/service") == (0, "new service -A a b\n")
    assert shown("usr/bin/openha") == (0, "new -A a b\n")
    start.unlink()
    assert shown("ez/bin/service") == (0, "old service -A a b\n")
    assert shown("usr/bin/openha") == (0, "old -A a b\n")


def test_commands_run_what_pip_installed_after_a_source_tree(tmp_path: Path) -> None:
    """The tree is still there, and is not what the operator has upgraded."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    needed = (Path(str(module.__file__)).parent.parent for module in (opensvc_openha, psutil))
    (site / "tree.pth").write_text("".join(f"{each}\n" for each in needed))
    command = [f"{venv}/bin/python", "-I", "-m", "opensvc_openha", "install"]
    subprocess.run([*command, "--prefix", f"{tmp_path}/ez"], check=True, stdout=subprocess.DEVNULL)
    assert run(f"{tmp_path}/ez/bin/openha", "--version").stdout.startswith("opensvc-openha ")
    (site / "opensvc_openha").mkdir()
    (site / "opensvc_openha/__init__.py").touch()
    (site / "opensvc_openha/__main__.py").write_text("print('the copy')")
    assert run(f"{tmp_path}/ez/bin/openha", "--version").stdout == "the copy\n"


def test_uninstall_leaves_the_configuration_until_it_is_purged(tmp_path: Path) -> None:
    """Commands go; nodes, key and states stay; --purge removes them; a foreign file never."""
    root = tmp_path / "ez"
    installed("--prefix", str(root), "--embedded-agent")
    (root / "conf/nodes").write_text("here\nthere\n")
    (root / "etc/opensvc/web.env").write_text("[DEFAULT]\n")
    (root / "bin/mine").write_text("#!/bin/sh\n")

    def remove(*options: str) -> subprocess.CompletedProcess[str]:
        env = {"EZ": str(root), "PATH": "/usr/bin:/bin", **agent_layout(str(root)).environment()}
        command = [sys.executable, "-m", "opensvc_openha", "uninstall", *options]
        return subprocess.run(command, capture_output=True, text=True, env=env)

    done = remove()
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (root / "bin").iterdir()) == ["mine"]
    assert not (root / "usr/share/opensvc/bin").exists() and not (root / "doc").exists()
    assert (root / "conf/nodes").exists() and _key(root).exists()
    assert remove("--purge").returncode == 0
    assert sorted(path.name for path in root.iterdir()) == ["bin", "etc", "usr", "var"]
    assert (root / "etc/opensvc/web.env").exists()
