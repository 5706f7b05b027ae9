"""``openha check``: is everything in place on both nodes for the next failover?

Gathers the same facts on this node and, over the peer link, on the other one, and reports what is
wrong with either, and what differs between them. It changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from opensvc_openha.cli import drill_findings, installation
from opensvc_openha.cli.node_facts import node_facts, problem_of, wrapped_service
from opensvc_openha.cli.patient_peer import patient_peer
from opensvc_openha.core.outlook import Finding, Severity, in_order
from opensvc_openha.errors import (
    ConfigError,
    NoPeerLinkError,
    OpenhaError,
    RefusedError,
    SystemFault,
)
from opensvc_openha.formats.findings import findings_from_json
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.one_line import one_line
from opensvc_openha.hints import TYPE_CHECKING, Any
from opensvc_openha.peer_link.client import find_peer
from opensvc_openha.storage import configuration
from opensvc_openha.storage.outlook_file import NodeOutlook, read_outlook, write_outlook
from opensvc_openha.system import clock

if TYPE_CHECKING:
    from opensvc_openha.cli.parsing import Parser

ERROR, WARNING = Severity.ERROR, Severity.WARNING
EXIT_WARNINGS, EXIT_ERRORS = 1, 2

_NICE = 10
"""A check by the daemon takes no time from what serves."""
_CLOCK_S = 1.0
_COLUMNS = ("script", "primary", "secondary", "check")
_CHECK_OF_PART = {"keys": "keys", "daemon": "daemon"}
_GOOD_PATHS, _UNTESTED = ("armed", "unusable"), "untested"
"""A path that can prove nothing here is no fault: whether a level is armed is looked at apart."""


def line_of(found: Finding) -> str:
    """Return the line that is printed for a finding."""
    where = f"{found.node}: " if found.node else ""
    what = f"service {found.service}: " if found.service else ""
    return one_line(f"{found.severity.value}: {where}{what}{found.sentence}")


def build_parser() -> Parser:
    """Return the parser of ``openha check``."""
    from argparse import SUPPRESS

    from opensvc_openha.cli.parsing import Parser

    parser = Parser(
        "openha check",
        "Check that everything is in place on both nodes for the next takeover, and that each"
        " service could start now\non the node that does not run it: files, scripts, devices,"
        " addresses, images, links, fences, keys, clocks, room.\nChanges nothing.",
        epilog="A line for each finding. Exit code 0: nothing found, 1: warnings only, or something"
        " that could not be\nlooked at, 2: errors.",
    )
    parser.add_argument("service", metavar="SERVICE", nargs="?", help="only what concerns it")
    parser.add_flag("--peer", help="only what concerns the other node")
    parser.add_flag("--json", help="print one object for programs")
    # The node daemon has this node checked so: its findings go to a file alone.
    parser.add_flag("--standby", help=SUPPRESS)
    return parser


def main(args: list[str]) -> int:
    """Run ``openha check``; return the exit code."""
    options = build_parser().read(args)
    layout = installation.layout()
    expect_root("check", "it reads the key")
    if options.standby:
        os.nice(_NICE)
        return exit_code(look(layout, is_alone=True).own)
    if options.service:
        _expect_service(layout, options.service)
    looked = look(layout)
    found = select(looked, options.service or "", options.peer)
    # Drills are of the cluster: a check of one part leaves them out.
    drills = () if options.service or options.peer else looked.drills
    if options.json:
        from opensvc_openha.cli.json_status import finding_views
        from opensvc_openha.cli.json_views import CheckView

        own, peer = _names(layout)
        view = CheckView(own, peer, finding_views(found), finding_views(drills))
        sys.stdout.write(view.text())
        return exit_code(found)
    return _print(layout, found, drills)


def _expect_service(layout: Layout, name: str) -> None:
    from opensvc_openha.formats.suggestion import which_service

    known = [svc.name for svc in configuration.read_services(layout)]
    if name not in known:
        raise ConfigError(f"service {name} not found: {which_service(name, known)}")


def expect_root(command: str, why: str) -> None:
    """Raise RefusedError for other users than root."""
    if os.geteuid() != 0:
        raise RefusedError(f"openha {command} is for root: {why}; nothing was done")


def report(layout: Layout) -> int:
    """Check, print a line for each finding; return the exit code."""
    return _print(layout, findings(layout))


def _print(layout: Layout, found: list[Finding], drills: Iterable[Finding] = ()) -> int:
    for each in (*found, *drills):
        print(line_of(each))
    if not found:
        own, peer = _names(layout)
        print(f"ok: nothing found on {own} and {peer}")
    return exit_code(found)


def exit_code(found: Iterable[Finding]) -> int:
    """Return 0 for nothing, 1 for warnings only, 2 for errors."""
    problems = [each for each in found if each.is_problem]
    if any(each.severity is ERROR for each in problems):
        return EXIT_ERRORS
    return EXIT_WARNINGS if problems else 0


@dataclass(frozen=True)
class Looked:
    """Findings of this node, of the other one, and between them."""

    node: str
    peer: str
    own: tuple[Finding, ...]
    other: tuple[Finding, ...] = ()
    between: tuple[Finding, ...] = ()
    drills: tuple[Finding, ...] = ()
    """When each drill was last passed: no problems."""


def findings(layout: Layout) -> list[Finding]:
    """Return everything that is wrong on either node, or differs between them; errors first."""
    return select(look(layout), "", is_peer=False)


def select(looked: Looked, service: str, is_peer: bool) -> list[Finding]:
    """Return the findings that were asked for; errors first."""
    found = [*looked.other, *looked.between]
    if not is_peer:
        found = [*looked.own, *found]
    return in_order(
        each for each in found if each.is_problem and (not service or each.service in ("", service))
    )


def look(layout: Layout, is_alone: bool = False) -> Looked:
    """Look at both nodes; what concerns this one is left for its daemon, too.

    ``is_alone``: the other node only compares files, and is not asked whether it could start
    anything.
    """
    own, peer = _names(layout)
    ours = node_facts(layout)
    here = list(_of_node(own, ours))
    there: list[Finding] = []
    between: list[Finding] = []
    theirs: Mapping[str, Any] = {}
    try:
        node = find_peer(layout) if is_alone else patient_peer(layout)
        asked_at = clock.wall()
        clock_of_peer, answered_at = node.status().get("wall"), clock.wall()
        theirs = node.inspect(is_deep=not is_alone, hardware=_listed_texts(ours, "hardware"))
    except NoPeerLinkError as error:
        is_off = error.reason == "OFF"
        text = f"nothing was checked on {peer}: {error}"
        # Where there is no peer link, that is no news of each check.
        if not (is_off and is_alone):
            between.append(Finding(WARNING if is_off else ERROR, "", "", "peer", text))
    except OpenhaError as error:
        text = f"nothing was checked on {peer}: {error}"
        between.append(Finding(ERROR, "", "", "peer", text))
    else:
        there += [*_of_node(peer, theirs), *findings_from_json(theirs.get("findings"))]
        between += _between(own, ours, peer, theirs)
        between += _clocks(own, peer, clock_of_peer, asked_at, answered_at)
    # Imported here: it needs the drivers of the agent.
    from opensvc_openha.cli.node_outlook import own_findings, starts_of

    hardware = _listed_texts(theirs, "hardware")
    found, standbys = own_findings(layout, hardware or None)
    here += found
    drills = _passed_drills({own: ours, peer: theirs})
    looked = Looked(own, peer, tuple(dict.fromkeys(here)), tuple(there), tuple(between), drills)
    concerning = [each for each in (*here, *between) if each.node in ("", own)]
    starts = tuple(starts_of(theirs).items())
    if not starts and (before := read_outlook(layout)) is not None:
        starts = before.peer_starts
    outlook = NodeOutlook(clock.wall(), standbys, tuple(in_order(concerning)), starts)
    with contextlib.suppress(SystemFault):  # The room for it may be what is missing.
        write_outlook(layout, outlook)
    return looked


def _passed_drills(facts: Mapping[str, Mapping[str, Any]]) -> tuple[Finding, ...]:
    """Return when each drill was last passed on each node, or that none was."""
    known = [node for node, each in facts.items() if isinstance(each.get("drills"), dict)]
    found = [
        each
        for node in known
        for each in drill_findings.findings_of(node, facts[node])
        if not each.is_problem
    ]
    return tuple(found) or ((drill_findings.none_passed(known),) if known else ())


def _clocks(
    own: str, peer: str, theirs: object, asked_at: float, answered_at: float
) -> Iterator[Finding]:
    """Yield how far the clocks are from each other, beyond what the way of the answer may be."""
    if not isinstance(theirs, (int, float)):
        return
    ahead_s = theirs - (asked_at + answered_at) / 2
    if abs(ahead_s) - (answered_at - asked_at) / 2 <= _CLOCK_S:
        return
    which, other = (peer, own) if ahead_s > 0 else (own, peer)
    text = f"the clock of {which} is {abs(ahead_s):.1f} s ahead of that of {other}"
    if not clock.is_synchronised():
        text += f"; that of {own} is not synchronised"
    yield Finding(WARNING, "", "", "clocks", text, "see timedatectl on both nodes")


def _listed_texts(facts: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = facts.get(name)
    return tuple(map(str, value)) if isinstance(value, (list, tuple)) else ()


def _names(layout: Layout) -> tuple[str, str]:
    return configuration.names_or(layout, "the other node")


def _of_node(node: str, facts: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is wrong with one node by itself."""
    reported = set()
    for part in ("configuration", "keys", "env", "services", "daemon", *_files(facts)):
        problem = problem_of(_files(facts).get(part, facts.get(part)))
        if problem and problem not in reported:
            reported.add(problem)
            yield Finding(ERROR, node, "", _CHECK_OF_PART.get(part, "files"), problem)
    for svc in _listed(facts, "services"):
        if svc.get("problem"):
            name, problem = str(svc.get("name")), str(svc["problem"])
            yield Finding(ERROR, node, name, "scripts", problem, stops_start=True)
    yield from (each for each in drill_findings.findings_of(node, facts) if each.is_problem)
    targets = facts.get("targets")
    for text in targets if isinstance(targets, list) else ():
        fix = "name a machine beyond it, such as the gateway of the clients"
        yield Finding(WARNING, node, "", "connectivity", str(text), fix)
    daemon = facts.get("daemon")
    if not isinstance(daemon, dict) or problem_of(daemon):
        return
    if daemon.get("peer") != "live":
        text = f"does not hear the other node: it is {daemon.get('peer')}"
        yield Finding(ERROR, node, "", "links", text)
    for link in _listed(daemon, "links"):
        if not link.get("is_up"):
            yield Finding(ERROR, node, "", "links", f"link {link.get('link')} is down")
    for warning in daemon.get("warnings") or ():
        yield Finding(WARNING, node, "", "daemon", str(warning))
    for target in _listed(daemon, "targets"):
        text = f"target {target.get('address')}: {target.get('text')}"
        yield Finding(WARNING, node, "", "connectivity", text, "`hb -s -v`")
    for path in _listed(daemon, "paths"):
        state = path.get("state")
        if state not in _GOOD_PATHS:
            text = f"fence path {path.get('path')} is {state}: {path.get('text')}".rstrip(": ")
            yield Finding(WARNING if state == _UNTESTED else ERROR, node, "", "fences", text)


def _between(
    own: str, ours: Mapping[str, Any], peer: str, theirs: Mapping[str, Any]
) -> Iterator[Finding]:
    """Yield what differs between the nodes."""
    if ours.get("version") != theirs.get("version"):
        text = f"{own} has version {ours.get('version')}, {peer} {theirs.get('version')}"
        yield Finding(WARNING, "", "", "versions", text)
    for name, digest in _files(ours).items():
        other = _files(theirs).get(name)
        if isinstance(digest, str) and isinstance(other, str) and digest != other:
            # Addresses and limits of openha.conf may well be a node's own.
            severity = WARNING if name == "openha.conf" else ERROR
            text = f"{name} is not the same on both nodes"
            yield Finding(severity, "", "", "files", text, "`openha config diff`")
    if _keys(ours) != _keys(theirs) and not any(
        problem_of(facts.get("keys")) for facts in (ours, theirs)
    ):
        text = "the nodes do not have the same keys"
        yield Finding(WARNING, "", "", "keys", text, "`openha key status`")
    yield from _services(own, ours, peer, theirs)
    yield from _service_files(own, ours, peer, theirs)


def _services(
    own: str, ours: Mapping[str, Any], peer: str, theirs: Mapping[str, Any]
) -> Iterator[Finding]:
    if problem_of(ours.get("services")) or problem_of(theirs.get("services")):
        return
    here = {svc.get("name"): svc for svc in _listed(ours, "services")}
    there = {svc.get("name"): svc for svc in _listed(theirs, "services")}
    for name in [*here, *(name for name in there if name not in here)]:
        if name not in here or name not in there:
            node, other = (own, peer) if name in here else (peer, own)
            text = f"service {name} is configured on {node} and not on {other}"
            yield Finding(ERROR, "", "", "files", text)
            continue
        for column in _COLUMNS:
            mine, its = here[name].get(column), there[name].get(column)
            if str(mine).lower() != str(its).lower():
                text = f"{column} is {mine} on {own}, {its} on {peer}"
                yield Finding(ERROR, "", str(name), "files", text)


def _service_files(
    own: str, ours: Mapping[str, Any], peer: str, theirs: Mapping[str, Any]
) -> Iterator[Finding]:
    here, there = ours.get("env"), theirs.get("env")
    if not isinstance(here, dict) or not isinstance(there, dict):
        return
    if problem_of(here) or problem_of(there):
        return
    known = {
        wrapped_service(str(svc.get("script"))): str(svc.get("name"))
        for svc in _listed(ours, "services")
    }
    for name in [*here, *(name for name in there if name not in here)]:
        if name not in here or name not in there:
            node, other = (own, peer) if name in here else (peer, own)
            yield Finding(WARNING, "", "", "files", f"{name}.env is on {node} and not on {other}")
        elif here[name] != there[name]:
            text = f"{name}.env is not the same on both nodes"
            yield Finding(ERROR, "", known.get(name, ""), "files", text, "`openha add` brings it")


def _keys(facts: Mapping[str, Any]) -> set[str]:
    keys = facts.get("keys")
    return {str(key) for key in keys} if isinstance(keys, list) else set()


def _files(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    files = facts.get("files")
    return files if isinstance(files, dict) else {}


def _listed(facts: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return the objects of a list; the other node may have another version."""
    value = facts.get(name)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
