"""Resolve references in values as the agent does: ``{svcname}``, ``{fs#1.mnt}``, ``{nodes[0]}``.

``{nodename}`` is this node. A name without a section is a keyword of [DEFAULT]. A shell variable
(``${x}``) is left alone, and so is an unresolvable reference in a command: braces have a meaning
for shells and for docker too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_DEPTH_MAX = 10
_REFERENCE = re.compile(r"(?<!\$)\{(\w*[\w#][\w.#\[\]]*)\}")
_COMMANDS = re.compile(
    r"(blocking_)?(pre|post)_.*|start|stop|check|info|cmd|run_args|run_command|docker_daemon_args"
)
_INDEX = re.compile(r"(.+)\[(\d{1,3})\]\Z")


def expand(
    keyword: str, value: str, known: Mapping[str, Mapping[str, str]], svcname: str, node: str
) -> str:
    """Return the value with its references resolved.

    Raises ValueError for a reference that is unknown or circular.
    """
    names = {
        "svcname": svcname,
        "short_svcname": svcname.partition(".")[0],
        "nodename": node,
        "short_nodename": node.partition(".")[0],
    }
    is_command = _COMMANDS.fullmatch(keyword) is not None

    def replacement(match: re.Match[str]) -> str:
        found = _find(match.group(1), known, names)
        if found is None and not is_command:
            known_forms = "{svcname}, {nodename} or {section.keyword}"
            raise ValueError(f"refers to {match.group()}, which is not set, expected {known_forms}")
        return match.group() if found is None else found

    for _ in range(_DEPTH_MAX):
        expanded = _REFERENCE.sub(replacement, value)
        if expanded == value:
            return value
        value = expanded
    raise ValueError("refers to itself, expected a reference that ends in a value")


def _find(
    reference: str, known: Mapping[str, Mapping[str, str]], names: Mapping[str, str]
) -> str | None:
    if reference in names:
        return names[reference]
    indexed = _INDEX.match(reference)
    path, index = (indexed.group(1), int(indexed.group(2))) if indexed else (reference, -1)
    section, dot, keyword = path.rpartition(".")
    values = known.get(section if dot else "DEFAULT", {})
    is_count = keyword.startswith("#")
    found = values.get(keyword.lstrip("#").lower())
    if found is None:
        return None
    words = found.split()
    if is_count:
        return str(len(words))
    if index < 0:
        return found
    return words[index] if index < len(words) else None
