"""Answer the requests `claim`, `preempt` and `watch` of the node daemon: see ``run``.

::

    claim    "options": {"disk": PATH}, "node", "peer", "generation" of the last look, or null
    preempt  "disks": [{"name", "paths", "key", "may_abort"}], "drain_s", "services", "limit_s"
    watch    "disks", as above, each with the "generation" of the last look, or null

Disks come with the request: they were found before they were needed, for to find them a disk that
hangs may have to be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing

from opensvc_openha.errors import SystemFault, UsageError
from opensvc_openha.fence_devices.arbiter_disk import ArbiterDisk
from opensvc_openha.fence_devices.block_devices import DiskAddress
from opensvc_openha.fence_devices.reservations import DRAIN_S, TakeRules, open_all, take_all
from opensvc_openha.fence_devices.shared_disk import SharedDisk, meet
from opensvc_openha.formats.reservation_key import key_text, parse_key
from opensvc_openha.system.clock import monotonic

_DRAIN_MAX_S = 600.0


def answer(request: Mapping[str, object]) -> dict[str, object]:
    """Claim the right to fence, take disks, or look at this node's registrations."""
    began = monotonic()
    handle = {"claim": _claim, "preempt": _preempt, "watch": _watch}[str(request.get("do"))]
    return {**handle(request), "took_s": round(monotonic() - began, 3)}


def _claim(request: Mapping[str, object]) -> dict[str, object]:
    options = request.get("options")
    disk = options.get("disk") if isinstance(options, Mapping) else None
    node, peer = _text(request, "node"), _text(request, "peer")
    if not isinstance(disk, str) or not disk:
        raise UsageError("options: expected the disk of the arbiter")
    try:
        with closing(ArbiterDisk(disk, node, peer)) as arbiter:
            claim = arbiter.claim(_generation(request))
    except SystemFault as error:
        return {"outcome": "unable", "by": "", "text": str(error), "hints": []}
    return {"outcome": claim.outcome.value, "by": claim.by, "text": claim.text, "hints": []}


def _preempt(request: Mapping[str, object]) -> dict[str, object]:
    disks = _disks(request)
    keys = {_key(disk) for disk in disks}
    if len(keys) != 1:
        raise UsageError("disks: expected one key for all of them")
    key, services = keys.pop(), _texts(request, "services")
    may_abort = all(disk.get("may_abort") is not False for disk in disks)
    with ExitStack() as stack:
        opened = open_all((SharedDisk(_address(disk)) for disk in disks), stack)
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
    disks = _disks(request)
    with ExitStack() as stack:
        opened = open_all((SharedDisk(_address(given)) for given in disks), stack)
        meet(opened)
        looks = [_look(given, disk) for given, disk in zip(disks, opened, strict=True)]
    by = next((str(look["by"]) for look in looks if look["by"]), "")
    return {"is_ejected": bool(by), "by": by, "disks": looks}


def _look(given: Mapping[str, object], disk: SharedDisk) -> dict[str, object]:
    """Return what one disk shows. ``by``: who removed our key; only if it was known there."""
    key, known = _key(given), _generation(given)
    look: dict[str, object] = {"name": disk.name, "is_held": False, "generation": None}
    renewed: tuple[str, ...] = ()
    problem = ""
    try:
        renewed = disk.renew(key, known) if known is not None else ()
    except SystemFault as error:
        problem = str(error)
    try:
        state = disk.read()
    except SystemFault as error:
        return {**look, "by": "", "renewed": [], "text": str(error)}
    is_ejected = known is not None and key not in state.keys
    by = ", ".join(map(key_text, state.others(key))) or "nobody" if is_ejected else ""
    look["is_held"], look["generation"] = state.is_held_by(key), state.generation
    return {**look, "by": by, "renewed": list(renewed), "text": problem or str(state)}


def _disks(request: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
    disks = request.get("disks")
    if not isinstance(disks, list) or not disks:
        raise UsageError("disks: expected the disks, with their paths and the key")
    if not all(isinstance(disk, Mapping) for disk in disks):
        raise UsageError("disks: expected objects")
    return disks


def _address(disk: Mapping[str, object]) -> DiskAddress:
    paths = tuple(_texts(disk, "paths"))
    if not paths:
        raise UsageError("paths: expected one path to the disk at least")
    return DiskAddress(_text(disk, "name"), paths)


def _key(disk: Mapping[str, object]) -> int:
    try:
        return parse_key(_text(disk, "key"))
    except ValueError as error:
        raise UsageError(f"key {error}") from None


def _generation(given: Mapping[str, object]) -> int | None:
    generation = given.get("generation")
    if generation is not None and not isinstance(generation, int):
        raise UsageError(f"generation: expected a number; found {generation!r}")
    return generation


def _drain(request: Mapping[str, object]) -> float:
    drain_s = request.get("drain_s", DRAIN_S)
    if not isinstance(drain_s, (int, float)) or not 0 <= drain_s <= _DRAIN_MAX_S:
        raise UsageError(f"drain_s: expected seconds up to {_DRAIN_MAX_S:g}; found {drain_s!r}")
    return float(drain_s)


def _end(request: Mapping[str, object]) -> float | None:
    """Return the instant at which the daemon kills this program; None if it does not say."""
    limit_s = request.get("limit_s")
    return monotonic() + limit_s if isinstance(limit_s, (int, float)) else None


def _text(given: Mapping[str, object], name: str) -> str:
    text = given.get(name)
    if not isinstance(text, str) or not text:
        raise UsageError(f"{name}: expected a word; found {text!r}")
    return text


def _texts(given: Mapping[str, object], name: str) -> Sequence[str]:
    texts = given.get(name, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UsageError(f"{name}: expected a list of words; found {texts!r}")
    return texts
