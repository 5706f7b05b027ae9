"""Answer the requests `claim`, `preempt` and `watch` of the node daemon: see ``run``.

::

    claim    "options": {"disk": PATH}, "node", "peer", "generation" of the last look, or null
    preempt  "disks": [{"name", "paths", "key", "may_abort"}], "drain_s", "services", "limit_s"
    watch    "disks", as above, each with the "generation" of the last look, or null

Disks come with the request: they were found before they were needed, for to find them a disk that
hangs may have to be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing

from opensvc_openha.errors import SystemFault, UsageError
from opensvc_openha.fence_devices.arbiter_disk import ArbiterDisk
from opensvc_openha.fence_devices.disk_requests import (
    address_of,
    disks_in,
    generation_of,
    key_of,
    text_in,
    texts_in,
)
from opensvc_openha.fence_devices.held_disks import HeldDisks
from opensvc_openha.fence_devices.reservations import (
    DRAIN_MAX_S,
    DRAIN_S,
    TakeRules,
    open_all,
    take_all,
)
from opensvc_openha.fence_devices.shared_disk import SharedDisk
from opensvc_openha.system.clock import monotonic


def answer(request: Mapping[str, object]) -> dict[str, object]:
    """Claim the right to fence, take disks, or look at this node's registrations."""
    began = monotonic()
    handle = {"claim": _claim, "preempt": _preempt, "watch": _watch}[str(request.get("do"))]
    return {**handle(request), "took_s": round(monotonic() - began, 3)}


def _claim(request: Mapping[str, object]) -> dict[str, object]:
    options = request.get("options")
    disk = options.get("disk") if isinstance(options, Mapping) else None
    node, peer = text_in(request, "node"), text_in(request, "peer")
    if not isinstance(disk, str) or not disk:
        raise UsageError("options: expected the disk of the arbiter")
    try:
        with closing(ArbiterDisk(disk, node, peer)) as arbiter:
            claim = arbiter.claim(generation_of(request))
    except SystemFault as error:
        return {"outcome": "unable", "by": "", "text": str(error), "hints": []}
    return {"outcome": claim.outcome.value, "by": claim.by, "text": claim.text, "hints": []}


def _preempt(request: Mapping[str, object]) -> dict[str, object]:
    disks = disks_in(request)
    keys = {key_of(disk) for disk in disks}
    if len(keys) != 1:
        raise UsageError("disks: expected one key for all of them")
    key, services = keys.pop(), texts_in(request, "services")
    may_abort = all(disk.get("may_abort") is not False for disk in disks)
    with ExitStack() as stack:
        opened = open_all((SharedDisk(address_of(disk)) for disk in disks), stack)
        try:
            rules = TakeRules(key, may_abort, _drain(request), ends_at=_end(request))
            report = take_all(opened, rules)
        except SystemFault as error:
            return {
                "is_proved": False,
                "readings": [],
                "text": str(error),
                "hints": [],
                "covers": [],
            }
    return {
        "is_proved": True,
        "readings": [f"{disk.name}: {disk.paths_text}" for disk in report.taken],
        "text": report.text(key),
        "hints": list(report.hints),
        "covers": list(services),
    }


def _watch(request: Mapping[str, object]) -> dict[str, object]:
    """Look at each disk; register again over paths that came back, where that is safe."""
    with closing(HeldDisks()) as held:
        return held.look(disks_in(request))


def _drain(request: Mapping[str, object]) -> float:
    drain_s = request.get("drain_s", DRAIN_S)
    if not isinstance(drain_s, (int, float)) or not 0 <= drain_s <= DRAIN_MAX_S:
        raise UsageError(f"drain_s: expected seconds up to {DRAIN_MAX_S:g}; found {drain_s!r}")
    return float(drain_s)


def _end(request: Mapping[str, object]) -> float | None:
    """Return the instant at which the daemon kills this program; None if it does not say."""
    limit_s = request.get("limit_s")
    return monotonic() + limit_s if isinstance(limit_s, (int, float)) else None
