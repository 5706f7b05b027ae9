"""What becomes of the other parts of a service when one cannot be started, stopped or looked at:
all groups, in memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from opensvc_openha.agent.resources.base import ResourceSpec
from opensvc_openha.agent.service.loaded_service import Service, load_service
from opensvc_openha.agent.service.runner import (
    bring_back,
    refuse_unhandled,
    start_resources,
    stop_resources,
    trigger_commands,
)
from opensvc_openha.agent.values.action_log import open_log
from opensvc_openha.agent.values.cluster_client import ClusterView
from opensvc_openha.agent.values.resource_status import Group, ResourceStatus
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.errors import ActionError, InterruptedAction, SystemFault
from opensvc_openha.formats.layout import agent_layout
from tests.agent.embedded import Agent
from tests.agent.service.parts import ORDER, Part, words

UP, DOWN, WARN = ResourceStatus.UP, ResourceStatus.DOWN, ResourceStatus.WARN


@dataclass
class Bench:
    """A service whose parts are those of the test."""

    service: Service
    done: list[str] = field(default_factory=list)

    def parts(self, state: ResourceStatus = DOWN) -> dict[Group, Part]:
        """One of each group."""
        return {
            group: Part(ResourceSpec(f"{group.value}#1", group, group.value, ""), self.done, state)
            for group in ORDER
        }

    def start(self, parts: dict[Group, Part], **options: bool) -> None:
        start_resources(self.service, tuple(parts.values()), **options)

    def stop(self, parts: dict[Group, Part], **options: bool) -> None:
        stop_resources(self.service, tuple(parts.values()), **options)


def no_daemon() -> NodeStatus:
    """It is not asked."""
    raise AssertionError("the cluster was asked")


@pytest.fixture
def bench(agent: Agent) -> Iterator[Bench]:
    """The service a, whose file has nothing in it."""
    agent.write("a", "[DEFAULT]\n")
    layout = agent_layout("", os.environ)
    with open_log(layout.log_dir, "a") as log:
        yield Bench(load_service(layout, "a", log, ClusterView(no_daemon, is_installed=False)))


def test_groups_start_in_their_order_and_stop_in_the_reverse(bench: Bench) -> None:
    """Addresses first, applications last."""
    parts = bench.parts()
    bench.start(parts)
    assert bench.done == words("start", *ORDER)
    bench.done.clear()
    bench.stop(parts)
    assert bench.done == words("stop", *reversed(ORDER))


@pytest.mark.parametrize(
    "error", [ActionError("no"), SystemFault("no"), OSError("no"), InterruptedAction("no", 15)]
)
def test_start_that_fails_or_is_interrupted_takes_back_what_it_began(
    bench: Bench, error: BaseException
) -> None:
    """The file system cannot be mounted: it, disk and address are taken back, nothing above was
    begun, the error is raised.
    """
    parts = bench.parts()
    parts[Group.FS].fails["start"] = error
    with pytest.raises((ActionError, SystemFault, InterruptedAction), match="no"):
        bench.start(parts)
    assert bench.done == words("start", *ORDER[:3]) + words("back", *reversed(ORDER[:3]))


def test_start_that_fails_leaves_alone_what_was_up(bench: Bench) -> None:
    """Address and disk were up before: somebody else's doing."""
    parts = bench.parts()
    parts[Group.IP].state = parts[Group.DISK].state = UP
    parts[Group.FS].fails["start"] = ActionError("no")
    with pytest.raises(ActionError):
        bench.start(parts)
    assert [call for call in bench.done if call.endswith("back")] == words("back", Group.FS)


def test_part_that_cannot_be_looked_at_is_taken_back_too(bench: Bench) -> None:
    """Neither up nor down before: what the start did with it is undone."""
    parts = bench.parts()
    parts[Group.IP].state = WARN
    parts[Group.DISK].fails["start"] = ActionError("no")
    with pytest.raises(ActionError):
        bench.start(parts)
    assert words("back", Group.IP)[0] in bench.done


def test_start_without_rollback_leaves_all_as_it_is(bench: Bench) -> None:
    """--disable-rollback: for looking at what is left; it is an error all the same."""
    parts = bench.parts()
    parts[Group.FS].fails["start"] = ActionError("no")
    with pytest.raises(ActionError):
        bench.start(parts, has_rollback=False)
    assert bench.done == words("start", *ORDER[:3])


def test_rollback_that_fails_continues_and_the_first_error_is_raised(bench: Bench) -> None:
    """The file system cannot be unmounted either: the rest is taken back."""
    parts = bench.parts()
    parts[Group.SHARE].fails["start"] = ActionError("the first")
    parts[Group.FS].fails["back"] = ActionError("the second")
    with pytest.raises(ActionError, match="the first"):
        bench.start(parts)
    assert bench.done[-4:] == words("back", Group.SHARE, Group.FS, Group.DISK, Group.IP)


def test_standby_part_is_not_taken_back(bench: Bench) -> None:
    """What is always on here stays on."""
    parts = bench.parts()
    parts[Group.IP].spec = parts[Group.IP].spec._replace(is_always_on=True)
    parts[Group.DISK].fails["start"] = ActionError("no")
    with pytest.raises(ActionError):
        bench.start(parts)
    assert bench.done[-1:] == words("back", Group.DISK)


def test_optional_part_that_fails_ends_nothing(bench: Bench) -> None:
    """Its failure is a warning; an interruption is none."""
    parts = bench.parts()
    parts[Group.SHARE].spec = parts[Group.SHARE].spec._replace(is_optional=True)
    parts[Group.SHARE].fails = {"start": ActionError("no"), "stop": ActionError("no")}
    bench.start(parts)
    bench.stop(parts)
    assert bench.done == words("start", *ORDER) + words("stop", *reversed(ORDER))
    parts[Group.SHARE].fails = {"start": InterruptedAction("ended", 15)}
    with pytest.raises(InterruptedAction):
        bench.start(parts)


@pytest.mark.parametrize("group", ORDER[:-1])
def test_what_is_below_a_part_that_cannot_be_stopped_is_left_alone(
    bench: Bench, group: Group
) -> None:
    """No disk is taken away below a file system that is still mounted, and so on: the stop ends
    there with the error.
    """
    parts = bench.parts(UP)
    parts[group].fails["stop"] = ActionError("busy")
    with pytest.raises(ActionError, match="busy"):
        bench.stop(parts)
    stopped = list(reversed(ORDER))
    assert bench.done == words("stop", *stopped[: stopped.index(group) + 1])


def test_application_that_cannot_be_stopped_keeps_nothing_up_but_is_an_error(bench: Bench) -> None:
    """Its check still reports up: all else is stopped, and the stop fails in the end."""
    parts = bench.parts(UP)
    parts[Group.APP].fails["stop"] = ActionError("busy")
    with pytest.raises(ActionError, match="all was stopped, except for app#1: busy"):
        bench.stop(parts)
    assert bench.done == words("stop", *reversed(ORDER))


@pytest.mark.parametrize(
    "state, is_error", [(DOWN, False), (UP, True), (WARN, True), (ResourceStatus.NA, True)]
)
def test_stop_of_an_application_that_complains_is_believed_only_if_it_is_down(
    bench: Bench, state: ResourceStatus, is_error: bool
) -> None:
    """Its check decides; one that reports nothing is no proof."""
    parts = {Group.APP: bench.parts(state)[Group.APP]}
    parts[Group.APP].fails["stop"] = ActionError("complains")
    if is_error:
        with pytest.raises(ActionError, match="complains"):
            bench.stop(parts)
    else:
        bench.stop(parts)


def test_part_of_another_group_that_complains_is_never_believed_down(bench: Bench) -> None:
    """A file system whose unmount fails is in use, whatever its status."""
    parts = {Group.FS: bench.parts(DOWN)[Group.FS]}
    parts[Group.FS].fails["stop"] = ActionError("complains")
    with pytest.raises(ActionError, match="complains"):
        bench.stop(parts)


@pytest.mark.parametrize("is_forced", [True, False])
def test_standby_part_is_stopped_only_by_force(bench: Bench, is_forced: bool) -> None:
    """The rest is stopped in any case."""
    parts = bench.parts(UP)
    parts[Group.FS].spec = parts[Group.FS].spec._replace(is_always_on=True)
    bench.stop(parts, is_forced=is_forced)
    assert (words("stop", Group.FS)[0] in bench.done) is is_forced and len(
        bench.done
    ) == 5 + is_forced


def test_start_that_needs_what_cannot_be_handled_is_refused_before_anything_is_touched(
    bench: Bench,
) -> None:
    """With the reason; an optional one is left out, also at a stop."""
    parts = bench.parts()
    parts[Group.DISK].unhandled = "drbd is not handled"
    with pytest.raises(ActionError, match="start refused: disk#1: drbd is not handled"):
        bench.start(parts)
    assert bench.done == []
    with pytest.raises(ActionError):
        refuse_unhandled(tuple(parts.values()))
    parts[Group.DISK].spec = parts[Group.DISK].spec._replace(is_optional=True)
    bench.start(parts)
    bench.stop(parts)
    assert not [call for call in bench.done if call.startswith("disk#1")] and len(bench.done) == 10


@pytest.mark.parametrize(
    ("restarts", "fails", "expected"), [(2, True, False), (2, False, True), (0, False, False)]
)
def test_part_that_went_down_is_brought_back_as_often_as_it_may(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, restarts: int, fails: bool, expected: bool
) -> None:
    """Up is what a look reports, not that the start ended; between two tries there is a pause."""
    pauses: list[float] = []
    monkeypatch.setattr("opensvc_openha.agent.service.runner.pause", pauses.append)
    part = bench.parts()[Group.APP]
    part.spec = part.spec._replace(restarts=restarts)
    part.fails = {"start": ActionError("no")} if fails else {}
    assert bring_back(bench.service, part) is expected
    tries = restarts if fails else min(restarts, 1)
    assert bench.done == words("start", Group.APP) * tries and pauses == [1.0] * max(tries - 1, 0)


def test_part_whose_start_ends_but_which_is_not_up_is_not_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start script that exits with 0 and does nothing."""
    monkeypatch.setattr("opensvc_openha.agent.service.runner.pause", lambda seconds: None)
    part = bench.parts()[Group.APP]
    part.spec = part.spec._replace(restarts=3)

    def idle() -> None:
        bench.done.append("tried")

    part.start = idle  # type: ignore[method-assign]
    assert not bring_back(bench.service, part) and bench.done == ["tried"] * 3


def test_start_that_began_nothing_takes_nothing_back(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """All was up before, and the start of one part fails all the same."""
    parts = bench.parts(UP)
    parts[Group.IP].fails["start"] = ActionError("no")
    with pytest.raises(ActionError):
        bench.start(parts)
    assert bench.done == words("start", Group.IP)
    assert "rolling back" not in capsys.readouterr().err


def test_part_that_was_left_out_of_the_start_is_left_out_of_the_rollback(bench: Bench) -> None:
    """It is optional and cannot be handled: nothing was begun with it."""
    parts = bench.parts()
    parts[Group.DISK].unhandled = "drbd is not handled"
    parts[Group.DISK].spec = parts[Group.DISK].spec._replace(is_optional=True)
    parts[Group.FS].fails["start"] = ActionError("no")
    with pytest.raises(ActionError):
        bench.start(parts)
    assert bench.done[2:] == words("back", Group.FS, Group.IP)


def test_standby_part_stays_up_at_an_ordinary_stop(bench: Bench) -> None:
    """Force is not what a stop is without being asked."""
    parts = bench.parts(UP)
    parts[Group.FS].spec = parts[Group.FS].spec._replace(is_always_on=True)
    bench.stop(parts)
    assert len(bench.done) == 5 and words("stop", Group.FS)[0] not in bench.done


@pytest.mark.parametrize("is_named", [True, False])
def test_error_names_its_part_once(bench: Bench, is_named: bool) -> None:
    """Whether the part has said who it is or not."""
    parts = bench.parts()
    spec = parts[Group.IP].spec
    parts[Group.IP].fails["start"] = (
        spec.error(ActionError, "no") if is_named else ActionError("no")
    )
    with pytest.raises(ActionError) as caught:
        bench.start(parts)
    assert (str(caught.value), caught.value.rid) == ("ip#1: no", "ip#1")


def test_triggers_of_a_synchronisation_have_two_spellings() -> None:
    """As the action is called, and with the underscore that old files have; the first counts."""
    triggers = {"pre_sync_nodes": "1", "blocking_pre_syncnodes": "2", "post_syncnodes": "3"}
    spec = ResourceSpec("sync#1", Group.SYNC, "sync", "", triggers={**triggers, "pre_start": "0"})
    assert list(trigger_commands(spec, "syncnodes")) == [
        ("pre_syncnodes", "1"),
        ("blocking_pre_syncnodes", "2"),
        ("post_syncnodes", "3"),
    ]
