"""The nodes and services files: the tutorial's, every kind of mistake, and edits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.conf_lines import add_line
from opensvc_openha.formats.nodes_file import check_node_name, is_same_node, parse_nodes
from opensvc_openha.formats.services_file import (
    change_check,
    check_service_name,
    format_service,
    parse_services,
    remove_service,
)

NODES = ("deb1.opensvc.com", "deb2.opensvc.com")
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
    """A nodes file that is not two distinct host names: the error reports where and what."""
    assert refusal(parse_nodes, text) == (line, message)


def test_longest_node_name_has_127_characters() -> None:
    """What the original's field holds beside its NUL."""
    check_node_name("b." * 63 + "b")


@pytest.mark.parametrize(
    "word, node, is_same",
    [
        ("deb1.opensvc.com", "deb1", True),
        ("deb1", "deb1.opensvc.com", True),
        ("DEB1", "deb1", True),
        ("deb1.opensvc.com", "deb1.example.com", False),
        ("deb1", "deb2.opensvc.com", False),
    ],
)
def test_either_name_of_a_node_may_lack_its_domain(word: str, node: str, is_same: bool) -> None:
    """Two different domains are two nodes."""
    assert is_same_node(word, node) is is_same


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
    st.sampled_from([parse_nodes, parse_services]),
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
