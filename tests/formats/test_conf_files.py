"""The nodes, monitor and services files: the tutorial's, every kind of mistake, and edits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensvc_openha.core.model import LinkKind, LinkSpec, ServiceSpec
from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.conf_lines import add_line
from opensvc_openha.formats.monitor_file import format_link, parse_monitor, remove_link
from opensvc_openha.formats.nodes_file import check_node_name, parse_nodes
from opensvc_openha.formats.services_file import (
    change_check,
    check_service_name,
    format_service,
    parse_services,
    remove_service,
)

NODES = ("deb1.opensvc.com", "deb2.opensvc.com")
MONITOR = (
    "deb1.opensvc.com\tnet\teth1\t239.131.50.10\t5010\t10\n"
    "deb1.opensvc.com\tnet\teth2\t239.131.50.11\t5011\t10\n"
    "deb2.opensvc.com\tnet\teth1\t239.131.50.12\t5012\t10\n"
    "deb2.opensvc.com\tnet\teth2\t239.131.50.13\t5013\t10\n"
    "deb1.opensvc.com\tdio\t/dev/mapper/disk.hb.0\t0\t10\n"
    "deb2.opensvc.com\tdio\t/dev/mapper/disk.hb.0\t10\t10\n"
)
REGISTRY = (
    "registry\t/etc/opensvc/registry.opensvc.com.cluster"
    "\tdeb1.opensvc.com\tdeb2.opensvc.com\t/bin/true"
)
A, B = NODES


def refusal(parse: Callable[..., Any], text: str, *args: Any) -> tuple[int | None, str]:
    """Line and message of the ConfigError that ``text`` must cause."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "F", *args)
    assert caught.value.path == "F"
    return caught.value.line, caught.value.message


def monitor_refusal(*lines: Any) -> tuple[int | None, str]:
    return refusal(parse_monitor, "\n".join(lines), NODES)


# nodes


def test_nodes_of_the_tutorial_are_read() -> None:
    """The tutorial's nodes file: both names, in order."""
    assert parse_nodes("deb1.opensvc.com\ndeb2.opensvc.com\n", "F") == NODES


def test_comments_blanks_cr_and_missing_newline_are_tolerated() -> None:
    """A file edited on another system with comments: the same two names."""
    assert (
        parse_nodes("# our nodes\r\n\r\n \tdeb1.opensvc.com \r\n\t# second\ndeb2.opensvc.com", "F")
        == NODES
    )


@pytest.mark.parametrize(
    "text, line, message",
    [
        ("", None, "a cluster has two nodes, one on each line; found 0"),
        ("a\n# b\n", None, "a cluster has two nodes, one on each line; found 1"),
        ("a\nb\n\nc\n", 4, "a cluster has two nodes; c is the third"),
        ("a\nA\n", 2, "node A is already on line 1"),
        ("a b\n", 1, "expected 1 column: node; found 2"),
        (
            "a\n../b\n",
            2,
            "'../b' is not a host name (letters, digits and hyphens, in labels separated by dots)",
        ),
        (
            "a\n-b\n",
            2,
            "'-b' is not a host name (letters, digits and hyphens, in labels separated by dots)",
        ),
        ("a\n" + "b." * 63 + "bb", 2, "node name is too long. 128 out of 127"),
        ("a\x00\nb\n", 1, "control character '\\x00' in 'a\\x00'"),
    ],
)
def test_wrong_nodes_file_is_refused_with_the_line(
    text: str, line: int | None, message: str
) -> None:
    """A nodes file that is not two distinct host names: the error says where and what."""
    assert refusal(parse_nodes, text) == (line, message)


def test_longest_node_name_has_127_characters() -> None:
    """What the original's field holds beside its NUL."""
    check_node_name("b." * 63 + "b")


# monitor


def test_monitor_of_the_tutorial_is_read_in_order() -> None:
    """The tutorial's monitor file: six links with all their columns and line numbers."""
    links = parse_monitor(MONITOR, "F", NODES)
    assert links[0] == LinkSpec(A, LinkKind.NET, "eth1", "239.131.50.10", 5010, 0, 10.0)
    assert links[5] == LinkSpec(B, LinkKind.DIO, "/dev/mapper/disk.hb.0", "", 0, 10, 10.0)
    assert [link.line for link in links] == [1, 2, 3, 4, 5, 6]


def test_links_are_written_as_they_were_read() -> None:
    """Every line of the tutorial's monitor file, formatted again: the same bytes."""
    assert (
        "".join(format_link(link) + "\n" for link in parse_monitor(MONITOR, "F", NODES)) == MONITOR
    )


def test_unicast_link_may_name_a_host() -> None:
    """A host name instead of an address: accepted, and the same in capitals is the same link."""
    line = f"{A} unicast eth1 deb2-hb.opensvc.com 80 10\n{B} unicast eth1 10.0.0.1 80 10\n"
    found, same = (
        parse_monitor(text, "F", NODES)[0] for text in (line, line.replace("deb2-hb", "DEB2-HB"))
    )
    assert found.address == "deb2-hb.opensvc.com"
    assert found.canonical_address == same.canonical_address
    assert format_link(found) == line.splitlines()[0].replace(" ", "\t")


def test_node_takes_the_spelling_of_the_nodes_file() -> None:
    """The monitor file says DEB1: the link belongs to deb1, spelled as the nodes file spells it."""
    assert parse_monitor(MONITOR.replace("deb1", "DEB1"), "F", NODES) == parse_monitor(
        MONITOR, "F", NODES
    )


@pytest.mark.parametrize(
    "line, message",
    [
        (
            f"{A} net eth1 239.1.1.1",
            "expected 6 columns: node net interface address port timeout; found 4",
        ),
        (f"{A} dio /dev/sdb 0 10 x", "expected 5 columns: node dio device offset timeout; found 6"),
        (
            f"{A} serial ttyS0 1 2 3",
            "expected a link type, one of net, unicast, disk, dio; found 'serial'",
        ),
        (A, "expected a link type, one of net, unicast, disk, dio; found nothing"),
        ("deb3 dio /dev/sdb 0 10", f"node deb3 is not one of the nodes file: {A}, {B}"),
        (
            f"{A} net eth1 10.0.0.1 5010 10",
            "a net link needs a multicast address (224.0.0.0/4 or ff00::/8); 10.0.0.1 is not one",
        ),
        (
            f"{A} net eth1 fe80::1 5010 10",
            "a net link needs a multicast address (224.0.0.0/4 or ff00::/8); fe80::1 is not one",
        ),
        (f"{A} net eth1 239.1.1 5010 10", "expected an IPv4 or IPv6 address; found '239.1.1'"),
        (
            f"{A} net eth1 ff02::1%eth1 5010 10",
            "write 'ff02::1%eth1' without %: the interface has its own column",
        ),
        (
            f"{A} net eth1/0 239.1.1.1 5010 10",
            "expected an interface name of at most 15 characters; found 'eth1/0'",
        ),
        (f"{A} net eth1 239.1.1.1 0 10", "expected a port 1-65535; found '0'"),
        (f"{A} net eth1 239.1.1.1 65536 10", "expected a port 1-65535; found '65536'"),
        (f"{A} net eth1 239.1.1.1 +80 10", "expected a port 1-65535; found '+80'"),
        (
            f"{A} unicast eth1 10.0.0.300 80 10",
            "expected an IPv4 or IPv6 address or a host name; found '10.0.0.300'",
        ),
        (
            f"{A} unicast eth1 deb2..org 80 10",
            "expected an IPv4 or IPv6 address or a host name; found 'deb2..org'",
        ),
        (
            f"{A} unicast eth1 239.1.1.1 80 10",
            "a unicast link needs the address of one node; 239.1.1.1 is not one",
        ),
        (
            f"{A} unicast eth1 0.0.0.0 80 10",
            "a unicast link needs the address of one node; 0.0.0.0 is not one",
        ),
        (
            f"{A} unicast eth1 255.255.255.255 80 10",
            "a unicast link needs the address of one node; 255.255.255.255 is not one",
        ),
        (f"{A} net eth1 deb2 80 10", "expected an IPv4 or IPv6 address; found 'deb2'"),
        (
            f"{A} net interface1234567 239.1.1.1 80 10",
            "expected an interface name of at most 15 characters; found 'interface1234567'",
        ),
        (f"{A} dio", "expected 5 columns: node dio device offset timeout; found 2"),
        (
            f"{A} dio /dev/sdb 0 86400.000001",
            "expected a timeout in seconds, above 0 and at most 86400; found '86400.000001'",
        ),
        (f"{A} dio sdb 0 10", "expected the absolute path of a device; found 'sdb'"),
        (
            f"{A} dio /dev/sdb -1 10",
            "expected an offset in blocks of 512 bytes, 0 or more; found '-1'",
        ),
        (
            f"{A} dio /dev/sdb 0 0",
            "expected a timeout in seconds, above 0 and at most 86400; found '0'",
        ),
        (
            f"{A} dio /dev/sdb 0 nan",
            "expected a timeout in seconds, above 0 and at most 86400; found 'nan'",
        ),
        (
            f"{A} dio /dev/sdb 0 1e3",
            "expected a timeout in seconds, above 0 and at most 86400; found '1e3'",
        ),
    ],
)
def test_wrong_monitor_line_is_refused_with_its_number(line: str, message: str) -> None:
    """One wrong line after a comment: the error has its number, what was found and what is
    expected.
    """
    assert monitor_refusal("# links", line) == (2, message)


@pytest.mark.parametrize(
    "first, second, name",
    [
        (
            f"{A} net eth1 239.1.1.1 5010 10",
            f"{A} net eth1 239.1.1.1 5010 3",
            f"{A} net eth1:239.1.1.1",
        ),
        (
            f"{A} unicast eth1 fd00::1 80 10",
            f"{A} unicast eth1 fd00:0::1 80 10",
            f"{A} unicast eth1:fd00:0::1",
        ),
        (f"{A} dio /dev/sdb 0 10", f"{A} dio //dev/sdb 0 10", f"{A} dio //dev/sdb:0"),
    ],
)
def test_same_link_twice_is_refused(first: str, second: str, name: str) -> None:
    """The same link on two lines, spelled differently: the second is refused and the first is
    named.
    """
    assert monitor_refusal(first, second) == (2, f"link {name} is already on line 1")


@pytest.mark.parametrize("first, second", [(0, 9), (9, 0), (10, 1), (0, 0), (5, 14)])
def test_overlapping_slots_are_refused_in_any_order(first: int, second: int) -> None:
    """Two slots less than 10 blocks apart, whichever line comes first: both lines and the spacing
    are named.
    """
    assert monitor_refusal(
        f"{A} dio /dev/sdb {first} 10", "", f"{B} disk /dev//sdb {second} 10"
    ) == (
        3,
        (
            f"offset {second} on /dev//sdb overlaps offset {first} of line 1: offsets on one device"
            " must be at least 10 blocks apart"
        ),
    )


def test_slots_side_by_side_or_on_two_devices_are_accepted() -> None:
    """Slots 10 blocks apart on one device, and equal offsets on two devices: no error."""
    text = (
        f"{A} dio /dev/sdb 10 5\n{B} dio /dev/sdb 0 5\n{A} dio /dev/sdc 0 5\n{B} dio /dev/sdc 20"
        " 0.5\n"
    )
    assert [link.offset for link in parse_monitor(text, "F", NODES)] == [10, 0, 0, 20]


@pytest.mark.parametrize("silent, speaking", [(A, B), (B, A)])
def test_node_without_a_sending_link_is_named(silent: str, speaking: str) -> None:
    """Only one node sends: the other could never be heard, so the file is refused.

    A file in the making is not.
    """
    text = f"{speaking} dio /dev/sdb 0 10\n"
    line, message = refusal(parse_monitor, text, NODES)
    assert line is None and message.startswith(f"node {silent} has no link to send on")
    assert len(parse_monitor(text, "F", NODES, need_both_ways=False)) == 1


@pytest.mark.parametrize("port", [1, 65535])
def test_longest_interface_name_and_the_outermost_ports_are_taken(port: int) -> None:
    """An interface of 15 characters; the first and the last port."""
    link, _ = parse_monitor(
        f"{A} net interface123456 239.1.1.1 {port} 10\n{B} dio /dev/sdb 0 86400\n", "F", NODES
    )
    assert (link.device, link.port) == ("interface123456", port)


@pytest.mark.parametrize("timeout", ["10", "0.5", "0.000001", "86400", "2.25"])
def test_timeout_is_printed_as_it_is_typed(timeout: str) -> None:
    """An integer or decimal timeout: it reads and prints as the operator typed it, 10 and not
    10.0.
    """
    line = f"{A}\tdio\t/dev/sdb\t0\t{timeout}"
    (link,) = parse_monitor(line, "F", NODES, need_both_ways=False)
    assert link.timeout_s == float(timeout)
    assert format_link(link) == line


def test_removing_a_link_keeps_everything_else() -> None:
    """A link is removed from a file with comments, a broken line and another timeout: only its line
    goes.
    """
    text = f"# ours\n{A} dio /dev/sdb 0 10\n\nbroken line here\n{B}\tdio /dev/sdb 10 10"
    spec = LinkSpec(A, LinkKind.DIO, "/dev/sdb", "", 0, 0, 3.0)
    assert remove_link(text, spec) == f"# ours\n\nbroken line here\n{B}\tdio /dev/sdb 10 10\n"
    absent = LinkSpec(A, LinkKind.DIO, "/dev/sdb", "", 0, 30, 3.0)
    assert remove_link(text, absent) == text


# services


def test_services_of_the_tutorial_are_read() -> None:
    """A line as `service -a` writes it, and one separated by spaces as the original's `service -r`
    leaves it.
    """
    text = REGISTRY + "\nbusybox /etc/b.cluster deb2.opensvc.com deb1.opensvc.com /bin/true\n"
    services = parse_services(text, "F")
    assert services[0] == ServiceSpec(
        "registry", "/etc/opensvc/registry.opensvc.com.cluster", A, B, "/bin/true"
    )
    assert [(svc.name, svc.primary, svc.line) for svc in services] == [
        ("registry", A, 1),
        ("busybox", B, 2),
    ]
    assert format_service(services[0]) == REGISTRY
    assert parse_services("# none yet\n", "F") == ()


@pytest.mark.parametrize(
    "line, message",
    [
        ("x /s a b", "expected 5 columns: name script primary secondary check; found 4"),
        ("x /s a b /c\x07", "control character '\\x07' in '/c\\x07'"),
        ("x s a b /c", "the script of service x must be an absolute path; found 's'"),
        ("x /s a b true", "the check script of service x must be an absolute path; found 'true'"),
        ("x /s a A /c", "primary and secondary node of service x are both a"),
        (
            "x /s a_b b /c",
            "'a_b' is not a host name (letters, digits and hyphens, in labels separated by dots)",
        ),
        ("y" * 64 + " /s a b /c", "service name is too long. 64 out of 63"),
        ("first /s a b /c", "service first is already on line 1"),
    ],
)
def test_wrong_services_line_is_refused_with_its_number(line: str, message: str) -> None:
    """One wrong line behind a good one: the error has its number and the reason."""
    assert refusal(parse_services, "first /s a b /c\n" + line) == (2, message)


NO_NAMES = [
    "",
    ".",
    "..",
    "../evil",
    "a/b",
    "a b",
    "-x",
    "_x",
    ".x",
    "caf\xe9",
    "a\n",
    "\xb2",
    "a\0",
    "\udcff",
]


@pytest.mark.parametrize("name", NO_NAMES)
def test_name_that_could_leave_its_directory_is_no_service_name(name: str) -> None:
    """A name that is no single plain file name: ValueError, never accepted."""
    with pytest.raises(ValueError):
        check_service_name(name)


@pytest.mark.parametrize("name", ["a", "0", "registry.opensvc.com", "A_b-c.9", "x" * 63])
def test_plain_name_is_a_service_name(name: str) -> None:
    """Letters, digits, dot, underscore, hyphen, up to 63: accepted."""
    check_service_name(name)


def test_removing_a_service_keeps_everything_else() -> None:
    """A service is removed, its line is malformed: that line goes, comments, blanks and CR line
    ends stay.
    """
    text = "# x\r\nx /s a\r\n\r\nxx /s a b /c\r\n"
    assert remove_service(text, "x") == "# x\r\n\r\nxx /s a b /c\r\n"
    assert remove_service("x /s a b /c", "x") == ""
    assert remove_service(text, "y") == text


def test_added_line_never_joins_the_last_one() -> None:
    """A line is added to a file without final newline: it stands alone."""
    assert add_line("a", "b") == "a\nb\n"
    assert add_line("", "b") == "b\n"


@given(
    st.text(),
    st.sampled_from(
        [parse_nodes, parse_services, lambda text, path: parse_monitor(text, path, NODES)]
    ),
)
def test_any_text_is_read_or_refused(text: str, parse: Callable[..., Any]) -> None:
    """Any text at all: values or a ConfigError, nothing else."""
    try:
        parse(text, "F")
    except ConfigError as error:
        assert str(error).startswith("F")


def test_daemons_own_log_keeps_its_name() -> None:
    """A service named nmond would share it."""
    with pytest.raises(ValueError, match="no service can be named nmond"):
        check_service_name("nmond")


def test_secondary_node_must_be_one_too() -> None:
    """A path in its place is refused with the line."""
    line, message = refusal(parse_services, "web /bin/true deb1 ../deb2 /bin/true\n")
    assert line == 1 and message.startswith("'../deb2' is not a host name")


def test_another_check_up_script_changes_its_own_line_only() -> None:
    """The other services, comments, and lines that cannot be understood stay as they are, to the
    byte.
    """
    other = "# web /bin/a\n\nmail  /bin/b deb1 deb2 /bin/true\nweb /bin/broken\n"
    text = other + "web /bin/a deb1  deb2 /bin/true"
    assert change_check(text, "web", "/bin/check") == other + "web\t/bin/a\tdeb1\tdeb2\t/bin/check"
    assert change_check(text, "db", "/bin/check") == text
