"""Render every line that the cluster commands print; byte for byte those of the tutorial."""

from __future__ import annotations

from collections.abc import Mapping

from opensvc_openha.core.actions import Answer, AnswerCode
from opensvc_openha.formats.one_line import one_line
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.system.clock import stamp

if TYPE_CHECKING:  # Keys would load OpenSSL.
    from opensvc_openha.core.beat import BootId
    from opensvc_openha.core.status import AuthStatus, LinkStatus, NodeStatus, ServiceStatus
    from opensvc_openha.formats.key_file import KeyRing

SERVICE_COLUMNS = "%-16s %-16s %-14s %-16s %-14s"
STATUS_HEADINGS = ("Heartbeat status:", "Services status:")


def service_table(status: NodeStatus) -> str:
    """Render ``service -s -c``."""
    rows = [SERVICE_COLUMNS % ("service", "prinode", "pristate", "secnode", "secstate")]
    for svc in status.services:
        states = svc.primary_state.name, svc.secondary_state.name
        rows.append(SERVICE_COLUMNS % (svc.name, svc.primary, states[0], svc.secondary, states[1]))
    return _lines(rows)


def service_list(status: NodeStatus) -> str:
    """Render ``service -s``."""
    rows = [f"{len(status.services)} service(s) defined:  "]
    for svc in status.services:
        rows.append(f"Service: {svc.name}")
        rows.append(f"\tPrimary  : {svc.primary}, {svc.primary_state.name}")
        rows.append(f"\tSecondary: {svc.secondary}, {svc.secondary_state.name}")
    return _lines(rows)


def service_info(status: NodeStatus, svc: ServiceStatus) -> str:
    """Render ``service -i NAME``."""
    role = "Primary" if svc.primary == status.node else "Secondary"
    own, peer = svc.primary_state.name, svc.secondary_state.name
    return _lines(
        [f"we are {role} for service {svc.name}", f"Service: {svc.name}\t state: {own} , {peer}"]
    )


def service_reasons(status: NodeStatus) -> str:
    """Render ``service -s -v``: the table, then the reason for each service's state."""
    rows = [f"{svc.name}: {svc.reason}" for svc in status.services if svc.reason]
    rows += [
        f"{svc.name}: its disks: {svc.disks}; by {status.peer}: {svc.peer_disks}"
        for svc in status.services
        if svc.disks
    ]
    rows += [line for svc in status.services for line in outlook_lines(svc)]
    rows.append(f"peer {status.peer}: {status.peer_standing.value}: {status.peer_reason}")
    fencing = status.fencing
    if fencing.confirmed_by and fencing.confirmed_at is not None:
        since = stamp(fencing.confirmed_at)
        rows.append(
            f"peer {status.peer}: confirmed out since {since} by {fencing.confirmed_by}: valid"
            " until a beat of it arrives (openha fence status)"
        )
    rows += connectivity_lines(status, with_targets=False)
    rows += [f"warning: {text}" for text in status.warnings]
    rows += [
        f"link {link.spec.link_id} is down: {link.reason}"
        for link in status.links
        if not (link.is_sender or link.is_up)
    ]
    rows += [
        f"check: {found.severity.value}: {found.sentence}"
        for found in status.findings
        # What is about services is shown with them; links and warnings as they are now.
        if not found.service and found.check not in ("daemon", "links")
    ]
    return service_table(status) + _lines(rows)


def connectivity_lines(status: NodeStatus, with_targets: bool = True) -> list[str]:
    """Render whether this node and its peer are isolated; nothing where no targets are asked."""
    known = status.connectivity
    if known is None:
        return []
    text = f"connectivity: {status.node} is {known.reach}"
    if known.since is not None:
        text += f" since {stamp(known.since)}"
    text += f", {status.peer}: {known.peer_reach or 'not reported'}"
    rows = [f"{text}; {known.text}" if known.text else text]
    for target in known.targets if with_targets else ():
        if target.answers:
            took = "" if target.took_s is None else f" in {target.took_s * 1000:.1f} ms"
            rows.append(f"\ttarget {target.address}: answers{took}")
        else:
            at = target.answered_at
            last = "never answered" if at is None else f"last answer {stamp(at)}"
            rows.append(f"\ttarget {target.address}: {target.text}; {last}")
    return rows


def outlook_lines(svc: ServiceStatus) -> list[str]:
    """Render whether a service could start on this node now, and how long a takeover takes."""
    rows = []
    if svc.ready:
        why = f": {svc.ready_text}" if svc.ready_text else ""
        rows.append(f"{svc.name}: takeover ready: {svc.ready}{why}")
    parts = ", ".join(f"{part.seconds:.1f} {part.text}" for part in svc.predicted_parts)
    if svc.predicted_s is not None:
        rows.append(f"{svc.name}: a takeover would take {svc.predicted_s:.1f} s: {parts}")
    elif parts:
        rows.append(f"{svc.name}: a takeover would take {parts}, and a part that is not known")
    if svc.last_takeover_s is not None and svc.last_takeover_at is not None:
        rows.append(
            f"{svc.name}: the last takeover took {svc.last_takeover_s:.1f} s, at"
            f" {stamp(svc.last_takeover_at)}"
        )
    return rows


def link_line(link: LinkStatus) -> str:
    """Render one line of ``hb -s``."""
    head = f"{link.spec.kind} {'sender' if link.is_sender else 'listener'} {link.spec.label}"
    if not link.is_up or link.updated_at is None:
        return f"{head} status DOWN"
    return f"{head} pid {link.pid} status UP, updated at {stamp(link.updated_at)}"


def link_list(status: NodeStatus) -> str:
    """Render ``hb -s``."""
    return _lines([link_line(link) for link in status.links])


def link_details(status: NodeStatus) -> str:
    """Render ``hb -s -v``: each link with its problems, then what applies to all."""
    rows = []
    for link in status.links:
        rows.append(link_line(link))
        rows.append(f"\twire: {link.spec.wire.value}")
        if link.reason:
            rows.append(f"\t{link.reason}")
        if link.counts:
            rows.append(
                "\tinvalid frames: "
                + ", ".join(f"{number} {reason}" for reason, number in link.counts.items())
            )
    rows.append(authentication_line(status.authentication))
    rows.append(f"peer {status.peer}: {status.peer_standing.value}: {status.peer_reason}")
    rows += connectivity_lines(status)
    rows.append(f"scheduling: {status.scheduling}")
    if status.activity.stages:
        rows.append(
            "beats, ms (and at worst): "
            + ", ".join(
                f"{each.stage} {each.typical_s * 1000:.1f} ({each.most_s * 1000:.0f})"
                for each in status.activity.stages
            )
        )
    rows += [f"warning: {text}" for text in status.warnings]
    return _lines(rows)


def authentication_line(auth: AuthStatus) -> str:
    """Return in one line how heartbeats are authenticated."""
    cluster = f", cluster {auth.cluster}" if auth.cluster else ""
    if not auth.sends:
        return f"authentication: {auth.mode}{cluster}"
    peer = (
        f"the peer with {auth.peer_sends}"
        if auth.peer_sends
        else "the peer was not heard with a key yet"
    )
    return f"authentication: {auth.mode}{cluster}, this node sends with key {auth.sends}, {peer}"


def key_generated(ring: KeyRing, path: str) -> str:
    """Render ``openha key generate``."""
    return _lines(
        [
            f"key {ring.current.key_id} generated: {path}",
            "Copy it to the other node over a secure channel, and run there: openha key install"
            " FILE",
        ]
    )


def key_installed(ring: KeyRing, path: str, is_new: bool) -> str:
    """Render ``openha key install``."""
    if not is_new:
        return f"nothing new: {_ring(ring)}\n"
    return f"key file installed: {path}: {_ring(ring)}\n"


def key_rotated(ring: KeyRing, path: str) -> str:
    """Render ``openha key rotate``."""
    return _lines(
        [
            f"next key {ring.newest.key_id} generated: {path}: {_ring(ring)}",
            (
                "It is used once the other node has it too. Copy the file there, and run: openha"
                " key install FILE"
            ),
        ]
    )


def key_status(
    ring: KeyRing | None, path: str, incarnations: Mapping[str, BootId], auth: AuthStatus | None
) -> str:
    """Render ``openha key status``; ``auth`` is None if no daemon runs."""
    rows = [f"key file {path}: {_ring(ring) if ring is not None else 'none'}"]
    for key in ring.keys if ring is not None else ():
        boot = incarnations.get(key.key_id)
        if boot is None:
            rows.append(f"key {key.key_id}: the peer was never heard with it")
        else:
            counter = f", boot counter {boot.counter}" if boot.counter else ""
            rows.append(f"key {key.key_id}: the peer was heard with it{counter}")
    rows.append("nmond is not running" if auth is None else authentication_line(auth))
    if auth is not None and auth.peer_knows:
        rows.append(f"newest key of the peer: {auth.peer_knows}")
    return _lines(rows)


def _ring(ring: KeyRing) -> str:
    parts = [f"current {ring.current.key_id}"]
    parts += [f"next {ring.next.key_id}"] if ring.next is not None else []
    parts += [f"previous {ring.previous.key_id}"] if ring.previous is not None else []
    return ", ".join(parts)


def both(status: NodeStatus) -> str:
    """Render ``openha status``."""
    parts = []
    for heading, body in zip(STATUS_HEADINGS, (link_list(status), service_table(status))):
        parts.append(f"{heading}\n{'-' * 16}\n\n{body}")
    return "\n".join(parts)


def answer_line(answer: Answer) -> str:
    """Render the answer to an action in the original's words."""
    svc, own, peer, detail = answer.service, answer.own.name, answer.peer.name, answer.detail
    if answer.code is AnswerCode.NOT_CONFIGURED:
        return f"we are not primary nor secondary for service {svc}"
    if answer.code is AnswerCode.REFUSED:
        return _refusal(answer)
    if answer.code is AnswerCode.FAILED:
        return f"Service {svc} {answer.command} failed: {detail} (we are {own})"
    if answer.code is AnswerCode.ROLLED_BACK:
        return (
            f"Service {svc} {answer.command} given up: {detail} (partner node is {peer}, we are"
            f" {own})"
        )
    return {
        AnswerCode.READY_START: f"Ready to start {svc}: partner node is {peer} , we are {own}",
        AnswerCode.READY_STOP: f"Ready to stop {svc}: partner node is {peer} we are {own}",
        AnswerCode.READY_FREEZE_STOP: f"Ready to FREEZE, we are {own}",
        AnswerCode.READY_FREEZE_START: f"Ready to FREEZE {svc}: we are {own}",
        AnswerCode.READY_UNFREEZE: f"Ready to UNFREEZE, we are ({own})",
        AnswerCode.READY_FORCE_STOP: (
            f"Ready to force stop {svc}: partner node is {peer}, we are {own}"
        ),
        AnswerCode.READY_FORCE_START: (
            f"Ready to force start {svc}: partner node is {peer}, we are {own}"
        ),
        AnswerCode.STAYS_HERE: "PARTNER is not in STOPPED state: service will not migrate",
        AnswerCode.STARTED: f"Service {svc} successfully started",
        AnswerCode.STOPPED: f"Service {svc} successfully stopped",
        AnswerCode.FROZEN_STOP: f"Service {svc} FROZEN-STOP",
        AnswerCode.FROZEN_START: f"Service {svc} FROZEN-START",
        AnswerCode.UNFROZEN: f"Service {svc} UNFROZEN",
        AnswerCode.FORCED_START: f"Service {svc} forced to started",
        AnswerCode.CONFIRMED: f"{svc} runs nothing: confirmed",
    }[answer.code]


def _refusal(answer: Answer) -> str:
    svc, own, peer = answer.service, answer.own.name, answer.peer.name
    both = f"(partner node is {peer}, we are {own})"
    text = {
        "start": f"Cannot start {svc}: service not in correct state {both}",
        "stop": f"Cannot stop {svc}: service not in correct state {both}",
        "freeze-stop": (
            f"Cannot FREEZE-STOP {svc}: service not in STARTED/STOPPED state (we are {own})"
        ),
        "freeze-start": (
            f"Cannot FREEZE-START {svc}: service not in STARTED/STOPPED state (we are {own})"
        ),
        "unfreeze": f"Cannot UNFREEZE {svc}: not in FREEZE state (we are {own})",
        "force-stop": f"Cannot force stop {svc} {both}",
        "force-start": f"Cannot force start {svc} {both}",
    }[answer.command]
    if own == "UNKNOWN" and not answer.detail:
        return (
            f"{text}: what runs here is not known, `stop` stops it, force-stop and force-start"
            " declare what it is"
        )
    return f"{text}: {answer.detail}" if answer.detail else text


def _lines(rows: list[str]) -> str:
    # Rows contain tabs; other control characters can only come from data that was read.
    return "".join("\t".join(map(one_line, row.split("\t"))) + "\n" for row in rows)
