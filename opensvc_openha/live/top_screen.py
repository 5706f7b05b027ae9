"""Lay out ``openha top`` as lines of text: everything at a glance, or one text to scroll.

Pure: height and width are arguments, and the lines exceed neither. A level has a mark of its own;
colours only repeat it.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace

from opensvc_openha.live.picture import LinkPicture, Picture, ServicePicture, reduced

MARKS = {
    "ok": "+",
    "off": "-",
    "busy": "~",
    "paused": "=",
    "warning": "!",
    "bad": "X",
    "unknown": "?",
}
"""Before each word, by the value of its level."""
_BARS = "▁▂▃▄▅▆▇█"
_BARS_ASCII = "._-=+*%#"
_KEYS = "q quit  up/down choose  w why  e events  r look now"
_TEXT_KEYS = "q quit  up/down scroll  esc back"
_NAME_LEAST, _STATE = 12, 15
_READY_WORDS = {"ok": "ready", "warning": "NOT READY", "unknown": "unknown"}


class Mode(enum.Enum):
    """What is on the screen."""

    ALL = "all"
    EVENTS = "events"
    WHY = "why"


@dataclass(frozen=True)
class View:
    """Position of the operator: the chosen service, or a text and its first line."""

    mode: Mode = Mode.ALL
    chosen: int = 0
    first_line: int = 0


@dataclass(frozen=True)
class Line:
    """One line; ``level`` is that of the thing that it shows, or empty."""

    text: str
    level: str = ""
    is_title: bool = False
    is_chosen: bool = False


def screen(
    picture: Picture,
    view: View,
    width: int,
    height: int,
    text: Sequence[str] = (),
    is_unicode: bool = True,
) -> list[Line]:
    """Return the lines of the screen, the last one with the keys. ``text`` is what why prints."""
    names = f"{picture.node} and {picture.peer}" if picture.node else ""
    title = Line(_apart(f"openha top  {names}", picture.at, width - 1), is_title=True)
    mark = MARKS[picture.level.value]
    headline = Line(f"{mark} {picture.headline}", picture.level.value)
    room = max(0, height - 3)
    if view.mode is Mode.ALL:
        body, keys = _all(picture, view, width, room, is_unicode), _KEYS
    else:
        lines = _event_lines(picture) if view.mode is Mode.EVENTS else [Line(one) for one in text]
        first = max(0, min(view.first_line, len(lines) - room))
        body, keys = lines[first : first + room], _TEXT_KEYS
    body = body[:room]
    body += [Line("")] * (room - len(body))
    lines = [title, headline, *body, Line(keys, is_title=True)]
    return [replace(line, text=_fit(line.text, width, is_unicode)) for line in lines[-height:]]


def chosen_service(picture: Picture, view: View) -> str:
    """Return the name of the chosen service; empty if there is none."""
    if not picture.services:
        return ""
    return picture.services[min(view.chosen, len(picture.services) - 1)].name


def last_line(picture: Picture, view: View, text: Sequence[str]) -> int:
    """Return the number of lines that can be scrolled in this view."""
    return len(picture.events) if view.mode is Mode.EVENTS else len(text)


def _all(picture: Picture, view: View, width: int, room: int, is_unicode: bool) -> list[Line]:
    nodes = [
        Line(f"{MARKS[one.level.value]} {one.name}: {one.word}", one.level.value)
        for one in picture.nodes
    ]
    services, chosen = _services(picture, view, width)
    links = [_link(one, width, is_unicode) for one in picture.links]
    warnings = [Line(f"! {text}", "warning") for text in picture.warnings]
    events = _event_lines(picture)
    # Each part gets what is left for it; what needs less gives the rest to the next one.
    left = room - len(nodes)
    for_services = max(4, left * 2 // 5)
    for_links = max(3, left // 4)
    head = Line(_service_head(picture, width), is_title=True)
    shown = _around(services, chosen, for_services - 1)
    lines = [*nodes, head, *(shown or [Line("  no service")])]
    if links:
        lines += [Line(_link_head(width), is_title=True), *_worst(links, for_links - 1)]
    if warnings:
        lines += [Line("Warnings", is_title=True), *warnings[:2]]
    if events and len(lines) + 1 < room:
        lines += [Line("Newest events of this node", is_title=True)]
        lines += events
    return lines


def _services(picture: Picture, view: View, width: int) -> tuple[list[Line], int]:
    chosen = max(0, min(view.chosen, len(picture.services) - 1))
    lines = [
        Line(_service(one, picture, width), one.level.value, is_chosen=index == chosen)
        for index, one in enumerate(picture.services)
    ]
    return lines, chosen


def _name_width(picture: Picture, width: int) -> int:
    longest = max([len(one.name) for one in picture.services] + [_NAME_LEAST])
    return max(4, min(longest, width - 3 - 2 * (_STATE + 1) - 10, 30))


def _service_head(picture: Picture, width: int) -> str:
    name = _name_width(picture, width)
    node, peer = (_cut(one, _STATE) for one in (picture.node or "here", picture.peer or "peer"))
    return f"  {'Service':<{name}} {node:<{_STATE}} {peer:<{_STATE}} Takeover by this node, why"


def _service(one: ServicePicture, picture: Picture, width: int) -> str:
    name = _name_width(picture, width)
    states = " ".join(
        f"{_cut(f'{MARKS[side.level.value]} {side.state}', _STATE):<{_STATE}}" for side in one.sides
    )
    parts = [_READY_WORDS.get(one.ready_level.value, ""), *one.notes]
    if one.ready_level.value != "ok" and one.ready:
        parts.append(one.ready)
    if one.predicted_s is not None:
        parts.append(f"takeover {one.predicted_s:.1f} s")
    parts.append(one.reason)
    rest = "; ".join(part for part in parts if part)
    return f"{MARKS[one.level.value]} {_cut(one.name, name):<{name}} {states} {rest}"


def _link_head(width: int) -> str:
    return (
        f"  {'Heartbeat link':<{_link_width(width)}} End          Longest silence in 5 min, timeout"
    )


def _link_width(width: int) -> int:
    return max(10, min(28, width // 3))


def _link(one: LinkPicture, width: int, is_unicode: bool) -> Line:
    name = _link_width(width)
    known = [point for point in one.points if point is not None]
    worst = f"{max(known):5.1f} s" if known else "    ?  "
    head = (
        f"{MARKS[one.level.value]} {_cut(one.title, name):<{name}} {one.direction:<7}"
        f" {one.word:<4} {worst} /{one.timeout_s:3.0f} s "
    )
    room = max(0, width - 1 - len(head))
    points = reduced(one.points, room)[0] if room else ()
    return Line(head + sparkline(points, one.timeout_s, is_unicode), one.level.value)


def sparkline(points: Sequence[float | None], top: float, is_unicode: bool = True) -> str:
    """Return one character for each point, a blank for none; the highest from ``top`` on."""
    bars = _BARS if is_unicode else _BARS_ASCII
    return "".join(
        " " if point is None else bars[min(len(bars) - 1, int(point / top * len(bars)))]
        for point in points
    )


def _worst(links: list[Line], room: int) -> list[Line]:
    """Return as many links as there is room for: those that are down first."""
    if len(links) <= room:
        return links
    ordered = sorted(links, key=lambda line: line.level == "ok")
    return [*ordered[: max(0, room - 1)], Line(f"  and {len(links) - max(0, room - 1)} more")]


def _around(lines: list[Line], chosen: int, room: int) -> list[Line]:
    room = max(1, room)
    first = max(0, min(chosen - room // 2, len(lines) - room))
    return lines[first : first + room]


def _event_lines(picture: Picture) -> list[Line]:
    return [
        Line(
            f"{'X' if one.is_alarm else ' '} {one.stamp} {one.text}", "bad" if one.is_alarm else ""
        )
        for one in picture.events
    ]


def _apart(left: str, right: str, width: int) -> str:
    """Return both texts at the ends of a line."""
    return f"{left[: max(0, width - len(right) - 1)]:<{max(0, width - len(right))}}{right}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}*"


def _fit(text: str, width: int, is_unicode: bool) -> str:
    printable = "".join(one if one.isprintable() else " " for one in text)
    if not is_unicode:
        printable = printable.encode("ascii", "replace").decode()
    return printable[: max(0, width - 1)]
