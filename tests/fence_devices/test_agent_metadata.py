"""Options of fence agents: every mistake is found by the agent's own metadata."""

from __future__ import annotations

from pathlib import Path

import pytest

from opensvc_openha.errors import SystemFault
from opensvc_openha.fence_devices.agent_metadata import (
    AgentMetadata,
    is_secret,
    metadata_of,
    mistakes_in,
    parse_metadata,
    why_no_proof,
)
from opensvc_openha.fence_devices.ipmi import AGENTS as IPMI_AGENTS
from opensvc_openha.fence_devices.power_device import description_of
from tests.fence_devices.agents import METADATA, OwnAgent, needs_agents

MINE = parse_metadata(METADATA.format(name="fence_mine"), "fence_mine")


def mistakes(metadata: AgentMetadata, **options: str) -> list[tuple[str, str]]:
    """What is wrong with these options, besides an ip."""
    found = mistakes_in(metadata, {"ip": "10.0.0.1", **options})
    return [(mistake.option, mistake.text) for mistake in found]


@pytest.mark.parametrize(
    "option, value",
    [
        ("plug", "7"),
        ("ipport", "623"),
        ("lanplus", "1"),
        ("lanplus", "False"),
        ("privlvl", "USER"),
        ("method", "onoff"),
        ("password_file", "/etc/openha/secret"),
        ("passwd_file", "/etc/openha/secret"),
        ("snmp_priv_passwd_file", "/etc/openha/secret"),
        ("ca_file", "/etc/openha/bmc.pem"),
        ("systems_uri", "/redfish/v1/Systems/1"),
        ("systems-uri", "/redfish/v1/Systems/1"),
        ("power_timeout", "20"),
    ],
)
def test_options_of_the_metadata_are_right(option: str, value: str) -> None:
    """In the agents' spellings of values, and with files in the place of secrets."""
    assert mistakes(MINE, **{option: value}) == []


@pytest.mark.parametrize(
    "option, value, message",
    [
        ("plugg", "7", "is no option of fence_mine: did you mean plug?"),
        ("pasword_file", "/x", "did you mean password_file?"),
        ("nonsense", "7", "is no option of fence_mine"),
        ("ipport", "six", "expected a whole number; found 'six'"),
        ("ipport", "-1", "expected a whole number"),
        ("lanplus", "2", "expected 1 or 0; found '2'"),
        ("privlvl", "usr", "expected one of operator, user; found 'usr': did you mean user?"),
        ("power_timeout", "20s", "expected a whole number"),
        ("password", "x", "write it to a file of mode 0600, and password_file = FILE"),
        ("passwd", "x", "write it to a file of mode 0600, and password_file = FILE"),
        ("snmp_priv_passwd", "x", "snmp_priv_passwd_file = FILE"),
        ("password_file", "secret", "expected an absolute path; found 'secret'"),
        ("ca_file", "bmc.pem", "expected an absolute path"),
        ("method", "cycle", "is refused: a power cycle is not verified"),
        ("missing_as_off", "1", "is refused: a machine that the device does not find"),
        ("missing-as-off", "1", "is refused: a machine that the device does not find"),
        ("ssl_insecure", "1", "is refused: anybody on the network could answer OFF"),
        ("delay", "5", "is refused: a node that must wait"),
        ("action", "reboot", "is refused: the node daemon gives the orders"),
        ("verbose", "1", "is refused: its output could hold secrets"),
        ("debug_file", "/tmp/x", "is refused: its file would hold secrets"),
        ("ipaddr", "10.0.0.2", "is the same option as ip"),
        ("plug", "a\nb", "expected one line"),
    ],
)
def test_wrong_option_is_named_with_what_to_do(option: str, value: str, message: str) -> None:
    """Agents would ignore it, or cut what nobody can verify."""
    found = mistakes(MINE, **{option: value})
    assert [name for name, _ in found] == [option]
    assert message in found[0][1]


def test_two_spellings_of_one_secret_are_one_too_many() -> None:
    """Which of them counted would be chance."""
    found = mistakes(MINE, password_file="/a", passwd_file="/b")
    assert found == [("passwd_file", "is the same option as password_file")]


def test_required_option_that_is_missing_is_named() -> None:
    """By its newest name; an older one is as good."""
    (mistake,) = mistakes_in(MINE, {"plug": "7"})
    assert (mistake.option, mistake.text) == ("", "ip is missing, which fence_mine needs")
    assert list(mistakes_in(MINE, {"ipaddr": "10.0.0.1"})) == []


@pytest.mark.parametrize(
    "old, new, name, message",
    [
        ('automatic="0"', 'automatic="1"', "fence_x", "cuts no power"),
        ('<action name="status" />', "", "fence_x", "it has no action status"),
        ('<action name="off" />', "", "fence_x", "it has no action off"),
        ("", "", "fence_kdump", "its message is a hint"),
        ("", "", "/opt/fence_heuristics_ping", "a ping proves nothing"),
        ("", "", "fence_ack_manual", "openha fence confirm"),
        ("", "", "fence_sbd", "reads its own message"),
    ],
)
def test_agent_that_proves_nothing_is_refused(old: str, new: str, name: str, message: str) -> None:
    """What cuts no power, what cannot be asked, and what only hints."""
    metadata = parse_metadata(METADATA.format(name="x").replace(old, new), name)
    ((option, text),) = mistakes(metadata)
    assert option == "agent" and message in text


def test_unencrypted_session_is_refused_where_the_agent_could_encrypt() -> None:
    """Whatever the agent's own default is."""
    ssl = '<parameter name="ssl" required="0"><content type="boolean" default="{}"/></parameter>'
    insecure = '<parameter name="ssl_insecure"><content type="boolean"/></parameter></parameters>'

    def described(default: str) -> AgentMetadata:
        text = METADATA.replace("</parameters>", ssl.format(default) + insecure)
        return parse_metadata(text, "fence_x")

    assert mistakes(described("1")) == []
    assert mistakes(described(""), ssl="1") == []
    assert [name for name, _ in mistakes(described("1"), ssl="0")] == ["ssl"]
    assert [name for name, _ in mistakes(described(""))] == [""]


@pytest.mark.parametrize(
    "name, expected",
    [
        *((name, True) for name in ("password", "passwd", "snmp_priv_passwd", "secret_key")),
        *((name, True) for name in ("apikey", "token", "community", "hexadecimal_kg")),
        *((name, False) for name in ("username", "password_script", "passwd_script", "ip")),
        *((name, False) for name in ("identity_file", "token_file", "password_timeout")),
    ],
)
def test_secrets_are_known_by_their_names(name: str, expected: bool) -> None:
    """Metadata does not report which options are secret."""
    assert is_secret(name) is expected


def test_metadata_is_asked_for_once_for_each_version_of_the_agent(tmp_path: Path) -> None:
    """A running daemon finds an updated agent."""
    agent = OwnAgent(tmp_path)
    first = metadata_of(agent.path)
    assert metadata_of(agent.path) is first
    assert "plug" in first.options and "off" in first.actions
    text = METADATA.format(name="fence_mine").replace('name="plug"', 'name="outlet"')
    (tmp_path / "metadata").write_text(text)
    agent.rewrite("# another version\n")
    assert "outlet" in metadata_of(agent.path).options


@pytest.mark.parametrize(
    "body, message",
    [
        ("exit 1", "exited with 1"),
        ("echo nonsense", "gives no metadata"),
        ("echo '<?xml version=\"1.0\"?><resource-agent/>'", "it describes no option"),
        ("kill -9 $$", "killed by signal 9"),
    ],
)
def test_agent_without_metadata_is_reported(tmp_path: Path, body: str, message: str) -> None:
    """It cannot be checked, which is reported; nothing is guessed."""
    path = tmp_path / "fence_odd"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    with pytest.raises(SystemFault, match=message):
        metadata_of(str(path))


def test_absent_agent_is_reported_with_its_package() -> None:
    """Debian's agents are in one package."""
    with pytest.raises(SystemFault, match="no program fence_nowhere: install the package fence-ag"):
        metadata_of("fence_nowhere")
    with pytest.raises(SystemFault, match="no program /opt/fence_nowhere$"):
        metadata_of("/opt/fence_nowhere")


@pytest.mark.parametrize("agent", sorted(IPMI_AGENTS))
def test_boards_are_described_by_our_own_driver(agent: str) -> None:
    """Whether fence-agents is installed or not; what ipmitool would show to all is refused."""
    metadata = description_of(agent)
    usual = {
        **{"ipport": "623", "username": "admin", "password_file": "/x", "lanplus": "1"},
        **{"cipher": "3", "privlvl": "operator", "auth": "md5", "target": "0x24"},
        **{"method": "onoff", "login_timeout": "6", "shell_timeout": "6", "power_timeout": "20"},
        **{"power_wait": "2", "ca_file": "/x"},
    }
    assert mistakes(metadata, **usual) == []
    for option in ("hexadecimal_kg", "hexadecimal_kg_file", "password_script", "use_sudo"):
        ((name, text),) = mistakes(metadata, **{option: "1"})
        assert name == option and "is refused" in text
    assert "did you mean lanplus" in mistakes(metadata, lanplu="1")[0][1]


LOGIN = {"username": "admin", "password_file": "/etc/openha/device.secret"}
COMMON = {
    "fence_apc": {"ip": "pdu", **LOGIN, "plug": "7"},
    "fence_apc_snmp": {"ip": "pdu", "plug": "7", "community_file": "/x", "snmp_version": "2c"},
    "fence_aws": {"plug": "i-1", "region": "eu-west-3", "access_key": "A", "secret_key_file": "/x"},
    "fence_azure_arm": {**LOGIN, "plug": "vm", "tenantId": "t", "resourceGroup": "g"},
    "fence_drac5": {"ip": "drac", **LOGIN, "ssh": "1"},
    "fence_gce": {"plug": "vm", "zone": "z", "project": "p"},
    "fence_ilo_ssh": {"ip": "ilo", "username": "admin", "identity_file": "/k", "ssh": "1"},
    "fence_pve": {"ip": "pve", **LOGIN, "plug": "100"},
    "fence_redfish": {"ip": "bmc", **LOGIN, "systems_uri": "/redfish/v1/Systems/1"},
    "fence_virsh": {"ip": "host", "username": "root", "plug": "deb1", "identity_file": "/k"},
    "fence_vmware_rest": {"ip": "vc", **LOGIN, "plug": "vm", "ssl": "1", "ca_file": "/c"},
}
"""Sections as operators write them for the commonest devices."""


@needs_agents
@pytest.mark.parametrize("agent", COMMON)
def test_usual_section_of_a_common_device_has_no_mistake(agent: str) -> None:
    """By the metadata of Debian's agents; and each option that is misspelt is found."""
    metadata = metadata_of(agent)
    options = COMMON[agent]
    assert list(mistakes_in(metadata, options)) == []
    for name in options:
        wrong = {other if other != name else f"{name}x": value for other, value in options.items()}
        assert f"{name}x" in {mistake.option for mistake in mistakes_in(metadata, wrong)}


@needs_agents
@pytest.mark.parametrize("agent", ["fence_scsi", "fence_mpath", "fence_ifmib", "fence_brocade"])
def test_agents_of_debian_that_cut_no_power_are_refused(agent: str) -> None:
    """Their node runs on, without its disks or its network."""
    assert "it cuts no power" in why_no_proof(metadata_of(agent))
