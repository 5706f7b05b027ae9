"""What LVM and exportfs print, understood; LVM for real where the kernel has device-mapper."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from opensvc_openha.agent.host.lvm import (
    parse_devices,
    parse_physical_volumes,
    parse_report,
    parse_reports,
)
from opensvc_openha.agent.resources.disk import tag_changes, users_of
from opensvc_openha.agent.resources.share import parse_exports
from tests.agent.embedded import Agent


def test_active_group_with_tags_is_understood() -> None:
    """Two volumes, one of them open: up, whole, ours."""
    group = parse_report(
        "  wz--n-|deb1,prod|lvroot|-wi-ao----\n  wz--n-|deb1,prod|lvdata|-wi-a-----\n"
    )
    assert group is not None
    assert (group.is_up, group.is_partial, group.tags) == (True, False, ("deb1", "prod"))
    assert (group.active, group.inactive, group.opened) == (("lvroot", "lvdata"), (), ("lvroot",))


@pytest.mark.parametrize(
    "text, is_up, is_partial, inactive",
    [
        ("  wz--n-||lvroot|-wi-------\n", False, False, ("lvroot",)),
        ("  wz--n-||lv1|-wi-a-----\n  wz--n-||lv2|-wi-------\n", True, False, ("lv2",)),
        ("  wz-pn-||lvroot|-wi-----p-\n", False, True, ("lvroot",)),
        ("  wz--n-|||\n", True, False, ()),
        ("  wz--n-||lv1|-wi-a-----\n  wz--n-||snap|Vwi---tz-k\n", True, False, ()),
        ("  wz--n-||lv1|-wi-XX----\n", False, False, ("lv1",)),
    ],
)
def test_states_of_a_group_are_distinguished(
    text: str, is_up: bool, is_partial: bool, inactive: tuple[()] | tuple[str]
) -> None:
    """Inactive, half active, a missing disk, empty (up, as in the agent), a volume that is left
    out, a kernel that can't report.
    """
    group = parse_report(text)
    assert group is not None
    assert (group.is_up, group.is_partial, group.inactive) == (is_up, is_partial, inactive)


def test_tag_of_another_node_is_replaced_in_one_change() -> None:
    """Untagged, tagged for the other node, ours beside a foreign one, ours already: never a moment
    without an owner.
    """
    assert tag_changes((), "deb2") == ["--addtag", "deb2"]
    assert tag_changes(("deb1",), "deb2") == ["--addtag", "deb2", "--deltag", "deb1"]
    assert tag_changes(("deb1", "deb2"), "deb2") == ["--deltag", "deb1"]
    assert tag_changes(("deb2",), "deb2") == []


def test_devices_of_groups_are_read() -> None:
    """Of one group, and of all; a device that is missing has no path."""
    assert parse_physical_volumes("  /dev/sda1\n  [unknown]\n\n  /dev/mapper/x\n") == (
        "/dev/sda1",
        "/dev/mapper/x",
    )
    assert parse_devices("  data|/dev/sda\n  data|/dev/sdb\n  other|[unknown]\n") == {
        "data": ("/dev/sda", "/dev/sdb"),
        "other": (),
    }


def test_report_of_all_groups_is_distinguished_by_name() -> None:
    """Two groups, lines of both mixed with a complaint about a third."""
    text = (
        "  a|wz--n-|deb1|lv1|-wi-a-----\n  Cannot process volume group c\n  b|wz--n-|||\n "
        " a|wz--n-|deb1|lv2|-wi-------\n"
    )
    groups = parse_reports(text)
    assert (groups["a"].tags, groups["a"].active, groups["a"].inactive) == (
        ("deb1",),
        ("lv1",),
        ("lv2",),
    )
    assert sorted(groups) == ["a", "b"]


def test_svcmon_asks_lvm_once_for_all_services(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three services with a group each, one of which LVM does not know: one command, three rows
    that are right.
    """
    vgs = agent.root / "vgs"
    report = r"a|wz--n-||l|-wi-a-----\nb|wz--n-||l|-wi-------\n"
    vgs.write_text(f'#!/bin/sh\necho "$@" >> {agent.root}/calls\nprintf "{report}"; exit 5\n')
    vgs.chmod(0o755)
    monkeypatch.setenv("PATH", f"{agent.root}:{os.environ['PATH']}")
    for name in ("a", "b", "c"):
        agent.write(name, f"[vg#1]\nvgname = {name}\n")
    rows = [line.split() for line in agent.svcmon().out.splitlines()[3:]]
    assert [(row[0], row[4]) for row in rows] == [("a", "up"), ("b", "down"), ("c", "down")]
    assert len(agent.calls) == 1


def test_group_that_is_not_there_is_none() -> None:
    """Only a message in place of lines."""
    assert parse_report('  Volume group "vgx" not found\n') is None


def test_exports_are_read_with_wrapped_paths_and_the_world() -> None:
    """A long path on its own line, a client list, everybody."""
    text = (
        "/srv/data     \t10.0.0.0/8(sync,wdelay,rw)\n/srv/a/very/long/path\n\t\t<world>(ro,sync)\n"
    )
    assert parse_exports(text) == {
        "/srv/data": {"10.0.0.0/8": frozenset({"sync", "wdelay", "rw"})},
        "/srv/a/very/long/path": {"*": frozenset({"ro", "sync"})},
    }


def test_volume_group_that_is_not_seen_is_down_and_refuses_to_start(agent: Agent) -> None:
    """vgname names nothing here: down with the reason, start fails with what to look at, stop has
    nothing to do.
    """
    agent.write("a", "[vg#1]\nvgname = vgnowhere\n")
    assert agent.svcmgr("-s", "a", "status").out == "down\n"
    outcome = agent.svcmgr("-s", "a", "start")
    assert outcome.exit_code == 6
    assert (
        "vg#1: volume group vgnowhere is not seen from here" in outcome.err
        or "lvm2 is not installed" in outcome.err
    )
    assert agent.svcmgr("-s", "a", "stop").exit_code == 0


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a loop device")
def test_who_has_a_device_open_is_named(tmp_path: Path) -> None:
    """A process reads a loop device itself: named while it does, and no process afterwards, nor for
    a device that is not there.
    """
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(1 << 20))
    made = subprocess.run(
        ["losetup", "-f", "--show", image], capture_output=True, text=True, check=True
    )
    device = made.stdout.strip()
    try:
        with open(device, "rb") as file:
            reader = subprocess.Popen(["sleep", "60"], stdin=file)
        try:
            assert users_of(device) == f" (sleep({reader.pid}))"
        finally:
            reader.kill()
            reader.wait()
        assert users_of(device) == ""
    finally:
        subprocess.run(["losetup", "-d", device], check=False)
    assert users_of("/dev/vgnowhere/lv") == ""


def has_device_mapper() -> bool:
    with open("/proc/devices", encoding="ascii") as file:
        return "device-mapper" in file.read()


@pytest.mark.root
@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("vgcreate") or not has_device_mapper(),
    reason="needs root, lvm2 and a kernel with device-mapper",
)
def test_volume_group_goes_up_and_down_with_its_tag(agent: Agent) -> None:
    """A group on a loop device: tagged and active after start, neither after stop.

    A tag of another node is taken over.
    """
    image, node = agent.root / "pv.img", os.uname().nodename.lower()
    with open(image, "wb") as file:
        file.truncate(64 << 20)
    device = subprocess.run(
        ["losetup", "-f", "--show", image], capture_output=True, text=True, check=True
    ).stdout.strip()
    name = f"vgopenha{os.getpid()}"
    try:
        subprocess.run(["vgcreate", "-q", "--addtag", "elsewhere", name, device], check=True)
        subprocess.run(["lvcreate", "-q", "-an", "-l", "4", "-n", "lv1", name], check=True)
        agent.write("a", f"[vg#1]\nvgname = {name}\n")
        assert agent.svcmgr("-s", "a", "status").out == "down\n"
        assert "carried the tag of elsewhere" in agent.svcmgr("-s", "a", "start").err
        assert agent.svcmgr("-s", "a", "status").out == "up\n"
        tags = ["vgs", "--noheadings", "-o", "vg_tags", name]
        assert (
            subprocess.run(tags, capture_output=True, text=True, check=True).stdout.strip() == node
        )
        assert agent.svcmgr("-s", "a", "start").exit_code == 0
        assert agent.svcmgr("-s", "a", "stop").exit_code == 0
        assert subprocess.run(tags, capture_output=True, text=True, check=True).stdout.strip() == ""
        assert agent.svcmgr("-s", "a", "status").out == "down\n"
    finally:
        subprocess.run(["vgremove", "-qf", name], check=False)
        subprocess.run(["losetup", "-d", device], check=False)
