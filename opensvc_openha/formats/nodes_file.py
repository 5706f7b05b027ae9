"""Parse the nodes file: the two nodes, one name per line, spelled as ``uname -n`` prints them."""

from __future__ import annotations

import re

from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.conf_lines import expect_columns, read_lines

NODE_NAME_MAX = 127
"""Longest node name in bytes: the limit of the original's 128-byte field."""

_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\Z")


def check_node_name(name: str) -> None:
    """Raise ValueError unless ``name`` is a valid node name."""
    length = len(name.encode("utf-8", "replace"))
    if length > NODE_NAME_MAX:
        raise ValueError(f"node name is too long. {length} out of {NODE_NAME_MAX}")
    if not _HOST_NAME.match(name):
        raise ValueError(
            f"{name!r} is not a host name (letters, digits and hyphens, in labels separated by"
            " dots)"
        )


def is_same_node(word: str, node: str) -> bool:
    """Return whether two names mean the same node; either may lack its domain."""
    word, node = word.lower(), node.lower()
    if "." in word and "." in node:
        return word == node
    return word.partition(".")[0] == node.partition(".")[0]


def parse_nodes(text: str, path: str) -> tuple[str, ...]:
    """Return the two node names, in the order of the file."""
    first_lines: dict[str, int] = {}
    names = []
    for line in read_lines(text, path):
        expect_columns(line, "node", path)
        name = line.columns[0]
        try:
            check_node_name(name)
        except ValueError as error:
            raise ConfigError(str(error), path, line.number) from None
        # Host names are compared without case, as by resolvers and the original's `hb -a`.
        earlier = first_lines.setdefault(name.lower(), line.number)
        if earlier != line.number:
            raise ConfigError(f"node {name} is already on line {earlier}", path, line.number)
        names.append(name)
        if len(names) > 2:
            raise ConfigError(f"a cluster has two nodes; {name} is the third", path, line.number)
    if len(names) != 2:
        raise ConfigError(f"a cluster has two nodes, one on each line; found {len(names)}", path)
    return tuple(names)
