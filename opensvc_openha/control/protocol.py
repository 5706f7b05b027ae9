"""Convert status and answers to JSON objects, one per line of the control socket, and back."""

from __future__ import annotations

import dataclasses
import json

from opensvc_openha.control.framing import FRAME
from opensvc_openha.core.actions import Answer, AnswerCode
from opensvc_openha.core.model import LinkSpec, Wire
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import (
    Activity,
    AuthStatus,
    BeatTiming,
    ConnectivityStatus,
    DecisionCount,
    FenceGroup,
    FencingStatus,
    LeaseStatus,
    LinkStatus,
    NodeStatus,
    PathStatus,
    PeerStanding,
    PredictedPart,
    ProofStatus,
    ScriptCount,
    ServiceStatus,
    StageFigure,
    TargetStatus,
)
from opensvc_openha.formats.findings import finding_from_json, finding_to_json
from opensvc_openha.hints import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opensvc_openha.control.rendering import Rendered

VERSION = 1
_OF_THE_PLAN = frozenset(
    {
        "plan",
        "has_arbiter",
        "paths",
        "step",
        "step_began_at",
        "proofs",
        "hints",
        "is_ejected_by",
        "next_try_at",
    }
)
_OF_DISKS = ("disks", "peer_disks")
_OF_FAILBACK = ("failback", "fails_back_at", "is_kept_here")
_OF_THE_OUTLOOK = (
    "ready",
    "ready_text",
    "checked_at",
    "peer_ready",
    "predicted_s",
    "predicted_parts",
    "last_takeover_s",
    "last_takeover_at",
)
_OF_THE_LEASE = frozenset({"lease", "lease_ends_at"})


def dump(message: dict[str, Any]) -> bytes:
    """Return a message as a line."""
    return json.dumps(message, separators=(",", ":")).encode("utf-8") + b"\n"


def frame(rendered: Rendered, is_last: bool = True) -> bytes:
    """Return what a command prints, behind a line with its exit code and the size of each part."""
    out, err = (text.encode("utf-8", "surrogateescape") for text in (rendered.out, rendered.err))
    code = rendered.code if is_last else "-"
    return f"{FRAME} {code} {len(out)} {len(err)}\n".encode() + out + err


def status_to_json(status: NodeStatus) -> dict[str, Any]:
    """Return a status as plain values; those of a lease only where there is one."""
    found = {
        "node": status.node,
        "peer": status.peer,
        "pid": status.pid,
        "age_s": status.age_s,
        "peer_standing": status.peer_standing.value,
        "peer_reason": status.peer_reason,
        "warnings": list(status.warnings),
        "fencing_warnings": list(status.fencing_warnings),
        "scheduling": status.scheduling,
        "own_only": list(status.own_only),
        "peer_only": list(status.peer_only),
        "authentication": vars(status.authentication),
        "fencing": _fencing_to_json(status.fencing),
        "links": [_link_to_json(link) for link in status.links],
        "services": [_service_to_json(svc) for svc in status.services],
        "activity": _activity_to_json(status.activity),
    }
    if status.drill:
        found["drill"] = status.drill
    if status.checked_at is not None:
        found["checked_at"] = status.checked_at
        found["findings"] = [finding_to_json(each) for each in status.findings]
    if status.connectivity is not None:
        targets = [vars(target) for target in status.connectivity.targets]
        found["connectivity"] = {**vars(status.connectivity), "targets": targets}
    return found if status.lease is None else {**found, "lease": vars(status.lease)}


def status_from_json(data: dict[str, Any]) -> NodeStatus:
    """Return the status of plain values, also of a daemon with more or fewer fields.

    Raises KeyError, TypeError or ValueError if they are none.
    """
    if not isinstance(data, dict):
        raise TypeError(f"a status is an object, not {type(data).__name__}")
    authentication = _known(AuthStatus, data.get("authentication", {}))
    lease = data.get("lease")
    return NodeStatus(
        node=data["node"],
        peer=data["peer"],
        pid=data["pid"],
        peer_standing=PeerStanding(data["peer_standing"]),
        peer_reason=data.get("peer_reason", ""),
        links=tuple(_link_from_json(link, data["node"], data["peer"]) for link in data["links"]),
        services=tuple(_service_from_json(svc) for svc in data["services"]),
        warnings=tuple(data.get("warnings", ())),
        fencing_warnings=tuple(data.get("fencing_warnings", ())),
        scheduling=data.get("scheduling", ""),
        own_only=tuple(data.get("own_only", ())),
        peer_only=tuple(data.get("peer_only", ())),
        fencing=_fencing_from_json(data.get("fencing", {})),
        authentication=AuthStatus(
            **{**authentication, "accepts": tuple(authentication.get("accepts", ()))}
        ),
        lease=None if lease is None else LeaseStatus(**_known(LeaseStatus, lease)),
        connectivity=_connectivity_from_json(data.get("connectivity")),
        findings=tuple(map(finding_from_json, data.get("findings", ()))),
        checked_at=data.get("checked_at"),
        age_s=float(data.get("age_s", 0.0)),
        activity=_activity_from_json(data.get("activity", {})),
        drill=str(data.get("drill", "")),
    )


def answer_to_json(answer: Answer) -> dict[str, Any]:
    """Return an answer as plain values."""
    return {
        "command": answer.command,
        "service": answer.service,
        "word": answer.code.name,
        "own": answer.own.name,
        "peer": answer.peer.name,
        "detail": answer.detail,
        "is_last": answer.is_last,
        "is_ok": answer.is_ok,
    }


def answer_from_json(data: dict[str, Any]) -> Answer:
    """Return the answer of plain values."""
    return Answer(
        0,
        data["command"],
        data["service"],
        AnswerCode[data["word"]],
        ServiceState[data["own"]],
        ServiceState[data["peer"]],
        data["detail"],
        data["is_last"],
        data["is_ok"],
    )


def _link_to_json(link: LinkStatus) -> dict[str, Any]:
    """Return a flat object, in the order in which readers have always had its keys."""
    spec = link.spec
    timing = {} if link.timing is None else {"timing": vars(link.timing)}
    return {
        "kind": spec.kind,
        "label": spec.label,
        "is_sender": link.is_sender,
        "is_up": link.is_up,
        "pid": link.pid,
        "updated_at": link.updated_at,
        "reason": link.reason,
        "device": spec.device,
        "address": spec.address,
        "port": spec.port,
        "offset": spec.offset,
        "timeout_s": spec.timeout_s,
        "thread": link.thread,
        "counts": link.counts,
        "wire": spec.wire.value,
        **timing,
    }


def _link_from_json(data: dict[str, Any], node: str, peer: str) -> LinkStatus:
    values = _known(LinkStatus, data)
    spec = LinkSpec(
        node if data["is_sender"] else peer,
        data["kind"],
        # A daemon of an earlier version sends fewer keys.
        data.get("device", ""),
        data.get("address", ""),
        data.get("port", 0),
        data.get("offset", 0),
        data.get("timeout_s", 0.0),
        wire=Wire(data.get("wire", Wire.OWN.value)),
    )
    timing = data.get("timing")
    if timing is not None:
        known = _known(BeatTiming, timing)
        timing = BeatTiming(**{**known, "gaps": tuple(known["gaps"])})
    return LinkStatus(**{**values, "spec": spec, "timing": timing})


def _activity_to_json(activity: Activity) -> dict[str, Any]:
    lists = {
        "decisions": [vars(count) for count in activity.decisions],
        "scripts": [vars(count) for count in activity.scripts],
        "stages": [vars(stage) for stage in activity.stages],
    }
    return {**vars(activity), **lists}


def _activity_from_json(data: dict[str, Any]) -> Activity:
    values = _known(Activity, data)
    lists = {
        "decisions": tuple(
            DecisionCount(**_known(DecisionCount, each)) for each in values.get("decisions", ())
        ),
        "scripts": tuple(
            ScriptCount(**_known(ScriptCount, each)) for each in values.get("scripts", ())
        ),
        "stages": tuple(
            StageFigure(**_known(StageFigure, each)) for each in values.get("stages", ())
        ),
    }
    return Activity(**{**values, **lists})


def _connectivity_from_json(data: dict[str, Any] | None) -> ConnectivityStatus | None:
    if data is None:
        return None
    values = _known(ConnectivityStatus, data)
    targets = (TargetStatus(**_known(TargetStatus, each)) for each in values.get("targets", ()))
    return ConnectivityStatus(**{**values, "targets": tuple(targets)})


def path_from_json(data: dict[str, Any]) -> PathStatus:
    """Return a path of the fence plan of plain values; raises as ``status_from_json``."""
    return PathStatus(**_known(PathStatus, data))


def _fencing_to_json(fencing: FencingStatus) -> dict[str, Any]:
    """Return an object that has the keys of the fence plan, and the lease, where there is one."""
    found = {**vars(fencing), "groups": [vars(group) for group in fencing.groups]}
    del found["service_paths"]
    if fencing.service_paths:
        found["service_paths"] = [vars(path) for path in fencing.service_paths]
    if not fencing.lease:
        found = {key: value for key, value in found.items() if key not in _OF_THE_LEASE}
    if not fencing.plan:
        return {key: value for key, value in found.items() if key not in _OF_THE_PLAN}
    found["paths"] = [vars(path) for path in fencing.paths]
    found["proofs"] = [vars(proof) for proof in fencing.proofs]
    return found


def _fencing_from_json(data: dict[str, Any]) -> FencingStatus:
    values = _known(FencingStatus, data)
    groups = tuple(
        FenceGroup(**{**_known(FenceGroup, group), "services": tuple(group["services"])})
        for group in values.get("groups", ())
    )
    proofs = tuple(
        ProofStatus(**{**_known(ProofStatus, proof), "services": tuple(proof["services"])})
        for proof in values.get("proofs", ())
    )
    lists = {
        "groups": groups,
        "power_tellers": tuple(values.get("power_tellers", ())),
        "plan": tuple(tuple(level) for level in values.get("plan", ())),
        "paths": tuple(map(path_from_json, values.get("paths", ()))),
        "service_paths": tuple(map(path_from_json, values.get("service_paths", ()))),
        "proofs": proofs,
        "hints": tuple(values.get("hints", ())),
    }
    return FencingStatus(**{**values, **lists})


def _service_to_json(svc: ServiceStatus) -> dict[str, Any]:
    values = dict(vars(svc))
    values["predicted_parts"] = [vars(part) for part in svc.predicted_parts]
    for key in _OF_DISKS:
        if not values[key]:
            del values[key]
    for key in _OF_FAILBACK:
        if values[key] in (None, "", False):
            del values[key]
    for key in _OF_THE_OUTLOOK:
        if values[key] in (None, "", []):
            del values[key]
    for key in ("primary_state", "secondary_state", "own_state", "peer_state"):
        values[key] = None if values[key] is None else values[key].name
    return values


def _service_from_json(data: dict[str, Any]) -> ServiceStatus:
    values = _known(ServiceStatus, data)
    for key in ("primary_state", "secondary_state", "own_state", "peer_state"):
        values[key] = _state(values[key])
    values["predicted_parts"] = tuple(
        PredictedPart(**_known(PredictedPart, part)) for part in data.get("predicted_parts", ())
    )
    return ServiceStatus(**values)


def _known(kind: type, data: dict[str, Any]) -> dict[str, Any]:
    """Keep the fields that our class has: a daemon of another version may send more."""
    if not isinstance(data, dict):
        raise TypeError(f"{kind.__name__}: no object")
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in data.items() if name in names}


def _state(name: str | None) -> ServiceState | None:
    return None if name is None else ServiceState[name]
