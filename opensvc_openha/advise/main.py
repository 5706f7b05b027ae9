"""Collect what was measured on this node, and print what follows. Nothing is changed."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

from opensvc_openha.advise.findings import Findings
from opensvc_openha.advise.shared_paths import shared_paths
from opensvc_openha.advise.slow_starts import Starts, pauses_in, starts_of
from opensvc_openha.advise.text import as_json, as_text
from opensvc_openha.advise.timeouts import Stalls, advise_link, choices
from opensvc_openha.cli import advise, installation
from opensvc_openha.cli.history import newest_if_any
from opensvc_openha.core.events import ScriptKind
from opensvc_openha.errors import OpenhaError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.storage.history_entry import Entry, EntryKind
from opensvc_openha.storage.history_file import read_oldest, read_words
from opensvc_openha.system import clock
from opensvc_openha.verify.invariants import InvariantBroken
from opensvc_openha.verify.rehearsal.happenings import read_happenings
from opensvc_openha.verify.rehearsal.present import Present
from opensvc_openha.verify.rehearsal.rehearsal import Rehearsal
from opensvc_openha.whatif.main import read_present

_STALLED, _STALL = "STALLED", re.compile(r"stalled for ([\d.]+) s")
_LOG_BYTES = 262_144


def main(args: list[str]) -> int:
    """Run ``openha advise``; return the exit code."""
    options = advise.build_parser().read(args)
    findings = collect(installation.layout())
    sys.stdout.write((as_json if options.is_json else as_text)(findings))
    return 0


def collect(layout: Layout) -> Findings:
    """Return all that can be concluded on this node; raises what a status raises."""
    present = read_present(layout)
    entries, history_s, limit = _history(layout)
    stalls = Stalls(stall_seconds(entries), history_s)
    listeners = [link for link in present.status.links if not link.is_sender]
    profile = present.spec.profile
    return Findings(
        present.spec.node,
        present.spec.peer,
        tuple(advise_link(link, stalls, profile) for link in listeners),
        choices(listeners, profile, takeover_of(present)),
        stalls,
        shared_paths(present.spec.senders),
        tuple(_with_pauses(layout, starts) for starts in starts_of(entries)),
        len(present.spec.senders),
        limit,
    )


def _history(layout: Layout) -> tuple[list[Entry], float, str]:
    """Return starts and stalls, how far back they go, and why that is less than all."""
    try:
        scripts = read_words(layout.history_dir, (EntryKind.SCRIPT,), (ScriptKind.START.value,))
        stalls = read_words(layout.history_dir, (EntryKind.NODE,), (_STALLED,))
        oldest = read_oldest(layout.history_dir)
        return scripts + stalls, 0.0 if oldest is None else clock.wall() - oldest.at, ""
    except OpenhaError as error:
        entries = newest_if_any(layout)
        since_s = clock.wall() - entries[0].at if entries else 0.0
        return entries, since_s, f"{error}: only its newest entries were seen"


def stall_seconds(entries: Sequence[Entry]) -> tuple[float, ...]:
    """Return how long each stall of this node took, as its history has it."""
    found = (
        _STALL.match(entry.reason)
        for entry in entries
        if entry.kind is EntryKind.NODE and entry.new == _STALLED
    )
    return tuple(float(stall.group(1)) for stall in found if stall is not None)


def takeover_of(present: Present) -> Callable[[float], float | None]:
    """Return what rehearses a power failure with another timeout on all links."""
    runs_there = any(
        svc.peer_state is not None and svc.peer_state.name == "STARTED"
        for svc in present.status.services
    )
    event = "peer-dies" if runs_there else "this-node-dies"
    planned = read_happenings([event])

    def takeover_s(timeout_s: float) -> float | None:
        if not present.is_peer_live:
            return None
        links = tuple(replace(link, timeout_s=timeout_s) for link in present.spec.links)
        status = replace(present.status, links=())
        copied = replace(present, spec=replace(present.spec, links=links), status=status)
        try:
            result = Rehearsal(copied).play(planned)
        except InvariantBroken:
            return None
        away = [svc.away_s for svc in result.services if svc.away_s and not svc.is_away]
        return max(away, default=None)

    return takeover_s


def _with_pauses(layout: Layout, starts: Starts) -> Starts:
    """Add where the time of a slow start went, if the log of its script can be read."""
    if not starts.is_slow:
        return starts
    try:
        with open(layout.script_log(starts.service), "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _LOG_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return starts
    hour, minute, second = map(int, clock.precise_stamp(starts.last_at)[11:19].split(":"))
    ended_at_s = 3600 * hour + 60 * minute + second
    return replace(starts, pauses=pauses_in(lines, ended_at_s, starts.last_s))
