"""Formats of values: what fits, what it becomes, and what is reported of what does not fit."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensvc_openha.agent.config import value_types as types
from opensvc_openha.agent.config.value_types import ValueType

ALL_TYPES = [
    *(value for value in vars(types).values() if isinstance(value, ValueType)),
    types.choice("none", "crash"),
    types.server_path("nfs"),
]


@pytest.mark.parametrize(
    "type_, text, value",
    [
        *((types.FLAG, word, True) for word in ("true", "YES", "on", "1", "t", "y")),
        *((types.FLAG, word, False) for word in ("false", "No", "off", "0", "f", "n", "none")),
        (types.INTEGER, "007", 7),
        (types.COUNT, "1", 1),
        (types.INTEGER, "9" * 15, int("9" * 15)),
        (types.INTEGER, "0", 0),
        (types.SECONDS, "0.5", 0.5),
        (types.SECONDS, "1.5 m", 90.0),
        (types.SECONDS, "2s", 2.0),
        (types.SECONDS, "2", 2.0),
        (types.SECONDS, "2h", 7200.0),
        (types.SECONDS, "2d", 172800.0),
        (types.SECONDS, "999999.5", 999999.5),
        (types.INNER_PATH, "/srv//a/", "/srv/a"),
        (types.PATH, "/srv/a/", "/srv/a/"),
        (types.LIST, "a, b c", ("a", "b", "c")),
        (types.NODES, "deb1 deb2.opensvc.com", ("deb1", "deb2.opensvc.com")),
        (types.TARGETS, "nodes,drpnodes", ("nodes", "drpnodes")),
        (types.TARGETS, ",", ("nodes",)),
        (types.WORDS, "-e A='b c'", ("-e", "A=b c")),
        (types.PATHS, "/etc/a /b*", ("/etc/a", "/b*")),
        (types.DEVICE, "UUID=1-2", "UUID=1-2"),
        (types.OCTAL_MODE, "2755", 0o2755),
        (types.OCTAL_MODE, "0", 0),
        (types.OCTAL_MODE, "7777", 0o7777),
        (types.HOST, "web.opensvc.com", "web.opensvc.com"),
        (types.HOST, "fe80::1", "fe80::1"),
        (types.NETMASK, "255.255.255.0", 24),
        (types.NETMASK, "/24", 24),
        (types.NETMASK, "1", 1),
        (types.NETMASK, "128", 128),
        (types.NETMASK, "fff0::00", 12),
        (types.NETMASK, "0xffffff00", 24),
        (types.NETMASK, "ffff:ffff::", 32),
        (
            types.EXPORTS,
            "a(rw,,sync) \\ *(ro)",
            {"a": frozenset({"rw", "sync"}), "*": frozenset({"ro"})},
        ),
        (types.STEP, "10", 10),
        (types.STEP, "0", 0),
        (types.STEP, "99999", 99999),
        (types.STEP, "100000", "100000"),
        (types.STEP, "\u0663", "\u0663"),
        (types.STEP, "yes", types.NO_PLACE),
        (types.STEP, "off", None),
        (types.STEP, "/bin/x -d", "/bin/x -d"),
        (types.choice("none", "crash"), "Crash", "crash"),
    ],
)
def test_text_becomes_a_typed_value(type_: ValueType[Any], text: str, value: object) -> None:
    """Drivers read nothing else."""
    found = type_.read(text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "type_, text, problem",
    [
        (types.FLAG, "maybe", "is 'maybe', expected true or false"),
        (types.FLAG, '"yes"', "is '\"yes\"', expected true or false, without quotes"),
        (
            types.SECONDS,
            "5 # s",
            "is '5 # s', expected a number of seconds above 0: a comment needs a line of its own",
        ),
        (types.INTEGER, "9" * 5000, f"is '{'9' * 5000}', expected a whole number"),
        (types.INTEGER, "\u00b2", "is '\u00b2', expected a whole number"),
        (types.COUNT, "0", "is '0', expected a whole number from 1"),
        (types.INNER_PATH, "/", "is '/', expected an absolute path below /"),
        (types.PATHS, "/a b", "holds 'b', expected absolute paths"),
        (
            types.WORDS,
            "a 'b",
            "cannot be split into words (No closing quotation), expected matching quotes",
        ),
        (types.EXPORTS, "a", "holds 'a', expected client(options) client(options)"),
        (types.HOST, "10.0.0", "is '10.0.0', expected an IPv4 or IPv6 address, or a name"),
        (types.OCTAL_MODE, "888", "is '888', expected an octal mode such as 755"),
        (types.server_path("nfs"), "/a", "is '/a', expected server:/path for nfs"),
        (types.TEXT, "a\0b", r"is 'a\x00b', expected a text"),
    ],
)
def test_misfit_names_what_was_found_and_what_is_expected(
    type_: ValueType[Any], text: str, problem: str
) -> None:
    """The words that follow the name of the keyword."""
    with pytest.raises(types.Misfit) as caught:
        type_.read(text)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    "type_, text",
    [
        (types.INTEGER, "9" * 16),
        (types.INTEGER, "\u0663"),
        (types.SECONDS, "1000000"),
        (types.PATH, "/a\0b"),
        (types.PATH, "/a # b"),
        (types.NODES, "deb1;"),
        (types.NODES, "!"),
        (types.OCTAL_MODE, "10000"),
        (types.OCTAL_MODE, "-1"),
        (types.HOST, "fe80:::1"),
        *(
            (types.NETMASK, text)
            for text in ("0", "129", "0024", "+24", "\u0662\u0664", "0x0ffffff00")
        ),
        (types.NETMASK, "0.0.0.0"),
        (types.NETMASK, "255.0.255.0"),
    ],
)
def test_what_nearly_fits_is_refused(type_: ValueType[Any], text: str) -> None:
    with pytest.raises(types.Misfit):
        type_.read(text)


def test_types_in_which_a_comment_passes_and_those_that_are_run() -> None:
    made = {name: type_ for name, type_ in vars(types).items() if isinstance(type_, ValueType)}
    assert [name for name, type_ in made.items() if type_.is_free] == [
        "TEXT",
        "LIST",
        "WORDS",
        "PATHS",
        "DEVICE",
        "BOUND_PATH",
        "HOST",
        "EXPORTS",
    ]
    assert types.COUNT.read("1") == 1
    assert [name for name, type_ in made.items() if type_.is_command] == ["COMMAND", "STEP"]


def test_words_of_a_choice_are_read_in_any_case() -> None:
    made = types.choice("none", "raid1")
    assert (made.expected, made.pattern) == (
        "none or raid1",
        "^([Nn][Oo][Nn][Ee]|[Rr][Aa][Ii][Dd]1)$",
    )
    assert made.read("Raid1") == "raid1"


def test_path_on_a_server_has_a_colon_or_two_slashes_before_it() -> None:
    made = types.server_path("nfs")
    assert (made.expected, made.pattern, made.is_free) == (
        "server:/path for nfs",
        "(:/|^//)",
        True,
    )
    for text in ("server:/path", "//server/path"):
        assert made.read(text) == text
    with pytest.raises(types.Misfit):
        made.read("/path")


@pytest.mark.exhaustive
@pytest.mark.parametrize("type_", ALL_TYPES, ids=lambda type_: type_.expected)
@given(st.data())
def test_pattern_for_editors_refuses_nothing_that_fits(
    type_: ValueType[Any], data: st.DataObject
) -> None:
    """Texts of any kind, and such as the pattern itself would produce."""
    words = (
        *("true", "1", "24", "90s", "/srv/a", "nodes", "drpnodes", "none", "Crash", "755"),
        *("UUID=1", "s:/p", "255.255.0.0", "0xff000000", "*(rw)"),
    )
    blanks = st.text(" /,@", max_size=2)
    near = st.tuples(blanks, st.sampled_from(words), blanks).map("".join)
    texts = st.text(max_size=12) | near
    text = data.draw(texts)
    try:
        type_.read(text)
    except ValueError:
        return
    assert re.search(type_.pattern, text)
