"""Service files: the tutorial's, scoping, and what is reported about wrong ones."""

from __future__ import annotations

from typing import Any

import pytest

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.service_file import ServiceFile, parse_service_text
from opensvc_openha.agent.resources.base import DriverContext
from opensvc_openha.agent.resources.registry import build_resources
from opensvc_openha.agent.resources.sync import Rsync
from opensvc_openha.agent.service.ordering import in_display_order, in_start_order, in_stop_order
from opensvc_openha.agent.values.action_log import ActionLog
from opensvc_openha.agent.values.cluster_client import ClusterView
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.demo.tutorial_files import BUSYBOX_ENV, REGISTRY_ENV
from opensvc_openha.errors import ConfigError, NotRunningError
from opensvc_openha.formats.layout import AgentLayout

NODE = "deb1.opensvc.com"


def parse(text: str, node: str = NODE) -> ServiceFile:
    return parse_service_text(text, "/etc/opensvc/a.env", "a", node)


def build(text: str, node: str = NODE) -> Any:
    def no_daemon() -> NodeStatus:
        raise NotRunningError("none")

    file = parse(text, node)
    log = ActionLog.silent()
    return build_resources(
        file, DriverContext("a", node, AgentLayout(), log, ClusterView(no_daemon), file)
    )


def test_registry_file_of_the_tutorial_gives_its_resources_and_labels() -> None:
    """The tutorial's registry file gives the tree of the tutorial: rids in order, with their
    labels.
    """
    shown = [(res.spec.rid, res.spec.label) for res in in_display_order(build(REGISTRY_ENV))]
    assert shown == [
        ("container#1", "de9a91835513"),
        ("vg#1", "vgregistry"),
        ("fs#1", "/dev/mapper/vgregistry-lvregistryroot@/opt/registry.opensvc.com"),
        ("fs#2", "/dev/mapper/vgregistry-lvdockerdata@/opt/registry.opensvc.com/dockerdata"),
        ("fs#3", "/dev/mapper/vgregistry-lvregistrydata@/opt/registry.opensvc.com/registrydata"),
        ("ip#1", "registry.opensvc.com@eth0"),
        ("sync#i0", "rsync svc config to drpnodes, nodes"),
    ]


def test_busybox_file_of_the_tutorial_keeps_subsets_and_order() -> None:
    """The tutorial's busybox file: seven containers in three subsets.

    Subset sections are no resources.
    """
    resources = build(BUSYBOX_ENV)
    containers = [
        res.spec for res in in_display_order(resources) if res.spec.rid.startswith("container")
    ]
    assert [spec.rid for spec in containers] == [f"container#{number}" for number in range(1, 8)]
    assert [spec.subset for spec in containers] == ["00database"] + ["01appservers"] * 4 + [
        "02webservers"
    ] * 2
    assert not [res for res in resources if res.spec.rid.startswith("subset")]


def test_start_goes_ip_disk_fs_container_and_stop_the_other_way() -> None:
    """Groups start as in the agent, and stop in the exact reverse."""
    started = [res.spec.rid for res in in_start_order(build(REGISTRY_ENV))]
    assert started == ["ip#1", "vg#1", "fs#1", "fs#2", "fs#3", "container#1"]
    assert [res.spec.rid for res in in_stop_order(build(REGISTRY_ENV))] == started[::-1]


def test_file_systems_start_by_mount_point_and_not_by_number() -> None:
    """A nested file system with the lower number is mounted after the one that holds it."""
    text = (
        "[fs#1]\ntype = ext4\ndev = /dev/b\nmnt = /srv/a/b\n[fs#2]\ntype = ext4\ndev = /dev/a\nmnt"
        " = /srv/a\n"
    )
    assert [res.spec.rid for res in in_start_order(build(text))] == ["fs#2", "fs#1"]


def test_bind_mount_of_a_file_system_of_the_service_starts_after_it_whatever_its_name() -> None:
    """/b shows a directory of what is mounted on /srv/t, and an image lies on it: both start after
    it and stop before it.
    """
    text = (
        "[fs#1]\ntype = bind\ndev = /srv/t/inner\nmnt = /b\n"
        "[fs#2]\ntype = ext4\ndev = /srv/t/image\nmnt = /a\n"
        "[fs#3]\ntype = directory\npath = /srv/t/inner/d\n"
        "[fs#4]\ntype = ext4\ndev = /dev/x\nmnt = /srv/t/inner/\n"
        "[fs#5]\ntype = ext4\ndev = /dev/y\nmnt = /srv/t\n"
    )
    assert [res.spec.rid for res in in_start_order(build(text))] == [
        "fs#5",
        "fs#2",
        "fs#4",
        "fs#1",
        "fs#3",
    ]
    assert [res.spec.rid for res in in_stop_order(build(text))] == [
        "fs#3",
        "fs#1",
        "fs#4",
        "fs#2",
        "fs#5",
    ]


def test_file_systems_that_hold_each_other_still_have_an_order() -> None:
    """Nonsense, and two on one mount point: by number, without end."""
    text = (
        "[fs#1]\ntype = bind\ndev = /b/x\nmnt = /a\n[fs#2]\ntype = bind\ndev = /a/x\nmnt = /b\n"
        "[fs#3]\ntype = tmpfs\ndev = x\nmnt = /c\n[fs#4]\ntype = tmpfs\ndev = x\nmnt = /c\n"
    )
    assert [res.spec.rid for res in in_start_order(build(text))] == ["fs#3", "fs#4", "fs#1", "fs#2"]


def test_app_numbers_give_the_order_of_start_and_stop() -> None:
    """Start numbers and stop numbers both count upwards, whatever the section number."""
    text = (
        "[app#1]\nscript = /a\nstart = 20\nstop = 10\n"
        "[app#2]\nscript = /b\nstart = 10\nstop = 20\n"
        "[app#3]\nstart = /c start\nstop = /c stop\n"
    )
    assert [res.spec.rid for res in in_start_order(build(text))] == ["app#2", "app#1", "app#3"]
    assert [res.spec.rid for res in in_stop_order(build(text))] == ["app#1", "app#2", "app#3"]


@pytest.mark.parametrize(
    "node, expected",
    [
        ("deb1.opensvc.com", "eth1"),
        ("deb2.opensvc.com", "eth2"),
        ("drp1", "eth3"),
        ("elsewhere", "eth4"),
    ],
)
def test_scoped_keyword_the_most_specific_spelling_wins(node: str, expected: str) -> None:
    """ipdev@node beats ipdev@nodes and ipdev@drpnodes, which beat ipdev."""
    text = (
        "[DEFAULT]\nnodes = deb1.opensvc.com deb2.opensvc.com\ndrpnodes = drp1\n[ip#1]\nipdev ="
        " eth4\nipdev@nodes = eth2\nipdev@drpnodes = eth3\nipdev@deb1.opensvc.com = eth1\nipname"
        " = x\n"
    )
    assert parse(text, node).sections[0].text("ipdev") == expected


@pytest.mark.parametrize("node", ["deb1", "deb1.opensvc.com"])
@pytest.mark.parametrize("word", ["deb1", "deb1.opensvc.com", "DEB1"])
def test_node_is_meant_with_and_without_its_domain(node: str, word: str) -> None:
    """A short name in the file or on the machine: nodes, scopes, and lists of nodes mean it all the
    same.
    """
    text = (
        f"[DEFAULT]\nnodes = {word} deb2\nautostart_node = {word}\n[ip#1]\nipdev@{word} ="
        f" eth1\nipdev = eth0\nipname = 127.0.0.9\ndisable_on = {word}\nalways_on = {word}\n"
    )
    file = parse(text, node)
    assert (file.nodes, file.sections[0].text("ipdev")) == ((node, "deb2"), "eth1")
    spec = build(text, node)[0].spec
    assert spec.is_disabled and spec.is_always_on
    assert not build(text, "deb2.opensvc.com")[0].spec.is_disabled
    assert parse(text.replace(word, "deb1.elsewhere"), "deb1.opensvc.com").nodes == (
        "deb1.elsewhere",
        "deb2",
    )


def test_exact_name_of_a_node_wins_over_its_short_one() -> None:
    """Both spellings of one keyword, in both orders: the full one counts."""
    lines = ["ipdev@deb1 = eth1\n", "ipdev@deb1.opensvc.com = eth2\n"]
    for ordered in (lines, lines[::-1]):
        file = parse("[ip#1]\nipname = x\n" + "".join(ordered), "deb1.opensvc.com")
        assert file.sections[0].text("ipdev") == "eth2"


@pytest.mark.parametrize(
    "word, is_set",
    [("T", True), ("y", True), ("ON", True), ("N", False), ("f", False), ("None", False)],
)
def test_yes_and_no_may_be_short(word: str, is_set: bool) -> None:
    """The words that agents understand."""
    assert (
        build(f"[ip#1]\nipdev = e\nipname = x\noptional = {word}\n")[0].spec.is_optional is is_set
    )


@pytest.mark.parametrize(
    "word, seconds", [("90", 90), ("90s", 90), ("1.5 m", 90), ("2H", 7200), ("1d", 86400)]
)
def test_duration_may_have_a_unit(word: str, seconds: int) -> None:
    """Seconds where there is none."""
    assert parse(f"[app#1]\ntimeout = {word}\n").sections[0].value(schema.APP_TIMEOUT) == seconds


def test_resource_of_a_guest_is_left_to_the_guest() -> None:
    """tags = encap: what the agent within the container looks after is no resource here, even if it
    is not complete here.
    """
    text = (
        "[ip#1]\nipname@encapnodes = 10.0.0.1\ntags = front encap\n[fs#1]\ntype = tmpfs\ndev ="
        " x\nmnt = /m\n"
    )
    assert [res.spec.rid for res in build(text)] == ["fs#1"]


def test_keyword_of_default_is_inherited_and_the_section_wins() -> None:
    """ipdev in DEFAULT serves every section that has none of its own, even against a scoped
    default.
    """
    text = (
        "[DEFAULT]\nnodes = deb1.opensvc.com\nipdev@nodes = eth0\n[ip#1]\nipname ="
        " x\n[ip#2]\nipname = y\nipdev = eth9\n"
    )
    assert [section.text("ipdev") for section in parse(text).sections] == ["eth0", "eth9"]


def test_value_with_quotes_and_hash_is_kept_as_written() -> None:
    """As in the agent, '#' within a value and quotes are part of it; ';' starts a comment line."""
    text = '; a comment\n[container#1]\nrun_args = -e A="b c" --color=#fff, -v x:y\n'
    assert parse(text).sections[0].text("run_args") == '-e A="b c" --color=#fff, -v x:y'


@pytest.mark.parametrize(
    "text, line, message",
    [
        ("[ip#1]\nipdev = eth0\n", 1, "[ip#1] ipname is missing"),
        (
            "[DEFAULT]\n\n[fs#1]\ntype = ext4\ndev = /dev/a\nmnt = srv\n",
            6,
            "[fs#1] mnt is 'srv', expected an absolute path",
        ),
        (
            "[ip#1]\nipdev = e\nipname = x\nnetmask = 255.0.255.0\n",
            4,
            "expected a prefix length or a dotted netmask",
        ),
        (
            "[ip#1]\nipdev = e\nipname = x\noptional = maybe\n",
            4,
            "optional is 'maybe', expected true or false",
        ),
        (
            "[app#1]\nscript = /a\nstart = 1\ntimeout = soon\n",
            4,
            "timeout is 'soon', expected a number of seconds",
        ),
        ("[app#1]\nstart = 10\n", 2, "script is missing"),
        ("[hb#0]\nname = x\n", 1, "[hb#0] type is missing"),
        ("[sf#1]\ndev = x\n", 1, "[sf#1] is no known kind of resource"),
        ("[DEFAULT]\nnodes = a\n[ip#1]\nipdev = a\nipdev = b\n", 5, "duplicate keyword"),
        ("[ip#1]\nx = 1\n[ip#1]\n", 3, "duplicate section"),
        ("[ip#1\nx = 1\n", 1, "expected [section]"),
        ("[DEFAULT]\nwhat is this\n", 2, "expected [section]"),
    ],
)
def test_wrong_service_file_is_refused_with_line_section_and_expectation(
    text: str, line: int, message: str
) -> None:
    """Every mistake is a ConfigError that names the file and line and reports what is expected."""
    with pytest.raises(ConfigError) as caught:
        build(text)
    assert str(caught.value).startswith(f"/etc/opensvc/a.env:{line}: ")
    assert message.lower() in str(caught.value).lower()


def test_wrong_value_in_default_is_reported_where_it_stands() -> None:
    """A value inherited from DEFAULT is wrong: the line is that of DEFAULT."""
    with pytest.raises(ConfigError, match=r"a\.env:2: \[ip#1\] disable"):
        build("[DEFAULT]\ndisable = perhaps\n[ip#1]\nipdev = e\nipname = x\n")


def test_wrong_schedule_keeps_no_service_down() -> None:
    """Inherited by a sync, which is then never due; the service does not depend on it."""
    text = "[DEFAULT]\nsync_interval = often\n[sync#1]\nsrc = /s\ndst = /d\n"
    resource = build(text)[0]
    assert isinstance(resource, Rsync)
    assert "'04:00-06:00@often' is no time of the day" in resource.schedule_problem


def test_difference_of_the_implicit_sync_needs_no_source() -> None:
    """[sync#i0] changes an option of what is there anyway; words of other syncs mean nothing."""
    text = "[DEFAULT]\nnodes = deb1.opensvc.com b\n[sync#i0]\nsync_max_delay = 5\ndst = nowhere\n"
    assert [resource.spec.rid for resource in build(text)] == ["sync#i0"]


def test_kind_the_agent_cannot_run_is_built_and_reports_it() -> None:
    """Kinds that only real agents run parse, and give the reason why they cannot be started."""
    text = "[container#1]\ntype = lxc\n" + "".join(
        f"[{group}#1]\ntype = any\n" for group in ("drbd", "pool")
    )
    for resource in build(text):
        assert resource.status().log == (resource.why_unhandled(),)
        assert "not handled by the embedded agent yet" in resource.why_unhandled()


def test_disable_on_a_node_counts_there_only() -> None:
    """disable_on names nodes: the flag is set on these and not on the other."""
    text = "[ip#1]\nipdev = e\nipname = x\ndisable_on = deb1.opensvc.com\n"
    assert build(text)[0].spec.is_disabled
    assert not build(text, "deb2.opensvc.com")[0].spec.is_disabled


@pytest.mark.parametrize(
    "text",
    [
        "[DEFAULT]\r\nnodes = deb1\r\n[app#1]\r\nstart = /x\r\n",
        "\t[default]\t\n\tNodes\t=\tdeb1\n\n\t[ APP#1 ]  # the one\n\t; why\n\t\tSTART\t= /x\n",
        "[DEFAULT]\nnodes: deb1\n[app #1]\nstart:/x\n",
        "[DEFAULT]\nnodes =\n   deb1\n[app# 1]\nstart =\n    # which\n    /x\n",
    ],
)
def test_file_as_operators_write_it_is_read(text: str) -> None:
    """CRLF, tabs, indented keywords, capitals, colons, blanks in headers, values in the next line:
    all the same service.
    """
    file = parse(text)
    assert file.nodes == ("deb1.opensvc.com",)
    assert [
        (section.name, section.text("start"), section.lines["start"]) for section in file.sections
    ] == [
        (
            "app#1",
            "/x",
            1 + next(n for n, line in enumerate(text.split("\n")) if "start" in line.lower()),
        )
    ]


def test_value_continues_in_lines_that_are_further_in() -> None:
    """As with agents; a backslash at the end is what shells need.

    An indented keyword is one, not the rest of a value.
    """
    text = "[container#1]\nrun_args = -v /a:/a \\\n    -p 5000:5000\n   -e A=b\n  run_image = x\n"
    section = parse(text).sections[0]
    assert (section.text("run_args"), section.text("run_image")) == (
        "-v /a:/a -p 5000:5000 -e A=b",
        "x",
    )


def test_other_ends_of_lines_are_part_of_a_value() -> None:
    """A form feed, or the line separator that some editors leave, ends no line: the lines are
    counted as editors do.
    """
    file = parse("[app#1]\nstart = /a\u2028b\x0cc\ncheck = /d\n")
    assert (file.sections[0].text("start"), file.sections[0].lines["check"]) == (
        "/a\u2028b\x0cc",
        3,
    )


def test_section_without_a_number_is_a_resource() -> None:
    """Agents take [ip] for a resource with that name; it comes before those with numbers."""
    text = (
        "[ip#0]\nipname = x\nipdev = lo\n[ip]\nipname = y\nipdev = lo\n[fs]\ntype = tmpfs\ndev ="
        " x\nmnt = /x\n"
    )
    text += "[app]\nscript = /x\nstart = 1\n"
    assert [res.spec.rid for res in in_start_order(build(text))] == ["ip", "ip#0", "fs", "app"]
    assert [res.spec.rid for res in in_display_order(build(text))] == ["fs", "ip", "ip#0", "app"]
