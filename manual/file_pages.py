"""Manual pages of files, section 5, from the declarations that their parsers read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from manual import roff
from manual.defaults import keyword_default, option_default
from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.keywords import REQUIRED, AnyKeyword, Kind
from opensvc_openha.formats.conf_sections import Option
from opensvc_openha.formats.layout import AgentLayout, fhs_layout, tree_layout
from opensvc_openha.formats.options_schema import SECTIONS
from opensvc_openha.links.registry import LINK_TYPES

_NAMES_SHOWN = 8
_COLUMNS = {
    "interface": "name of the network interface of the node that sends and of the one that listens",
    "address": "multicast group, or address or host name of the node that listens",
    "port": "UDP port",
    "device": "absolute path of a device or file that both nodes can write",
    "offset": "first block of the slot, in blocks of 512 bytes; a slot takes 10 of them",
    "timeout": "seconds without a beat after which the link is down",
}


def file_pages() -> Mapping[str, str]:
    """Return the text of each page by its file name."""
    return {name: make() for name, make in FILE_PAGES.items()}


def _page(name: str, about: str, places: Sequence[str], *body: str) -> str:
    others = [f"{other.removesuffix('.5')}(5)" for other in FILE_PAGES if other != f"{name}.5"]
    lines = [
        roff.heading(name, 5),
        roff.title("NAME"),
        f"{roff.literal(name)} \\- {roff.literal(about)}",
        roff.title("SYNOPSIS"),
        "\n.br\n".join(roff.bold(place) for place in places),
        *body,
        roff.see_also(["openha(8)", *others]),
    ]
    return roff.page(lines)


def _options_page() -> str:
    body = [
        roff.title("DESCRIPTION"),
        roff.paragraph(
            "Options in sections, `NAME = VALUE` in each; a `#` begins a comment. The file may be"
            " missing: each option has a default. A running daemon applies changes; what is wrong"
            " is reported with its line, and the former options stay in force. Options that concern"
            " both nodes belong into the files of both."
        ),
    ]
    for section in SECTIONS:
        body.append(roff.title(f"[{section.name}]"))
        body += [_option(option) for option in section.options]
        if section.inner:
            body += [roff.subtitle(f"[[{section.inner}]]"), roff.paragraph(section.inner_text)]
            shared = [each for each in section.inner_options if each in section.options]
            if shared:
                names = ", ".join(f"`{each.name}`" for each in shared)
                body.append(roff.paragraph(f"As above: {names}."))
            body += [_option(each) for each in section.inner_options if each not in shared]
        for part in section.parts:
            body += [roff.subtitle(f"[[{part.name}]]"), roff.paragraph(part.text)]
            body += [_option(option) for option in part.options]
    places = [layout.options_file for layout in (tree_layout(), fhs_layout())]
    return _page("openha.conf", "options of the node daemon", places, *body)


def _option(option: Option[Any]) -> str:
    default = option_default(option)
    written = f"Default: `{default}`." if default else "No default."
    return roff.entry(f"`{option.name}` = {option.type.values}", f"{option.text} {written}")


def _monitor_page() -> str:
    body = [
        roff.title("DESCRIPTION"),
        roff.paragraph(
            "Heartbeat links, one a line, columns separated by blanks: the node that sends, named"
            " as in the file `nodes`; the type; the columns of the type; the timeout. The other"
            " node listens. Both nodes have the same text. Lines that begin with `#` are comments."
            " `openha hb -a` and `openha hb -r` edit the file; a running daemon takes changes over."
        ),
        roff.title("TYPES"),
    ]
    for each in LINK_TYPES.values():
        columns = " ".join((*each.columns, "timeout"))
        body.append(roff.entry(f"NODE `{each.word}` {columns}", f"Beats go {each.meaning}."))
    body.append(roff.title("COLUMNS"))
    used = dict.fromkeys(
        name for each in LINK_TYPES.values() for name in (*each.columns, "timeout")
    )
    body += [roff.entry(f"`{name}`", _COLUMNS[name]) for name in used]
    body += [
        roff.title("EXAMPLES"),
        roff.verbatim(
            [
                "deb1.opensvc.com  net      eth1  239.131.50.10    5010  10",
                "deb2.opensvc.com  net      eth1  239.131.50.12    5012  10",
                "deb1.opensvc.com  unicast  eth2  10.50.1.2        5020  10",
                "deb2.opensvc.com  unicast  eth2  10.50.1.1        5021  10",
                "deb1.opensvc.com  dio  /dev/mapper/disk.hb.0  0   10",
                "deb2.opensvc.com  dio  /dev/mapper/disk.hb.0  10  10",
            ]
        ),
    ]
    places = [layout.monitor_file for layout in (tree_layout(), fhs_layout())]
    return _page("monitor", "heartbeat links of an OpenHA cluster", places, *body)


def _service_page() -> str:
    body = [
        roff.title("DESCRIPTION"),
        roff.paragraph(
            "A service of the embedded agent, and of an OpenSVC agent: a section `[DEFAULT]`, and"
            " one for each resource. `NAME@NODE = VALUE` is a value for one node. `{NAME}` in a"
            " value stands for the value of a keyword, `{nodename}` for this node."
            " `svcmgr -s SERVICE validate config` checks the file."
        ),
        roff.title("EVERY RESOURCE"),
        *_keywords(schema.COMMON),
        roff.title("[DEFAULT]"),
        *_keywords(schema.DEFAULT_SECTION),
    ]
    for kind in schema.KINDS.values():
        body += [roff.title(f"[{kind.group}#N]"), roff.paragraph(kind.text), *_kind(kind)]
    body += [roff.title("[subset#GROUP:NAME]"), *_keywords(schema.SUBSET_SECTION)]
    folder = AgentLayout().etc_dir
    return _page(
        "openha-service.env", "a service and its resources", [f"{folder}/SERVICE.env"], *body
    )


def _kind(kind: Kind) -> Iterable[str]:
    def names(type_: str) -> list[str]:
        return [keyword.name for keyword in kind.types[type_]]

    for _, group in groupby(kind.types, names):
        together = list(group)
        if together != [""]:
            yield roff.subtitle(f"type = {', '.join(together)}")
        yield from _keywords(kind.types[together[0]])
    if kind.shown_types:
        yield roff.paragraph(
            f"Only shown, neither started nor stopped: {', '.join(kind.shown_types)}."
        )


def _keywords(keywords: Iterable[AnyKeyword]) -> Iterable[str]:
    """Yield an entry for each; those in a row with one text, such as triggers, share it."""
    documented = [keyword for keyword in keywords if not keyword.is_ignored]
    for text, group in groupby(documented, lambda keyword: keyword.text):
        same = list(group)
        shown = [f"`{name}`" for keyword in same for name in keyword.names]
        names = ", ".join(shown[:_NAMES_SHOWN]) + (", ..." if len(shown) > _NAMES_SHOWN else "")
        expected = same[0].type.expected.partition(" for ")[0]
        yield roff.entry(names, f"{text} Value: {expected}. {_necessity(same[0])}".strip())
    ignored = [keyword.name for keyword in keywords if keyword.is_ignored]
    if ignored:
        yield roff.paragraph(f"Accepted, without effect: {', '.join(ignored)}.")


def _necessity(keyword: AnyKeyword) -> str:
    if keyword.default is REQUIRED:
        return "Required."
    if keyword.required_when:
        return f"Required if {keyword.required_when}."
    default = keyword_default(keyword)
    return f"Default: `{default}`." if default else ""


FILE_PAGES: Mapping[str, Callable[[], str]] = {
    "monitor.5": _monitor_page,
    "openha.conf.5": _options_page,
    "openha-service.env.5": _service_page,
}
"""Each page and the function that makes it."""
