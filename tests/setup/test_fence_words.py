"""`--fence` and `--witness`: what the parser of openha.conf makes of them, and what is refused."""

from __future__ import annotations

import pytest

from opensvc_openha.errors import UsageError
from opensvc_openha.formats.options_file import Options, parse_options
from opensvc_openha.setup.fence_words import read_fence_words
from opensvc_openha.setup.node import secret_files
from opensvc_openha.setup.proposal import options_text

OWN, PEER = "deb1.opensvc.com", "deb2.opensvc.com"


def read(*words: str, witness: str = "") -> Options:
    text = options_text(read_fence_words(words, witness), OWN, PEER)
    return parse_options(text, "openha.conf")


def test_without_any_word_there_is_no_plan_but_the_key_is_enforced() -> None:
    options = read()
    assert not options.fence_plan.has_levels
    assert options.heartbeat.authentication is not None
    assert options.heartbeat.authentication.value == "enforced"


def test_each_node_is_cut_by_its_own_board() -> None:
    plan = read("ipmi:10.0.0.1,10.0.0.2,admin,/etc/ipmi.secret").fence_plan
    plan.check_nodes((OWN, PEER))
    boards = {device.node: device for device in plan.devices}
    assert boards[OWN].options["ip"] == "10.0.0.1"
    assert boards[PEER].options["ip"] == "10.0.0.2"
    for device in boards.values():
        assert device.agent == "fence_ipmilan"
        assert device.options["username"] == "admin"
        assert device.options["password_file"] == "/etc/ipmi.secret"


def test_an_agent_has_options_for_both_nodes_and_for_one() -> None:
    plan = read("agent:fence_virsh,ip=10.0.0.9,plug@deb1=vm1,plug@deb2.opensvc.com=vm2").fence_plan
    assert plan.levels == (("virsh",),)
    plugs = {device.node: device.options["plug"] for device in plan.devices}
    assert plugs == {OWN: "vm1", PEER: "vm2"}
    assert {device.options["ip"] for device in plan.devices} == {"10.0.0.9"}


def test_several_are_levels_in_their_order_with_the_witness() -> None:
    plan = read(
        "ipmi:10.0.0.1,10.0.0.2,admin,/s",
        "ipmi:10.0.1.1,10.0.1.2,admin,/s",
        "command:/opt/cut,/opt/ask",
        "reservation",
        "lease:/dev/watchdog1",
        witness="http://10.0.0.3:2379",
    ).fence_plan
    assert plan.levels == (("ipmi",), ("ipmi2",), ("command",), ("reservation",), ("lease",))
    assert plan.arbiter == "etcd" and plan.etcd is not None
    assert plan.etcd.urls == ("http://10.0.0.3:2379",)
    assert plan.lease is not None and plan.lease.device == "/dev/watchdog1"
    command = plan.device("command", PEER)
    assert command is not None
    assert command.options == {"cmd": "/opt/cut", "status_cmd": "/opt/ask"}


def test_files_with_passwords_are_known() -> None:
    options = read(
        "ipmi:10.0.0.1,10.0.0.2,admin,/etc/a", "agent:fence_x,password_file@deb1=/etc/b,ca_file=/c"
    )
    assert secret_files(options) == ("/etc/a", "/etc/b")
    assert secret_files(read()) == ()


@pytest.mark.parametrize(
    ("word", "what"),
    [
        ("ipmi:10.0.0.1,admin,/s", "PEER_ADDRESS"),
        ("ipmi:10.0.0.1,10.0.0.1,admin,/s", "both boards"),
        ("ipmi:10.0.0.1,10.0.0.2,admin,hunter2", "never the password"),
        ("agent:virsh", "name of a fence agent"),
        ("agent:fence_virsh,password=hunter2", "password_file"),
        ("agent:fence_virsh,plug@=x", "option@NODE"),
        ("agent:fence_virsh,ip='1", "quotes"),
        ("command:cut", "absolute path"),
        ("command:/a,/b,/c", "absolute path"),
        ("lease:watchdog", "watchdog device"),
        ("reservation:/dev/sdb", "expected one of"),
        ("magic", "expected one of"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_write(word: str, what: str) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        read(word)
    assert "hunter2" not in str(caught.value)


def test_what_can_be_there_once_is_refused_twice() -> None:
    with pytest.raises(UsageError, match="twice"):
        read("lease", "lease")


def test_an_option_of_a_node_that_is_neither_is_refused() -> None:
    with pytest.raises(UsageError, match="deb3: the nodes are"):
        read("agent:fence_virsh,plug@deb1=a,plug@deb3=b")


def test_a_witness_without_anything_that_fences_is_refused() -> None:
    with pytest.raises(UsageError, match="--fence lease"):
        read(witness="http://10.0.0.3:2379")
