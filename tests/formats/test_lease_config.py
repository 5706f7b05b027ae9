"""[[lease]] and [[etcd]] in openha.conf: defaults by profile, and a line for every refusal."""

from __future__ import annotations

import json

import pytest

from opensvc_openha.core.model import OnLost
from opensvc_openha.errors import ConfigError
from opensvc_openha.formats import lease_config
from opensvc_openha.formats.lease_config import EtcdConfig, LeaseConfig
from opensvc_openha.formats.options_file import parse_options

BOARD = "[[ipmi deb1]]\nagent = fence_ipmilan\n[[ipmi deb2]]\nagent = fence_ipmilan\n"
BALANCED = "[timing]\nprofile = balanced\n[fencing]\n"
FAST = "[timing]\nprofile = fast\n[fencing]\n"
STOP = "[fencing]\n[[lease]]\non_lost = stop\n"
ETCD = "[fencing]\narbiter = etcd\n[[lease]]\n[[etcd]]\nurls = "


@pytest.mark.parametrize(
    "text, expected",
    [
        ("[fencing]\n[[lease]]\n", LeaseConfig("/dev/watchdog", 4.0, 1.0)),
        (f"{FAST}[[lease]]\n", LeaseConfig("/dev/watchdog", 1.0, 0.3)),
        (
            "[fencing]\n[[lease]]\nwatchdog = /dev/watchdog1\ntimeout = 5\nanswer = 0.5\n"
            "on_lost = reset\nvirtual_pause = never\n",
            LeaseConfig("/dev/watchdog1", 5.0, 0.5, OnLost.RESET, is_pause_excluded=True),
        ),
        # Long enough for the stops: what a node is believed to do ends later for it.
        (STOP, LeaseConfig("/dev/watchdog", 25.0, 1.0, OnLost.STOP, 20.0)),
        (f"{STOP}stop_time = 5.5\n", LeaseConfig("/dev/watchdog", 11.0, 1.0, OnLost.STOP, 5.5)),
        (f"{STOP}stop_time = 295\n", LeaseConfig("/dev/watchdog", 300, 1.0, OnLost.STOP, 295.0)),
        (f"{STOP}timeout = 60\n", LeaseConfig("/dev/watchdog", 60.0, 1.0, OnLost.STOP, 20.0)),
        (
            f"{FAST}[[lease]]\non_lost = stop\nstop_time = 2\n",
            LeaseConfig("/dev/watchdog", 4.0, 0.3, OnLost.STOP, 2.0),
        ),
        (f"{BALANCED}[[lease]]\n", LeaseConfig("/dev/watchdog", 2.0, 0.5)),
        # Without on_lost = stop it is for nobody.
        ("[fencing]\n[[lease]]\nstop_time = 9\n", LeaseConfig("/dev/watchdog", 4.0, 1.0)),
        ("[fencing]\nretry = 5\n", None),
    ],
)
def test_lease_has_the_times_of_its_profile(text: str, expected: LeaseConfig | None) -> None:
    """None without the section."""
    assert parse_options(text, "F").fence_plan.lease == expected


@pytest.mark.parametrize(
    "text, levels",
    [
        ("[fencing]\n[[lease]]\n", (("lease",),)),
        (f"[fencing]\n{BOARD}[[lease]]\n", (("ipmi",), ("lease",))),
        (f"[fencing]\nlevels = lease, ipmi\n[[lease]]\n{BOARD}", (("lease",), ("ipmi",))),
        (f"[fencing]\nlevels = ipmi + lease\n[[lease]]\n{BOARD}", (("ipmi", "lease"),)),
    ],
)
def test_without_levels_all_that_has_a_section_is_used(
    text: str, levels: tuple[tuple[str, ...], ...]
) -> None:
    """In the order of the file, the lease last: it needs nobody to do anything."""
    assert parse_options(text, "F").fence_plan.levels == levels


@pytest.mark.parametrize(
    "lines",
    [
        "[[lease]]\nvirtual_pause = possible\n",
        "[[lease]]\nanswer = 60\ntimeout = 300\n",
        "[[lease]]\n[[etcd]]\nurls = http://a:1\nlimit = 30\n",
    ],
)
def test_longest_times_and_the_default_in_words_are_taken(lines: str) -> None:
    """Limits belong to what they limit."""
    plan = parse_options(f"[fencing]\n{lines}", "F").fence_plan
    assert plan.lease is not None and not plan.lease.is_pause_excluded


def test_etcd_is_shown_by_its_hosts() -> None:
    """Without the scheme, which is the same for all."""
    etcd = parse_options(f"{ETCD}https://a:2379, https://[::1]:2379\n", "F").fence_plan.etcd
    assert etcd is not None and etcd.address == "etcd a:2379,[::1]:2379"


def test_etcd_is_arbiter_and_witness() -> None:
    """The request to the fence program holds it as plain values, and names files only."""
    text = (
        f"{ETCD}https://a:2379/, https://[::1]:2379\nusername = openha\n"
        "password_file = /etc/p\nca_file = /etc/ca\nprefix = ha/one\n"
    )
    plan = parse_options(text, "F").fence_plan
    urls = ("https://a:2379", "https://[::1]:2379")
    assert plan.etcd == EtcdConfig(urls, "openha", "/etc/p", "/etc/ca", prefix="ha/one")
    assert (plan.arbiter, plan.arbiter_disk) == ("etcd", "")
    assert json.loads(json.dumps(plan.etcd.as_options()))["urls"] == list(urls)


@pytest.mark.parametrize(
    "text, line, message",
    [
        ("[fencing]\n[[lease]]\ntimeout = 3\n", 3, "write timeout = 4 or more"),
        ("[fencing]\n[[lease]]\nanswer = 1.01\n", 3, "write timeout = 5 or more"),
        (f"{FAST}[[lease]]\nanswer = 0.5\n", 5, "write timeout = 2 or more"),
        ("[fencing]\n[[lease]]\ntimeout = 4.5\n", 3, "expected a whole number from 1 to 300"),
        ("[fencing]\n[[lease]]\nwatchdog = softdog\n", 3, "expected the absolute path"),
        ("[fencing]\n[[lease]]\nwatchdog = /dev/\n", 3, "expected the absolute path"),
        ("[fencing]\n[[lease]]\nanswer = 60.5\n", 3, "at most 60 seconds; found 60.5"),
        (f"{STOP}stop_time = 300.5\n", 4, "at most 300 seconds; found 300.5"),
        (f"{FAST}[[lease]]\nvirtual_pause = never\n", 5, "is not offered with profile = fast"),
        (f"{BALANCED}[[lease]]\nvirtual_pause = never\n", 5, "offered with profile = balanced"),
        ("[fencing]\n[[lease]]\non_lost = halt\n", 3, "on_lost: expected one of reset, stop"),
        (f"{STOP}timeout = 24\n", 4, "stop_time = 20, write timeout = 25 or more, or on_lost"),
        (f"{STOP}timeout = 14\nstop_time = 10\n", 4, "write timeout = 15 or more"),
        (f"{STOP}answer = 2\ntimeout = 26\n", 5, "answer = 2 and stop_time = 20, write timeout ="),
        (f"{STOP}stop_time = 296\n", 4, "would need timeout = 301, and 300 is the longest"),
        ("[fencing]\n[[lease]]\ntime_out = 4\n", 3, "did you mean timeout?"),
        ("[fencing]\n[[lease]]\n[[[x]]]\n", 3, "unknown section [[[x]]]"),
        (f"[fencing]\nlevels = ipmi\n{BOARD}[[lease]]\n", 7, "write levels = ipmi, lease"),
        (f"[fencing]\nlevels = lease\n[[lease]]\n{BOARD}", 4, "is in no level"),
        ("[fencing]\n[[etcd]]\nurls = http://a:2379\n", 2, "would never be used"),
        (f"[fencing]\nlevels = ipmi\narbiter = etcd\n{BOARD}", 3, "has no section [[etcd]]"),
        ("[fencing]\n[[lease]]\n[[etcd]]\n", 3, "urls is missing"),
        (f"{ETCD}10.10.0.21\n", 5, "expected addresses as http://"),
        (f"{ETCD}http://a\n", 5, "found 'http://a'"),
        (f"{ETCD}ftp://a:1\n", 5, "found 'ftp://a:1'"),
        (f"{ETCD}http://:1\n", 5, "found 'http://:1'"),
        (f"{ETCD}http://a:1/b\n", 5, "found 'http://a:1/b'"),
        (f"{ETCD}http://a:1?b\n", 5, "found 'http://a:1?b'"),
        (f'{ETCD}"http://a:1#b"\n', 5, "found 'http://a:1#b'"),
        (f"{ETCD}http://a:1\nlimit = 30.5\n", 6, "at most 30 seconds; found 30.5"),
        (f"{ETCD}http://a:b\n", 5, "found 'http://a:b'"),
        (f"{ETCD}http://u:p@a:1\n", 5, "expected addresses as http://"),
        (f"{ETCD}http://a:1, http://a:1/\n", 5, "http://a:1 stands in it twice"),
        (f"{ETCD}http://a:1, https://b:1\n", 5, "http and https are mixed"),
        (f"{ETCD}http://a:1\nusername = x\n", 6, "username needs password_file"),
        (f"{ETCD}https://a:1\nkey_file = /x\n", 6, "key_file needs cert_file"),
        (f"{ETCD}http://a:1\nca_file = /x\n", 6, "is for urls that begin with https"),
        (f"{ETCD}http://a:1\nprefix = /x\n", 6, "expected letters"),
    ],
)
def test_mistake_is_an_error_with_its_line(text: str, line: int, message: str) -> None:
    """A safeguard that is not in force must not be taken for one."""
    with pytest.raises(ConfigError) as found:
        parse_options(text, "F")
    assert message in str(found.value)
    assert found.value.line == line, found.value


def test_longest_time_is_that_of_each_option() -> None:
    """A second more is refused."""
    options = (lease_config.TIMEOUT, 300), (lease_config.ANSWER, 60), (lease_config.STOP_TIME, 300)
    for option, longest_s in options:
        assert option.type.read(str(longest_s)) == longest_s
        with pytest.raises(ValueError, match=str(longest_s)):
            option.type.read(str(longest_s + 1))


def test_both_sections_are_known() -> None:
    """To the reader of the file, which takes them from here."""
    assert [part.name for part in lease_config.PARTS] == ["lease", "etcd"]
