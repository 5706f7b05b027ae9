"""Which services a mass action is about, by their status and by whose they are: on a cluster whose
daemon is modelled.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from opensvc_openha.agent.service import selection
from opensvc_openha.agent.service.loaded_service import Service, load_service
from opensvc_openha.agent.service.selection import ServiceSelector, is_chosen, is_primary
from opensvc_openha.agent.values.action_log import open_log
from opensvc_openha.agent.values.cluster_client import ClusterView
from opensvc_openha.agent.values.resource_status import (
    Group,
    ResourceReport,
    ResourceStatus,
    ServiceReport,
)
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import NodeStatus, PeerStanding, ServiceStatus
from opensvc_openha.errors import NotRunningError, SystemFault
from opensvc_openha.formats.layout import agent_layout
from opensvc_openha.system.identity import node_name

HERE = node_name().lower()
HB = "[hb#0]\ntype = OpenHA\nname = webha\n"
Make = Callable[..., Service]


@pytest.fixture(name="make")
def make_service(tmp_path: Path) -> Make:
    """A service with this file, of a cluster whose daemon reports that its primary is a node (none:
    no daemon runs).
    """
    layout = agent_layout(
        "", {f"OSVC_{word}": str(tmp_path / word.lower()) for word in ("ETC", "VAR", "LOG", "BIN")}
    )
    for folder in (layout.etc_dir, layout.var_dir, layout.log_dir):
        Path(folder).mkdir()

    def made(text: str, primary: str | None = None, known_as: str = "webha") -> Service:
        def fetch() -> NodeStatus:
            if primary is None:
                raise NotRunningError("nmond is not running")
            stopped = ServiceState.STOPPED
            known = ServiceStatus(known_as, primary, "x", stopped, stopped, stopped, stopped, "")
            return NodeStatus(HERE, "x", 1, PeerStanding.LIVE, "", (), (known,))

        Path(layout.service_file("web")).write_text(text)
        with open_log(layout.log_dir, "web") as log:
            return load_service(layout, "web", log, ClusterView(fetch))

    return made


@pytest.mark.parametrize(
    "nodes, autostart, primary, expected",
    [
        (f"{HERE} x", "", None, True),
        (f"x {HERE}", "", None, False),
        ("x y", "", None, False),
        # The daemon knows better than the order of the nodes.
        (f"{HERE} x", "", "x", False),
        (f"x {HERE}", "", HERE.upper(), True),
        # And autostart_node better than the daemon.
        (f"x {HERE}", HERE, "x", True),
        (f"{HERE} x", "x", HERE, False),
    ],
)
def test_preferred_node_is_that_of_autostart_node_else_of_the_cluster_else_the_first(
    make: Make, nodes: str, autostart: str, primary: str | None, expected: bool
) -> None:
    """Each service of this node is primary or secondary here, and one of other nodes is neither."""
    start = f"autostart_node = {autostart}\n" if autostart else ""
    service = make(f"[DEFAULT]\nnodes = {nodes}\n{start}{HB}", primary)
    assert is_primary(service) is is_chosen(service, ServiceSelector.PRIMARY) is expected
    assert is_chosen(service, ServiceSelector.SECONDARY) is (not expected and HERE in nodes.split())
    assert is_chosen(service, ServiceSelector.ALL) is True


@pytest.mark.parametrize("known_as, hb", [("other", HB), ("webha", "")])
def test_service_that_the_cluster_does_not_know_goes_by_the_order_of_its_nodes(
    make: Make, known_as: str, hb: str
) -> None:
    """Not registered, or without a heartbeat: whatever the primary of another service is."""
    assert is_primary(make(f"[DEFAULT]\nnodes = {HERE} x\n{hb}", "x", known_as)) is True
    assert is_primary(make(f"[DEFAULT]\nnodes = x {HERE}\n{hb}", HERE, known_as)) is False


@pytest.mark.parametrize("choice", [ServiceSelector.UP, ServiceSelector.DOWN, ServiceSelector.WARN])
def test_service_without_resources_counts_as_one_that_is_not_up(
    make: Make, choice: ServiceSelector
) -> None:
    """n/a because there is nothing, not because this user cannot look."""
    assert is_chosen(make("[DEFAULT]\n"), choice) is (
        ResourceStatus.NA in selection._BY_STATUS[choice]
    )


@pytest.mark.parametrize(
    "status, is_warn", [(ResourceStatus.UP, False), (ResourceStatus.WARN, True)]
)
def test_status_that_is_known_although_a_part_is_hidden_is_believed(
    make: Make, monkeypatch: pytest.MonkeyPatch, status: ResourceStatus, is_warn: bool
) -> None:
    """A warning outweighs what this user cannot look at.

    All else may be wrong, and is an error that names the service.
    """
    service = make("[DEFAULT]\n")
    parts = tuple(
        ResourceReport(
            f"app#{number}", Group.APP, "app", found, is_hidden=found is ResourceStatus.NA
        )
        for number, found in enumerate((status, ResourceStatus.NA))
    )
    monkeypatch.setattr(Service, "report", lambda _self: ServiceReport("web", "", False, parts))
    if is_warn:
        assert (
            is_chosen(service, ServiceSelector.WARN) is True
            and is_chosen(service, ServiceSelector.UP) is False
        )
    else:
        with pytest.raises(
            SystemFault, match="only root can check whether web is up: nothing was done for it"
        ):
            is_chosen(service, ServiceSelector.UP)
