"""Turn the words of ``--fence`` and ``--witness`` into the section [fencing] of openha.conf; pure.

::

    ipmi:ADDRESS,PEER_ADDRESS,USER,PASSWORD_FILE      boards of this node and of the peer
    agent:fence_NAME,option=value,option@NODE=value   any fence agent; plug@deb1=... for one node
    command:PATH, command:PATH,STATUS_PATH            commands of the operator's own
    reservation                                       SCSI reservations of the data disks
    lease, lease:/dev/watchdogN                       each node's own watchdog

Several are tried in this order. What the text means is left to the parser of openha.conf, which
reads it before anything is written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from opensvc_openha.errors import UsageError
from opensvc_openha.formats.nodes_file import is_same_node

_KINDS = "ipmi:, agent:, command:, reservation or lease"
_OPTION = re.compile(r"[a-z][a-z0-9_-]*\Z")
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+-]+\Z")
_SECRETS = ("password", "passwd", "secret", "snmp_priv_passwd")


@dataclass(frozen=True)
class FencePath:
    """One path of the plan: its options for both nodes, and those of one (``NODE`` to options)."""

    name: str
    options: tuple[tuple[str, str], ...] = ()
    of_node: tuple[tuple[str, str, str], ...] = ()
    watchdog: str = ""


@dataclass(frozen=True)
class FenceWords:
    """All paths in their order, and the witness."""

    paths: tuple[FencePath, ...] = ()
    witness: str = ""

    @property
    def has_lease(self) -> bool:
        """True if a watchdog is one of the paths."""
        return any(path.name == "lease" for path in self.paths)


def read_fence_words(words: Sequence[str], witness: str) -> FenceWords:
    """Parse the values of all ``--fence`` and that of ``--witness``; raise UsageError."""
    paths: list[FencePath] = []
    for word in words:
        path = _read_path(word)
        taken = {each.name for each in paths}
        name, number = path.name, 2
        while name in taken:
            if path.name in ("reservation", "lease"):
                raise UsageError(f"--fence {path.name} is here twice")
            name, number = f"{path.name}{number}", number + 1
        paths.append(FencePath(name, path.options, path.of_node, path.watchdog))
    if witness and not paths:
        raise UsageError(
            "--witness decides which node may fence, and nothing fences yet: add --fence, for"
            " example --fence lease"
        )
    return FenceWords(tuple(paths), witness)


def _read_path(word: str) -> FencePath:
    kind, _, rest = word.partition(":")
    if kind == "reservation" and not rest:
        return FencePath("reservation")
    if kind == "lease":
        if rest and not rest.startswith("/"):
            raise UsageError(f"--fence lease:{rest}: expected the path of a watchdog device")
        return FencePath("lease", watchdog=rest)
    if kind == "ipmi":
        return _read_ipmi(rest)
    if kind == "agent":
        return _read_agent(rest)
    if kind == "command":
        commands = [part.strip() for part in rest.split(",")]
        if len(commands) > 2 or not all(part.startswith("/") for part in commands):
            raise UsageError(
                "--fence command: expected the absolute path of a command that cuts the power of"
                " $OPENHA_PEER, and if you have one, after a comma, of one that asks for it"
            )
        options = [
            (option, _value(option, part)) for option, part in zip(("cmd", "status_cmd"), commands)
        ]
        return FencePath("command", (("agent", "callout"), *options))
    raise UsageError(f"--fence {kind}: expected one of {_KINDS} (see openha setup --help)")


def _read_ipmi(rest: str) -> FencePath:
    parts = [part.strip() for part in rest.split(",")]
    if len(parts) != 4 or not all(parts):
        raise UsageError(
            "--fence ipmi: expected ipmi:ADDRESS,PEER_ADDRESS,USER,PASSWORD_FILE: the boards of"
            f" this node and of the peer; found {len(parts)} parts"
        )
    here, there, user, file = parts
    if here == there:
        raise UsageError(f"--fence ipmi: both boards have the address {here}")
    if not file.startswith("/"):
        raise UsageError(
            "--fence ipmi: the last part is the absolute path of a file of mode 0600 with the"
            " password, never the password itself"
        )
    options = (
        ("agent", "fence_ipmilan"),
        ("username", _value("user", user)),
        ("password_file", _value("password_file", file)),
        ("lanplus", "1"),
    )
    of_node = (("", "ip", _value("ip", here)), ("PEER", "ip", _value("ip", there)))
    return FencePath("ipmi", options, of_node)


def _read_agent(rest: str) -> FencePath:
    agent, *pairs = (part.strip() for part in rest.split(","))
    name = agent.rpartition("/")[2]
    if not name.startswith("fence_"):
        raise UsageError(
            f"--fence agent: expected the name of a fence agent, as fence_virsh; found {agent!r}"
        )
    options = [("agent", agent)]
    of_node = []
    for pair in pairs:
        word, equals, value = pair.partition("=")
        option, at, node = word.partition("@")
        if not equals or not _OPTION.match(option) or (at and not node):
            raise UsageError(
                f"--fence agent: expected option=value or option@NODE=value; found {word!r}"
            )
        if option in _SECRETS:
            raise UsageError(
                f"--fence agent: {option} would be seen in the list of processes: write it to a"
                f" file of mode 0600, and {option}_file=FILE"
            )
        value = _value(option, value)
        if at:
            of_node.append((node, option, value))
        else:
            options.append((option, value))
    return FencePath(name.removeprefix("fence_").replace("-", "_"), tuple(options), tuple(of_node))


def _value(option: str, text: str) -> str:
    if not _PLAIN.match(text):
        raise UsageError(
            f"--fence: {option}: {text!r} has characters that need quotes: set up without it, then"
            " edit openha.conf (docs/fencing.md)"
        )
    return text


def fencing_lines(words: FenceWords, own: str, peer: str) -> list[str]:
    """Return the section [fencing] for both nodes; none without a path.

    Raises UsageError for an option of a node that is neither.
    """
    if not words.paths:
        return []
    lines = ["[fencing]", f"levels = {', '.join(path.name for path in words.paths)}"]
    if words.witness:
        lines.append("arbiter = etcd")
    for path in words.paths:
        if path.name == "lease":
            lines.append("    [[lease]]")
            lines += [f"    watchdog = {path.watchdog}"] if path.watchdog else []
            continue
        if not path.options:
            continue
        for node, option, _ in path.of_node:
            if not _is_known(node, own, peer):
                raise UsageError(f"--fence: {option}@{node}: the nodes are {own} and {peer}")
        for node in (own, peer):
            lines.append(f"    [[{path.name} {node}]]")
            lines += [f"    {option} = {value}" for option, value in path.options]
            lines += [
                f"    {option} = {value}"
                for name, option, value in path.of_node
                if _is_of(name, node, own, peer)
            ]
    if words.witness:
        lines += ["    [[etcd]]", f"    urls = {words.witness}"]
    return lines


def _is_known(name: str, own: str, peer: str) -> bool:
    return name in ("", "PEER") or is_same_node(name, own) or is_same_node(name, peer)


def _is_of(name: str, node: str, own: str, peer: str) -> bool:
    if name in ("", "PEER"):
        return node == (peer if name else own)
    return is_same_node(name, node)
