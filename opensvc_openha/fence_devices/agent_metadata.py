"""What a fence agent can be told, by its own metadata; and what is wrong with a section for it.

Agents ignore an option that they do not know, and would cut another machine, or none. Some options
would make a cut that proves nothing: they are refused, each with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from opensvc_openha.errors import SystemFault
from opensvc_openha.fence_devices.programs import find_program, run_program
from opensvc_openha.formats.suggestion import did_you_mean
from opensvc_openha.system.files import stamp_of

METADATA_LIMIT_S = 20.0
PACKAGE = "fence-agents"
FILE_SUFFIX = "_file"

_SECRET = re.compile(r"(passwd|password|secret|apikey|token|community|hexadecimal_kg)")
_NO_SECRET = re.compile(r"_(script|file|timeout)\Z")
_BOOLEANS = frozenset({"1", "yes", "on", "true", "0", "no", "off", "false"})
_TRUE = frozenset({"1", "yes", "on", "true"})

OWN_OPTIONS = ("ca_file",)
"""Options of every agent that are ours."""
REFUSED = {
    "action": "the node daemon gives the orders: status and off, never reboot",
    "option": "the node daemon gives the orders: status and off, never reboot",
    "missing_as_off": "a machine that the device does not find is not known to be off",
    "ssl_insecure": "anybody on the network could answer OFF; ca_file = FILE names the certificate"
    " of the device",
    "notls": "anybody on the network could answer OFF",
    "delay": "a node that must wait for the other one does so by its own turn",
    "disable_timeout": "an agent without limits would be killed before it answers",
    "verbose": "its output could hold secrets",
    "verbose_level": "its output could hold secrets",
    "debug": "its file would hold secrets",
    "debug_file": "its file would hold secrets",
    "quiet": "what the agent answers is read",
    "help": "it is for the command line",
    "version": "it is for the command line",
}
"""Options that no section may have, with the reason."""
NO_PROOF = {
    "fence_ack_manual": "a person says so by `openha fence confirm NODE`",
    "fence_heuristics_ping": "a ping proves nothing",
    "fence_kdump": "its message is a hint that anybody can send",
    "fence_sbd": "it reads its own message and not the node",
}
"""Agents whose success is no proof that a machine is off."""

_NOT_NEEDED = frozenset({("fence_drac5", "plug")})
"""Options that an agent calls required and does without."""


@dataclass(frozen=True)
class AgentOption:
    """One option as the agent describes it."""

    name: str
    kind: str = "string"
    """string, boolean, integer, second or select."""
    choices: tuple[str, ...] = ()
    default: str = ""
    is_required: bool = False

    @property
    def is_secret(self) -> bool:
        """True if its value must stand in no configuration, log or command line."""
        return is_secret(self.name)


@dataclass(frozen=True)
class AgentMetadata:
    """The options and actions of an agent."""

    agent: str
    options: Mapping[str, AgentOption]
    actions: frozenset[str] = frozenset()
    is_fabric: bool = False
    """It cuts a node from a network or a disk, which then runs on."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Newer names of options, by the older ones, as `ip` for `ipaddr`."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Options that are refused for this agent besides ``REFUSED``, with the reason."""

    def proper(self, name: str) -> str:
        """Return the newest spelling of an option."""
        name = name.replace("-", "_") if name.replace("-", "_") in self.options else name
        return self.renamed.get(name, name)


@dataclass(frozen=True)
class Mistake:
    """What is wrong with an option of a section; with the section itself if none is named."""

    option: str
    text: str


def is_secret(name: str) -> bool:
    """Return whether the value of an agent's option is a secret, by its name."""
    return bool(_SECRET.search(name)) and not _NO_SECRET.search(name)


def why_absent(agent: str) -> str:
    """Return why an agent cannot be run here, with what to do; empty if it can."""
    if find_program(agent):
        return ""
    advice = "" if agent.startswith("/") else f": install the package {PACKAGE}"
    return f"there is no program {agent}{advice}"


_known: dict[str, tuple[object, AgentMetadata]] = {}


def metadata_of(agent: str, limit_s: float = METADATA_LIMIT_S) -> AgentMetadata:
    """Ask an agent for its metadata, once for each version of its file.

    Raises SystemFault if it is absent or gives none.
    """
    path = find_program(agent)
    if not path:
        raise SystemFault(why_absent(agent))
    stamp = stamp_of(path)
    known = _known.get(path)
    if known is not None and known[0] == stamp:
        return known[1]
    # The daemon asks, too, which has threads.
    end = run_program([path, "-o", "metadata"], limit_s, is_tied=False)
    if end.exit_code != 0:
        why = end.problem or f"exited with {end.exit_code}"
        raise SystemFault(f"{agent} gives no metadata: {why}")
    found = parse_metadata(end.output, agent)
    _known[path] = (stamp, found)
    return found


def parse_metadata(text: str, agent: str) -> AgentMetadata:
    """Read the XML that `fence_x -o metadata` prints; SystemFault if it is none."""
    # Imported here: a status command reads no metadata.
    from xml.etree import ElementTree

    try:
        # Warnings of the agent's interpreter may stand before it.
        root = ElementTree.fromstring(text[max(0, text.find("<?xml")) :].strip())
    except ElementTree.ParseError as error:
        raise SystemFault(f"{agent} gives no metadata: {error}") from None
    options = {}
    renamed = {}
    for parameter in root.iter("parameter"):
        name = parameter.get("name", "")
        content = parameter.find("content")
        older = parameter.get("obsoletes", "")
        if not name or content is None:
            continue
        options[name] = AgentOption(
            name,
            content.get("type", "string"),
            tuple(option.get("value", "") for option in content.iter("option")),
            content.get("default", ""),
            parameter.get("required") == "1",
        )
        if older:
            renamed[older] = name
    if not options:
        raise SystemFault(f"{agent} gives no metadata: it describes no option")
    actions = list(root.iter("action"))
    return AgentMetadata(
        agent,
        options,
        frozenset(action.get("name", "") for action in actions),
        any(action.get("automatic") == "1" for action in actions),
        renamed,
    )


def mistakes_in(metadata: AgentMetadata, options: Mapping[str, str]) -> Iterator[Mistake]:
    """Yield what is wrong with the options of a section for this agent."""
    reason = why_no_proof(metadata)
    if reason:
        yield Mistake("agent", reason)
        return
    first: dict[str, str] = {}
    for name, value in options.items():
        text = _mistake(metadata, name, value)
        if text:
            yield Mistake(name, text)
            continue
        proper = metadata.proper(secret_of(name, metadata.options) or name)
        other = first.setdefault(proper, name)
        if other != name:
            yield Mistake(name, f"is the same option as {other}")
    for option in metadata.options.values():
        is_ours = option.name in REFUSED or metadata.proper(option.name) != option.name
        is_wrongly_asked = (metadata.agent, option.name) in _NOT_NEEDED
        if (
            option.is_required
            and not (is_ours or is_wrongly_asked or option.default)
            and option.name not in first
        ):
            how = f"{option.name}{FILE_SUFFIX}" if option.is_secret else option.name
            yield Mistake("", f"{how} is missing, which {metadata.agent} needs")
    tls = metadata.options.get("ssl")
    if tls is not None and "ssl_insecure" in metadata.options:
        value = options.get("ssl", options.get("ssl_secure", tls.default)).lower()
        if value not in _TRUE:
            yield Mistake(
                "ssl" if "ssl" in options else "",
                "ssl = 1 is missing: without it anybody on the network could answer OFF",
            )


def why_no_proof(metadata: AgentMetadata) -> str:
    """Return why the success of this agent proves nothing; empty if it does."""
    name = metadata.agent.rpartition("/")[2]
    if name in NO_PROOF:
        return f"{name} is refused: {NO_PROOF[name]}"
    if metadata.is_fabric:
        return f"{name} is refused: it cuts no power, the peer would run on"
    for action in ("off", "status"):
        if action not in metadata.actions:
            return f"{name} is refused: it has no action {action}, so that OFF cannot be verified"
    return ""


def secret_of(name: str, options: Mapping[str, AgentOption]) -> str:
    """Return the secret that is in the file that an option names; empty for any other option."""
    if name in options or not name.endswith(FILE_SUFFIX):
        return ""
    secret = name[: -len(FILE_SUFFIX)]
    return secret if secret in options and is_secret(secret) else ""


def _mistake(metadata: AgentMetadata, name: str, value: str) -> str:
    """Return what is wrong with one option; empty if nothing is."""
    plain = name.replace("-", "_")
    reason = REFUSED.get(plain) or metadata.refused.get(plain)
    if reason:
        return f"is refused: {reason}"
    if plain == "method":
        return (
            ""
            if value.lower() == "onoff"
            else "is refused: a power cycle is not verified, and the peer would be back"
        )
    if plain in OWN_OPTIONS or secret_of(plain, metadata.options):
        return "" if value.startswith("/") else f"expected an absolute path; found {value!r}"
    option = metadata.options.get(name) or metadata.options.get(plain)
    if option is None:
        files = (
            f"{each.name}{FILE_SUFFIX}" for each in metadata.options.values() if each.is_secret
        )
        known = {*metadata.options, *files, *OWN_OPTIONS} - set(REFUSED)
        return f"is no option of {metadata.agent}{did_you_mean(plain, known)}"
    if option.is_secret:
        proper = metadata.proper(option.name)
        return (
            f"is a secret, and everybody may read this file: write it to a file of mode 0600, and"
            f" {proper}{FILE_SUFFIX} = FILE"
        )
    if "\n" in value or "\0" in value:
        return "expected one line"
    return _wrong_value(option, value)


def _wrong_value(option: AgentOption, value: str) -> str:
    if option.kind == "boolean" and value.lower() not in _BOOLEANS:
        return f"expected 1 or 0; found {value!r}"
    if option.kind in ("integer", "second") and not re.fullmatch(r"[0-9]{1,9}", value):
        return f"expected a whole number; found {value!r}"
    choices = {choice.lower() for choice in option.choices}
    if option.kind == "select" and choices and value.lower() not in choices:
        hint = did_you_mean(value, option.choices)
        return f"expected one of {', '.join(option.choices)}; found {value!r}{hint}"
    return ""
