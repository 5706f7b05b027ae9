"""The node of ``openha setup``: it proposes, waits for the other one, and writes after it.

Nothing is written to a configuration file before the other node has agreed and written its own; a
failure before that leaves both nodes as they were.
"""

from __future__ import annotations

import queue
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from opensvc_openha import __version__
from opensvc_openha.control import client
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.errors import (
    ActionError,
    ConfigError,
    OpenhaError,
    RefusedError,
    SystemFault,
    UsageError,
)
from opensvc_openha.formats.join_token import ADDRESSES_MAX, SECRET_BYTES, JoinToken, encode
from opensvc_openha.formats.key_file import format_keys
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.nodes_file import check_node_name, is_same_node, parse_nodes
from opensvc_openha.formats.options_file import parse_options
from opensvc_openha.peer_link.channel import Channel, Secret
from opensvc_openha.peer_link.listener import Listener
from opensvc_openha.setup import proposal as propose
from opensvc_openha.setup.fence_words import FenceWords
from opensvc_openha.setup.files import FileChanges, has_lines, read_present
from opensvc_openha.setup.link_trial import DiskSlots, LinkTrial
from opensvc_openha.setup.messages import (
    VERSION,
    Agreed,
    Facts,
    Go,
    Keys,
    Proposal,
    Report,
    Trial,
    Tried,
    Written,
)
from opensvc_openha.setup.networks import Address, compare, independent
from opensvc_openha.setup.node import (
    Hooks,
    check_proposal,
    is_private,
    is_same_configuration,
    key_for,
    links_of,
    name_remarks,
    own_name,
    read_secret_files,
    secret_files,
    wait_for_links,
    write_all,
)
from opensvc_openha.setup.talk import OPERATOR_LIMIT_S, PURPOSE, Talk
from opensvc_openha.storage.key_store import read_keys
from opensvc_openha.system import clock

PORT = 5430
PORTS = 8
"""The first free one of these is used: a daemon's peer link has the first."""
SKEW_S = 5.0
"""Wall clocks that differ by more confuse readers of logs."""
_LINKS_LIMIT_S = 90.0
_LAST_MARKS_S = 2.0
_SHOW_EVERY_S = 1.0


@dataclass(frozen=True)
class Wishes:
    """What the operator asked for."""

    peer: str
    interfaces: tuple[str, ...] = ()
    is_multicast: bool = False
    disk: str = ""
    fence: FenceWords = field(default_factory=FenceWords)
    timeout_s: float = propose.TIMEOUT_S
    wait_s: float = 600.0
    port: int = PORT


@dataclass
class _Token:
    """The secret, until a node was given the key for it or its time is over."""

    value: bytes
    ends_at: float
    is_used: bool = False

    def secrets(self) -> list[Secret]:
        """Return what a connection may prove."""
        if self.is_used or clock.monotonic() >= self.ends_at:
            return []
        return [Secret(self.value, purpose=PURPOSE, label=PURPOSE)]


class FirstNode:
    """One run of ``openha setup``."""

    def __init__(
        self,
        layout: Layout,
        wishes: Wishes,
        hooks: Hooks,
        agent: str,
        addresses: Sequence[Address],
    ) -> None:
        """Check the wishes against this node; raise what is wrong with them."""
        self._layout = layout
        self._agent = agent
        self._wishes = wishes
        self._hooks = hooks
        self._name = own_name()
        self._present = read_present(layout)
        self._slots: DiskSlots | None = None
        self.is_kept = False
        """All is written on both nodes."""
        self._addresses = self._usable(addresses)
        self._check_peer()
        self._check_wishes()

    @property
    def is_configured(self) -> bool:
        """True if this node has a configuration, which is kept."""
        return self._present.is_configured

    def _usable(self, found: Sequence[Address]) -> list[Address]:
        wanted = self._wishes.interfaces
        names = {each.interface for each in found}
        for name in wanted:
            if name not in names:
                known = ", ".join(sorted(names)) or "none"
                raise UsageError(
                    f"--link {name}: no interface of that name has an IPv4 address that another"
                    f" machine could share; there are: {known}"
                )
        found = [each for each in found if not wanted or each.interface in wanted]
        if not found:
            raise RefusedError(
                "no interface of this node has an IPv4 address that another machine could share"
                " (loopback, docker and bridges of virtual machines are none)"
            )
        return found

    def _check_peer(self) -> None:
        peer = self._wishes.peer
        if is_same_node(peer, self._name):
            raise UsageError(f"{peer} is this node ({self._name}): give the name of the other one")
        if self.is_configured:
            path = self._layout.nodes_file
            nodes = parse_nodes(self._present.nodes, path)
            if not any(is_same_node(self._name, node) for node in nodes) or not any(
                is_same_node(peer, node) for node in nodes
            ):
                raise RefusedError(
                    f"{path} has the nodes {' and '.join(nodes)}, and this is to be {self._name}"
                    f" with {peer}: nothing was changed; move that cluster's files away first"
                )

    def _check_wishes(self) -> None:
        """Refuse wishes that a configuration which is kept does not fulfil."""
        wishes = self._wishes
        if not self.is_configured:
            # What is wrong with the words is said before anybody waits.
            self._check_options()
            try:
                planned = parse_options(self._options_text(wishes.peer), "")
            except ConfigError as error:
                raise UsageError(f"--fence, --witness: {error.message}") from None
            if wishes.fence.has_lease and not (wishes.disk or wishes.fence.witness):
                raise UsageError(
                    "--fence lease needs --disk DEVICE or --witness URL: with networks alone a"
                    " node that is cut off would be reset"
                )
            read_secret_files(secret_files(planned))
            return
        path = self._layout.monitor_file
        links = links_of(self._present.nodes, self._present.monitor)
        unmet = [
            f"--link {name}"
            for name in wishes.interfaces
            if not any(link.device == name for link in links)
        ]
        if wishes.disk and not any(link.device == wishes.disk for link in links):
            unmet.append(f"--disk {wishes.disk}")
        if wishes.is_multicast and not any(link.kind == "net" for link in links):
            unmet.append("--multicast")
        if unmet:
            raise RefusedError(
                f"this node is configured already, and that is kept: {', '.join(unmet)} is not in"
                f" {path}. Add a link with `openha hb -a` (see openha hb --help)"
            )
        if wishes.fence.paths and not self._has_plan():
            raise RefusedError(
                f"this node is configured already, and that is kept: {self._layout.options_file}"
                " has another fence plan. Edit it on both nodes (docs/fencing.md)"
            )

    def _check_options(self) -> None:
        """Refuse a fence plan beside an openha.conf, which is kept, without one."""
        path = self._layout.options_file
        if has_lines(self._present.options) and self._wishes.fence.paths:
            kept = parse_options(self._present.options, path)
            wanted = propose.options_text(self._wishes.fence, self._name, self._wishes.peer)
            if kept.fence_plan != parse_options(wanted, "").fence_plan:
                raise RefusedError(
                    f"{path} is there already, and that is kept: add the section [fencing] to it"
                    " (docs/fencing.md), or move it away"
                )

    def _has_plan(self) -> bool:
        nodes = parse_nodes(self._present.nodes, self._layout.nodes_file)
        peer = next(node for node in nodes if not is_same_node(node, self._name))
        wanted = parse_options(self._options_text(peer), "")
        present = parse_options(self._present.options, self._layout.options_file)
        return wanted.fence_plan == present.fence_plan

    def _options_text(self, peer: str) -> str:
        """Return openha.conf: what is here, or a new one."""
        if has_lines(self._present.options) and not self.is_configured:
            return self._present.options
        return propose.options_text(self._wishes.fence, self._name, peer)

    def preview(self) -> list[str]:
        """Return what will be done, as far as this node alone can know it."""
        wishes, layout = self._wishes, self._layout
        if self.is_configured:
            return [
                f"This node is configured already ({layout.nodes_file}, {layout.monitor_file}):"
                " nothing of that is changed.",
                f"{wishes.peer} gets the same configuration and key.",
            ]
        lines = [
            f"This node is {self._name}. With {wishes.peer} it will share:",
            *(
                f"  heartbeats on {each.interface}: {each.address}, if {wishes.peer} is in"
                f" {each.network}"
                for each in self._addresses
            ),
        ]
        if wishes.disk:
            lines.append(f"  heartbeats on {wishes.disk}: two slots, {2 * 16} blocks of it")
        lines += [f"  fencing: {', '.join(path.name for path in wishes.fence.paths)}"] * bool(
            wishes.fence.paths
        )
        lines.append(
            f"Written on both, once {wishes.peer} has joined: {layout.nodes_file},"
            f" {layout.monitor_file}, {layout.options_file}, {layout.key_file};"
        )
        lines.append("the unit opensvc-openha.service is enabled, and the node daemon started.")
        return lines

    def check_disk(self) -> None:
        """Refuse a disk that is in use. Nothing is written."""
        if self._wishes.disk and not self.is_configured:
            disk = self._wishes.disk
            slots = DiskSlots(propose.disk_links(self._name, self._wishes.peer, disk))
            slots.check()
            self._slots = slots

    def run(self) -> Report:
        """Print the token and wait for the other node; return how both ended."""
        token = _Token(secrets.token_bytes(SECRET_BYTES), clock.monotonic() + self._wishes.wait_s)
        waiting: queue.Queue[tuple[Talk, threading.Event]] = queue.Queue()

        def handle(channel: Channel) -> None:
            is_over = threading.Event()
            waiting.put((Talk(channel), is_over))
            is_over.wait()

        addresses = [each.address for each in self._addresses][:ADDRESSES_MAX]
        with self._listener(addresses, token, handle) as listener:
            threading.Thread(target=listener.serve, name="join", daemon=True).start()
            expires = int(clock.wall() + self._wishes.wait_s)
            word = encode(JoinToken(tuple(addresses), listener.port, token.value, expires))
            self._hooks.say(f"On {self._wishes.peer}, as root:\n\n    openha join {word}\n")
            return self._wait(token, waiting, listener)

    def _listener(
        self, addresses: Sequence[str], token: _Token, handle: Callable[[Channel], None]
    ) -> Listener:
        port = self._wishes.port
        for attempt in range(PORTS):
            try:
                return Listener(
                    addresses,
                    port + attempt,
                    token.secrets,
                    self._name,
                    handle,
                    self._log,
                    # A user of the peer who has seen the token in its list of processes is none.
                    is_for_root=True,
                )
            except SystemFault:
                if attempt == PORTS - 1:
                    raise
        raise AssertionError("unreachable")

    def _log(self, text: str) -> None:
        self._hooks.wait_line("")
        self._hooks.say(f"openha setup: {text}")

    def _wait(
        self,
        token: _Token,
        waiting: queue.Queue[tuple[Talk, threading.Event]],
        listener: Listener,
    ) -> Report:
        problem = ""
        while True:
            left = token.ends_at - clock.monotonic()
            if left <= 0:
                self._hooks.wait_line("")
                again = f"`openha setup {self._wishes.peer}` prints a new token"
                raise ActionError(
                    f"{self._wishes.peer} did not join in {self._wishes.wait_s:g} s"
                    f"{f' (last: {problem})' if problem else ''}: nothing was changed; {again}"
                )
            self._hooks.wait_line(
                f"waiting for {self._wishes.peer} to join, {int(left) // 60} min"
                f" {int(left) % 60:02d} s left (Ctrl-C ends)"
            )
            try:
                talk, is_over = waiting.get(timeout=min(left, _SHOW_EVERY_S))
            except queue.Empty:
                continue
            self._hooks.wait_line("")
            try:
                report = self._converse(talk, token, listener)
            except (OpenhaError, OSError, UnicodeError) as error:
                if token.is_used:
                    raise
                problem = str(error)
                self._hooks.say(f"{talk.address} did not join: {problem}")
            else:
                if report is not None:
                    return report
            finally:
                is_over.set()

    def _converse(self, talk: Talk, token: _Token, listener: Listener) -> Report | None:
        """Take the other node in; return how it ended, None after a dry run."""
        changes = FileChanges()
        try:
            facts = talk.hear(Facts)
            peer = self._accepted(facts)
            proposal = self._proposal(talk, facts, peer)
            remarks = check_proposal(self._layout, proposal) + name_remarks(peer, talk.address)
            proposal = replace(proposal, remarks=(*proposal.remarks, *remarks))
            talk.say(proposal)
            self._show(proposal, peer)
            agreed = talk.hear(Agreed, OPERATOR_LIMIT_S)
            if facts.is_dry_run:
                self._restore_slots()
                self._hooks.say(f"{peer} made a dry run: nothing was changed")
                return None

            # From here on the token is worth nothing.
            token.is_used = True
            # The peer link of the daemon uses the port from now on.
            listener.stop_accepting()
            ring = key_for(self._layout, proposal.options)
            key = "" if ring is None else format_keys(ring)
            talk.say(Keys(key, read_secret_files(proposal.secret_files)))
            talk.hear(Written)
            write_all(self._layout, proposal, key, {}, changes)
            self.is_kept = True
            self._go(talk, peer)
            for path in changes.kept:
                self._hooks.say(f"What was there before is kept: {path}")
            if agreed.is_nothing_to_do and is_same_configuration(self._layout, proposal):
                self._hooks.say(f"{peer} has this configuration already")
            return self._started(talk, facts, peer)
        except BaseException as error:
            if not self.is_kept:
                for line in changes.undo():
                    self._hooks.say(line)
                self._restore_slots()
            if isinstance(error, OpenhaError):
                talk.end_with(error)
            raise

    def _restore_slots(self) -> None:
        if self._slots is not None:
            self._slots.restore()

    def _go(self, talk: Talk, peer: str) -> None:
        try:
            talk.say(Go())
        except OpenhaError as error:
            raise ActionError(
                f"this node is configured, and {peer} was lost before it knew ({error}): run"
                f" `openha setup {peer}` again"
            ) from error

    def _accepted(self, facts: Facts) -> str:
        """Return the name of the joining node; raise what keeps it from joining."""
        if facts.conversation != VERSION or facts.version != __version__:
            raise RefusedError(
                f"{facts.node} has opensvc-openha {facts.version}, {self._name} has {__version__}:"
                " install the same version on both nodes"
            )
        try:
            check_node_name(facts.node)
        except ValueError as error:
            raise RefusedError(f"the joining node cannot be used: {error}") from None
        if facts.node.lower() == self._name.lower():
            raise RefusedError(
                f"both nodes are named {facts.node} (`uname -n`): give one another name with"
                " hostnamectl set-hostname"
            )
        if not is_same_node(self._wishes.peer, facts.node):
            raise RefusedError(
                f"the joining node is named {facts.node} (`uname -n`), and `openha setup"
                f" {self._wishes.peer}` waits for {self._wishes.peer}: run `openha setup"
                f" {facts.node}`, or hostnamectl set-hostname there"
            )
        if self.is_configured:
            nodes = parse_nodes(self._present.nodes, self._layout.nodes_file)
            if facts.node.lower() not in (node.lower() for node in nodes):
                raise RefusedError(
                    f"the joining node is named {facts.node} (`uname -n`), and"
                    f" {self._layout.nodes_file} has {' and '.join(nodes)}"
                )
        self._refuse_other_key(facts)
        return facts.node

    def _refuse_other_key(self, facts: Facts) -> None:
        """Raise RefusedError if the joining node has a key with which it was in another cluster."""
        ring = read_keys(self._layout)
        ours = {key.key_id for key in ring.keys} if ring else set()
        if facts.is_key_used and facts.key_ids and ours.isdisjoint(facts.key_ids):
            shown = f"{self._name} has {', '.join(sorted(ours)) or 'none'}"
            raise RefusedError(
                f"{facts.node} has key {', '.join(facts.key_ids)} of a cluster that it was part of,"
                f" and {shown}. If that cluster is gone, on {facts.node}: rm"
                f" {facts.conf_dir}/openha.key {facts.conf_dir}/openha.key.in-use"
            )

    def _proposal(self, talk: Talk, facts: Facts, peer: str) -> Proposal:
        """Return the files for both nodes, their links tried in both directions."""
        remarks = clock_remarks(peer, facts.wall_s - clock.wall())
        if facts.agent != self._agent:
            remarks.append(
                f"{self._name} has {self._agent} and {peer} has {facts.agent}: services move only"
                " between nodes with the same agent"
            )
        if facts.conf_dir != self._layout.conf_dir:
            remarks.append(
                f"{self._name} keeps its configuration in {self._layout.conf_dir}, {peer} in"
                f" {facts.conf_dir}: install both alike"
            )
        if self.is_configured:
            present = self._present
            talk.say(Trial(present.nodes, present.monitor, "", ""))
            talk.hear(Tried)
            files = secret_files(parse_options(present.options, self._layout.options_file))
            return Proposal(
                present.nodes,
                present.monitor,
                present.options,
                files,
                tuple(remarks),
                is_private(self._layout.options_file),
            )

        links, notes = self._candidates(talk, facts, peer)
        remarks += notes
        links, notes = self._tried(talk, links, peer)
        remarks += notes
        options = self._options_text(peer)
        remarks += propose.weaknesses(links, self._wishes.fence)
        return Proposal(
            propose.nodes_text(self._name, peer),
            propose.monitor_text(links),
            options,
            secret_files(parse_options(options, "")),
            tuple(remarks),
            is_private(self._layout.options_file),
        )

    def _candidates(self, talk: Talk, facts: Facts, peer: str) -> tuple[list[LinkSpec], list[str]]:
        found = compare(self._addresses, facts.addresses, (facts.way, talk.address))
        chosen = (
            found.shared
            if self._wishes.interfaces
            else independent(found.shared, propose.LINKS_MAX)
        )
        if not chosen:
            ours = ", ".join(f"{each.interface} {each.network}" for each in self._addresses)
            theirs = ", ".join(f"{each.interface} {each.network}" for each in facts.addresses)
            raise RefusedError(
                f"the nodes share no network: {self._name} has {ours}; {peer} has"
                f" {theirs or 'none'}" + "".join(f"; {remark}" for remark in found.remarks)
            )
        wishes = self._wishes
        links = propose.network_links(
            self._name,
            peer,
            chosen,
            is_multicast=wishes.is_multicast,
            timeout_s=wishes.timeout_s,
        )
        if wishes.disk:
            links += propose.disk_links(self._name, peer, wishes.disk, wishes.timeout_s)
        return links, list(found.remarks)

    def _tried(
        self, talk: Talk, links: list[LinkSpec], peer: str
    ) -> tuple[list[LinkSpec], list[str]]:
        """Return the links that work in both directions, and what is wrong with the others."""
        nodes, monitor = propose.nodes_text(self._name, peer), propose.monitor_text(links)
        own_mark, peer_mark = secrets.token_hex(16), secrets.token_hex(16)
        self._hooks.wait_line(f"trying each link with {peer}")
        with LinkTrial(self._name, links, own_mark, peer_mark) as trial:
            talk.say(Trial(nodes, monitor, own_mark, peer_mark))
            # It has heard us, or waited for that, and sent all the time.
            answer = talk.hear(Tried)
            heard, faults = trial.wait(_LAST_MARKS_S)
        self._hooks.wait_line("")
        reasons = [f"{self._name}: {fault}" for fault in faults]
        reasons += [f"{peer}: {fault}" for fault in answer.faults]
        known = {*heard, *answer.heard}
        silent = [link for link in links if link.link_id not in known]
        bad = {_way_of(link) for link in silent}
        for link in silent:
            if not any(link.link_id in reason for reason in reasons):
                listener = peer if link.node == self._name else self._name
                reasons.append(
                    f"{listener} did not hear {link.node} on {link.link_id}"
                    + (_CLOSED.format(port=link.port) if not link.is_disk else _OTHER_DISK)
                )
        good = [link for link in links if _way_of(link) not in bad]
        disks = [link for link in silent if link.is_disk]
        if disks or not any(not link.is_disk for link in good):
            raise RefusedError("; ".join(reasons))
        return good, [f"not used: {reason}" for reason in reasons]

    def _show(self, proposal: Proposal, peer: str) -> None:
        self._hooks.say(f"{peer} is here. Proposed to both:")
        for line in shown(self._layout, proposal):
            self._hooks.say(line)
        self._hooks.wait_line(f"waiting for the answer on {peer}")

    def _started(self, talk: Talk, facts: Facts, peer: str) -> Report:
        """Start the daemon, and compare what both nodes hear."""
        problem = ""
        self._hooks.wait_line("")
        try:
            ring = read_keys(self._layout)
            is_new = ring is not None and all(ring.find(each) is None for each in facts.key_ids)
            if is_new and client.running_pid(self._layout):
                # A node that was installed again counts its boots from the beginning.
                client.forget_peer(self._layout)
            for line in self._hooks.start(self._layout):
                self._hooks.say(line)
        except OpenhaError as error:
            problem = str(error)
        self._hooks.wait_line("waiting until every link is up on both nodes")
        report = Report(problem=problem) if problem else wait_for_links(self._layout)
        talk.say(report)
        theirs = talk.hear(Report, _LINKS_LIMIT_S)
        self._hooks.wait_line("")
        for line in joined(self._name, report, peer, theirs):
            self._hooks.say(line)
        return joint(report, theirs)


_CLOSED = (
    ": a firewall drops UDP port {port}, or the networks only have the same numbers (nft list"
    " ruleset; firewall-cmd --add-port={port}/udp --permanent)"
)
_OTHER_DISK = ": the path is not the same disk on both nodes (use /dev/disk/by-id/...)"


def _way_of(link: LinkSpec) -> tuple[str, str, int]:
    """Return what both ends of a network or of a disk have in common."""
    return (link.kind, link.device, link.port)


def clock_remarks(peer: str, ahead_s: float) -> list[str]:
    """Return what the operator should know of the wall clock of the other node."""
    if abs(ahead_s) <= SKEW_S:
        return []
    return [
        f"the clock of {peer} is {abs(ahead_s):.0f} s {'ahead' if ahead_s > 0 else 'behind'}:"
        " decisions use no wall clock, logs and synchronisations do; set up chrony on both"
    ]


def shown(layout: Layout, proposal: Proposal) -> list[str]:
    """Return a proposal for the operator."""
    lines = []
    for path, text in (
        (layout.nodes_file, proposal.nodes),
        (layout.monitor_file, proposal.monitor),
        (layout.options_file, proposal.options),
    ):
        if text:
            lines.append(f"{path}:")
            lines += [f"    {line}" for line in text.splitlines()]
    lines += [f"password file: {path}" for path in proposal.secret_files]
    lines += [f"note: {remark}" for remark in proposal.remarks]
    return lines


def joint(own: Report, peer: Report) -> Report:
    """Return what is wrong on either node."""
    return Report((*own.up, *peer.up), (*own.down, *peer.down), own.problem or peer.problem)


def joined(own: str, report: Report, peer: str, theirs: Report) -> list[str]:
    """Return the end of the set-up for the operator."""
    lines = []
    for node, each in ((own, report), (peer, theirs)):
        if each.problem:
            lines.append(f"{node}: {each.problem}")
        lines += [f"{node}: {link} is down" for link in each.down]
    if not lines:
        count = len(report.up) // 2
        links = "1 link" if count == 1 else f"{count} links"
        lines = [f"{own} and {peer} hear each other on every link ({links}, both directions)."]
    return lines
