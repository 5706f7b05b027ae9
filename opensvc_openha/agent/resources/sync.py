"""Copies of files on the other nodes, by rsync over ssh.

``sync#i0`` is the service's own configuration; sync#N are further copies. Only the node that runs
the service may send: a passive one would spread old data. The time of the last transfer to each
node is recorded here and on the receiver, so that both can report whether the copy is recent. For
the service's own configuration a digest is recorded, too: each node compares it with its present
one.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Callable, Iterable, Mapping

from opensvc_openha.agent.config import schedule, schema
from opensvc_openha.agent.config.schedule import Rule, is_due, parse_period, parse_schedule
from opensvc_openha.agent.config.service_file import Section
from opensvc_openha.agent.host.commands import SYSTEM_PATH, run_command, run_logged
from opensvc_openha.agent.host.ssh import REMOTE_USER, SSH, run_on, why_unreachable
from opensvc_openha.agent.resources.base import DriverContext, LocalResource
from opensvc_openha.agent.values.resource_status import HIDDEN, Finding, Group, ResourceStatus
from opensvc_openha.errors import ActionError, RefusedError, SystemFault
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.named_tuples import NamedTuple
from opensvc_openha.system.atomic_files import make_dir, write_atomically
from opensvc_openha.system.clock import wall

if TYPE_CHECKING:
    import datetime

    from opensvc_openha.agent.values.readiness import Remark, Surroundings

IMPLICIT = schema.IMPLICIT_SYNC
IMPLICIT_LABEL = "rsync svc config to drpnodes, nodes"

_CHECK_TIMEOUT_S = 30.0
_FILES_VANISHED = 24
_OPTIONS = ("-HpogDtrlvx", "--stats", "--delete", "--force", "--timeout=3600")
_STAMP = "%Y-%m-%d %H:%M:%S.%f"
_TARGETS = ("nodes", "drpnodes")
_LABEL_MAX = 300
_STAMP_BYTES_MAX = 200
_READ_BYTES_MAX = 65_536
_REPLACED = re.compile(r"<fc\S* (.*)\Z")
"""rsync's mark of a file with other contents on the receiver; a missing one has pluses there."""


class Transfer(NamedTuple):
    """Sources and targets of a transfer.

    ``sources`` is called when it is needed: patterns match the files that exist then.
    """

    label: str
    sources: Callable[[], list[str]]
    destination: str
    options: tuple[str, ...]
    targets: Mapping[str, tuple[str, ...]]
    destination_fs: str = ""


def build(section: Section, context: DriverContext) -> Rsync:
    """Build the sync of the service's own configuration, or that of another [sync#N] section."""
    transfer = _own_configuration if section.name == IMPLICIT else _configured
    return Rsync(section, context, transfer(section, context))


def _own_configuration(section: Section, context: DriverContext) -> Transfer:
    link = context.layout.command_link(context.svcname)

    def own_files() -> list[str]:
        # The commands beside it are the receiving node's own: they contain its paths.
        beside = [path for path in (f"{link}.d", f"{link}.dir") if os.path.lexists(path)]
        return [context.layout.service_file(context.svcname), *beside]

    # Replaced or deleted files are kept on the receiving node: they may have been edited there.
    kept = os.path.join(context.var_dir, "replaced")
    options = (
        "-R",
        "--exclude=*.core",
        "--backup",
        f"--backup-dir={kept}",
        *section.value(schema.SYNC_OPTIONS),
    )
    targets = {"nodes": context.file.nodes, "drpnodes": context.file.drp_nodes}
    return Transfer(IMPLICIT_LABEL, own_files, "/", options, targets)


def _configured(section: Section, context: DriverContext) -> Transfer:
    words = section.value(schema.SYNC_TARGET)
    patterns = section.value(schema.SYNC_SRC)

    def matching() -> list[str]:
        import glob  # Each status has a sync, and hardly any a pattern.

        return [
            path
            for pattern in patterns
            for path in (sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern])
        ]

    by_name = {"nodes": context.file.nodes, "drpnodes": context.file.drp_nodes}
    options = section.value(schema.SYNC_OPTIONS) + section.value(schema.SYNC_EXCLUDE)
    limit = section.value(schema.SYNC_BWLIMIT)
    if limit is not None:
        options += (f"--bwlimit={limit}",)
    label = f"rsync {', '.join(patterns)[:_LABEL_MAX]} to {', '.join(words)}"
    targets = {word: by_name[word] for word in words}
    return Transfer(
        label,
        matching,
        section.value(schema.SYNC_DST),
        options,
        targets,
        section.value(schema.SYNC_DSTFS),
    )


class Rsync(LocalResource):
    """One transfer to the other nodes of the service."""

    def __init__(self, section: Section, context: DriverContext, transfer: Transfer) -> None:
        super().__init__(section, context, Group.SYNC, "sync.rsync", transfer.label)
        self._transfer = transfer
        self._context = context
        self._timeout_s = section.value(schema.SYNC_TIMEOUT)
        self.schedule_problem = ""
        self._rules: tuple[Rule, ...] = ()
        try:
            self._rules = _schedule(section)
        except ValueError as error:
            # Neither manual transfers nor the service itself depend on it.
            self.schedule_problem = f"{error}: it is never sent by itself"
        self._max_delay_minutes = section.value(schema.SYNC_MAX_DELAY)

    def has_schedule(self) -> bool:
        """Return whether there is a time at which it may be due."""
        return bool(self._rules) and any(self.nodes_of(target) for target in _TARGETS)

    def is_due(self, now: datetime.datetime) -> bool:
        """Return whether its schedule requires it, given the last success on all other nodes."""
        stamps = [self._sent_at(node) for target in _TARGETS for node in self.nodes_of(target)]
        known = [stamp for stamp in stamps if stamp is not None]
        return is_due(self._rules, now, min(known) if known and len(known) == len(stamps) else None)

    def nodes_of(self, target: str) -> tuple[str, ...]:
        """Return the other nodes that a target stands for."""
        return tuple(
            node for node in self._transfer.targets.get(target, ()) if node != self._context.node
        )

    def status(self) -> Finding:
        """Return up if the other nodes' copies are recent, as far as this node knows."""
        others = [node for target in _TARGETS for node in self.nodes_of(target)]
        if not others:
            return Finding(ResourceStatus.NA, ("no destination nodes",))
        if self._context.view.data_status() is ResourceStatus.UNDEF:
            return HIDDEN
        if self._context.view.data_status() is not ResourceStatus.UP:
            return self._passive_status()
        if self._context.node in self._context.file.drp_nodes:
            return Finding(ResourceStatus.NA, ("service up on drp node, sync disabled",))
        late = [node for node in others if self._is_late(node)]
        if not late and self._is_changed(others):
            return Finding(
                ResourceStatus.DOWN,
                (f"{', '.join(others)} need update: changed here since it was sent",),
            )
        if not late:
            return Finding(ResourceStatus.UP)
        return Finding(
            ResourceStatus.DOWN, (f"{', '.join(late)} need update", *self._last_success(late))
        )

    def readiness(self, around: Surroundings) -> Iterable[Remark]:
        """Yield what is old, or missing for the next transfer; no start depends on it."""
        import shutil
        import socket

        from opensvc_openha.agent.values.readiness import beware

        if self.spec.rid == IMPLICIT:
            return  # Whether the service files are the same is checked by comparing them.
        if not shutil.which("rsync", path=SYSTEM_PATH):
            text = "rsync is not installed: nothing can be sent to or from this node"
            yield beware("sync", text, "apt-get install rsync")
        if around.runs_on_peer:
            finding = self._passive_status()
            if finding.status is ResourceStatus.WARN:
                text = f"{self.spec.label}: {'; '.join(finding.log)}"
                yield beware("sync", text, "sync nodes on the node that runs the service")
        for node in dict.fromkeys(name for target in _TARGETS for name in self.nodes_of(target)):
            try:
                socket.getaddrinfo(node, None, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError):
                text = f"could not resolve name {node}, to which files are sent"
                yield beware("names", text, "bring the name into /etc/hosts on both nodes")

    def send(self, target: str, is_forced: bool = False) -> tuple[str, ...]:
        """Send to every node of a target; return the nodes that have it now.

        Errors of single nodes are raised after the last one.
        """
        nodes = self.nodes_of(target)
        if not nodes:
            self._log.info(f"{self.spec.label}: nothing to send to {target}")
            return ()
        self.expect_service_here(is_forced)
        sources = self._transfer.sources()
        missing = [path for path in sources if not os.path.lexists(path.rstrip("/"))]
        if missing or not sources:
            raise self.spec.error(
                ActionError,
                f"{', '.join(missing) or 'no file matches src'} does not exist: nothing was sent",
            )
        sent, failures = [], []
        for node in nodes:
            # Check again for each: a copy may take hours, and what is unmounted meanwhile would be
            # deleted on the next node.
            self.expect_service_here(is_forced)
            try:
                if self.spec.rid == IMPLICIT and not is_forced:
                    self._expect_not_newer(node, sources)
                self._send_to(node, sources)
                sent.append(node)
            except (ActionError, RefusedError) as exc:
                failures.append(exc)
        if failures:
            kind = (
                RefusedError
                if all(isinstance(exc, RefusedError) for exc in failures)
                else ActionError
            )
            raise kind("; ".join(map(str, failures)))
        return tuple(sent)

    def _expect_not_newer(self, node: str, sources: list[str]) -> None:
        """Raise RefusedError if a file on the node was edited later than here.

        The edit would be lost.
        """
        differing = self._would_send(node, sources)
        newer = sorted(differing - self._would_send(node, sources, "--update")) if differing else []
        if newer:
            raise self.spec.error(
                RefusedError,
                f"{', '.join(newer)} on {node} is newer than here, and differs:"
                " nothing was sent there. Bring the edit here first (scp), or overwrite it with"
                " --force",
            )

    def _would_send(self, node: str, sources: list[str], *options: str) -> set[str]:
        """Return the existing files whose contents a copy would replace."""
        options = (
            "-n",
            "-i",
            "--checksum",
            *(word for word in _OPTIONS if word != "--stats"),
            *options,
        )
        ssh = ["-e", shlex.join(SSH)]
        destination = f"{REMOTE_USER}@{node}:{self._transfer.destination}"
        argv = ["rsync", *options, *self._transfer.options, *ssh, *sources, destination]
        result = run_command(argv, self._timeout_s)
        if result.exit_code not in (0, _FILES_VANISHED):
            reason = (
                why_unreachable(node, result)
                or f"{node}: rsync {result.verdict}{_last_line(result.output)}"
            )
            raise self.spec.error(ActionError, f"{self.spec.label} failed on {reason}")
        found = (_REPLACED.match(line) for line in result.output.splitlines())
        return {f"/{match.group(1).lstrip('/')}" for match in found if match is not None}

    def _send_to(self, node: str, sources: list[str]) -> None:
        if self._transfer.destination_fs:
            self._expect_mounted(node)
        # Before the copy: a later edit may not have been sent.
        begun, digest = wall(), self._digest() if self.spec.rid == IMPLICIT else ""
        ssh = ["-e", shlex.join(SSH)]
        destination = f"{REMOTE_USER}@{node}:{self._transfer.destination}"
        argv = ["rsync", *_OPTIONS, *self._transfer.options, *ssh, *sources, destination]
        result = (
            run_command(argv, self._timeout_s)
            if self.spec.rid == IMPLICIT
            else run_logged(self._log, argv, self._timeout_s)
        )
        if result.exit_code == _FILES_VANISHED:
            self._log.warning(f"some files vanished while they were sent to {node}")
        elif result.exit_code != 0:
            reason = (
                why_unreachable(node, result)
                or f"{node}: rsync {result.verdict}{_last_line(result.output)}"
            )
            raise self.spec.error(ActionError, f"{self.spec.label} failed on {reason}")
        self._note_success(node, begun, digest, ssh)
        self._log.info(f"{self.spec.label}: {node} is up to date")

    def expect_service_here(self, is_forced: bool) -> None:
        """Raise RefusedError if a copy would spread old data."""
        status = self._context.view.data_status()
        if self._context.node in self._context.file.drp_nodes:
            raise self.spec.error(RefusedError, "a drp node does not send: nothing was sent")
        if status is ResourceStatus.UP or (status is ResourceStatus.NA and is_forced):
            return
        hint = (
            ": --force sends all the same"
            if status is ResourceStatus.NA
            else ", run it where it is up"
        )
        raise self.spec.error(
            RefusedError,
            f"won't send, for {self._context.svcname} is {status.value} on"
            f" {self._context.node}{hint}",
        )

    def _expect_mounted(self, node: str) -> None:
        path = self._transfer.destination_fs
        result = run_on(node, ["mountpoint", "-q", path], self._log, _CHECK_TIMEOUT_S)
        if result.exit_code != 0:
            unmounted = (
                f"{node}: {path} is not mounted there: nothing was sent, to spare the file system"
                " below it"
            )
            reason = why_unreachable(node, result) or unmounted
            raise self.spec.error(ActionError, f"{reason}")

    def _passive_status(self) -> Finding:
        node = self._context.node
        if not any(node in nodes for nodes in self._transfer.targets.values()):
            return Finding(ResourceStatus.NA, ("passive node not in sync destination nodes",))
        if self._is_late(node):
            return Finding(
                ResourceStatus.WARN, ("passive node needs update", *self._last_success([node]))
            )
        if self._is_changed([node]):
            return Finding(
                ResourceStatus.WARN, ("differs from what was last received: edited here?",)
            )
        return Finding(ResourceStatus.UP)

    def _stamp_path(self, node: str) -> str:
        return os.path.join(
            self._context.layout.var_dir, "sync", node, f"{self._context.svcname}!{self.spec.rid}"
        )

    def _sent_at(self, node: str) -> datetime.datetime | None:
        try:
            with open(self._stamp_path(node), encoding="ascii") as file:
                line = file.readline().strip()
        except (OSError, ValueError):
            return None
        import datetime

        try:
            # To parse it by a pattern takes longer than all else of a status.
            stamp = datetime.datetime.fromisoformat(line)
        except ValueError:
            return None
        return stamp if stamp.tzinfo is None else None

    def _is_changed(self, nodes: Iterable[str]) -> bool:
        """Return whether the service's configuration changed since the last send to these nodes."""
        if self.spec.rid != IMPLICIT:
            return False
        known = {self._sent_digest(node) for node in nodes} - {""}
        return bool(known) and known != {self._digest()}

    def _sent_digest(self, node: str) -> str:
        try:
            with open(self._stamp_path(node), encoding="ascii") as file:
                return "".join(file.read(_STAMP_BYTES_MAX).splitlines()[1:2])
        except (OSError, ValueError):
            return ""  # Not sent yet, or by a version that recorded no digest.

    def _digest(self) -> str:
        """Return the digest of the service's own files.

        Large files count by size and time, since reading them each time takes too long.
        """
        import zlib

        checksum = length = (
            0  # It detects edits, not attacks: a status need not import hashlib for it.
        )
        for top in self._transfer.sources():
            for path in sorted(_files_below(top)):
                gist = f"{path}\0".encode("utf-8", "surrogateescape") + _gist(path)
                checksum, length = zlib.crc32(gist, checksum), length + len(gist)
        return f"{checksum:08x}-{length}"

    def _is_late(self, node: str) -> bool:
        sent_at = self._sent_at(node)
        if sent_at is None:
            return True
        import datetime

        age = datetime.datetime.fromtimestamp(wall()) - sent_at
        return age > datetime.timedelta(minutes=self._max_delay_minutes)

    def _last_success(self, nodes: list[str]) -> tuple[str, ...]:
        stamps = {node: self._sent_at(node) for node in nodes}
        return tuple(
            f"{node}: last done {stamp:%Y-%m-%d %H:%M:%S}"
            for node, stamp in stamps.items()
            if stamp
        )

    def _note_success(self, node: str, begun: float, digest: str, ssh: list[str]) -> None:
        """Record the success here and on the receiver.

        The receiver needs the age of its copy when it is to take over.
        """
        import datetime

        text = datetime.datetime.fromtimestamp(begun).strftime(_STAMP) + "\n"
        text += f"{digest}\n" if digest else ""
        paths = [self._stamp_path(node), self._stamp_path(self._context.node)]
        try:
            for path in paths:
                make_dir(os.path.dirname(path))
                write_atomically(path, text.encode())
        except (OSError, SystemFault) as error:
            raise self.spec.error(ActionError, f"sent to {node}, but {error}") from error
        argv = ["rsync", "-ptR", *ssh, *paths, f"{REMOTE_USER}@{node}:/"]
        result = run_command(argv, _CHECK_TIMEOUT_S)
        if result.exit_code != 0:
            self._log.warning(
                f"{node} did not get the time of this transfer: rsync"
                f" {result.verdict}{_last_line(result.output)}"
            )


def _files_below(top: str) -> Iterable[str]:
    if os.path.islink(top) or not os.path.isdir(top):
        return [top]
    return [
        os.path.join(folder, name)
        for folder, _, names in os.walk(top)
        for name in names
        if not name.endswith(".core")
    ]


def _gist(path: str) -> bytes:
    try:
        if os.path.islink(path):
            return os.readlink(path).encode("utf-8", "surrogateescape")
        info = os.stat(path)
        if stat.S_ISREG(info.st_mode) and info.st_size <= _READ_BYTES_MAX:
            with open(path, "rb") as file:
                return file.read(_READ_BYTES_MAX)
        return f"{info.st_size} {int(info.st_mtime)}".encode("ascii")
    except PermissionError:
        raise
    except OSError:
        return b""


def _schedule(section: Section) -> tuple[Rule, ...]:
    """Parse ``schedule``, else ``sync_schedule``, else the keywords of older agents.

    Raises ValueError for an invalid one.
    """
    text = section.value(schema.SCHEDULE) or section.value(schema.SYNC_SCHEDULE)
    period, days = section.value(schema.SYNC_PERIOD), section.value(schema.SYNC_DAYS)
    # As text: a wrong interval is a wrong schedule, which ends no action.
    interval = section.text(schema.SYNC_INTERVAL.name) or section.value(schema.SYNC_MIN_DELAY)
    if not text and (period or days or interval):
        return parse_period(period, days, interval)
    return parse_schedule(text or schedule.DEFAULT)


def _last_line(output: str) -> str:
    lines = output.strip().splitlines()
    return f": {lines[-1]}" if lines else ""
