"""The fence plan of openha.conf: levels, sections for both nodes, and a line for every mistake."""

from __future__ import annotations

import json

import pytest

from opensvc_openha.errors import ConfigError
from opensvc_openha.formats import fence_plan_config
from opensvc_openha.formats.fence_plan_config import DeviceConfig, FencePlanConfig
from opensvc_openha.formats.options_file import Options, parse_options

NODES = ("deb1.opensvc.com", "deb2.opensvc.com")
BOARDS = """
[fencing]
levels = ipmi
[[ipmi deb1]]
agent = fence_ipmilan
ip = 10.10.0.11
password_file = /etc/openha/ipmi.secret
lanplus = 1
[[ipmi DEB2.opensvc.com]]
agent = fence_ipmilan
ip = 10.10.0.12
timeout = 12.5
"""


def plan(text: str) -> FencePlanConfig:
    """The plan of this text, checked for the two nodes."""
    found = parse_options(text, "F").fence_plan
    found.check_nodes(NODES)
    return found


def test_sections_of_both_nodes_are_read() -> None:
    """Nodes are named with or without their domain, in any case; numbers are ours or agents'."""
    found = plan(BOARDS)
    assert (found.levels, found.has_levels, found.paths) == ((("ipmi",),), True, ("ipmi",))
    one, two = (found.device("ipmi", node) for node in NODES)
    assert one is not None and two is not None
    assert one.options == {
        "ip": "10.10.0.11",
        "password_file": "/etc/openha/ipmi.secret",
        "lanplus": "1",
    }
    assert (one.timeout_s, two.timeout_s) == (30.0, 12.5)
    assert (one.address, two.address) == ("10.10.0.11", "10.10.0.12")
    assert one.mark != two.mark
    assert found.device("ipmi", "deb3") is None and found.device("pdu", NODES[0]) is None


@pytest.mark.parametrize(
    "text, levels",
    [
        ("ipmi", (("ipmi",),)),
        ("ipmi, pdu", (("ipmi",), ("pdu",))),
        ("pdu-a + pdu-b, ipmi", (("pdu-a", "pdu-b"), ("ipmi",))),
        ("pdu-a+pdu-b", (("pdu-a", "pdu-b"),)),
        ("reservation, ipmi", (("reservation",), ("ipmi",))),
    ],
)
def test_levels_are_alternatives_of_paths_that_must_all_succeed(
    text: str, levels: tuple[tuple[str, ...], ...]
) -> None:
    """Commas separate alternatives; a plus joins what must succeed together."""
    names = {name for level in levels for name in level} - {"reservation"}
    sections = "".join(
        f"[[{name} {node}]]\nagent = callout\ncmd = /bin/cut\n"
        for name in sorted(names)
        for node in NODES
    )
    assert plan(f"[fencing]\nlevels = {text}\n{sections}").levels == levels


@pytest.mark.parametrize(
    "text, line, message",
    [
        ("[fencing]\nlevels = ipmi\n", 2, "ipmi has no section [[ipmi NODE]]"),
        (BOARDS.replace("levels = ipmi", "levels = ipmy"), 3, "did you mean ipmi?"),
        ("[fencing]\nlevels = a, a\n", 2, "a stands in it twice"),
        ("[fencing]\nlevels = a, , b\n", 2, "Parse error"),
        ("[fencing]\nlevels = a +, b\n", 2, "expected names of sections"),
        ("[fencing]\nlevels = lease\n", 2, "lease has no section [[lease]]"),
        ("[fencing]\nlevels = sbd\n", 2, "sbd is no path of this version"),
        ("[fencing]\nlevels = etcd\n", 2, "write arbiter = etcd"),
        ("[fencing]\nlevels =\n", 2, "expected names of sections"),
        ("[fencing]\narbiter = disk /dev/sdb\n", 2, "without levels"),
        (f"{BOARDS}[[pdu deb1]]\nagent = fence_apc\n", 13, "is in no level"),
        (f"{BOARDS}[[ipmi]]\nagent = fence_apc\n", 13, "expected the name of a path and that of"),
        (f"{BOARDS}[[lease deb1]]\nagent = fence_apc\n", 13, "the section is [[lease]]"),
        (f"{BOARDS}[[sbd deb1]]\nagent = fence_sbd\n", 13, "sbd is no name for a device"),
        (f"{BOARDS}[[ipmi deb3]]\nagent = fence_apc\n", 13, "is of no node"),
        (f"{BOARDS}[[ipmi deb1.opensvc.com]]\nagent = fence_apc\n", 13, "are of one node"),
        (BOARDS.partition("[[ipmi DEB2")[0], 4, "[[ipmi deb2.opensvc.com]] is missing"),
        (BOARDS.replace("agent = fence_ipmilan\nip = 10.10.0.11", "ip = 1"), 4, "agent is missing"),
        (BOARDS.replace("fence_ipmilan", "ipmi", 1), 5, "agent: expected a fence agent"),
        (BOARDS.replace("fence_ipmilan", "fence_x;reboot", 1), 5, "agent: expected a fence agent"),
        (BOARDS.replace("12.5", "0"), 12, "timeout: expected seconds"),
        (BOARDS.replace("10.10.0.12", "10.10.0.12, 10.10.0.13"), 11, "expected one value"),
        (f"{BOARDS}[[[x]]]\ny = 1\n", 13, "unknown section [[[x]]]"),
        (
            "[fencing]\nlevels = a\n[[a deb1]]\nagent = callout\n",
            3,
            "cmd is missing in [[a deb1]]",
        ),
        (
            "[fencing]\nlevels = a\n[[a deb1]]\nagent = callout\ncmd = x\nstatus = y\n",
            6,
            "did you mean status_cmd?",
        ),
        ("[fencing]\nlevel = ipmi\n", 2, "did you mean levels?"),
        (BOARDS.replace("levels = ipmi", "levels = ipmi\narbiter = /dev/sdb"), 4, "as disk /dev"),
        (BOARDS.replace("levels = ipmi", "levels = ipmi\narbiter = disk sdb"), 4, "as disk /dev"),
    ],
)
def test_mistake_is_an_error_with_its_line(text: str, line: int, message: str) -> None:
    """A safeguard that is not in force must not be taken for one."""
    with pytest.raises(ConfigError) as found:
        plan(text)
    assert message in str(found.value)
    assert found.value.line == line, found.value


def test_without_levels_there_is_no_plan() -> None:
    """[fencing] with the former options alone is as before."""
    options = parse_options("[fencing]\nretry = 5\nboot_alone = 30\n", "F")
    assert options.fence_plan == Options().fence_plan == FencePlanConfig()
    assert not options.fence_plan.has_levels


def test_arbiter_is_a_disk_or_none() -> None:
    """The word disk leaves room for other kinds."""
    text = BOARDS.replace("levels = ipmi", "levels = ipmi\narbiter = {}")
    assert plan(text.format("none")).arbiter == ""
    assert plan(text.format("disk /dev/mapper/disk.hb.0")).arbiter == "/dev/mapper/disk.hb.0"


def test_request_holds_what_the_program_needs_and_no_secret() -> None:
    """The file that holds the password is named, not read."""
    request = plan(BOARDS).request("look", "ipmi", NODES[0], 8.0, ("registry",))
    assert json.loads(json.dumps(request)) == {
        "do": "look",
        "path": "ipmi",
        "peer": "deb1.opensvc.com",
        "limit_s": 8.0,
        "options": {
            "agent": "fence_ipmilan",
            "ip": "10.10.0.11",
            "password_file": "/etc/openha/ipmi.secret",
            "lanplus": "1",
        },
        "services": ["registry"],
    }


def test_other_options_make_another_device() -> None:
    """What was seen of a device does not count for another one at the same name."""
    before = plan(BOARDS).device("ipmi", NODES[0])
    after = plan(BOARDS.replace("10.10.0.11", "10.10.0.21")).device("ipmi", NODES[0])
    same = plan(f"# moved\n{BOARDS}").device("ipmi", NODES[0])
    assert before is not None and after is not None and same is not None
    assert before.mark != after.mark
    assert before.mark == same.mark


@pytest.mark.parametrize(
    "options, address",
    [
        ({"ip": "10.0.0.1", "plug": "7"}, "10.0.0.1 7"),
        ({"ip": "10.0.0.1", "ipaddr": "10.0.0.9", "plug": "7", "port": "9"}, "10.0.0.1 7"),
        ({"ipaddr": "10.0.0.9", "port": "9"}, "10.0.0.9 9"),
        ({"port": "9"}, "9"),
        ({}, ""),
    ],
)
def test_address_of_a_device_is_shown_by_either_name_of_its_options(
    options: dict[str, str], address: str
) -> None:
    """Agents have two of each."""
    device = DeviceConfig("pdu", "deb1", "fence_apc", options)
    assert device.address == address and not device.is_callout
    found = FencePlanConfig(devices=(device,))
    assert found.address_of("pdu", "deb1") == address
    assert found.address_of("pdu", "deb2") == found.address_of("ipmi", "deb1") == ""


def test_node_agent_and_options_make_the_device() -> None:
    """Nodes in either case are one; places in the file are none of it."""
    device = DeviceConfig("pdu", "deb1", "fence_apc", {"ip": "1", "port": "2"})
    same = DeviceConfig("other", "DEB1", "fence_apc", {"port": "2", "ip": "1"}, 5.0, "F", 7)
    assert device.mark == same.mark and len(device.mark) == 16
    others = (
        DeviceConfig("pdu", "deb2", "fence_apc", device.options),
        DeviceConfig("pdu", "deb1", "fence_ilo", device.options),
    )
    assert len({device.mark, *(other.mark for other in others)}) == 3


def test_error_about_a_device_has_the_line_of_its_option() -> None:
    """Or of the section."""
    device = DeviceConfig("pdu", "deb1", "fence_apc", file="F", line=7, lines={"ip": 9})
    for option, line in (("ip", 9), ("port", 7), ("", 7)):
        error = device.error("it is wrong", option)
        assert (error.path, error.line, error.message) == ("F", line, "it is wrong")


def test_arbiter_is_reached_by_its_disk_or_its_urls() -> None:
    """None of either without one."""
    without = plan(BOARDS)
    assert (without.arbiter_disk, without.arbiter_address, without.arbiter_witness) == (
        "",
        "",
        None,
    )
    arbiter = BOARDS.replace("levels = ipmi", "levels = ipmi\narbiter = {}")
    disk = plan(arbiter.format("disk   /dev/sdb"))
    assert disk.arbiter_disk == disk.arbiter_address == "/dev/sdb"
    assert disk.arbiter_witness is None and disk.arbiter_options == {"disk": "/dev/sdb"}
    etcd = plan(f"{arbiter.format('etcd')}[[etcd]]\nurls = http://a:2379\n")
    assert etcd.arbiter == "etcd" and etcd.arbiter_disk == ""
    assert etcd.arbiter_address == "etcd a:2379" and etcd.etcd is not None
    assert etcd.arbiter_witness is etcd.etcd
    assert etcd.arbiter_options == {"etcd": etcd.etcd.as_options()}
    # A witness of the lease alone decides nothing.
    lease = plan(
        f"{BOARDS.replace('= ipmi', '= ipmi, lease')}[[lease]]\n[[etcd]]\nurls = http://a:1\n"
    )
    assert lease.etcd is not None and lease.arbiter_witness is None and lease.arbiter == ""


@pytest.mark.parametrize(
    "text, message",
    [
        ("disk", "expected none, etcd, or disk"),
        ("disc /dev/sdb", "expected none, etcd, or disk"),
        ("etcd", "arbiter: etcd has no section [[etcd]]"),
        ("none\n[[etcd]]\nurls = http://a:1", "would never be used"),
        ("none\n[[lease]]", "write levels = ipmi, lease"),
    ],
)
def test_arbiter_or_part_that_would_have_no_effect_is_refused(text: str, message: str) -> None:
    """A safeguard that is not in force must not be taken for one."""
    lines = BOARDS.replace("levels = ipmi\n", "")
    with pytest.raises(ConfigError) as found:
        plan(lines.replace("[fencing]\n", f"[fencing]\nlevels = ipmi\narbiter = {text}\n"))
    assert message in str(found.value)


def test_callout_has_its_command_and_a_status_of_its_own() -> None:
    """And a limit; they are options of the request."""
    text = "[fencing]\nlevels = cut\ncheck_interval = 3600\n"
    for node in NODES:
        text += f"[[cut {node}]]\nagent = callout\ncmd = /cut\nstatus_cmd = /look\ntimeout = 600\n"
    found = plan(text)
    device = found.device("cut", NODES[1])
    assert device is not None and device.is_callout and device.timeout_s == 600.0
    assert device.options == {"cmd": "/cut", "status_cmd": "/look"}
    assert found.check_interval_s == 3600.0 and plan(BOARDS).check_interval_s == 60.0
    assert found.request("cut", "cut", NODES[1], 5.0)["options"] == {
        "agent": "callout",
        "cmd": "/cut",
        "status_cmd": "/look",
    }
    assert found.request("cut", "reservation", NODES[1], 5.0)["options"] == {}


def test_longest_times_of_a_plan() -> None:
    """A second more is refused."""
    for option, longest_s in (
        (fence_plan_config.CHECK_INTERVAL, 3600),
        (fence_plan_config.TIMEOUT, 600),
    ):
        assert option.type.read(str(longest_s)) == longest_s
        with pytest.raises(ValueError, match="at most"):
            option.type.read(str(longest_s + 1))
    assert [option.name for option in fence_plan_config.DEVICE_OPTIONS] == [
        *("agent", "cmd", "status_cmd", "timeout", "password_file", "ca_file")
    ]


@pytest.mark.parametrize(
    "section, message",
    [
        ("[[pdu deb1]]\nagent = fence_apc\n", "would never be used: write levels = pdu"),
        ("[[ipmj deb1]]\nagent = fence_apc\n", "would never be used: did you mean ipmi?"),
        ("[[1pmi deb1]]\nagent = fence_apc\n", "[[1pmi deb1]]: expected the name of a path"),
        ("[[reservation deb1]]\nagent = fence_apc\n", "reservation is no name for a device"),
        ("[[pdu deb1]]\nagent = callout\ncmd = x\npassword_file = /x\n", "password_file"),
    ],
)
def test_section_that_is_none_of_the_plan_is_named_with_what_to_write(
    section: str, message: str
) -> None:
    """As far as that can be guessed."""
    with pytest.raises(ConfigError) as found:
        plan(BOARDS + section)
    assert message in str(found.value)


def test_options_of_a_device_keep_their_lines() -> None:
    """For what the agent refuses."""
    device = plan(BOARDS).device("ipmi", NODES[0])
    assert device is not None
    lines = [device.error("refused", name).line for name in ("ip", "lanplus", "port")]
    assert lines == [6, 8, 4]
