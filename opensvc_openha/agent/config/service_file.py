"""Read a `.env` service file into sections with the values that are valid on this node.

Decides which spelling of a keyword wins (``dev@deb1`` before ``dev@nodes`` before ``dev``; the
section before DEFAULT), resolves references, and reports the line of an invalid value. What the
keywords mean is defined elsewhere.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from types import MappingProxyType

from opensvc_openha.agent.config.ini_reader import read_sections
from opensvc_openha.agent.config.keywords import REQUIRED, AnyKeyword, Keyword
from opensvc_openha.agent.config.references import expand
from opensvc_openha.agent.config.value_types import TEXT, split_list
from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.nodes_file import is_same_node
from opensvc_openha.hints import TypeVar
from opensvc_openha.named_tuples import NamedTuple

T = TypeVar("T")

FILE_BYTES_MAX = 1_000_000
SERVICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
COMMAND_NAMES = frozenset(
    {
        *("svcmgr", "svcmgr.py", "svcmon", "nodemgr", "openha", "allservices", "allupservices"),
        *("alldownservices", "allwarnservices", "allprimaryservices", "allsecondaryservices"),
    }
)
"""Names of other commands: a service of this name would hide them."""
_EXPECTED_NAME = "expected letters, digits, dots, dashes and underscores before .env"


class Section(NamedTuple):
    """One section as this node sees it: scoped and inherited values by lower-case keyword."""

    path: str
    name: str
    values: Mapping[str, str]
    lines: Mapping[str, int] = MappingProxyType({})
    line: int | None = None
    own: frozenset[str] = frozenset()
    """Plain keywords set in this section itself, in any scope."""

    @property
    def group(self) -> str:
        """Part of the name before ``#``."""
        return self.name.partition("#")[0]

    def value(self, keyword: Keyword[T]) -> T:
        """Return the value of a keyword, or its default if it is absent or empty.

        Raises ConfigError for a value that is invalid, or missing and required.
        """
        name = self.spelling(keyword)
        if name:
            try:
                return keyword.type.read(self.values[name])
            except ValueError as error:
                raise self.error(name, str(error)) from None
        if keyword.default is REQUIRED:
            raise self.missing(keyword)
        return keyword.default

    def spelling(self, keyword: AnyKeyword) -> str:
        """Return the first name of the keyword under which it is set; empty if it is not."""
        return next((name for name in keyword.names if self.text(name)), "")

    def text(self, name: str) -> str:
        """Return the raw text of a keyword; empty if it is absent."""
        return self.values.get(name, "")

    def words(self, keyword: Keyword[tuple[str, ...]]) -> tuple[str, ...]:
        """Return the words of a list, right or wrong."""
        return split_list(self.text(self.spelling(keyword)))

    def names_node(self, keyword: Keyword[tuple[str, ...]], node: str) -> bool:
        """Return whether a list of nodes contains the node, even if other words of it are wrong."""
        return any(is_same_node(word.lower(), node) for word in self.words(keyword))

    def missing(self, keyword: AnyKeyword) -> ConfigError:
        """Return a ConfigError about a required keyword."""
        expected = TEXT.expected if keyword.type.is_free else keyword.type.expected
        return self.error(keyword.name, f"is missing, expected {expected}")

    def error(self, keyword: str, problem: str) -> ConfigError:
        """Return a ConfigError that names file, line, section and keyword, if there is one."""
        subject = f"[{self.name}] {keyword}" if keyword else f"[{self.name}]"
        return ConfigError(f"{subject} {problem}", self.path, self.lines.get(keyword, self.line))


class ScopedKeyword(NamedTuple):
    """A keyword that applies to some nodes only, as spelled in the file: ``dev@deb1``."""

    section: str
    keyword: str
    word: str
    text: str
    line: int | None


class ServiceFile(NamedTuple):
    """One parsed service file."""

    path: str
    svcname: str
    text: str
    default: Section
    sections: tuple[Section, ...]
    nodes: tuple[str, ...]
    drp_nodes: tuple[str, ...]
    scoped: tuple[ScopedKeyword, ...] = ()

    @property
    def all_nodes(self) -> tuple[str, ...]:
        """All nodes that the file names."""
        return self.nodes + self.drp_nodes

    @property
    def mount_points(self) -> list[str]:
        """Mount points of the service's file systems, normalised like the list of mounts."""
        points = [section.text("mnt") for section in self.sections if section.group == "fs"]
        return [os.path.normpath(point) for point in points if point]


def service_names(etc_dir: str) -> list[str]:
    """Return the sorted names of all services that have a `.env` file."""
    try:
        entries = os.listdir(etc_dir)
    except OSError:
        return []
    names = (entry[: -len(".env")] for entry in entries if entry.endswith(".env"))
    return sorted(name for name in names if not why_not_named(name))


def why_not_named(name: str) -> str:
    """Return why this is not a valid service name; empty if it is."""
    if not SERVICE_NAME.match(name):
        return _EXPECTED_NAME
    return f"{name} is a command of the agent" if name in COMMAND_NAMES else ""


def misnamed_files(etc_dir: str) -> list[ConfigError]:
    """Return an error for each file that looks like a service file but has an invalid name."""
    try:
        entries = sorted(os.listdir(etc_dir))
    except OSError:
        return []
    found = []
    for entry in entries:
        name = entry[: -len(".env")]
        is_copy = ".env" in entry.lower() and not entry.endswith(".env")
        reason = (
            _EXPECTED_NAME if is_copy else why_not_named(name) if entry.endswith(".env") else ""
        )
        if reason:
            problem = f"is skipped, its name is none of a service file: {reason}"
            found.append(ConfigError(problem, os.path.join(etc_dir, entry)))
    return found


def read_service_file(path: str, svcname: str, node: str) -> ServiceFile:
    """Read the service file as ``node`` sees it; ConfigError for any error in it."""
    try:
        # Do not block on a named pipe in the place of a service file.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError("is no regular file, expected a service file", path)
            raw = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path) from error
    if len(raw) > FILE_BYTES_MAX:
        raise ConfigError(f"is larger than {FILE_BYTES_MAX} bytes, expected a service file", path)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        byte = raw[error.start]
        problem = (
            f"holds the byte 0x{byte:02x}, which is no UTF-8 text: expected a text file in UTF-8"
        )
        raise ConfigError(problem, path, line) from error
    return parse_service_text(text, path, svcname, node)


def parse_service_text(text: str, path: str, svcname: str, node: str) -> ServiceFile:
    """Parse the text of a service file; ``path`` only serves messages.

    Otherwise like ``read_service_file``.
    """
    raw, places = read_sections(text, path)
    default_raw = raw.get("DEFAULT", {})
    plain = _resolve(default_raw, _Scope(node, (), ()), places.of("DEFAULT"))
    drp_nodes = _node_list(plain, "drpnodes", node) or _node_list(plain, "drpnode", node)
    scope = _Scope(node, _node_list(plain, "nodes", node) or (node,), drp_nodes)
    inherited = _resolve(default_raw, scope, places.of("DEFAULT"))
    own_names = frozenset(spelling.lower().partition("@")[0] for spelling in default_raw)
    sections = [
        Section(
            path, "DEFAULT", inherited.values, inherited.lines, places.header("DEFAULT"), own_names
        )
    ]
    for name, options in raw.items():
        if name == "DEFAULT":
            continue
        own = _resolve(options, scope, places.of(name))
        values = {**inherited.values, **own.values}
        known = {**inherited.lines, **own.lines}
        plain_names = frozenset(spelling.lower().partition("@")[0] for spelling in options)
        sections.append(Section(path, name, values, known, places.header(name), plain_names))
    known_values = {section.name: section.values for section in sections}
    default, *others = [_expanded(section, known_values, svcname, node) for section in sections]
    scoped = []
    for name, options in raw.items():
        for spelling, value in options.items():
            keyword, at, word = spelling.lower().partition("@")
            if at:
                line = places.of(name).get(spelling)
                scoped.append(ScopedKeyword(name, keyword, word, value.strip(), line))
    return ServiceFile(
        path, svcname, text, default, tuple(others), scope.nodes, scope.drp_nodes, tuple(scoped)
    )


def _expanded(
    section: Section, known: Mapping[str, Mapping[str, str]], svcname: str, node: str
) -> Section:
    values = {}
    for keyword, value in section.values.items():
        try:
            values[keyword] = expand(keyword, value, known, svcname, node)
        except ValueError as error:
            raise section.error(keyword, str(error)) from error
    return section._replace(values=values)


class _Scope(NamedTuple):
    """The ``keyword@word`` scopes that apply to this node, the most specific first."""

    node: str
    nodes: tuple[str, ...]
    drp_nodes: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        words = [self.node.lower()]
        if self.node in self.nodes:
            words.append("nodes")
        if self.node in self.drp_nodes:
            words += ["drpnodes", "drpnode"]
        return tuple(words) + ("",)


class _Resolved(NamedTuple):
    """What wins on this node: the value of each keyword, and its line."""

    values: dict[str, str]
    lines: dict[str, int]


def _resolve(options: Mapping[str, str], scope: _Scope, lines: Mapping[str, int]) -> _Resolved:
    """Map each plain keyword to the value that wins on this node, and to its line."""
    spelled: dict[tuple[str, str], tuple[str, int | None]] = {}
    for spelling, value in options.items():
        keyword, _, word = spelling.lower().partition("@")
        if word and word != scope.node and is_same_node(word, scope.node):
            spelled.setdefault((keyword, scope.node), (value.strip(), lines.get(spelling)))
        else:
            spelled[(keyword, word)] = (value.strip(), lines.get(spelling))
    values: dict[str, str] = {}
    found: dict[str, int] = {}
    for keyword in dict.fromkeys(keyword for keyword, _ in spelled):
        for word in scope.words:
            if (keyword, word) in spelled:
                values[keyword], line = spelled[(keyword, word)]
                if line is not None:
                    found[keyword] = line
                break
    return _Resolved(values, found)


def _node_list(resolved: _Resolved, keyword: str, node: str) -> tuple[str, ...]:
    """Return the nodes of a list without duplicates.

    This node appears under its own name, whether the list has its domain or not.
    """
    words = resolved.values.get(keyword, "").replace(",", " ").lower().split()
    is_listed = node in words
    return tuple(
        dict.fromkeys(
            node if not is_listed and is_same_node(word, node) else word for word in words
        )
    )
