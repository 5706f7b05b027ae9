"""Choose the drills that a command asks for, show or run them, and report."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from functools import partial
from types import FrameType

from opensvc_openha.cli import drill, installation, json_views
from opensvc_openha.cli.asking import confirm
from opensvc_openha.cli.check import expect_root
from opensvc_openha.cli.drill_findings import ago, passed_on, unfinished
from opensvc_openha.cli.fence import asked_for
from opensvc_openha.control import client
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.drill.cables import cables_of, chosen, unpaired
from opensvc_openha.drill.cluster import Cluster
from opensvc_openha.drill.links import play_link
from opensvc_openha.drill.offers import Offer, offer_of_takeover, offers_of
from opensvc_openha.drill.peer_part import do_part
from opensvc_openha.drill.power import order_watchdog, play_power
from opensvc_openha.drill.report import as_page, as_text
from opensvc_openha.drill.switch import play_switch
from opensvc_openha.drill.takeover import play_takeover
from opensvc_openha.drill.trial import Trial, carry_out, say
from opensvc_openha.errors import (
    ActionError,
    OpenhaError,
    RefusedError,
    SystemFault,
    UsageError,
)
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.suggestion import which_service
from opensvc_openha.peer_link.protocol import DrillRequest, parse_request
from opensvc_openha.storage import configuration
from opensvc_openha.storage.drills import DrillKind, drill_name, read_drills
from opensvc_openha.system import clock
from opensvc_openha.system.atomic_files import write_atomically
from opensvc_openha.system.lock_file import hold_lock

_REPORT_MODE = 0o640
_TAKEN_BACK = b"what was changed is being taken back; once more ends that, and leaves the rest\n"
_LOOK_AGAIN = "openha drill list shows what is in the way"


def main(args: list[str]) -> int:
    """Run ``openha drill``; return the exit code."""
    layout = installation.layout()
    if args == [drill.FROM_PEER]:
        expect_root("drill", "it changes the cluster")
        return _serve_peer(layout)
    options = drill.build_parser().read(args)
    verbs: dict[str, Callable[[Layout, Namespace], int]] = {
        "list": _list,
        "links": _links,
        "switch": _switch,
        "takeover": _takeover,
        "power": _power,
        "report": _report,
    }
    expect_root("drill", "it changes the cluster, and its records are for root")
    take_signals()
    return verbs[options.verb](layout, options)


_signals: list[int] = []
"""Those that have come."""


def take_signals() -> None:
    """Have a drill take back what it did on Ctrl-C, SIGTERM, and the end of its terminal.

    What `nohup` ignores stays ignored.
    """
    _signals.clear()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Interrupt once; the second signal does not end the way back, each further one does."""
    _signals.append(number)
    if len(_signals) == 2:
        # Not by print(): the signal may have come in the middle of one.
        with contextlib.suppress(OSError):
            os.write(sys.stderr.fileno(), _TAKEN_BACK)
        return
    raise KeyboardInterrupt


# --- showing --------------------------------------------------------------------------------------


def _list(layout: Layout, options: Namespace) -> int:
    with closing(Cluster(layout)) as cluster:
        own, offers = _offers(cluster)
    if options.is_json:
        sys.stdout.write(_list_view(own, offers).text())
        return 0
    now = clock.wall()
    for offer in offers:
        when = "never passed" if offer.passed_at is None else f"passed {ago(now - offer.passed_at)}"
        say(f"{offer.command}: {when}")
        for text in offer.refused:
            say(f"    refused now: {text}")
    for link in unpaired(own):
        say(f"{link}: the other direction of this link was not found, so that it is left out")
    return 0


def _offers(cluster: Cluster) -> tuple[NodeStatus, list[Offer]]:
    own, peer, general = cluster.look()
    passed = passed_on(read_drills(cluster.layout), own)
    return own, offers_of(own, peer, general, passed)


def _list_view(own: NodeStatus, offers: Iterable[Offer]) -> json_views.DrillListView:
    found = tuple(
        json_views.DrillOfferView(
            each.kind.value, each.subject, each.command, each.refused, each.passed_at
        )
        for each in offers
    )
    return json_views.DrillListView(own.node, own.peer, found)


def _report(layout: Layout, options: Namespace) -> int:
    drills = read_drills(layout)
    drills = replace(drills, begun=unfinished(layout, drills))
    try:
        status: NodeStatus | None = client.fetch_status(layout)
    except OpenhaError:
        status = None
    node, peer = configuration.names_or(layout, "the other node")
    passed = passed_on(drills, status)
    if options.html:
        page = as_page(drills, passed, node, peer)
        try:
            write_atomically(options.html, page.encode("utf-8"), _REPORT_MODE)
        except OSError as error:
            raise SystemFault(f"cannot write {options.html}: {error.strerror}") from error
    elif options.is_json:
        sys.stdout.write(json_views.drill_report(node, peer, drills, passed).text())
    else:
        sys.stdout.write("".join(f"{line}\n" for line in as_text(drills, passed, node)))
    return 0


# --- running --------------------------------------------------------------------------------------


def _links(layout: Layout, options: Namespace) -> int:
    with closing(Cluster(layout)) as cluster:
        own = cluster.own()
        cables = chosen(cables_of(own), options.link)
        wanted = {drill_name(DrillKind.LINK.value, cable.name) for cable in cables}
        offers = [each for each in _offers(cluster)[1] if each.name in wanted]
        _expect_offered(offers, options.is_dry_run)
        if options.is_dry_run:
            return 0
        names = ", ".join(cable.name for cable in cables)
        confirm(f"This cuts {names}, one at a time.", options.is_yes)
        with _alone(layout):
            plays = [
                (DrillKind.LINK, cable.name, partial(play_link, cable=cable)) for cable in cables
            ]
            return _run(cluster, plays)


def _switch(layout: Layout, options: Namespace) -> int:
    service = options.service
    with closing(Cluster(layout)) as cluster:
        _expect_known(cluster.own(), [service])
        offers = [
            each
            for each in _offers(cluster)[1]
            if (each.kind, each.subject) == (DrillKind.SWITCH, service)
        ]
        _expect_offered(offers, options.is_dry_run)
        if options.is_dry_run:
            return 0
        confirm(
            f"This moves {service} to the other node and back: it is away twice.", options.is_yes
        )
        with _alone(layout):
            return _run(
                cluster, [(DrillKind.SWITCH, service, partial(play_switch, service=service))]
            )


def _takeover(layout: Layout, options: Namespace) -> int:
    services = list(dict.fromkeys(options.service))
    with closing(Cluster(layout)) as cluster:
        own, peer, general = cluster.look()
        _expect_known(own, services)
        offer = offer_of_takeover(own, peer, services, general)
        _expect_offered([offer], options.is_dry_run)
        if options.is_dry_run:
            return 0
        names = ", ".join(services)
        confirm(f"{own.peer} plays dead, and stops {names}; this node takes over.", options.is_yes)
        with _alone(layout):
            play = partial(play_takeover, services=services)
            return _run(cluster, [(DrillKind.TAKEOVER, " ".join(services), play)])


def _power(layout: Layout, options: Namespace) -> int:
    if bool(options.path) is options.is_watchdog:
        raise UsageError("openha drill power: expected PATH, or --watchdog")
    kind = DrillKind.WATCHDOG if options.is_watchdog else DrillKind.POWER
    with closing(Cluster(layout)) as cluster:
        own, offers = _offers(cluster)
        found = [
            each
            for each in offers
            if each.kind is kind and (options.is_watchdog or each.subject == options.path)
        ]
        if not found:
            known = ", ".join(each.name for each in offers if each.kind is kind) or "there is none"
            raise RefusedError(f"{drill_name(kind.value, options.path)}: not known: {known}")
        _expect_offered(found, options.is_dry_run)
        if options.is_dry_run:
            return 0
        with _alone(layout):
            if options.is_watchdog:
                asked_for(f"This resets {own.node}, the node on which you are.", own.node)
                for line in order_watchdog(cluster):
                    say(line)
                return 0
            asked_for(f"This cuts the power of {own.peer} by {options.path}.", own.peer)
            return _run(
                cluster, [(DrillKind.POWER, options.path, partial(play_power, path=options.path))]
            )


def _expect_known(own: NodeStatus, services: Iterable[str]) -> None:
    known = [svc.name for svc in own.services]
    for service in services:
        if service not in known:
            raise UsageError(f"no service {service}: {which_service(service, known)}")


def _expect_offered(offers: Sequence[Offer], is_dry_run: bool) -> None:
    """Print what would be done; raise RefusedError if anything speaks against it now."""
    for offer in offers if is_dry_run else ():
        say(offer.name)
        for number, text in enumerate(offer.steps, 1):
            say(f"  {number}. {text}")
        for text in offer.risks:
            say(f"  if {text}")
        for text in offer.refused:
            say(f"  refused now: {text}")
    refused = list(dict.fromkeys(text for offer in offers for text in offer.refused))
    if refused and not is_dry_run:
        raise RefusedError("\n".join([*refused, f"nothing was done; {_LOOK_AGAIN}"]))
    if refused:
        raise RefusedError("it would be refused now; nothing was done")


def _alone(layout: Layout) -> AbstractContextManager[None]:
    """Keep other drills of this node away."""
    return hold_lock(
        layout.drill_lock,
        0.0,
        lambda owner: RefusedError(f"another drill runs here ({owner or 'unknown'}): wait for it"),
        f"pid {os.getpid()}",
    )


Play = tuple[DrillKind, str, Callable[[Trial], None]]


def _run(cluster: Cluster, plays: Sequence[Play]) -> int:
    """Run drills one after the other, up to the first that does not pass; return the exit code."""
    for number, (kind, subject, play) in enumerate(plays, 1):
        result = carry_out(cluster, kind, subject, play)
        if not result.is_passed:
            left = [each[1] for each in plays[number:]]
            rest = f"; not begun: {', '.join(left)}" if left else ""
            raise ActionError(f"{result.name} did not pass: {result.problem}{rest}")
    say("all passed: openha drill report has what was measured")
    return 0


# --- the other node's part ------------------------------------------------------------------------


def _serve_peer(layout: Layout) -> int:
    """Do what the other node's drill asks for: the request is the standard input."""
    request = parse_request(json.loads(sys.stdin.read()))
    if not isinstance(request, DrillRequest):
        raise UsageError("drill: expected a request of the other node")
    do_part(layout, request)
    return 0
