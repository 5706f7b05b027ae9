"""openha.conf: defaults, what each option means, and a place in the file for every mistake."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from opensvc_openha.core.model import (
    ConnectivityPolicy,
    LinkSpec,
    OnDualRun,
    OnStartFailure,
    Policy,
    Profile,
    ScriptLimits,
    ServiceSpec,
    Wire,
)
from opensvc_openha.core.timing import CHECK_LIMIT_S, PROBE_LIMIT_S, START_LIMIT_S, STOP_LIMIT_S
from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.options_file import (
    ConnectivityOptions,
    HeartbeatOptions,
    Options,
    PeerLinkOptions,
    PolicyOptions,
    ScriptOptions,
    TimingOptions,
    parse_options,
)
from opensvc_openha.formats.options_schema import SECTIONS, Allowed, AuthMode
from opensvc_openha.links.monitor_file import parse_monitor

SAMPLE = (Path(__file__).parents[2] / "templates/openha.conf.sample").read_text()
POLICY = Policy(data_disks=("/dev/mapper/data.0", "/dev/mapper/data.1"))
NET = LinkSpec("deb2", "net", "eth1", "239.131.50.12", 5012, 0, 10.0)
DISK = LinkSpec("deb2", "dio", "/dev/sdb", "", 0, 19, 10.0)
REGISTRY, BUSYBOX = (
    ServiceSpec(name, "/x", "deb1", "deb2", "/y") for name in ("registry", "busybox")
)


def heartbeat(mode: AuthMode | None = None, cluster: str = "") -> Options:
    """Options of [heartbeat] only."""
    return Options(HeartbeatOptions(mode, cluster))


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", Options()),
        ("# nothing\n[heartbeat]\n[node]\n[timing]\n[scripts]\n[policy]\n", Options()),
        (
            "[heartbeat]\nauthentication = enforced\ncluster = paris-1\n",
            heartbeat(AuthMode.ENFORCED, "paris-1"),
        ),
        ("[heartbeat]\r\nauthentication = off # for now\r\n", heartbeat(AuthMode.OFF)),
        ("[heartbeat]\nauthentication = 'permissive'", heartbeat(AuthMode.PERMISSIVE)),
        ("[node]\nrealtime = yes\n", Options(realtime=True)),
        ("[connectivity]\n", Options()),
        (
            "[connectivity]\nping = 192.0.2.1, fe80::1%eth1 192.0.2.1\nevery = 0.2\n",
            Options(
                connectivity=ConnectivityOptions(
                    ConnectivityPolicy(("192.0.2.1", "fe80::1%eth1"), 0.2), ("192.0.2.1",)
                )
            ),
        ),
        ("[timing]\nfence_time = 30\n", Options(timing=TimingOptions(Profile.TUTORIAL, 30.0))),
        (
            "[timing]\nprofile = fast\nfence_time = 0.75\n",
            Options(timing=TimingOptions(Profile.FAST, 0.75)),
        ),
    ],
)
def test_options_are_read(text: str, options: Options) -> None:
    """What is there is taken, what is not has its default."""
    assert parse_options(text, "openha.conf") == options


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("authentication = off\n", 1, "before any"),
        ("heartbeat = legacy\n", 1, "before any"),
        (
            "\n[heartbeats]\n",
            2,
            (
                r"unknown section \[heartbeats\] \(known: \[heartbeat\], \[node\], \[timing\],"
                r" .*\[policy\]\)"
            ),
        ),
        (
            "[heartbeat]\n\nauthentification = enforced\n",
            3,
            (
                r"unknown option 'authentification' \(known in \[heartbeat\]: authentication,"
                r" cluster, wire\)"
            ),
        ),
        (
            "[heartbeat]\nauthentication = on\n",
            2,
            "expected one of off, permissive, enforced; found 'on'",
        ),
        ("[heartbeat]\nauthentication =\n", 2, "found ''"),
        (
            "[heartbeat]\nauthentication = off, enforced\n",
            2,
            "expected one value; found off, enforced",
        ),
        ("[heartbeat]\ncluster = a b\n", 2, "found 'a b'"),
        ("[heartbeat]\nwire = C\n", 2, "wire: expected one of own, legacy; found 'C'"),
        (
            "[heartbeat]\n[[net x:y]]\n# old\nwire =\n",
            4,
            "wire: expected one of own, legacy; found ''",
        ),
        ("[heartbeat]\n[[net x:y]]\nwire = own\n[[net x:z]]\nwire = C\n", 5, "found 'C'"),
        (
            "[heartbeat]\n[[net x:y]]\npeer_address = deb2\n",
            3,
            "peer_address: expected an IPv4 or IPv6 address; found 'deb2'",
        ),
        (
            "[heartbeat]\n[[net x:y]]\npeer_adress = 10.0.0.1\n",
            3,
            r"known in \[net x:y\]: wire, peer_address",
        ),
        (
            "[heartbeat]\n[[net x:y]]\n[[[wire]]]\n",
            3,
            r"unknown section \[\[\[wire\]\]\] \(there is none in \[net x:y\]\)",
        ),
        ("[heartbeat]\n[[wire]]\n", 2, "wire: expected one value; found a section"),
        ("[node]\nrealtime = maybe\n", 2, "expected one of yes, no; found 'maybe'"),
        ("[node]\n[[deb1]]\n", 2, r"unknown section \[\[deb1\]\]"),
        (
            "[timing]\nprofile = quick\n",
            2,
            "expected one of tutorial, balanced, fast; found 'quick'",
        ),
        (
            "[timing]\nprofile = fast\n",
            2,
            "fence_time = SECONDS, at most 2, or write profile = balanced or tutorial",
        ),
        ("[timing]\nfence_time = 2.5\nprofile = fast\n", 2, "fences within 2 s; found 2.5"),
        ("[timing]\nfence_time = 0\n", 2, "expected seconds, above 0 and at most 86400; found '0'"),
        ("[timing]\nfence_time = 1e9\n", 2, "found '1e9'"),
        ("[scripts]\nstart_timeout = soon\n", 2, "start_timeout: expected seconds"),
        (
            "[scripts]\nparallel = 0\n",
            2,
            "parallel: expected a whole number from 1 to 1000; found '0'",
        ),
        ("[scripts]\nparallel = 1.5\n", 2, "found '1.5'"),
        (
            "[scripts]\n[[registry]]\nparallel = 2\n",
            3,
            r"known in \[registry\]: start_timeout, stop_timeout",
        ),
        (
            "[policy]\non_dual_run = kill\n",
            2,
            "expected one of report, stop-secondary, stop-youngest; found 'kill'",
        ),
        (
            "[policy]\n[[registry]]\n\non_start_failure = retry\n",
            4,
            "expected one of stay, hand-over; found 'retry'",
        ),
        ("[policy]\nfailback = always\n", 2, "expected no, yes, or after and a time"),
        ("[policy]\nfailback = after\n", 2, "expected no, yes, or after and a time"),
        ("[policy]\nfailback = after 0\n", 2, "expected after a time from 1 s to 86400 s"),
        ("[policy]\nfailback = after 25h\n", 2, "expected after a time from 1 s to 86400 s"),
        ("[policy]\n[[registry]]\nfailback = after 1.5\n", 3, "such as after 300 or after 5m"),
        ("[heartbeat]\ncluster = a\ncluster = b\n", 3, "(?i)duplicate"),
        ("[heartbeat]\n[heartbeat]\n", 2, "(?i)duplicate"),
        ("[heartbeat\n", 1, "openha"),
        ("[connectivity]\nevery = 1\n", 1, "no ping: name the addresses that this node asks"),
        ("[connectivity]\nping = gateway\n", 2, "IPv4 or IPv6 address; found 'gateway'"),
        ("[connectivity]\nping = 127.0.0.2\n", 2, "127.0.0.2 is this node itself"),
        ("[connectivity]\nping = ff02::1\n", 2, "ff02::1 is not the address of one machine"),
        ("[connectivity]\nping = 255.255.255.255\n", 2, "is not the address of one machine"),
        ("[connectivity]\nping = 1.1.1.1\nevery = 0.1\n", 3, "at least 0.2 seconds; found 0.1"),
        ("[connectivity]\nping = 1.1.1.1\nevery = 61\n", 3, "at most 60 seconds; found 61"),
        ("[connectivity]\nping = 1.1.1.1\ninterface = eth0 eth1\n", 3, "network interface"),
        (f"[connectivity]\nping = {' 1.1.1.1' * 9}\n", 2, "at most 8 addresses; found 9"),
        ("[peer_link]\nallow = order\n", 2, "found 'order': did you mean orders"),
        ("[peer_link]\nallow = none, files\n", 2, "expected none, or one or more of"),
        ("[peer_link]\nallow = ,\n", 2, "expected none, or one or more of"),
        ("[peer_link]\nlisten = 10.50.1.1, node2\n", 2, "IPv4 or IPv6 address; found 'node2'"),
        ("[peer_link]\nport = 65536\n", 2, "from 1 to 65535"),
    ],
)
def test_mistake_is_reported_with_its_line(text: str, line: int, words: str) -> None:
    """A ConfigError with file and line: nothing misspelt is passed over."""
    with pytest.raises(ConfigError, match=words) as caught:
        parse_options(text, "openha.conf")
    assert str(caught.value).startswith(f"openha.conf:{line}: ")


def test_sample_as_installed_changes_nothing() -> None:
    """All of it is commented out."""
    assert parse_options(SAMPLE, "F") == Options()


def test_sample_without_comment_signs_has_every_option_with_its_default() -> None:
    """Those without a default have a valid example."""
    options = parse_options(re.sub(r"(?m)^#(?=\[|\w+ = )", "", SAMPLE), "F")
    declared = {
        (schema.name, *inner, option.name)
        for schema in SECTIONS
        for inner, members in (
            ((), schema.options),
            ((schema.inner_example,), schema.inner_options),
            *(((part.name,), part.options) for part in schema.parts),
        )
        for option in members
    }
    headings = {name for schema in SECTIONS for name in (schema.name, schema.inner_example)}
    headings_of = {(name,) for name in headings} | {
        (schema.name, inner)
        for schema in SECTIONS
        for inner in (schema.inner_example, *(part.name for part in schema.parts))
    }
    assert {place for place in options.lines if place not in headings_of} == declared
    limits = ScriptLimits(START_LIMIT_S, STOP_LIMIT_S, CHECK_LIMIT_S, PROBE_LIMIT_S)
    assert options == Options(
        heartbeat=replace(options.heartbeat, wire=Options().heartbeat.wire),
        timing=TimingOptions(Profile.TUTORIAL, 0.8),
        fence_plan=options.fence_plan,
        scripts=ScriptOptions(limits, services={"registry": limits}),
        policy=PolicyOptions(POLICY, {"registry": POLICY}),
        connectivity=ConnectivityOptions(
            ConnectivityPolicy(("192.0.2.1", "192.0.2.2"), interface="eth0")
        ),
        peer_link=PeerLinkOptions(True, listen=("10.50.1.1",)),
    )
    assert options.fence_plan.levels == (("ipmi",), ("lease",))
    assert [(each.node, each.agent) for each in options.fence_plan.devices] == [
        ("deb1.opensvc.com", "fence_ipmilan")
    ]


@pytest.mark.parametrize(
    "text, correction",
    [
        ("[fence]\n", "did you mean \\[fencing\\]\\?"),
        ("[fencing]\nretrys = 3\n", "did you mean retry\\?"),
        ("[policy]\n[[a]]\non_dual_runs = report\n", "did you mean on_dual_run\\?"),
        ("[heartbeat]\nauthentication = enforce\n", "did you mean enforced\\?"),
    ],
)
def test_misspelt_name_is_corrected(text: str, correction: str) -> None:
    """Sections, options, those of one service, and words."""
    with pytest.raises(ConfigError, match=f": {correction}$"):
        parse_options(text, "F")


# services


def test_services_have_the_limits_and_policies_of_their_sections() -> None:
    """One service has a section of its own: it differs in what is written there, and is like all
    others in the rest.
    """
    text = """
    [scripts]
    start_timeout = 20
    status_timeout = 2.5
    parallel = 8
    [[registry]]
    stop_timeout = 7
    check_timeout = 3
    [policy]
    on_dual_run = stop-secondary
    [["registry"]]
    on_start_failure = hand-over
    """
    options = parse_options(text, "F")
    options.check_services((REGISTRY, BUSYBOX))
    registry, busybox = options.complete_services((REGISTRY, BUSYBOX))
    assert busybox.limits == ScriptLimits(start_s=20, probe_s=2.5)
    assert registry.limits == ScriptLimits(20, 7, 3, 2.5)
    assert busybox.policy == Policy(OnDualRun.STOP_SECONDARY, OnStartFailure.STAY)
    assert registry.policy == Policy(OnDualRun.STOP_SECONDARY, OnStartFailure.HAND_OVER)
    assert options.scripts.parallel == 8


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("no", None),
        ("yes", 60.0),
        ("after 90", 90.0),
        ("after 90s", 90.0),
        ("after 5m", 300.0),
        ("after  2 h", 7200.0),
    ],
)
def test_failback_is_read_as_a_time(value: str, seconds: float | None) -> None:
    """One service may differ from all others, also where they go back."""
    text = f"[policy]\nfailback = after 10\n[[registry]]\nfailback = {value}\n"
    registry, busybox = parse_options(text, "F").complete_services((REGISTRY, BUSYBOX))
    assert registry.policy.failback_after_s == seconds
    assert busybox.policy.failback_after_s == 10.0


@pytest.mark.parametrize("section", ["scripts", "policy"])
def test_section_of_a_service_that_is_not_there_is_refused(section: str) -> None:
    """A misspelled name would silently do nothing: the line and the services are reported."""
    options = parse_options(f"[{section}]\n[[registy]]\n", "F")
    with pytest.raises(
        ConfigError,
        match=r"F:2: \[\[registy\]\] is no service .*\(busybox, registry\): correct or remove",
    ):
        options.check_services((REGISTRY, BUSYBOX))


# links


def test_every_link_speaks_our_own_format_by_default() -> None:
    """No section, and an empty one."""
    for text in ("", "[heartbeat]\n"):
        link = parse_options(text, "F").complete_link(NET)
        assert (link.wire, link.peer_address) == (Wire.OWN, "")


def test_cluster_and_single_links_have_their_wire() -> None:
    """legacy for all, own for one, an address for another.

    Comments and quotes as configobj has them.
    """
    text = """
    # while one node is a C OpenHA
    [heartbeat]
    wire = legacy
    [[net eth1:239.131.50.12]]
    peer_address = 10.11.1.2   # deb2
    [["dio /dev/sdb:19"]]
    wire = own
    """
    options = parse_options(text, "F")
    done = [
        options.complete_link(link) for link in (NET, DISK, replace(NET, address="239.131.50.13"))
    ]
    assert [(link.wire, link.peer_address) for link in done] == [
        (Wire.LEGACY, "10.11.1.2"),
        (Wire.OWN, ""),
        (Wire.LEGACY, ""),
    ]
    assert options.heartbeat.has_legacy


def test_section_of_a_link_that_is_not_there_is_refused() -> None:
    """A misspelled link would silently speak the wrong format."""
    options = parse_options("[heartbeat]\n[[net eth1:239.131.50.99]]\nwire = legacy\n", "F")
    message = (
        r"F:2: \[\[net eth1:239.131.50.99\]\] is no link of the monitor file: net"
        r" eth1:239.131.50.12"
    )
    with pytest.raises(ConfigError, match=message):
        options.check_links((NET,))


@pytest.mark.parametrize(
    "text, link, message",
    [
        (
            "[heartbeat]\nwire = legacy\n",
            replace(NET, address="ff15::5010"),
            "F:2: .*wire = legacy knows IPv4 addresses only",
        ),
        (
            "[heartbeat]\nwire = legacy\n[[dio /dev/sdb:19]]\npeer_address = 10.0.0.1\n",
            DISK,
            "F:4: .*is for network links",
        ),
        (
            "[heartbeat]\n[[net eth1:239.131.50.12]]\nwire = legacy\npeer_address = fe80::1\n",
            NET,
            "F:4: .*IPv4 addresses only",
        ),
    ],
)
def test_option_that_does_not_fit_its_link_is_refused(
    text: str, link: LinkSpec, message: str
) -> None:
    """IPv6 in a field of 15 characters, an address on a disk, an IPv6 source of a format that has
    none.
    """
    with pytest.raises(ConfigError, match=message):
        parse_options(text, "F").complete_link(link)


def test_disk_slots_of_the_original_need_19_blocks() -> None:
    """0 and 18 overlap with wire = legacy, 0 and 19 do not.

    A slot of ours before one of the original needs its own 10.
    """
    legacy = parse_options("[heartbeat]\nwire = legacy\n", "F").complete_link
    mixed = parse_options(
        "[heartbeat]\nwire = legacy\n[[dio /dev/sdb:0]]\nwire = own\n", "F"
    ).complete_link

    def offsets(second: int) -> str:
        return f"deb1 dio /dev/sdb 0 10\ndeb2 dio /dev/sdb {second} 10\n"

    nodes = ("deb1", "deb2")
    with pytest.raises(ConfigError, match=r"at least 19 blocks apart \(wire = legacy\)"):
        parse_monitor(offsets(18), "M", nodes, complete=legacy)
    assert len(parse_monitor(offsets(19), "M", nodes, complete=legacy)) == 2
    assert len(parse_monitor(offsets(10), "M", nodes, complete=mixed)) == 2


def test_fast_profile_with_a_fence_plan_needs_no_declared_time() -> None:
    """The plan is measured; a time that is declared must be short all the same."""
    plan = "[fencing]\nlevels = own\n" + "".join(
        f"[[own {node}]]\nagent = callout\ncmd = /opt/cut\n" for node in ("deb1", "deb2")
    )
    options = parse_options(f"[timing]\nprofile = fast\n{plan}", "openha.conf")
    assert (options.timing.profile, options.timing.fence_time_s) == (Profile.FAST, None)
    with pytest.raises(ConfigError, match="found 3"):
        parse_options(f"[timing]\nprofile = fast\nfence_time = 3\n{plan}", "openha.conf")


@pytest.mark.parametrize(
    ("text", "allow"),
    [
        ("", {Allowed.ORDERS, Allowed.FILES}),
        ("allow = orders, files", {Allowed.ORDERS, Allowed.FILES}),
        ("allow = orders", {Allowed.ORDERS}),
        ("allow = files", {Allowed.FILES}),
        ("allow = none", set()),
    ],
)
def test_peer_may_ask_for_what_is_allowed_and_nothing_else(text: str, allow: set[Allowed]) -> None:
    """Without the option both kinds; with it exactly those that it names."""
    assert parse_options(f"[peer_link]\n{text}\n", "F").peer_link.allow == allow
