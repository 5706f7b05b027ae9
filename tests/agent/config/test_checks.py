"""Sections against the schema: kind, type, values and names."""

from __future__ import annotations

import pytest

from opensvc_openha.agent.config.checks import (
    has_free_names,
    keywords_of,
    type_of,
    unknown_names,
    wrong_in_resource,
)
from opensvc_openha.agent.config.service_file import Section, parse_service_text
from opensvc_openha.errors import ConfigError


def section_of(text: str) -> Section:
    return parse_service_text(text, "F", "svc", "deb1").sections[0]


def test_all_that_is_missing_and_wrong_is_found() -> None:
    """Not the first mistake alone: each with its line, that of the header for what is missing."""
    section = section_of("[ip#1]\nnetmask = wide\noptional = maybe\n")
    assert [str(error) for error in wrong_in_resource(section)] == [
        "F:1: [ip#1] ipname is missing, expected a text",
        "F:1: [ip#1] ipdev is missing, expected a text",
        (
            "F:2: [ip#1] netmask is 'wide', expected a prefix length or a dotted netmask"
            " (24, 255.255.255.0, 0xffffff00)"
        ),
        "F:3: [ip#1] optional is 'maybe', expected true or false",
    ]


def test_a_schedule_that_is_wrong_keeps_no_service_down() -> None:
    section = section_of("[sync#1]\nsrc = /a\ndst = /b\ntarget = nodes\nsync_interval = often\n")
    assert not list(wrong_in_resource(section))


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[fs#1]\ntype = zfs\noptional = maybe\n", []),
        ("[sync#i0]\ntimeout = often\noptional = maybe\n", ["timeout", "optional"]),
    ],
)
def test_section_that_is_shown_or_a_part_needs_only_what_it_may_hold(
    text: str, wrong: list[str]
) -> None:
    """The keywords of what is shown are not known; the service's own sync needs no src."""
    found = [str(error).split()[2] for error in wrong_in_resource(section_of(text))]
    assert found == wrong


def test_each_alias_that_is_set_is_checked_under_its_own_name() -> None:
    """The first one counts, but the other one must not be nonsense either."""
    section = section_of("[fs#1]\ntype = directory\npath = /a\nmnt = b\n")
    assert [str(error) for error in wrong_in_resource(section)] == [
        "F:4: [fs#1] mnt is 'b', expected an absolute path"
    ]


@pytest.mark.parametrize(
    "text, type_",
    [
        ("[ip#1]\ntype = any\n", ""),
        ("[fs#1]\ntype = EXT4\n", "ext4"),
        ("[stonith#1]\ntype = Fence_Redfish\n", "fence_*"),
        ("[stonith#1]\ntype = ilo\n", "ilo"),
        ("[sync#1]\nsrc = /a\n", "rsync"),
        ("[fs#1]\ntype = zfs\n", None),
        ("[drbd#1]\nres = r\n", None),
    ],
)
def test_type_is_that_of_the_schema(text: str, type_: str | None) -> None:
    """In any case, by default where there is one; None for what is only shown."""
    section = section_of(text)
    assert type_of(section) == type_
    assert (keywords_of(section) is None) is (type_ is None)


@pytest.mark.parametrize(
    "text, message",
    [
        ("[hb#0]\nname = x\n", "F:1: [hb#0] type is missing, expected one of openha"),
        (
            "[hb#0]\ntype = 'openha'\n",
            "F:2: [hb#0] type is \"'openha'\", expected one of openha, without quotes",
        ),
        ("[web#1]\ntype = x\n", "F:1: [web#1] is no known kind of resource, expected one of app,"),
    ],
)
def test_unknown_kind_or_type_is_an_error_with_the_known_ones(text: str, message: str) -> None:
    """With its line."""
    with pytest.raises(ConfigError) as caught:
        type_of(section_of(text))
    assert str(caught.value).startswith(message)


def test_unknown_name_comes_with_the_closest_or_with_those_that_have_an_effect() -> None:
    """Neither keywords of all resources nor ones that are ignored are proposed in a list."""
    section = section_of("[loop#1]\nfil = /a\nabcdefgh = 1\nsize = 5g\nbase = x\n")
    found = unknown_names(section, keywords_of(section) or (), ["base"])
    assert [str(error) for error in found] == [
        "F:3: [loop#1] abcdefgh is no keyword of [loop#1], expected one of file",
        "F:2: [loop#1] fil is no keyword of [loop#1], did you mean file?",
    ]


@pytest.mark.parametrize("word", ["fence_*", "fence_", "fence_two words", "fence_a-b", "*", ""])
def test_type_of_a_fence_agent_is_its_name(word: str) -> None:
    """The word of the schema for all of them is none, nor is what no program is called."""
    with pytest.raises(ConfigError, match=r"F:\d: \[stonith#1\] type is .*expected one of callout"):
        type_of(section_of(f"[stonith#1]\ntype = {word}\n"))
    assert type_of(section_of("[stonith#1]\ntype = Fence_IpmiLan\n")) == "fence_*"


@pytest.mark.parametrize(
    ("text", "is_free"),
    [
        ("[stonith#1]\ntype = fence_ipmilan\n", True),
        ("[stonith#1]\ntype = callout\n", False),
        ("[stonith#1]\ntype = ilo\n", False),
        ("[fs#1]\ntype = zfs\n", False),
        ("[app#1]\n", False),
        ("[disk#1]\n", False),
    ],
)
def test_options_of_a_fence_agent_alone_are_declared_elsewhere(text: str, is_free: bool) -> None:
    """A section that needs no type, or lacks one, has none of them."""
    assert has_free_names(section_of(text)) is is_free
