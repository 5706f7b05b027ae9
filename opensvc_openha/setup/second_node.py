"""The node of ``openha join``: it connects, is told the proposal, and writes it if that is agreed.

What was written is undone unless the first node has written the same: then both nodes are as they
were before.
"""

from __future__ import annotations

import os

from opensvc_openha.errors import (
    ConfigError,
    NoPeerLinkError,
    OpenhaError,
    PeerError,
    RefusedError,
    SystemFault,
)
from opensvc_openha.fence_devices.secret_files import check_secret_file
from opensvc_openha.formats.join_token import JoinToken
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.options_file import parse_options
from opensvc_openha.peer_link.channel import Channel, Secret, connect
from opensvc_openha.setup.files import FileChanges, read_present
from opensvc_openha.setup.first_node import joined, joint, shown
from opensvc_openha.setup.link_trial import DiskSlots, LinkTrial
from opensvc_openha.setup.messages import (
    Agreed,
    Go,
    Keys,
    Proposal,
    Report,
    Trial,
    Tried,
    Written,
)
from opensvc_openha.setup.node import (
    Hooks,
    check_proposal,
    differences,
    facts,
    is_same_configuration,
    links_of,
    name_remarks,
    own_name,
    secret_files,
    wait_for_links,
    write_all,
)
from opensvc_openha.setup.talk import PURPOSE, Talk
from opensvc_openha.system import clock

_CONNECT_LIMIT_S = 15.0
_REPORT_LIMIT_S = 90.0


class SecondNode:
    """One run of ``openha join``."""

    def __init__(
        self, layout: Layout, token: JoinToken, hooks: Hooks, *, agent: str, is_dry_run: bool
    ) -> None:
        self._layout = layout
        self._token = token
        self._hooks = hooks
        self._agent = agent
        self._is_dry_run = is_dry_run
        self._name = own_name()
        self._slots: DiskSlots | None = None
        self.is_kept = False
        """All is written on both nodes."""

    def run(self) -> Report | None:
        """Join; return how both nodes ended, None after a dry run."""
        channel, way = self._connect()
        with channel:
            talk = Talk(channel)
            changes = FileChanges()
            try:
                proposal = self._agree(talk, way, channel.peer_name)
                if self._is_dry_run:
                    self._restore_slots()
                    return None
                is_same = is_same_configuration(self._layout, proposal)
                keys = talk.hear(Keys)
                if not set(keys.files) <= set(proposal.secret_files):
                    raise PeerError("the other node sent a file that it had not proposed")
                self._hooks.install()
                write_all(self._layout, proposal, keys.key, keys.files, changes)
                talk.say(Written())
                talk.hear(Go)
                self.is_kept = True
                for path in changes.kept:
                    self._hooks.say(f"What was there before is kept: {path}")
                if is_same:
                    self._hooks.say("nothing to write: this node has this configuration already")
                return self._started(talk, channel.peer_name)
            except BaseException as error:
                if not self.is_kept:
                    for line in changes.undo():
                        self._hooks.say(line)
                    self._restore_slots()
                if isinstance(error, OpenhaError):
                    talk.end_with(error)
                if isinstance(error, PeerError) and not self.is_kept:
                    raise PeerError(f"{error}; nothing was changed on this node") from error
                raise

    def _restore_slots(self) -> None:
        if self._slots is not None:
            self._slots.restore()

    def _connect(self) -> tuple[Channel, str]:
        """Return the channel, and the address of the first node by which it was reached."""
        token, problems, refusing = self._token, [], ""
        secret = Secret(token.secret, purpose=PURPOSE, label=PURPOSE)
        for address in token.addresses:
            self._hooks.wait_line(f"connecting to {address} port {token.port}")
            try:
                channel = connect(
                    *(address, token.port, secret, self._name),
                    limit_s=_CONNECT_LIMIT_S,
                    is_from_reserved_port=True,
                )
            except NoPeerLinkError as error:
                # In another network the same address may be another machine.
                refusing = refusing or (address if error.reason == "PROOF" else "")
                problems.append(str(error))
                continue
            finally:
                self._hooks.wait_line("")
            return channel, address
        if refusing:
            raise RefusedError(
                f"{refusing} does not take this token: it was used, its time is over, or it is of"
                " another run. `openha setup` there prints a new one"
            )
        late_s = clock.wall() - token.expires_at
        hint = (
            "its time seems to be over: run `openha setup` there again"
            if late_s > 0
            else "does `openha setup` still wait there, and do firewalls let TCP port"
            f" {token.port} through?"
        )
        raise RefusedError(f"{'; '.join(problems)}. {hint[0].upper()}{hint[1:]}")

    def _agree(self, talk: Talk, way: str, first: str) -> Proposal:
        """Return what the operator of this node has agreed to write."""
        talk.say(facts(self._layout, way, self._agent, is_dry_run=self._is_dry_run))
        self._hooks.wait_line(f"trying each link with {first}")
        proposal = self._tried(talk, first)
        self._hooks.wait_line("")

        self._refuse_differences(proposal, first)
        remarks = check_proposal(self._layout, proposal) + name_remarks(first, way)
        self._check_secrets(proposal)
        self._hooks.say(f"{first} proposes for both nodes:")
        for line in shown(self._layout, proposal):
            self._hooks.say(line)
        for remark in remarks:
            self._hooks.say(f"note: {remark}")
        self._hooks.say(
            "Then the unit opensvc-openha.service is enabled, and the node daemon started."
        )
        if self._is_dry_run:
            self._hooks.say("dry run: nothing was changed")
        elif not self._hooks.ask("Write this on both nodes?"):
            raise RefusedError(f"it was declined on {self._name}: nothing was changed")
        talk.say(Agreed(is_same_configuration(self._layout, proposal)))
        return proposal

    def _check_secrets(self, proposal: Proposal) -> None:
        """Raise for a password file that would be replaced: it is brought only where none is."""
        named = secret_files(parse_options(proposal.options, self._layout.options_file))
        for path in proposal.secret_files:
            if path not in named:
                raise PeerError(f"the other node proposes {path}, which its openha.conf has not")
            if not path.startswith("/") or os.path.normpath(path) != path:
                raise ConfigError(f"expected an absolute path of a password file; found {path!r}")
            if os.path.lexists(path):
                check_secret_file(path)

    def _refuse_differences(self, proposal: Proposal, first: str) -> None:
        """Raise RefusedError, after naming what differs, if this node is configured otherwise."""
        other = differences(self._layout, proposal)
        if not other:
            return
        self._hooks.wait_line("")
        for line in other:
            self._hooks.say(line)
        raise RefusedError(
            f"{self._name} is configured already, and otherwise: nothing was changed. If {first} is"
            f" to get what is here, run `openha setup {first}` on {self._name}; else move"
            f" {self._layout.nodes_file}, {self._layout.monitor_file} and"
            f" {self._layout.options_file} of {self._name} away"
        )

    def _tried(self, talk: Talk, first: str) -> Proposal:
        """Try the links in both directions; return what follows from that."""
        trial = talk.hear(Trial)
        if not trial.own_mark:
            # The first node is configured, and keeps that.
            talk.say(Tried((), ()))
            return talk.hear(Proposal)
        present = read_present(self._layout)
        if present.is_configured:
            self._refuse_differences(
                Proposal(trial.nodes, trial.monitor, present.options, (), ()), first
            )
        links = links_of(trial.nodes, trial.monitor)
        disks = [link for link in links if link.is_disk]
        if disks:
            self._check_disk(disks[0].device)
            # Those of the first node are written to by now.
            self._slots = DiskSlots([link for link in disks if link.node == self._name])
            self._slots.check()
        with LinkTrial(self._name, links, trial.peer_mark, trial.own_mark) as here:
            heard, faults = here.wait()
            talk.say(Tried(heard, faults))
            # The first node may need our marks for longer: it answers once it has them.
            return talk.hear(Proposal)

    def _check_disk(self, device: str) -> None:
        if not os.path.exists(device):
            raise SystemFault(f"{self._name} has no {device}")

    def _started(self, talk: Talk, first: str) -> Report:
        problem = ""
        try:
            for line in self._hooks.start(self._layout):
                self._hooks.say(line)
        except OpenhaError as error:
            problem = str(error)
        self._hooks.wait_line("waiting until every link is up on both nodes")
        report = Report(problem=problem) if problem else wait_for_links(self._layout)
        talk.say(report)
        theirs = talk.hear(Report, _REPORT_LIMIT_S)
        self._hooks.wait_line("")
        for line in joined(self._name, report, first, theirs):
            self._hooks.say(line)
        return joint(report, theirs)
