"""The monitor file: the tutorial's, every kind of mistake, and edits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensvc_openha.core.model import LinkSpec
from opensvc_openha.errors import ConfigError
from opensvc_openha.links import row
from opensvc_openha.links.monitor_file import format_link, parse_monitor, remove_link

A, B = NODES = ("deb1.opensvc.com", "deb2.opensvc.com")
MONITOR = (
    "deb1.opensvc.com\tnet\teth1\t239.131.50.10\t5010\t10\n"
    "deb1.opensvc.com\tnet\teth2\t239.131.50.11\t5011\t10\n"
    "deb2.opensvc.com\tnet\teth1\t239.131.50.12\t5012\t10\n"
    "deb2.opensvc.com\tnet\teth2\t239.131.50.13\t5013\t10\n"
    "deb1.opensvc.com\tdio\t/dev/mapper/disk.hb.0\t0\t10\n"
    "deb2.opensvc.com\tdio\t/dev/mapper/disk.hb.0\t10\t10\n"
)


def refusal(text: str) -> tuple[int | None, str]:
    """Line and message of the ConfigError that ``text`` must cause."""
    with pytest.raises(ConfigError) as caught:
        parse_monitor(text, "F", NODES)
    assert caught.value.path == "F"
    return caught.value.line, caught.value.message


def test_monitor_of_the_tutorial_is_read_in_order() -> None:
    """The tutorial's monitor file: six links with all their columns and line numbers."""
    links = parse_monitor(MONITOR, "F", NODES)
    assert links[0] == LinkSpec(A, "net", "eth1", "239.131.50.10", 5010, 0, 10.0)
    assert links[5] == LinkSpec(B, "dio", "/dev/mapper/disk.hb.0", "", 0, 10, 10.0)
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
    """The monitor file states DEB1: the link belongs to deb1, spelled as the nodes file spells
    it.
    """
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
    assert refusal(f"# links\n{line}") == (2, message)


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
    assert refusal(f"{first}\n{second}") == (2, f"link {name} is already on line 1")


@pytest.mark.parametrize("first, second", [(0, 9), (9, 0), (10, 1), (0, 0), (5, 14)])
def test_overlapping_slots_are_refused_in_any_order(first: int, second: int) -> None:
    """Two slots less than 10 blocks apart, whichever line comes first: both lines and the spacing
    are named.
    """
    assert refusal(f"{A} dio /dev/sdb {first} 10\n\n{B} disk /dev//sdb {second} 10") == (
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
    line, message = refusal(text)
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
    spec = LinkSpec(A, "dio", "/dev/sdb", "", 0, 0, 3.0)
    assert remove_link(text, spec) == f"# ours\n\nbroken line here\n{B}\tdio /dev/sdb 10 10\n"
    absent = LinkSpec(A, "dio", "/dev/sdb", "", 0, 30, 3.0)
    assert remove_link(text, absent) == text


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """Any text at all: links or a ConfigError, nothing else."""
    try:
        parse_monitor(text, "F", NODES)
    except ConfigError as error:
        assert str(error).startswith("F")


def test_each_column_of_a_row_has_its_place() -> None:
    """By its name in messages."""
    words = {"interface": "eth1", "address": "10.0.0.1", "port": "5010"}
    words |= {"device": "/dev/hb", "offset": "7"}

    def in_order(columns: tuple[str, ...]) -> list[str]:
        return [words[name] for name in columns]

    network = row.network_place(in_order(row.NETWORK_COLUMNS), row.ip_address_or_name)
    assert network == row.Place("eth1", "10.0.0.1", 5010)
    assert row.disk_place(in_order(row.DISK_COLUMNS)) == row.Place("/dev/hb", offset=7)
