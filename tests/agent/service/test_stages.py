"""The order of resources: groups, kinds of disks, subsets, ranks; and what is parallel."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest

from opensvc_openha.agent.config.service_file import ServiceFile, parse_service_text
from opensvc_openha.agent.resources.base import NO_ACTION_TAG, Resource, ResourceSpec
from opensvc_openha.agent.service.ordering import (
    in_display_order,
    in_start_order,
    in_stop_order,
    parallel_subsets,
    start_stages,
    stop_stages,
    subset_names,
)
from opensvc_openha.agent.values.resource_status import Group


@dataclass(frozen=True)
class Part:
    """What an order is made of."""

    spec: ResourceSpec
    start_rank: tuple[int, str]
    stop_rank: tuple[int, str]

    def __repr__(self) -> str:
        return self.spec.rid


def part(
    rid: str, kind: str = "", subset: str = "", start: int = 0, stop: int = 0,
    tags: frozenset[str] = frozenset(), is_disabled: bool = False,
) -> Resource:  # fmt: skip
    group = Group(rid.partition("#")[0].replace("vg", "disk").replace("drbd", "disk"))
    spec = ResourceSpec(
        rid, group, kind or group.value, rid, subset, tags=tags, is_disabled=is_disabled
    )
    return Part(spec, (start, rid), (stop, rid))  # type: ignore[return-value]


def names(parts: list[Resource]) -> list[str]:
    return [each.spec.rid for each in parts]


def file(text: str = "") -> ServiceFile:
    return parse_service_text(f"[DEFAULT]\nnodes = deb1\n{text}", "a.env", "a", "deb1")


GROUPS = [part(f"{word}#1") for word in ("ip", "disk", "fs", "share", "container", "app")]


def test_groups_start_one_after_the_other_and_stop_the_other_way() -> None:
    """Syncs, heartbeats and fences take no part, nor does what is only shown."""
    others = [
        part("sync#1"), part("hb#0"), part("stonith#1"), part("app#2", is_disabled=True),
        part("app#3", tags=frozenset({NO_ACTION_TAG})),
    ]  # fmt: skip
    mixed = [*others, *reversed(GROUPS)]
    assert in_start_order(mixed) == GROUPS
    assert in_stop_order(mixed) == GROUPS[::-1]
    assert [stage.resources for stage in start_stages(mixed, file())] == [(g,) for g in GROUPS]
    assert [stage.resources for stage in stop_stages(mixed, file())] == [
        (g,) for g in reversed(GROUPS)
    ]


def test_disks_start_from_the_lowest_layer() -> None:
    """Reservation, loop, DRBD, pool, volume group; a raw device with the first of them."""
    kinds = ["disk.scsireserv", "disk.loop", "disk.drbd", "disk.zpool", "disk.vg"]
    disks = [part(f"disk#{9 - number}", kind) for number, kind in enumerate(kinds)]
    for order in itertools.permutations(disks):
        assert in_start_order(order) == disks and in_stop_order(order) == disks[::-1]
    raw = part("disk#0", "disk.raw")
    assert in_start_order([*disks, raw]) == [raw, *disks]


def test_subsets_come_by_name_behind_what_has_none_and_ranks_within_them() -> None:
    """A rank of the start is none of the stop."""
    parts = [
        part("app#1", subset="b", start=1, stop=1), part("app#2", subset="a", start=9, stop=1),
        part("app#3", start=5, stop=7), part("app#4", start=4, stop=8),
        part("app#5", subset="a", start=1, stop=5),
    ]  # fmt: skip
    assert names(in_start_order(parts)) == ["app#4", "app#3", "app#5", "app#2", "app#1"]
    assert names(in_stop_order(parts)) == ["app#1", "app#5", "app#2", "app#4", "app#3"]


def test_what_shares_group_kind_and_subset_is_one_stage() -> None:
    """Another of the three begins the next one."""
    parts = [
        part("disk#1", "disk.loop"), part("disk#2", "disk.loop"), part("disk#3", "disk.vg"),
        part("app#1"), part("app#2", subset="x"), part("app#3", subset="x"),
    ]  # fmt: skip
    stages = start_stages(parts, file())
    assert [names(list(stage.resources)) for stage in stages] == [
        ["disk#1", "disk#2"], ["disk#3"], ["app#1"], ["app#2", "app#3"],
    ]  # fmt: skip
    assert not any(stage.is_parallel for stage in stages)


@pytest.mark.parametrize("name", ["container.docker:x", "container:x", "docker:x"])
def test_subset_is_parallel_by_any_name_of_its_kind(name: str) -> None:
    """Type, group, or the word of the section; one resource alone is nothing to run in parallel."""
    found = file(f"[subset#{name}]\nparallel = true\n[subset#app:x]\nparallel = false\n")
    assert parallel_subsets(found) == {name}
    two = [
        Part(
            ResourceSpec(f"docker#{n}", Group.CONTAINER, "container.docker", "", subset), (n, ""),
            (n, ""),
        )
        for n, subset in enumerate(("x", "x", "", "y"))
    ]  # fmt: skip
    names = subset_names(two[0])  # type: ignore[arg-type]
    assert names == {"container.docker:x", "container:x", "docker:x"}
    assert subset_names(two[2]) == frozenset()  # type: ignore[arg-type]
    for stages in (start_stages(two, found), stop_stages(two, found)):  # type: ignore[arg-type]
        by_size = {len(stage.resources): stage.is_parallel for stage in stages}
        assert by_size == {1: False, 2: True}
    (lone,) = start_stages(two[:1], found)  # type: ignore[arg-type]
    assert not lone.is_parallel


def test_other_sections_make_nothing_parallel() -> None:
    """Only a subset's own word counts, and its default is one after the other."""
    text = "[subset#app:x]\n[app#1]\nscript = /x\nparallel = true\n"
    assert parallel_subsets(file(text)) == frozenset()


def test_stage_is_parallel_if_one_of_its_kinds_is() -> None:
    """Containers of two types in a subset of the same name."""
    parts = [
        part("container#1", "container.docker", "x"), part("container#2", "container.lxc", "x"),
    ]  # fmt: skip
    (stage,) = start_stages(parts, file("[subset#container.docker:x]\nparallel = true\n"))
    assert stage.is_parallel and len(stage.resources) == 2


def test_resources_are_shown_by_group_then_by_number() -> None:
    """Ten behind nine; what has no number first, a word last."""
    rids = ["container#2", "disk#1", "fs#1", "ip#9", "ip#10", "ip#x", "app#0", "sync#i0", "hb#0"]
    shown = [part(rid) for rid in rids]
    for step in (1, -1):
        assert names(in_display_order(shown[::step])) == rids
    bare = part("ip")
    assert names(in_display_order([part("ip#0"), bare])) == ["ip", "ip#0"]


def test_reservation_is_shown_behind_the_disk_that_it_is_of() -> None:
    """A word that ends like one is a word."""
    rids = ["disk#1", "disk#1pr", "disk#2", "disk#10pr", "disk#12", "disk#xpr"]
    shown = [part(rid) for rid in rids]
    for step in (1, -1):
        assert names(in_display_order(shown[::step])) == rids
