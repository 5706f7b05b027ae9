"""Which stop is refused because of where the caller stands: looked at from this process, with
nothing mounted for it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from opensvc_openha.agent.config.service_file import Section, read_service_file
from opensvc_openha.agent.host.mounts import Mount
from opensvc_openha.agent.service import caller_location
from opensvc_openha.agent.service.caller_location import refuse_from_within, refuse_stop_from_within
from opensvc_openha.errors import RefusedError
from opensvc_openha.formats.layout import AgentLayout, agent_layout
from opensvc_openha.system.identity import node_name


@pytest.fixture(name="layout")
def make_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AgentLayout:
    """This process stands in data, which the mount table of this test shows as a file system of its
    own.
    """
    for name in ("etc", "data", "real/other"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    points = ("/", str(tmp_path / "data"), str(tmp_path / "real/other"))
    mounts = tuple(Mount("0:99", "/", point, "tmpfs", "none") for point in points)
    monkeypatch.setattr(caller_location, "read_mounts", lambda: mounts)
    monkeypatch.chdir(tmp_path / "data")
    return agent_layout("", {"OSVC_ETC": str(tmp_path / "etc")})


def sections(layout: AgentLayout, text: str) -> tuple[Section, ...]:
    """Of a service file with this text."""
    Path(layout.service_file("a")).write_text(text)
    return tuple(read_service_file(layout.service_file("a"), "a", node_name().lower()).sections)


def test_stop_of_the_file_system_that_this_command_uses_is_refused_by_name(
    layout: AgentLayout, tmp_path: Path
) -> None:
    """However its mount point is written.

    An ancestor of this process that stands there is distinguished from this one.
    """
    for point in ("data", "data/", "./data", "data/../data"):
        found = sections(layout, f"[fs#1]\ntype = tmpfs\ndev = none\nmnt = {tmp_path}/{point}\n")
        with pytest.raises(
            RefusedError, match=rf"^a: this command uses {tmp_path}/data, which the stop unmounts"
        ):
            refuse_from_within("a", found)


def test_shell_from_which_the_command_was_started_is_named_with_its_pid(
    layout: AgentLayout, tmp_path: Path
) -> None:
    """It stands there, and the command itself elsewhere."""
    found = sections(layout, f"[fs#1]\ntype = tmpfs\ndev = none\nmnt = {tmp_path}/data\n")
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.chdir("/")
            refuse_from_within("a", found)
        except RefusedError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with open(read, encoding="utf-8") as file:
        assert (
            f"({os.getpid()}), from which this command was started, uses {tmp_path}/data"
            in file.read()
        )


def test_mount_point_below_a_symbolic_link_is_the_one_that_is_mounted(
    layout: AgentLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mount table has the real path."""
    monkeypatch.chdir(tmp_path / "real" / "other")
    with pytest.raises(RefusedError, match=f"uses {tmp_path}/real/other"):
        refuse_from_within(
            "a",
            sections(layout, f"[fs#1]\ntype = tmpfs\ndev = none\nmnt = {tmp_path}/link/other\n"),
        )


@pytest.mark.parametrize(
    "text",
    [
        "[fs#1]\ntype = tmpfs\ndev = none\nmnt = {0}/etc\n",
        "[fs#1]\ntype = tmpfs\ndev = none\nmnt = {0}/real/other\n",
        "[share#1]\ntype = nfs\nmnt = {0}/data\n",
        "[fs#1]\ntype = tmpfs\ndev = none\nmnt = data\n",
        "[fs#1]\ntype = tmpfs\ndev = none\n",
        "[fs#1]\ntype = tmpfs\ndev = none\nmnt = /\n",
        "[app#1]\nscript = {0}/data/app\n",
    ],
    ids=["not mounted", "elsewhere", "no file system", "relative", "none", "root", "application"],
)
def test_other_stops_are_not(layout: AgentLayout, tmp_path: Path, text: str) -> None:
    """What is not mounted is not unmounted, and no process stands in the other ones."""
    refuse_from_within("a", sections(layout, text.format(tmp_path)))


def test_one_file_system_of_several_is_enough(layout: AgentLayout, tmp_path: Path) -> None:
    """The first is not mounted, no process uses the second."""
    names = ("etc", "real/other", "data")
    text = "".join(
        f"[fs#{name[0]}]\ntype = tmpfs\ndev = none\nmnt = {tmp_path}/{name}\n" for name in names
    )
    with pytest.raises(RefusedError):
        refuse_from_within("a", sections(layout, text))


def test_service_of_the_cluster_is_known_by_its_wrapper_beside_the_service_file(
    layout: AgentLayout, tmp_path: Path
) -> None:
    """Any other script is its owner's affair, and so is a service file that cannot be read: the
    wrapper reports that.
    """
    sections(layout, f"[fs#1]\ntype = tmpfs\ndev = none\nmnt = {tmp_path}/data\n")
    with pytest.raises(RefusedError, match="^a: this command uses"):
        refuse_stop_from_within(layout, f"{layout.etc_dir}/a.cluster")
    for script in (
        f"{layout.etc_dir}/a.stonith",
        f"{tmp_path}/a.cluster",
        f"{layout.etc_dir}/none.cluster",
    ):
        refuse_stop_from_within(layout, script)
