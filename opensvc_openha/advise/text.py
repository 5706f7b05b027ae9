"""Write the advice, for people and as JSON."""

from __future__ import annotations

from opensvc_openha.advise.findings import Findings, duration
from opensvc_openha.advise.timeouts import Choice, LinkAdvice
from opensvc_openha.cli import json_views


def as_text(found: Findings) -> str:
    """Return what was measured, what to change, and what is not known."""
    lines = ["Beats of the peer, as heard here"]
    lines += [line for link in found.links for line in _link_lines(link)] or ["  no listener"]
    stalls = found.stalls
    lines += [
        "",
        "Stalls of this node",
        f"  {len(stalls.seconds)} in the history of {duration(stalls.sample_s)}"
        + (f", the longest {stalls.longest_s:.1f} s" if stalls.seconds else ""),
    ]
    if found.choices:
        lines += [
            "",
            "One timeout for all links",
            "  timeout   false alarms about the peer        a power failure: services away for",
        ]
        lines += [_choice_line(choice) for choice in found.choices]
    lines += ["", "Starts on this node"]
    for starts in found.starts:
        lines.append(
            f"  {starts.service}: {starts.median_s:.1f} s (median of {starts.number}),"
            f" {starts.longest_s:.1f} s at most, {starts.last_s:.1f} s the last time"
        )
        lines += [f"    {pause.seconds:.0f} s after: {pause.after}" for pause in starts.pauses]
    if not found.starts:
        lines.append("  none in the history")
    lines += ["", "Advice", *(f"  {line}" for line in found.advice or ("nothing to change",))]
    lines += ["", "Not known", *(f"  {line}" for line in found.limits)]
    return "".join(f"{line}\n" for line in lines)


def _link_lines(link: LinkAdvice) -> list[str]:
    if not link.gaps:
        return [f"  {link.link}: timeout {link.timeout_s:g} s; nothing was measured yet"]
    lost = "" if link.lost is None else f", {link.lost} lost"
    return [
        f"  {link.link}: timeout {link.timeout_s:g} s",
        f"    gaps: {link.gaps} in {duration(link.sample_s)}; 99.9 % up to {link.gap_999_s:.2f} s,"
        f" the longest {link.longest_gap_s:.2f} s; jitter {link.jitter_s * 1000:.1f} ms{lost}",
        f"    longer than its timeout: {_odds(link.exceeded, link.per_day_at_most)}",
    ]


def _odds(seen: int, per_day: float | None) -> str:
    """Return what was seen, and the bound of what may come."""
    if per_day is None:
        return "not known"
    if per_day >= 1:
        bound = f"at most {per_day:.0f} a day"
    else:
        bound = f"at most one in {duration(86_400 / per_day)}"
    return f"{seen or 'none'} seen; {bound} (95 %)"


def _choice_line(choice: Choice) -> str:
    away = "not known" if choice.takeover_s is None else f"{choice.takeover_s:.1f} s"
    mark = "  (now)" if choice.is_present else ""
    odds = _odds(choice.exceeded, choice.per_day_at_most)
    return f"  {choice.timeout_s:5g} s   {odds:44} {away}{mark}"


def as_json(found: Findings) -> str:
    """Return what ``openha advise --json`` prints."""
    return json_views.AdviseView(
        found.node,
        found.peer,
        tuple(
            json_views.LinkAdviceView(
                link.link,
                link.timeout_s,
                link.sample_s,
                link.gaps,
                link.gap_999_s,
                link.longest_gap_s,
                link.jitter_s,
                link.lost,
                link.exceeded,
                link.per_day_at_most,
                link.advised_s,
                link.why,
            )
            for link in found.links
        ),
        tuple(
            json_views.TimeoutChoiceView(
                choice.timeout_s,
                choice.exceeded,
                choice.per_day_at_most,
                choice.takeover_s,
                choice.is_present,
            )
            for choice in found.choices
        ),
        len(found.stalls.seconds),
        found.stalls.longest_s,
        found.stalls.sample_s,
        tuple(
            json_views.SharedPathView(path.links, path.shared, path.text) for path in found.shared
        ),
        tuple(
            json_views.StartsView(
                starts.service,
                starts.number,
                starts.median_s,
                starts.longest_s,
                starts.last_s,
                starts.last_at,
                starts.is_slow,
                tuple(json_views.PauseView(pause.seconds, pause.after) for pause in starts.pauses),
            )
            for starts in found.starts
        ),
        found.advice,
        found.limits,
    ).text()
