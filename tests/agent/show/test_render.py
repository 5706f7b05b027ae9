"""How statuses merge, what the hb resource reports, and the lines that show it, compared with the
tutorial.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from opensvc_openha.agent.show.render import json_status, print_status_lines, svcmon_lines
from opensvc_openha.agent.values.cluster_client import ClusterView, finding_of_state
from opensvc_openha.agent.values.resource_status import (
    Group,
    ResourceReport,
    ResourceStatus,
    ServiceReport,
    merge,
)
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import NodeStatus, PeerStanding, ServiceStatus
from opensvc_openha.errors import NotAnsweringError, NotRunningError

UP, DOWN, WARN, NA = ResourceStatus.UP, ResourceStatus.DOWN, ResourceStatus.WARN, ResourceStatus.NA
SYNC_LABEL = "rsync svc config to drpnodes, nodes"

REGISTRY_UP = """\
registry.opensvc.com
overall                   up
|- avail                  up
|  |- container#1    .... up       e9828ec4620a@registry:latest
|  |- vg#1           .... up       vgregistry
|  |- fs#1           .... up       /dev/mapper/vgregistry-lvregistryroot@/opt/registry.opensvc.com
|  |- fs#2           .... up       /dev/mapper/vgregistry-lvdockerdata@/opt/registry.opensvc.com/dockerdata
|  |- fs#3           .... up       /dev/mapper/vgregistry-lvregistrydata@/opt/registry.opensvc.com/registrydata
|  '- ip#1           .... up       registry.opensvc.com@eth0
|- sync                   up
|  '- sync#i0        .... up       rsync svc config to drpnodes, nodes
'- hb                     up
   '- hb#0           .... up       hb.openha
"""  # noqa: E501 - the agent's output as it is on the screen.

REGISTRY_DOWN = """\
registry.opensvc.com
overall                   down
|- avail                  down
|  |- container#1    .... down     de9a91835513
|  |  |                            # docker daemon is not running
|  |- vg#1           .... down     vgregistry
|  |- fs#1           .... down     /dev/mapper/vgregistry-lvregistryroot@/opt/registry.opensvc.com
|  |- fs#2           .... down     /dev/mapper/vgregistry-lvdockerdata@/opt/registry.opensvc.com/dockerdata
|  |- fs#3           .... down     /dev/mapper/vgregistry-lvregistrydata@/opt/registry.opensvc.com/registrydata
|  '- ip#1           .... down     registry.opensvc.com@eth0
|- sync                   up
|  '- sync#i0        .... up       rsync svc config to drpnodes, nodes
'- hb                     n/a
"""  # noqa: E501 - the agent's output as it is on the screen.

# The agent's own output, trailing blanks marked by a final bar.
FROZEN_STOP = """\
registry.opensvc.com|
overall                   warn     |
|- avail                  down     |
|  |- container#1    .... down     de9a91835513|
|  |  |                            # docker daemon is not running|
|  |- fs#1           .... down     /shared/v14-f.img@/opt/registry.opensvc.com|
|  '- ip#1           .... down     registry.opensvc.com@eth0|
|- sync                   warn     |
|  '- sync#i0        .... warn     rsync svc config to drpnodes, nodes|
|                                  # passive node needs update|
'- hb                     warn     |
   '- hb#0           .... warn     hb.openha|
                                   # cluster service status is frozen_stop|
"""

TABLE = """\
service              service container container ip        disk       fs         share      app        hb        sync      avail      overall          |
name                 type    type      status    status    status     status     status     status     status    status    status     status     frozen|
-------              ------- --------- --------- ------    ------     ------     ------     ------     ------    ------    ------     -------    ------|
registry.opensvc.com DEV     hosted    up        up        up         up         n/a        n/a        up        up        up         up         False |
busybox.opensvc.com  DEV     hosted    down      down      down       down       n/a        n/a        warn      up        down       warn       True  |
"""  # noqa: E501 - the width of the agent's table


def registry(
    status: ResourceStatus,
    container: str,
    log: tuple[str, ...] = (),
    hb: ResourceStatus | None = None,
    sync: ResourceStatus = UP,
    sync_log: tuple[str, ...] = (),
    name: str = "registry.opensvc.com",
    is_frozen: bool = False,
) -> ServiceReport:
    lv = "/dev/mapper/vgregistry-lv"
    mnt = "/opt/registry.opensvc.com"
    resources = [
        ResourceReport("container#1", Group.CONTAINER, container, status, log),
        ResourceReport("vg#1", Group.DISK, "vgregistry", status),
        ResourceReport("fs#1", Group.FS, f"{lv}registryroot@{mnt}", status),
        ResourceReport("fs#2", Group.FS, f"{lv}dockerdata@{mnt}/dockerdata", status),
        ResourceReport("fs#3", Group.FS, f"{lv}registrydata@{mnt}/registrydata", status),
        ResourceReport("ip#1", Group.IP, "registry.opensvc.com@eth0", status),
        ResourceReport("sync#i0", Group.SYNC, SYNC_LABEL, sync, sync_log),
    ]
    if hb is not None:
        resources.append(ResourceReport("hb#0", Group.HB, "hb.openha", hb))
    return ServiceReport(name, "DEV", is_frozen, tuple(resources))


def without_trailing_blanks(lines: list[str]) -> str:
    return "".join(line.rstrip() + "\n" for line in lines)


def test_service_that_is_up_prints_the_tree_of_the_tutorial() -> None:
    """registry up under the cluster: the block of the tutorial, letter for letter."""
    report = registry(UP, "e9828ec4620a@registry:latest", hb=UP)
    assert without_trailing_blanks(print_status_lines(report)) == REGISTRY_UP


def test_service_that_is_down_without_hb_prints_the_tree_of_the_tutorial() -> None:
    """registry down before the cluster is set up: the block of the tutorial, with its log line and
    `hb n/a`.
    """
    report = registry(DOWN, "de9a91835513", log=("docker daemon is not running",))
    assert without_trailing_blanks(print_status_lines(report)) == REGISTRY_DOWN


def test_tree_keeps_the_trailing_blanks_of_the_agent() -> None:
    """A recorded tree of the 2014 agent is reproduced with its trailing blanks."""
    report = ServiceReport(
        "registry.opensvc.com",
        "DEV",
        False,
        (
            ResourceReport(
                "container#1",
                Group.CONTAINER,
                "de9a91835513",
                DOWN,
                ("docker daemon is not running",),
            ),
            ResourceReport("fs#1", Group.FS, "/shared/v14-f.img@/opt/registry.opensvc.com", DOWN),
            ResourceReport("ip#1", Group.IP, "registry.opensvc.com@eth0", DOWN),
            ResourceReport("sync#i0", Group.SYNC, SYNC_LABEL, WARN, ("passive node needs update",)),
            ResourceReport(
                "hb#0", Group.HB, "hb.openha", WARN, ("cluster service status is frozen_stop",)
            ),
        ),
    )
    assert "".join(f"{line}|\n" for line in print_status_lines(report)) == FROZEN_STOP


def test_table_is_that_of_the_tutorial() -> None:
    """Two services, one up and one frozen and down: header, columns and trailing blanks of the
    agent.
    """
    reports = [
        registry(UP, "x", hb=UP),
        registry(DOWN, "x", hb=WARN, name="busybox.opensvc.com", is_frozen=True),
    ]
    assert "".join(f"{line}|\n" for line in svcmon_lines(reports)) == TABLE


def test_flags_are_shown_in_their_places() -> None:
    """Monitored, disabled, optional and encap resources show M, D, O, E at their fixed place."""
    flags: list[dict[str, Any]] = [
        dict(is_monitored=True),
        dict(is_disabled=True),
        dict(is_optional=True),
        dict(is_encap=True),
        dict(is_monitored=True, is_optional=True),
    ]
    resources = tuple(
        ResourceReport(f"fs#{n}", Group.FS, "x", NA, **flag) for n, flag in enumerate(flags)
    )
    lines = print_status_lines(ServiceReport("a", "", False, resources))[3:8]
    assert [line[21:25] for line in lines] == ["M...", ".D..", "..O.", "...E", "M.O."]


def test_long_log_line_wraps_under_itself() -> None:
    """A log line too long for 78 columns continues below, at the same column."""
    reason = "container type docker is not handled by the embedded agent yet"
    report = ServiceReport("a", "", False, (ResourceReport("fs#1", Group.FS, "x", NA, (reason,)),))
    log = print_status_lines(report)[4:6]
    assert all(len(line) <= 78 and line.startswith("|      ") for line in log)
    assert " ".join(line[35:] for line in log) == f"# {reason}"


def test_json_has_the_words_of_the_agent() -> None:
    """json status: group statuses, merged statuses, and per resource the keys the agent gives."""
    found = json.loads(
        json_status(registry(DOWN, "x", log=("docker daemon is not running",), hb=WARN))
    )
    assert (found["avail"], found["hb"], found["overall"], found["sync"], found["app"]) == (
        "down",
        "warn",
        "warn",
        "up",
        "n/a",
    )
    assert found["resources"]["container#1"] == {
        "status": "down",
        "monitor": False,
        "label": "x",
        "disable": False,
        "encap": False,
        "optional": False,
        "log": "# docker daemon is not running\n",
    }


@pytest.mark.parametrize(
    "statuses, merged",
    [
        ([], NA),
        ([NA, NA], NA),
        ([UP, NA], UP),
        ([NA, DOWN], DOWN),
        ([UP, UP], UP),
        ([DOWN, DOWN], DOWN),
        ([UP, DOWN], WARN),
        ([UP, DOWN, UP], WARN),
        ([UP, WARN], WARN),
        ([WARN, DOWN], WARN),
        ([ResourceStatus.UNDEF, UP], UP),
    ],
)
def test_statuses_merge_as_in_the_agent(
    statuses: list[ResourceStatus], merged: ResourceStatus
) -> None:
    """The merge rules, in both orders."""
    assert merge(statuses) is merged
    assert merge(reversed(statuses)) is merged


@pytest.mark.parametrize(
    "avail, hb, sync, overall",
    [
        (UP, UP, UP, UP),
        (DOWN, DOWN, UP, DOWN),
        (UP, UP, NA, UP),
        (DOWN, UP, UP, WARN),
        (DOWN, WARN, UP, WARN),
        (UP, UP, DOWN, WARN),
        (UP, UP, WARN, WARN),
        (DOWN, None, UP, DOWN),
        (NA, NA, UP, NA),
    ],
)
def test_overall_is_avail_with_hb_and_sync(
    avail: ResourceStatus, hb: ResourceStatus | None, sync: ResourceStatus, overall: ResourceStatus
) -> None:
    """hb counts as it is, a sync that is up is neutral, any other sync is a warning."""
    report = registry(avail, "x", hb=hb, sync=sync)
    assert (report.avail, report.overall) == (avail, overall)


def test_optional_resource_does_not_count_in_avail() -> None:
    """An optional resource that is down leaves a service up."""
    optional = ResourceReport("fs#9", Group.FS, "x", DOWN, is_optional=True)
    report = ServiceReport("a", "", False, (ResourceReport("ip#1", Group.IP, "x", UP), optional))
    assert (report.avail, report.group_status(Group.FS)) == (UP, NA)


def node_status(state: ServiceState) -> NodeStatus:
    service = ServiceStatus(
        "registry", "deb1", "deb2", state or ServiceState.STOPPED, ServiceState.STOPPED, state, None
    )
    return NodeStatus("deb1", "deb2", 1, PeerStanding.LIVE, "", (), (service,))


@pytest.mark.parametrize("state", list(ServiceState))
def test_cluster_state_becomes_the_status_the_agent_shows(state: ServiceState) -> None:
    """STARTED up, STOPPED down, UNKNOWN undetermined, every other state a warning with its name in
    lower case.
    """
    finding = finding_of_state(state)
    expected = {
        ServiceState.STARTED: (UP, ()),
        ServiceState.STOPPED: (DOWN, ()),
        ServiceState.UNKNOWN: (WARN, ("unable to determine cluster service state",)),
    }.get(state, (WARN, (f"cluster service status is {state.name.lower()}",)))
    assert (finding.status, finding.log) == expected


def test_service_the_daemon_does_not_know_cannot_be_determined() -> None:
    """The name in the hb section is not a service of the cluster: a warning that reports it."""
    finding = ClusterView(lambda: node_status(ServiceState.STARTED)).hb_finding("other")
    assert (finding.status, finding.log) == (WARN, ("unable to determine cluster service state",))


@pytest.mark.parametrize(
    "error, message",
    [
        (NotRunningError("no"), "open-ha daemons are not running"),
        (NotAnsweringError("no"), "open-ha daemon does not answer"),
    ],
)
def test_daemon_that_gives_no_status_is_a_warning(
    error: NotAnsweringError | NotRunningError, message: str
) -> None:
    """No daemon, or one that hangs: each has its own words."""

    def fetch() -> NodeStatus:
        raise error

    finding = ClusterView(fetch).hb_finding("registry")
    assert (finding.status, finding.log) == (WARN, (message,))


def test_openha_that_is_not_installed_is_reported_without_asking() -> None:
    """Without an installation no daemon is asked."""

    def fetch() -> NodeStatus:
        raise AssertionError("asked")

    assert ClusterView(fetch, is_installed=False).hb_finding("x").log == (
        "open-ha is not installed",
    )


def test_daemon_is_asked_once_per_command() -> None:
    """Many services, one question, also where the answer is an error."""
    for answer in (node_status(ServiceState.STARTED), NotRunningError("no")):
        asked: list[int] = []

        def fetch(
            answer: NodeStatus | NotRunningError = answer, asked: list[int] = asked
        ) -> NodeStatus:
            asked.append(1)
            if isinstance(answer, Exception):
                raise answer
            return answer

        view = ClusterView(fetch)
        for _ in range(3):
            view.hb_finding("registry")
        assert len(asked) == 1


def test_fence_that_the_daemon_found_broken_is_in_the_tree_and_no_other() -> None:
    """With the reason; it is no part of what the service is made of."""
    broken = ResourceReport("stonith#1", Group.STONITH, "stonith.callout", WARN, ("wrong: OFF",))
    sound = ResourceReport("stonith#2", Group.STONITH, "stonith.callout", NA)
    lines = print_status_lines(ServiceReport("a", "", False, (broken, sound)))
    assert lines[3:] == [
        "|- sync                   n/a      ",
        "|- stonith                warn     ",
        "|  '- stonith#1      .... warn     stonith.callout",
        "|                                  # wrong: OFF",
        "'- hb                     n/a      ",
    ]
    assert lines[1].split() == ["overall", "n/a"]
    assert "stonith" not in "".join(print_status_lines(ServiceReport("a", "", False, (sound,))))
