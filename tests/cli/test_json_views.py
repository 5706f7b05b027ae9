"""What commands print with ``--json``: published, versioned, and apart from the control socket."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import jsonschema
import pytest

from opensvc_openha.cli import json_status, json_views
from opensvc_openha.cli.drill_findings import Passed
from opensvc_openha.cli.fence_plan_output import Planned
from opensvc_openha.cli.json_status import FindingView, View
from opensvc_openha.cli.json_views import VIEWS, CheckView
from opensvc_openha.core import status as core
from opensvc_openha.core.beat import BootId, Causality
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import (
    Activity,
    BeatTiming,
    DecisionCount,
    FenceGroup,
    FencingStatus,
    LeaseStatus,
    LinkSight,
    LinkStatus,
    NodeStatus,
    PathStatus,
    PeerStanding,
    ProofStatus,
    ScriptCount,
    ServiceStatus,
    Sight,
    StageFigure,
)
from opensvc_openha.formats.alert_kinds import AlertKind
from opensvc_openha.storage.alert_limit import Admitted
from opensvc_openha.storage.alerts import Alert
from opensvc_openha.storage.drills import Begun, DrillKind, DrillResult, Drills, DrillStep
from opensvc_openha.storage.explanation import Explanation, ReasonStep
from opensvc_openha.storage.fence_history import FenceEvent, PathHistory
from opensvc_openha.storage.history_entry import Entry, EntryKind
from opensvc_openha.storage.timeline import ClockDifference, NodeEntry, Timeline, merge
from tests.generated import ROOT
from tests.generated_schemas import schema_path

pytestmark = pytest.mark.fast

PATH = PathStatus("board", "power", 0, "armed", "ON", 1.5, 0.25, 2.5, 0.5, 30.0, True, "10.0.0.9")
FENCING = FencingStatus(
    groups=(FenceGroup("/opt/fence", "/opt/fence", ("web", "db"), 1.0, retry_at=5.0),),
    plan=(("board",), ("lease",)),
    paths=(PATH,),
    proofs=(ProofStatus("POWER", "NODE", 3.0, "board off", ("web",)),),
    hints=("its disk slot stood still",),
    power_tellers=("web",),
    service_paths=(PATH,),
)
STATUS = NodeStatus(
    "deb1",
    "deb2",
    42,
    PeerStanding.LIVE,
    "heard",
    (
        LinkStatus(
            LinkSpec("deb1", "net", "eth1", "239.131.50.10", 5010, 0, 10.0),
            True,
            True,
            43,
            7.25,
            "",
            44,
            {"checksum": 2},
            BeatTiming(9, 1, 0.25),
        ),
    ),
    (
        ServiceStatus(
            "web",
            "deb1",
            "deb2",
            ServiceState.STARTED,
            ServiceState.STOPPED,
            ServiceState.STARTED,
            None,
            since=8.0,
        ),
    ),
    warnings=("no fence",),
    fencing=FENCING,
    lease=LeaseStatus("armed", "softdog", 10.0),
    activity=Activity(
        (DecisionCount("web", "STARTED", 2),),
        (ScriptCount("web", "start", "ok", 2, 3.5, 1.5),),
        stages=(StageFigure("posted -> sent", 0.0001, 0.002, 600),),
    ),
)
SIGHT = Sight(9.0, (LinkSight("net eth1", False, 11.0, 10.0),), PeerStanding.SILENT, 0.0, None)
FIRST = Entry(
    10.0, 9.0, EntryKind.LINK, "eth1", "", "UP", "heard", cause=Causality(BootId(1, 2**63), 4)
)
KNOWN = dataclasses.replace(FIRST, cause=Causality(BootId(1, 1), 4, BootId(2, 2), 9))
TIMELINE = Timeline((NodeEntry("deb1", KNOWN),), ClockDifference(1.5, 2.0))
ENTRY = Entry(10.0, 9.0, EntryKind.SERVICE, "web", "STOPPED", "STARTED", "up", "r", sight=SIGHT)
EXPLANATION = Explanation(
    "web", "deb1", "deb2", "primary", "STARTED", "STOPPED", "live", 8.0, "", "up", "r", "", ("w",),
    (ReasonStep(ENTRY, "started", 1.0),), ENTRY, ("fence",), "", ("nothing",), ("POWER",),
)  # fmt: skip
PLANNED = Planned(1.0, 2.0, "shoot", "board off", 0, "board")

ALERT = Alert(AlertKind.TAKEOVER, "web", False, "web is taken over", ENTRY, "web")

SHOWN: tuple[View, ...] = (
    json_status.services(STATUS),
    json_status.services(dataclasses.replace(STATUS, lease=None, fencing=FencingStatus())),
    json_status.links(STATUS),
    CheckView(
        "n1",
        "n2",
        (FindingView("error", "n1", "link x is down", "", "links", "", False),),
        (FindingView("ok", "n1", "drill link net eth1: passed", "", "drills", "", False),),
    ),
    json_views.DrillListView(
        "n1",
        "n2",
        (json_views.DrillOfferView("link", "net eth1", "openha drill links", ("a",), None),),
    ),
    json_views.drill_report(
        "n1",
        "n2",
        Drills(
            (
                DrillResult(
                    DrillKind.LINK,
                    "net eth1",
                    1.0,
                    2.0,
                    "n1",
                    "n2",
                    (DrillStep("down", 2.0),),
                    ("late",),
                    "up still",
                ),
            ),
            Begun("switch web", 3.0, 42),
        ),
        [Passed("power", "board", 4.0)],
    ),
    json_views.fence_status(STATUS),
    json_views.fence_test([PATH]),
    json_views.fence_history([PathHistory("board", (FenceEvent(1.0, "off", False, "NODE"),))]),
    json_views.fence_history([PathHistory("spare")]),
    json_views.fence_plan(STATUS, [PLANNED]),
    json_views.history([ENTRY, dataclasses.replace(ENTRY, sight=None)]),
    json_views.timeline("deb1", "deb2", merge("deb1", [ENTRY], "deb2", [FIRST, ENTRY]), True),
    json_views.timeline("deb1", "deb2", TIMELINE, False),
    json_views.why(EXPLANATION),
    json_views.why(dataclasses.replace(EXPLANATION, decision=None)),
    json_views.FenceConfirmView("deb2", True, ("web: is started here now",)),
    json_views.FenceReportView(("registered again",)),
    json_views.notification(Admitted(ALERT, 2), ("deb1", "deb2"), EXPLANATION),
    json_views.notification(Admitted(ALERT), ("deb1", "deb2"), None, 3, True),
    json_views.NotifyStatusView((json_views.NotifierView("mail", "", 1, None, 4.0, "exit 1"),)),
    json_views.AdviseView(
        "deb2",
        "deb1",
        (
            json_views.LinkAdviceView(
                "net eth1", 2.0, 36_000.0, 9, 1.1, 2.4, 0.001, None, 2, 15.1, 5.0, "twice"
            ),
        ),
        (json_views.TimeoutChoiceView(2.0, 2, None, None, True),),
        1,
        0.6,
        864_000.0,
        (json_views.SharedPathView(("net eth1", "net eth2"), "eth0", "both are on eth0"),),
        (
            json_views.StartsView(
                "web", 1, 22.0, 22.0, 22.0, 4.0, True, (json_views.PauseView(13.0, "fsck"),)
            ),
        ),
        ("a longer timeout",),
        (),
    ),
    json_views.WhatifView(
        "deb2",
        "deb1",
        ("peer-dies",),
        (json_views.MomentView(0.0, "", "event", "peer-dies", "", "", "", False, ""),),
        (
            json_views.WhatifServiceView(
                "web",
                (json_views.WhatifNodeView("deb2", "STOPPED", "STARTED", True, ""),),
                9.5,
                False,
                0.0,
            ),
        ),
        ("each script succeeds",),
        (),
        20.0,
        True,
    ),
)


def published(view: type[View]) -> dict[str, Any]:
    """Return the schema as it is committed, closed to keys that it does not have."""

    def closed(value: Any) -> Any:
        if isinstance(value, dict):
            found = {key: closed(inner) for key, inner in value.items()}
            return {**found, "additionalProperties": False} if "properties" in found else found
        return [closed(inner) for inner in value] if isinstance(value, list) else value

    found: dict[str, Any] = closed(json.loads((ROOT / schema_path(view)).read_text()))
    return found


def test_every_kind_is_shown_here() -> None:
    """No published kind is left out of the tests below."""
    assert {type(view) for view in SHOWN} == set(VIEWS)
    assert len({view.KIND for view in VIEWS}) == len(VIEWS)


@pytest.mark.parametrize("view", SHOWN, ids=lambda view: view.KIND)
def test_text_is_of_its_published_schema(view: View) -> None:
    """Kind and version come first; the values are of the schema, and no key is missing there."""
    found = json.loads(view.text())
    assert list(found)[:2] == ["kind", "version"]
    jsonschema.validate(found, published(type(view)), jsonschema.Draft202012Validator)


def test_schema_refuses_what_it_does_not_describe() -> None:
    """A key that is missing, or of another type."""
    found = json.loads(json_status.services(STATUS).text())
    schema = published(json_status.ServicesView)
    for wrong in ({**found, "version": 2}, {**found, "pid": "42"}, {**found, "more": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema, jsonschema.Draft202012Validator)
    del found["links"][0]["is_up"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found, schema, jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    "shape, view",
    [
        (core.ServiceStatus, json_status.ServiceView),
        (core.BeatTiming, json_status.TimingView),
        (core.DecisionCount, json_status.DecisionCountView),
        (core.ScriptCount, json_status.ScriptCountView),
        (core.Activity, json_status.ActivityView),
        (core.AuthStatus, json_status.AuthenticationView),
        (core.FenceGroup, json_status.FenceGroupView),
        (core.PathStatus, json_status.PathView),
        (core.ProofStatus, json_status.ProofView),
        (core.FencingStatus, json_status.FencingView),
        (core.LeaseStatus, json_status.LeaseView),
        (core.NodeStatus, json_status.ServicesView),
        (core.LinkSight, json_views.LinkSightView),
        (core.Sight, json_views.SightView),
        (Entry, json_views.EntryView),
        (Explanation, json_views.WhyView),
        (Planned, json_views.PlannedView),
    ],
)
def test_every_fact_is_published(shape: type, view: type) -> None:
    """What a status has is in the published format: a fact that is added is added there too."""

    def names(of: type) -> set[str]:
        assert dataclasses.is_dataclass(of)
        return {field.name for field in dataclasses.fields(of)}

    assert names(shape) <= names(view)
