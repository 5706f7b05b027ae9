"""Reads openha.conf, the options that the original's files have no place for. No file means: all defaults.

::

    [heartbeat]
    authentication = enforced       # off, permissive or enforced
    cluster = paris                 # beats of a cluster of another name are refused

Left out, ``authentication`` is off without a key file. With one it is enforced as soon as the peer was heard with a key,
and permissive until then: giving a running cluster its key loses no beat, whichever node gets it first.
A section or option that is not known is an error: a misspelt safeguard must not be taken for one.
"""

from __future__ import annotations

import enum
import os
import re
from dataclasses import dataclass, replace
from typing import Any, Mapping, Optional

from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.runtime.files import read_text

_YES_NO = {"yes": True, "no": False}
_KNOWN = {"heartbeat": ("authentication", "cluster", "wire"), "node": ("realtime",)}
_CLUSTER_MAX = 63
_CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


class AuthMode(enum.Enum):
    """What becomes of a beat that no key authenticates."""

    OFF = "off"
    """Keys are not used at all."""
    PERMISSIVE = "permissive"
    """Accepted, counted and reported; own beats are authenticated."""
    ENFORCED = "enforced"
    """Refused."""


@dataclass(frozen=True)
class Options:
    """openha.conf, checked. ``authentication`` None is the default: it depends on keys and peer."""

    authentication: Optional[AuthMode] = None
    cluster: str = ""
    realtime: bool = False


def read_options(layout: Layout) -> Options:
    """The options in force; raises ConfigError with file and line."""
    path = layout.options_file
    if not os.path.exists(path):
        return Options()
    return parse_options(read_text(path), path)


def parse_options(text: str, path: str) -> Options:
    """The options that a text gives."""
    # Imported here: most nodes have no such file, and each command would pay for it.
    from configobj import ConfigObj, ConfigObjError

    try:
        parsed = ConfigObj(text.splitlines(), interpolation=False, raise_errors=True)
    except ConfigObjError as error:
        raise ConfigError(str(error).split(" at line ")[0].rstrip("."), path, error.line_number) from None
    for name in parsed.scalars:
        raise ConfigError(f"option {name!r} stands before any [section]", path, _line_of(text, "", name))
    for section in parsed.sections:
        if section not in _KNOWN:
            known = ", ".join(f"[{name}]" for name in _KNOWN)
            raise ConfigError(f"unknown section [{section}] (known: {known})", path, _line_of(text, section, ""))
        # The subsections of [heartbeat] are links, and their wire is read with the links.
        inner = [] if section == "heartbeat" else parsed[section].sections
        for name in [*parsed[section].scalars, *inner]:
            if name not in _KNOWN[section]:
                raise ConfigError(f"unknown option {name!r} (known in [{section}]: {', '.join(_KNOWN[section])})", path,
                                  _line_of(text, section, name))
    options = _heartbeat(parsed.get("heartbeat", {}), text, path)
    word = str(parsed.get("node", {}).get("realtime", "no"))
    if word not in _YES_NO:
        raise ConfigError(f"realtime: expected one of {', '.join(_YES_NO)}; found {word!r}", path,
                          _line_of(text, "node", "realtime"))
    return replace(options, realtime=_YES_NO[word])


def _heartbeat(values: Mapping[str, Any], text: str, path: str) -> Options:
    mode = str(values.get("authentication", ""))
    modes = {each.value: each for each in AuthMode}
    if "authentication" in values and mode not in modes:
        raise ConfigError(f"authentication: expected one of {', '.join(modes)}; found {mode!r}", path,
                          _line_of(text, "heartbeat", "authentication"))
    cluster = str(values.get("cluster", ""))
    if "cluster" in values and (len(cluster) > _CLUSTER_MAX or not _CLUSTER.match(cluster)):
        raise ConfigError(f"cluster: expected a name of letters, digits, dot, underscore and hyphen; found {cluster!r}", path,
                          _line_of(text, "heartbeat", "cluster"))
    return Options(modes.get(mode), cluster)


def _line_of(text: str, section: str, name: str) -> Optional[int]:
    """Number of the line on which an option, or a section if no option is named, stands."""
    here = ""
    for number, line in enumerate(text.splitlines(), 1):
        heading = re.match(r"\s*\[+\s*([^\]]*?)\s*\]", line)
        if heading:
            here = heading.group(1).strip("\"'")
            if here == section and not name or here == name:
                return number
        elif here == section and name and re.match(rf"\s*[\"']?{re.escape(name)}[\"']?\s*=", line):
            return number
    return None
