"""Power devices in service files: `type = fence_*` and `type = ilo`, through the stonith action."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensvc_openha.agent.config.service_file import Section, parse_service_text
from opensvc_openha.agent.resources.power_sections import (
    agent_of,
    device_step,
    is_power_device,
    options_of,
    wrong_options,
)
from opensvc_openha.daemon.readiness import reports_power
from opensvc_openha.errors import ConfigError, SystemFault
from tests.agent.embedded import Agent, Outcome
from tests.fence_devices.agents import needs_agents, secret_file
from tests.fence_devices.ipmi_board import IpmiBoard, needs_board

APP = "[app#1]\nscript = /bin/true\nstart = 1\n"
NODE = "deb1.opensvc.com"
DEFAULT = f"[DEFAULT]\nnodes = {NODE} deb2.opensvc.com\nservice_type = DEV\n"


@pytest.fixture
def board(tmp_path: Path) -> Iterator[IpmiBoard]:
    """A board of a machine that runs."""
    made = IpmiBoard(tmp_path / "board")
    yield made
    made.end()


def section_of(text: str, node: str = NODE) -> Section:
    """The section, as a node sees it."""
    file = parse_service_text(f"{DEFAULT}[stonith#1]\n{text}", "F", "a", node)
    return next(section for section in file.sections if section.name == "stonith#1")


def board_section(board: IpmiBoard, more: str = "") -> str:
    """A section of this board."""
    lines = "".join(f"{name} = {value}\n" for name, value in board.options.items())
    return f"[stonith#1]\ntype = fence_ipmilan\n{lines}{more}"


def stonith(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, text: str, *words: str, limit: str = ""
) -> Outcome:
    """The check-up with a silent peer, of a service with these sections."""
    agent.write("a", f"{APP}{text}")
    monkeypatch.setenv("OPENHA_PEER_STANDING", "silent")
    if limit:
        monkeypatch.setenv("OPENHA_LIMIT_S", limit)
    return agent.svcmgr("-s", "a", "--cluster", *(words or ("stonith",)))


@needs_board
def test_board_of_a_section_is_switched_off_and_verified(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, board: IpmiBoard
) -> None:
    """The log says what was read; a second time it is off already, which is a warning."""
    done = stonith(agent, monkeypatch, board_section(board))
    assert done.exit_code == 0, done.err
    assert re.search(r"fence_ipmilan off, then OFF twice in [0-9.]+ s", done.err), done.err
    assert not board.is_on
    again = stonith(agent, monkeypatch, board_section(board))
    assert again.exit_code == 0
    assert "WARNING A.STONITH#1" in again.err and "said OFF before" in again.err


@needs_board
def test_power_of_the_peer_is_read_from_the_board(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, board: IpmiBoard
) -> None:
    """With the exit codes of fence agents; nothing is switched."""
    text = board_section(board)
    assert stonith(agent, monkeypatch, text, "stonith_status").exit_code == 0
    assert board.orders == []
    (board.folder / "power").write_text("0\n")
    assert stonith(agent, monkeypatch, text, "stonith_status").exit_code == 2
    board.end()
    assert stonith(agent, monkeypatch, text, "stonith_status").exit_code == 1


@needs_board
def test_deaf_board_fails_the_level_and_the_next_one_is_tried(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, board: IpmiBoard
) -> None:
    """It accepts the order and does nothing: no proof, whatever it says."""
    board.misbehave("deaf")
    text = board_section(board, "timeout = 6\n")
    done = stonith(agent, monkeypatch, text)
    assert done.exit_code == 1 and "not read twice" in done.err and board.is_on
    mark = board.folder / "second"
    text += f"[stonith#2]\ntype = callout\nlevel = 2\ncmd = touch {mark}\n"
    assert stonith(agent, monkeypatch, text).exit_code == 0
    assert mark.exists()


@needs_agents
def test_agent_of_debian_is_a_level_like_any_other(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """fence_dummy, after a board that does not exist."""
    state = tmp_path / "status"
    state.write_text("on")
    text = (
        "[stonith#1]\ntype = fence_nowhere\nip = 10.0.0.1\n"
        f"[stonith#2]\nlevel = 2\ntype = fence_dummy\nstatus_file = {state}\n"
    )
    done = stonith(agent, monkeypatch, text)
    assert done.exit_code == 0 and state.read_text() == "off", done.err
    assert (
        "not run: there is no program fence_nowhere: install the package fence-agents" in done.err
    )


@pytest.mark.parametrize(
    "lines, code, message",
    [
        ("ip = 127.0.0.1\n", 0, ""),
        ("ip = 127.0.0.1\nlanplu = 1\n", 3, ":7: [stonith#1] lanplu is no option of fence_ipm"),
        ("ip = 127.0.0.1\nmethod = cycle\n", 3, ":7: [stonith#1] method is refused: a power cycle"),
        ("ip = 127.0.0.1\npassword = x\n", 3, "write it to a file of mode 0600"),
        ("ip = 127.0.0.1\npassword_file = /no/such\n", 3, "password_file is of no use: the secret"),
        ("ip = 127.0.0.1\nca_file = /no/such\n", 3, "ca_file is /no/such, and there is no such"),
        ("ip = 127.0.0.1\nlevel = low\n", 3, "level is 'low'"),
        ("lanplus = 1\n", 3, "[stonith#1] ip is missing, which fence_ipmilan needs"),
        ("lanplus = 1\nip@deb1 = 10.0.0.2\n", 3, "ip is missing"),
        ("lanplus = 2\ndisable = true\n", 0, ""),
    ],
)
def test_validation_names_what_the_agent_does_not_take(
    agent: Agent, lines: str, code: int, message: str
) -> None:
    """Errors, with the line: the fence would fail when it is needed."""
    agent.write(
        "a", f"[app#1]\nscript = /bin/true\nstart = 1\n[stonith#1]\ntype = fence_ipmilan\n{lines}"
    )
    done = agent.svcmgr("-s", "a", "validate", "config")
    said = [line for line in done.out.splitlines() if "[stonith#1]" in line]
    assert (len(said), bool(message)) in ((0, False), (1, True)), said
    assert not message or message in said[0], said
    assert done.exit_code == code or (code == 0 and done.exit_code < 3), done.out


def test_options_are_the_section_s_own_in_the_order_of_the_file() -> None:
    """Without our keywords, and without what [DEFAULT] hands down; scoped as everywhere."""
    section = section_of(
        "type = fence_redfish\nlevel = 2\ntimeout = 20\ncomment = x\noptional = true\n"
        "username = admin\nip@deb1 = 10.0.0.2\nip@deb2 = 10.0.0.1\nsystems_uri = /s\n"
    )
    assert is_power_device(section) and agent_of(section) == "fence_redfish"
    expected = [("username", "admin"), ("ip", "10.0.0.2"), ("systems_uri", "/s")]
    assert list(options_of(section, "/none").items()) == expected


def test_ilo_is_reached_by_ssh_with_the_login_of_its_section(tmp_path: Path) -> None:
    """Each node has the management processor of its peer."""
    text = "type = ilo\ntarget@deb1 = ilo-deb2\ntarget@deb2 = ilo-deb1\nusername = Admin\n"
    key = section_of(f"{text}key = /root/.ssh/ilo\n")
    assert is_power_device(key) and agent_of(key) == "fence_ilo_ssh"
    assert options_of(key, str(tmp_path)) == {
        "ip": "ilo-deb2",
        "username": "Admin",
        "ssh": "1",
        "identity_file": "/root/.ssh/ilo",
    }
    other = section_of(f"{text}password_file = /etc/ilo.secret\n", "deb2.opensvc.com")
    assert options_of(other, str(tmp_path)) == {
        "ip": "ilo-deb1",
        "username": "Admin",
        "ssh": "1",
        "password_file": "/etc/ilo.secret",
    }
    with pytest.raises(ConfigError, match="username is missing"):
        options_of(section_of("type = ilo\ntarget = x\nkey = /k\n"), str(tmp_path))


def test_ilo_without_a_login_takes_that_of_the_agents(tmp_path: Path) -> None:
    """auth.conf, in the section named as the target; a key before a password, as agents do."""
    auth = tmp_path / "auth.conf"
    section = section_of("type = ilo\ntarget = ilo-deb2\n")
    with pytest.raises(SystemFault, match="cannot be read"):
        options_of(section, str(tmp_path))
    login = {"ip": "ilo-deb2", "username": "Admin", "ssh": "1"}
    for text, secret in (
        ("password = s3c%ret\n", {"password": "s3c%ret"}),
        ("key = /k\npassword = x\n", {"identity_file": "/k"}),
    ):
        auth.write_text(f"[ilo-deb1]\nusername = other\n[ilo-deb2]\nusername = Admin\n{text}")
        auth.chmod(0o600)
        assert options_of(section, str(tmp_path)) == {**login, **secret}
    for text, message in (
        ("[ilo-deb1]\nusername = a\npassword = b\n", "has no section \\[ilo-deb2\\]"),
        ("[ilo-deb2]\npassword = b\n", "needs username, and password or key"),
        ("[ilo-deb2]\nusername = b\n", "needs username, and password or key"),
        ("nonsense\n", "cannot be read"),
    ):
        auth.write_text(text)
        with pytest.raises(SystemFault, match=message):
            options_of(section, str(tmp_path))
    auth.chmod(0o640)
    step = device_step(section, "a", NODE, str(tmp_path))
    assert step.device is None and ("mode 0640" in step.why_not or "no program" in step.why_not)


def test_generated_check_up_reports_the_power_of_a_device(tmp_path: Path) -> None:
    """A node that may not fence asks it, as it asks a status_cmd."""
    check = tmp_path / "a.stonith"
    check.write_text("#!/bin/sh\n# Generated by opensvc_openha for the service a\n")
    file = tmp_path / "a.env"
    for text, expected in (
        ("[stonith#1]\ntype = fence_redfish\nip = x\n", True),
        ("[stonith#1]\ntype = ilo\ntarget = x\n", True),
        ("[stonith#1]\ntype = callout\ncmd = x\n", False),
        ("[stonith#1]\ntype = callout\ncmd = x\nstatus_cmd = y\n", True),
    ):
        file.write_text(text)
        assert reports_power(str(check)) is expected, text


@needs_agents
def test_user_who_may_read_no_secret_is_told_of_the_other_mistakes(tmp_path: Path) -> None:
    """A secret that only root can read is no mistake."""
    text = "type = fence_ipmilan\nip = 10.0.0.1\nlanplu = 1\npassword_file = /no/such\n"
    for sees_secrets, expected in ((True, ["lanplu", "password_file"]), (False, ["lanplu"])):
        found = wrong_options(section_of(text), str(tmp_path), sees_secrets)
        assert [str(error).split()[2] for error in found] == expected
    ilo = section_of("type = ilo\ntarget = x\n")
    assert list(wrong_options(ilo, str(tmp_path), sees_secrets=False)) == []


@needs_agents
def test_exposed_secret_is_an_error_of_validation(agent: Agent, tmp_path: Path) -> None:
    """The fence would be refused when it is needed."""
    exposed = secret_file(tmp_path, mode=0o644)
    agent.write(
        "a",
        f"{APP}[stonith#1]\ntype = fence_redfish\nip = 127.0.0.1\n"
        f"username = a\npassword_file = {exposed}\n",
    )
    done = agent.svcmgr("-s", "a", "validate", "config")
    assert done.exit_code == 3 and f"chmod 600 {exposed}" in done.out, done.out
