"""Which parts of the configuration are compared, and when a difference is news."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opensvc_openha.core.actions import Record, RecordKind
from opensvc_openha.core.beat import Beat, BootId
from opensvc_openha.core.configuration_marks import ConfigurationDifferences, marks_of
from opensvc_openha.core.facts import Facts
from opensvc_openha.core.model import (
    ClusterSpec,
    FencePath,
    FencingPolicy,
    FrozenStorage,
    LinkSpec,
    OnDualRun,
    OnStartFailure,
    PathKind,
    Policy,
    Profile,
    ServiceSpec,
    Wire,
)
from opensvc_openha.core.peer_view import PeerView

NET = LinkSpec("deb1", "net", "eth1", "239.131.50.10", 5010, 0, 10.0)
DISK = LinkSpec("deb2", "dio", "/dev/hb", "", 0, 10, 12.5)
WEB = ServiceSpec("web", "/web", "deb1", "deb2", "/true")
DB = ServiceSpec("db", "/db", "deb2", "deb1", "/true")
SPEC = ClusterSpec("deb1", "deb2", (NET, DISK), (WEB, DB))
OTHER = ServiceSpec("other", "/other", "deb3", "deb4", "/true")
LOOSE = replace(WEB, policy=replace(Policy(), on_start_failure=list(OnStartFailure)[1]))
DUAL = replace(WEB, policy=replace(Policy(), on_dual_run=list(OnDualRun)[1]))
ABOUT = {
    "nodes": "the nodes file",
    "links": "the monitor file: links, and their timeouts and addresses",
    "roles": "the services file: which node is primary and which secondary for a service",
    "policies": "openha.conf: the policies of services",
    "profile": "openha.conf: the time profile",
}
NAMES = list(ABOUT)


def differing(spec: ClusterSpec, other: ClusterSpec) -> list[str]:
    """The parts whose marks differ."""
    return [
        name for name, own, its in zip(NAMES, marks_of(spec), marks_of(other), strict=True)
        if own != its
    ]  # fmt: skip


@pytest.mark.parametrize(
    "other, parts",
    [
        (replace(SPEC, links=(DISK, NET), services=(DB, WEB)), []),
        (replace(SPEC, node="deb2", peer="deb1"), []),
        (replace(SPEC, peer="deb3"), ["nodes"]),
        (replace(SPEC, links=(NET,)), ["links"]),
        (replace(SPEC, links=(replace(NET, node="deb2"), DISK)), ["links"]),
        (replace(SPEC, links=(replace(NET, timeout_s=11.0), DISK)), ["links"]),
        (replace(SPEC, links=(replace(NET, wire=Wire.LEGACY), DISK)), ["links"]),
        (replace(SPEC, links=(replace(NET, port=5011), DISK)), ["links"]),
        (replace(SPEC, links=(replace(NET, device="eth2"), DISK)), []),
        (replace(SPEC, services=(WEB, DB, OTHER)), []),
        (replace(SPEC, services=(WEB,)), ["roles", "policies"]),
        (
            replace(SPEC, services=(replace(WEB, primary="deb2", secondary="deb1"), DB)),
            ["roles"],
        ),
        (replace(SPEC, services=(LOOSE, DB)), ["policies"]),
        (replace(SPEC, services=(DUAL, DB)), ["policies"]),
        (replace(SPEC, services=(replace(WEB, script="/x", check="/y"), DB)), []),
        (replace(SPEC, profile=Profile.FAST), ["profile"]),
    ],
)
def test_marks_differ_where_the_nodes_must_not(other: ClusterSpec, parts: list[str]) -> None:
    """Neither the order of lines, nor which node reads them, nor what may differ."""
    assert differing(SPEC, other) == parts


def test_marks_are_short_and_the_same_everywhere() -> None:
    """Beats have room for them, and daemons of two versions compare them."""
    assert [mark.hex() for mark in marks_of(SPEC)] == [
        "87fbaabc",
        "7db93c04",
        "734fc63a",
        "fe71d6d2",
        "8ca1e6eb",
    ]


def view_of(marks: tuple[bytes, ...] | None, is_heard: bool = True) -> PeerView:
    """The peer, which sends these marks in its facts; or no facts at all."""
    view = PeerView(BootId(1, 1))
    facts = None if marks is None else Facts(marks=marks)
    view.take(Beat("deb2", BootId(1, 2), 1, None, {}, facts=facts), 100.0)
    view.judge(is_heard, None if is_heard else 90.0, 100.0)
    return view


def changed(*parts: str) -> tuple[bytes, ...]:
    """The peer's marks, with those of some parts changed."""
    return tuple(
        b"else" if name in parts else mark for name, mark in zip(NAMES, marks_of(SPEC), strict=True)
    )


def news(*parts: str) -> Record:
    about = "; ".join(ABOUT[name] for name in parts)
    text = f"deb1 and deb2 are configured differently: {about}"
    return Record(RecordKind.NODE, "deb1", "", "CONFIGURATION DIFFERS", text, is_alarm=True)


AGREES = Record(
    RecordKind.NODE, "deb1", "", "CONFIGURATION AGREES",
    "configuration of deb1 and deb2 is the same again",
)  # fmt: skip


@pytest.mark.parametrize("part", NAMES)
def test_difference_is_news_once_and_a_warning_until_it_is_gone(part: str) -> None:
    """Which part, and in which file."""
    found = ConfigurationDifferences(SPEC)
    assert found.update(view_of(changed()), True) == [] and found.warnings() == ()
    assert found.update(view_of(changed(part)), True) == [news(part)]
    assert found.update(view_of(changed(part)), True) == []
    assert found.warnings() == (news(part).reason,)
    assert found.update(view_of(changed()), True) == [AGREES] and found.warnings() == ()


def test_several_differences_are_one_entry() -> None:
    """One that is gone is another one."""
    found = ConfigurationDifferences(SPEC)
    assert found.update(view_of(changed("links", "profile")), True) == [news("links", "profile")]
    assert found.update(view_of(changed("profile")), True) == [news("profile")]


@pytest.mark.parametrize("part", NAMES)
def test_parts_of_services_are_compared_where_both_have_the_same(part: str) -> None:
    """Another service on one node is a difference of its own."""
    found = ConfigurationDifferences(SPEC)
    is_of_services = part in ("roles", "policies")
    expected = [] if is_of_services else [news(part)]
    assert found.update(view_of(changed(part)), has_same_services=False) == expected


@pytest.mark.parametrize(
    "view",
    [view_of(changed(), is_heard=False), view_of(None), view_of(())],
    ids=["not heard", "no facts", "no marks"],
)
def test_peer_that_sends_nothing_to_compare_changes_nothing(view: PeerView) -> None:
    """The difference that was known stays a warning."""
    found = ConfigurationDifferences(SPEC)
    found.update(view_of(changed("links")), True)
    assert found.update(view, True) == [] and found.warnings() == (news("links").reason,)


def test_marks_of_another_version_are_compared_as_far_as_both_have_them() -> None:
    """It appends its own, or has fewer."""
    found = ConfigurationDifferences(SPEC)
    assert found.update(view_of((*changed(), b"new!")), True) == []
    assert found.update(view_of(changed("profile")[:4]), True) == []
    assert found.update(view_of(changed("links")[:4]), True) == [news("links")]


def test_edited_configuration_is_compared_from_then_on() -> None:
    """By its own marks."""
    found = ConfigurationDifferences(SPEC)
    edited = replace(SPEC, profile=Profile.FAST)
    found.reconfigure(edited)
    assert found.marks == marks_of(edited)
    assert found.update(view_of(changed()), True) == [news("profile")]


GIVEN = replace(WEB, policy=Policy(frozen_storage=FrozenStorage.GIVE_UP))
BARE = replace(GIVEN, check="/bin/true")
PLAN = FencingPolicy(levels=((FencePath("ipmi", PathKind.POWER, 16.0),),))


def given(*services: ServiceSpec, fencing: FencingPolicy = FencingPolicy()) -> ClusterSpec:
    """A node that may fall silent on purpose."""
    return replace(SPEC, services=services, fencing=fencing)


def test_node_that_may_fall_silent_marks_what_proves_it_out() -> None:
    """One such service is enough; the other marks are as ever."""
    marks = marks_of(given(GIVEN, DB))
    assert len(marks) == 6 and marks[:5] == marks_of(SPEC)
    assert marks == marks_of(given(DB, GIVEN))
    assert marks[5] != marks_of(given(BARE, DB))[5]
    # A plan proves the peer out for all of them.
    planned = {marks_of(given(each, DB, fencing=PLAN)) for each in (GIVEN, BARE)}
    assert planned == {marks}


@pytest.mark.parametrize(
    "own, theirs, why",
    [
        (given(GIVEN, DB), marks_of(given(GIVEN, DB)), ""),
        (given(GIVEN, DB), (*marks_of(given(GIVEN, DB)), b"more"), ""),
        (given(GIVEN, DB), marks_of(given(BARE, DB)), "proves this node out for other services"),
        (given(GIVEN, DB), None, "does not report for which"),
        (given(GIVEN, DB), (), "does not report for which"),
        (given(GIVEN, DB), marks_of(SPEC), "does not report for which"),
        (SPEC, marks_of(given(GIVEN, DB)), "does not report for which"),
    ],
)
def test_node_is_silent_only_beside_a_peer_that_proves_as_much(
    own: ClusterSpec, theirs: tuple[bytes, ...] | None, why: str
) -> None:
    """Another one would start second copies."""
    found = ConfigurationDifferences(own).why_not_silent(view_of(theirs))
    assert (why in found and found.startswith("deb2 ")) if why else found == ""


def test_what_is_fenced_is_compared_where_both_have_the_same_services() -> None:
    """As roles and policies are."""
    view = view_of((*changed(), b"else"))
    for has_same_services in (False, True):
        found = ConfigurationDifferences(given(GIVEN, DB))
        assert bool(found.update(view, has_same_services)) is has_same_services


@pytest.mark.parametrize(
    "theirs, why",
    [
        (marks_of(SPEC), ""),
        (marks_of(SPEC)[:4], ""),
        (changed("links", "profile"), ""),
        (changed("policies"), "deb1 and deb2 do not have the same policies of services"),
        (changed("roles"), "deb1 and deb2 do not have the same primaries of services"),
        (marks_of(SPEC)[:3], "deb2 does not report its policies of services"),
        (None, "deb2 does not report its policies of services"),
    ],
)
def test_policies_of_services_are_compared_for_what_both_decide_by(
    theirs: tuple[bytes, ...] | None, why: str
) -> None:
    """As far as the peer reports them."""
    found = ConfigurationDifferences(SPEC).why_policies_differ(view_of(theirs))
    assert found.startswith(why) and bool(found) is bool(why)
