"""What each kind of resource finds against a start on this node, without starting anything."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from opensvc_openha.agent.docker.stored_images import has_stored_image, registry_of
from opensvc_openha.agent.host.lvm import VolumeGroup, parse_report
from opensvc_openha.agent.resources.disk import LvmGroup
from opensvc_openha.agent.resources.ip import ServiceIp
from opensvc_openha.agent.service import readiness
from opensvc_openha.agent.service.readiness import PeerSight, service_findings
from opensvc_openha.agent.values.cluster_client import ClusterView
from opensvc_openha.agent.values.readiness import Surroundings, would_fail
from opensvc_openha.core.outlook import Finding, Severity
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.errors import NotRunningError
from opensvc_openha.formats.layout import agent_layout
from opensvc_openha.system.identity import node_name
from tests.agent.embedded import Agent

HEAD = f"""\
[DEFAULT]
nodes = {node_name().lower()} other
"""
HB = "[hb#0]\ntype = OpenHA\n"
DOCKER = "docker_data_dir = {root}/docker\ndocker_exe = {root}/no-docker\n"


def found(agent: Agent, text: str, peer: PeerSight | None = None) -> list[Finding]:
    """Return what is found about a service with this file, in a cluster without a daemon."""
    agent.write("web", (HEAD + text + HB).replace("{root}", str(agent.root)))

    def fetch() -> NodeStatus:
        raise NotRunningError("no daemon")

    layout = agent_layout(env=os.environ)
    return service_findings(layout, "n1", {"web"}, {}, peer or PeerSight(), ClusterView(fetch))


def lines(findings: list[Finding]) -> list[str]:
    """Return each finding in short."""
    return [f"{each.severity.value} {each.check}: {each.text}" for each in findings]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "[ip#1]\nipname = 127.7.7.7\nipdev = eth77\n",
            "error interfaces: ip#1: interface eth77 not found",
        ),
        (
            "[ip#1]\nipname = no.such.name.invalid\nipdev = lo\n",
            "error names: ip#1: could not resolve name no.such.name.invalid",
        ),
        (
            "[fs#1]\ntype = ext2\ndev = /dev/no/disk\nmnt = {root}/mnt\n",
            "error devices: fs#1: /dev/no/disk does not exist",
        ),
        (
            "[fs#1]\ntype = bind\ndev = {root}/etc\nmnt = {root}/file\n",
            "error mount points: fs#1: mount point {root}/file cannot be made: {root}/file is not a"
            " directory",
        ),
        (
            "[fs#1]\ntype = bind\ndev = {root}/etc\nmnt = {root}/file/below\n",
            "error mount points: fs#1: mount point {root}/file/below cannot be made: {root}/file is"
            " not a directory",
        ),
        (
            "[fs#1]\ntype = bind\ndev = {root}/etc\nmnt = {root}/full\n",
            "warning mount points: fs#1: {root}/full is not empty: what is in it would be hidden by"
            " the mount",
        ),
        (
            "[fs#1]\ntype = directory\npath = {root}/file\n",
            "error mount points: fs#1: directory {root}/file cannot be made: {root}/file is not a"
            " directory",
        ),
        (
            "[fs#1]\ntype = directory\npath = {root}/dir\nuser = nobody-here\n",
            "error users: fs#1: directory {root}/dir: there is no user nobody-here on this node",
        ),
        (
            "[loop#1]\nfile = {root}/no.img\n",
            "error devices: loop#1: {root}/no.img does not exist or is no file",
        ),
        (
            "[app#1]\nscript = {root}/no.init\nstart = 1\n",
            "error scripts: app#1: there is no file {root}/no.init",
        ),
        (
            "[app#1]\nscript = {root}/file\nstart = 1\n",
            "error scripts: app#1: {root}/file is not executable (try: chmod +x {root}/file)",
        ),
        (
            "[app#1]\nstart = no-such-command now\n",
            "error scripts: app#1: start: there is no command no-such-command on this node",
        ),
        (
            "[app#1]\nstart = /bin/true\nrun_as = nobody-here\n",
            "error users: app#1: there is no user nobody-here on this node",
        ),
        (
            "[disk#1]\ntype = zpool\nname = tank\n",
            "error drivers: disk#1: disk type zpool is not handled by the embedded agent yet",
        ),
        (
            "[share#1]\ntype = nfs\npath = {root}/none\nopts = *(ro)\n",
            "error shares: share#1: {root}/none does not exist or is no directory",
        ),
    ],
)
def test_what_a_start_would_fail_for_is_found_before_it(agent: Agent, text: str, line: str) -> None:
    """One line each, and nothing is made, mounted or run."""
    (agent.root / "file").write_text("x")
    (agent.root / "full").mkdir()
    (agent.root / "full" / "x").touch()
    before = sorted(os.listdir(agent.root))
    shown = lines(found(agent, text))
    assert line.replace("{root}", str(agent.root)) in shown
    assert sorted(os.listdir(agent.root)) == before and not agent.calls


def test_error_stops_a_start_but_not_one_of_an_optional_resource(agent: Agent) -> None:
    """Which is a warning; a disabled one is not looked at."""
    text = "[app#1]\nscript = /no.init\nstart = 1\n"
    assert [(each.severity, each.stops_start) for each in found(agent, text)] == [
        (Severity.ERROR, True)
    ]
    optional = found(agent, f"{text}optional = true\n")
    assert [(each.severity, each.stops_start) for each in optional] == [(Severity.WARNING, False)]
    assert found(agent, f"{text}disable = true\n") == []
    assert found(agent, f"{text}tags = noaction\n") == []


def test_what_comes_with_the_services_own_mount_is_not_looked_at(agent: Agent) -> None:
    """A script, a directory and images below a mount point of the service; its own device too."""
    text = (
        "[fs#1]\ntype = bind\ndev = {root}/etc\nmnt = {root}/mnt\n"
        "[fs#2]\ntype = directory\npath = {root}/mnt/data\nuser = root\n"
        "[fs#3]\ntype = bind\ndev = {root}/mnt/x\nmnt = {root}/mnt/y\n"
        "[app#1]\nscript = {root}/mnt/init\nstart = 1\n"
    )
    (agent.root / "mnt").mkdir()
    assert lines(found(agent, text)) == []


def test_mount_point_that_the_peer_has_is_missed(agent: Agent) -> None:
    """A start makes it; where the service runs nowhere, that is no news."""
    text = "[fs#1]\ntype = bind\ndev = {root}/etc\nmnt = {root}/mnt\n"
    assert lines(found(agent, text)) == []
    missing = lines(found(agent, text, PeerSight(frozenset({"web"}))))
    assert missing == [
        f"warning mount points: fs#1: mount point {agent.root}/mnt does not exist: a start makes it"
    ]


def test_service_file_with_an_error_is_one_finding(agent: Agent) -> None:
    """With its line."""
    (shown,) = found(agent, "[ip#1]\nipdev = lo\n")
    assert shown.check == "files" and shown.stops_start and "web.env:3" in shown.text


def test_docker_that_is_not_installed_and_an_image_that_has_to_be_pulled(agent: Agent) -> None:
    """Where the data directory is this node's own, its lists are read."""
    agent.write("web", "")
    container = "[container#1]\ntype = docker\nrun_image = reg.example/a:1\n"
    text = f"{DOCKER}dockerd_exe = {{root}}/no-dockerd\n{container}"
    root = agent.root
    shown = lines(found(agent, text))
    assert (
        f"error containers: container#1: docker is not installed: there is no {root}/no-docker"
        in shown
    )
    assert (
        f"error containers: container#1: dockerd is not installed: there is no {root}/no-dockerd"
        in shown
    )
    pulled = "image reg.example/a:1 is not here: a start pulls it from reg.example"
    assert f"unknown images: container#1: {pulled}, if that answers by then" in shown
    image = "[container#1]\ntype = docker\nrun_image = 0123456789ab\n"
    assert any("which cannot be pulled" in line for line in lines(found(agent, DOCKER + image)))


def test_images_are_read_from_the_lists_of_a_stopped_daemon(tmp_path: Path) -> None:
    """Newer versions keep none there, and then it is not known."""
    assert has_stored_image(str(tmp_path / "none"), "a") is False
    assert has_stored_image(str(tmp_path), "a") is False
    (tmp_path / "containerd").mkdir()
    assert has_stored_image(str(tmp_path), "a") is None
    lists = tmp_path / "image" / "overlay2"
    lists.mkdir(parents=True)
    names = {"a": {"a:latest": "sha256:1"}, "r:5/b": {"r:5/b:2": "sha256:2"}}
    (lists / "repositories.json").write_text(json.dumps({"Repositories": names}))
    names_of = {name: has_stored_image(str(tmp_path), name) for name in ("a", "r:5/b:2", "r:5/b")}
    assert names_of == {"a": True, "r:5/b:2": True, "r:5/b": False}
    assert has_stored_image(str(tmp_path), "0123456789ab") is None
    (lists / "repositories.json").write_text("{")
    assert has_stored_image(str(tmp_path), "a") is None


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("registry:2", "docker.io"),
        ("library/registry", "docker.io"),
        ("host:5000/a", "host:5000"),
        ("reg.example/a/b:1", "reg.example"),
        ("localhost/a", "localhost"),
    ],
)
def test_registry_is_named_as_docker_finds_it(image: str, registry: str) -> None:
    """The first part of a name is a host if it looks like one."""
    assert registry_of(image) == registry


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ("wzxn-- | | lv | -wi-----", "is exported: vgimport vgreg"),
        ("wz-pn- | | lv | -wi-----", "a physical volume of vgreg is missing: see pvs"),
        ("wz--n- | other | lv | -wi-a---", "while the peer runs the service, tagged for other"),
        ("", "volume group vgreg is not seen from here: see pvs"),
    ],
)  # fmt: skip
def test_volume_group(mocker: MockerFixture, report: str, words: str) -> None:
    """As LVM reports it: exported, in part, active on the wrong node, not there."""
    groups = mocker.Mock()
    groups.group.return_value = parse_report(report)
    mocker.patch("opensvc_openha.agent.resources.disk._has_lvm", return_value=True)
    driver = LvmGroup.__new__(LvmGroup)
    driver._name, driver._groups = "vgreg", groups
    (remark,) = driver.readiness(Surroundings(runs_on_peer=True))
    assert words in f"{remark.text}: {remark.fix}"


def test_group_that_is_in_order_has_no_remark(mocker: MockerFixture) -> None:
    """Inactive here, tagged for the node that runs it."""
    groups = mocker.Mock()
    groups.group.return_value = VolumeGroup(False, ("other",), (), ("lv",), ())
    mocker.patch("opensvc_openha.agent.resources.disk._has_lvm", return_value=True)
    driver = LvmGroup.__new__(LvmGroup)
    driver._name, driver._groups = "vgreg", groups
    assert list(driver.readiness(Surroundings(runs_on_peer=True))) == []


@pytest.mark.parametrize(
    ("around", "severity"),
    [
        (Surroundings(), Severity.ERROR),
        (Surroundings(True, ("aa:00:00:00:00:01",)), None),
        (Surroundings(True, ("bb:00:00:00:00:02",)), Severity.ERROR),
        (Surroundings(True), Severity.UNKNOWN),
    ],
)
def test_address_that_somebody_has(
    agent: Agent, mocker: MockerFixture, around: Surroundings, severity: Severity | None
) -> None:
    """The peer, while it runs the service; anybody else keeps a start from adding it."""
    mocker.patch("opensvc_openha.agent.resources.ip.find_owner", return_value="aa:00:00:00:00:01")
    seen: list[ServiceIp] = []
    original = ServiceIp.readiness
    mocker.patch.object(
        ServiceIp,
        "readiness",
        lambda self, _: (seen.append(self), original(self, around))[1],
    )
    shown = found(agent, "[ip#1]\nipname = 127.7.7.7\nipdev = lo\nnetmask = 8\n")
    assert seen and [each.severity for each in shown] == ([severity] if severity else [])


def test_resource_that_hangs_is_unknown_and_holds_no_other(
    agent: Agent, mocker: MockerFixture
) -> None:
    """Each is given its time, and its thread is replaced."""
    held = threading.Event()
    mocker.patch.object(readiness, "RESOURCE_LIMIT_S", 0.05)
    mocker.patch.object(readiness, "PATIENCE_S", 0.2)
    mocker.patch.object(readiness, "THREADS", 1)
    original = ServiceIp.readiness
    mocker.patch.object(
        ServiceIp,
        "readiness",
        lambda self, around: (held.wait() and ()) or original(self, around),
    )
    text = "[ip#1]\nipname = 127.7.7.7\nipdev = eth77\n[app#1]\nscript = /no.init\nstart = 1\n"
    shown = lines(found(agent, text))
    held.set()
    assert shown == [
        "unknown time: ip#1: not known: no answer within 0.2 s",
        "error scripts: app#1: there is no file /no.init",
    ]


def test_resource_that_raises_is_unknown(agent: Agent, mocker: MockerFixture) -> None:
    """A defect of a driver is not taken for an answer."""
    mocker.patch.object(ServiceIp, "readiness", side_effect=KeyError("x"))
    shown = lines(found(agent, "[ip#1]\nipname = 127.7.7.7\nipdev = eth77\n"))
    assert shown == ["unknown time: ip#1: cannot be looked at: KeyError('x')"]


def test_remarks_and_devices_of_the_service_itself() -> None:
    """A volume of its own group appears at a start, in either spelling."""
    around = Surroundings(later=("vg-data",))
    assert around.comes_later("/dev/vg-data/lv") and around.comes_later("/dev/mapper/vg--data-lv")
    assert not around.comes_later("/dev/mapper/vg-data-lv") and not around.comes_later("/dev/sda")
    assert would_fail("x", "y").severity is Severity.ERROR


SHARED = "docker_daemon_private = false\ndocker_exe = /bin/true\n"


@pytest.mark.parametrize(
    ("answers", "line"),
    [
        (None, "error containers: container#1: the docker daemon of this node does not answer"),
        ({}, "unknown containers: container#1: the docker daemon does not answer in time"),
        ({"/_ping": "200 OK"}, "unknown images: container#1: image a:1 is not here: a start"),
        ({"/_ping": "200 OK", "/images/a:1/json": "200 OK"}, ""),
    ],
)
def test_daemon_of_the_system_is_asked(
    agent: Agent, mocker: MockerFixture, answers: dict[str, str] | None, line: str
) -> None:
    """None there, one that hangs, one without the image, and one that has it."""
    path = str(agent.root / "docker.sock")
    mocker.patch("opensvc_openha.agent.docker.settings.SHARED_SOCKET", path)
    if answers == {}:
        mocker.patch("opensvc_openha.agent.resources.container._READY_LOOK_S", 0.1)
    with contextlib.ExitStack() as stack:
        if answers is not None:
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            stack.callback(listener.shutdown, socket.SHUT_RDWR)  # Ends the thread.
            listener.bind(path)
            listener.listen()
            threading.Thread(target=serve, args=(listener, answers), daemon=True).start()
        shown = lines(found(agent, f"{SHARED}[container#1]\ntype = docker\nrun_image = a:1\n"))
    assert [each[: len(line)] for each in shown] == ([line] if line else [])


def serve(listener: socket.socket, answers: dict[str, str]) -> None:
    """Answer each request for a path as written, 404 for others; none if nothing is written."""
    held = []
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            path = connection.recv(4096).split(b" ")[1].decode()
            if not answers:
                held.append(connection)
                continue
            with connection:
                status = answers.get(path, "404 Not Found")
                body = b'{"Id": "sha256:1"}'
                connection.sendall(f"HTTP/1.0 {status}\r\n\r\n".encode() + body)
