"""Write the result of a rehearsal, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from opensvc_openha.cli import json_views
from opensvc_openha.verify.rehearsal.happenings import Planned
from opensvc_openha.verify.rehearsal.present import Present
from opensvc_openha.verify.rehearsal.rehearsal import Rehearsed, ServiceOutcome
from opensvc_openha.verify.rehearsal.timeline import Moment, MomentKind


def as_text(present: Present, planned: Sequence[Planned], result: Rehearsed) -> str:
    """Return the timeline, what becomes of each service, and what this rests on."""
    names = _short_names(present.spec.node, present.spec.peer)
    lines = ["What would happen (simulated; nothing was touched)", ""]
    width = max(map(len, names.values()))
    lines += [_moment_line(moment, names, width) for moment in result.moments]
    lines += ["", "Services"]
    for svc in result.services:
        lines += [f"  {line}" for line in _service_lines(svc, names)]
    if not result.services:
        lines.append("  none")
    fenced = [
        f"  {names[moment.cuts]} at {moment.at_s:.1f} s, by {names[moment.node]}:"
        f" {moment.text.partition(' by the ')[2]}"
        for moment in result.fenced
    ]
    lines += ["", "Fenced", *(fenced or ["  nobody"])]
    if not result.is_settled:
        lines += ["", f"After {result.lasted_s:.0f} s something may still happen (see --limit)"]
    lines += ["", "Assumed", *(f"  {line}" for line in result.assumed)]
    if result.unlike:
        lines += ["", "Not as it is now", *(f"  {line}" for line in result.unlike)]
    return "".join(f"{line}\n" for line in lines)


def _short_names(*nodes: str) -> dict[str, str]:
    short = {node: node.partition(".")[0] for node in nodes}
    return short if len(set(short.values())) == len(nodes) else {node: node for node in nodes}


def _moment_line(moment: Moment, names: dict[str, str], width: int) -> str:
    where = names.get(moment.node, "")
    if moment.kind is MomentKind.EVENT:
        return f"{moment.at_s:9.3f} s  {'':{width}} == {moment.text}"
    mark = "!" if moment.is_alarm else " "
    service = f"{moment.service}: " if moment.service else ""
    return f"{moment.at_s:9.3f} s  {where:{width}} {mark}  {service}{moment.text}"


def _service_lines(svc: ServiceOutcome, names: dict[str, str]) -> list[str]:
    lines = [f"{svc.name}: {_verdict(svc, names)}"]
    for node in svc.nodes:
        change = node.after if node.before == node.after else f"{node.before} -> {node.after}"
        why = f" ({node.why_not})" if svc.is_away and node.why_not != node.after else ""
        lines.append(f"  {names[node.node]}: {change}{why if node.why_not else ''}")
    return lines


def _verdict(svc: ServiceOutcome, names: dict[str, str]) -> str:
    where = " and ".join(names[node.node] for node in svc.nodes if node.is_up)
    twice = f"; on BOTH nodes for {svc.twice_s:.1f} s" if svc.twice_s else ""
    if svc.away_s is None:
        return "does not run, now or then"
    if svc.is_away:
        return f"DOES NOT RUN at the end; away for {svc.away_s:.1f} s so far{twice}"
    if svc.away_s:
        return f"runs on {where}; away for {svc.away_s:.1f} s{twice}"
    return f"runs on {where}, without interruption{twice}"


def as_json(present: Present, planned: Sequence[Planned], result: Rehearsed) -> str:
    """Return what ``openha whatif --json`` prints."""
    return json_views.WhatifView(
        present.spec.node,
        present.spec.peer,
        tuple(event.text for event in planned),
        tuple(
            json_views.MomentView(
                moment.at_s,
                moment.node,
                moment.kind.value,
                moment.text,
                moment.service,
                moment.old,
                moment.new,
                moment.is_alarm,
                moment.cuts,
            )
            for moment in result.moments
        ),
        tuple(
            json_views.WhatifServiceView(
                svc.name,
                tuple(
                    json_views.WhatifNodeView(
                        node.node, node.before, node.after, node.is_up, node.why_not
                    )
                    for node in svc.nodes
                ),
                svc.away_s,
                svc.is_away,
                svc.twice_s,
            )
            for svc in result.services
        ),
        result.assumed,
        result.unlike,
        round(result.lasted_s, 3),
        result.is_settled,
    ).text()
