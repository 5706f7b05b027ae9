"""The fence plan of openha.conf: levels, sections for both nodes, and a line for every mistake."""

from __future__ import annotations

import json

import pytest

from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.fence_plan_config import FencePlanConfig
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
