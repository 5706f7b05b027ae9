"""Put together what was found: a line for each thing to change, and for each that is not known."""

from __future__ import annotations

from dataclasses import dataclass

from opensvc_openha.advise.shared_paths import SharedPath
from opensvc_openha.advise.slow_starts import Starts
from opensvc_openha.advise.timeouts import ENOUGH_S, Choice, LinkAdvice, Stalls


@dataclass(frozen=True)
class Findings:
    """All that was concluded on this node; ``history_limit`` is why the history is not all."""

    node: str
    peer: str
    links: tuple[LinkAdvice, ...]
    choices: tuple[Choice, ...]
    stalls: Stalls
    shared: tuple[SharedPath, ...]
    starts: tuple[Starts, ...]
    link_count: int
    history_limit: str = ""

    @property
    def advice(self) -> tuple[str, ...]:
        """What to change."""
        lines = [
            f"{link.link}: timeout {link.advised_s:g} s in place of {link.timeout_s:g} s"
            f" (both nodes' monitor files): {link.why}"
            for link in self.links
            if link.is_to_change
        ]
        if self.link_count == 1:
            lines.append("add a second heartbeat link: one fault makes the nodes lose each other")
        lines += [f"{' and '.join(path.links)}: {path.text}" for path in self.shared]
        lines += [
            f"{starts.service}: its start takes {starts.median_s:.0f} s, which is part of each"
            " takeover"
            for starts in self.starts
            if starts.is_slow
        ]
        return tuple(lines)

    @property
    def limits(self) -> tuple[str, ...]:
        """What is not known, or known from too little."""
        lines = []
        measured = [link.sample_s for link in self.links if link.gaps]
        if not measured:
            lines.append("no gap between two beats was measured yet: ask again later")
        elif min(measured) < ENOUGH_S:
            lines.append(
                f"beats were measured for {duration(min(measured))} only: ask again after a day"
                " with its backups and its load"
            )
        lines += [
            f"how {self.peer} hears this node is measured there: run `openha advise` there, too",
            "two interfaces may lead to one switch, two disks may come from one array: that is not"
            " visible from here",
        ]
        return (*lines, self.history_limit) if self.history_limit else tuple(lines)


def duration(seconds: float) -> str:
    """Return a span for people: "40 s", "12 min", "3.5 h", "9.0 days"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:.1f} days"
