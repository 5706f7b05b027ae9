"""Command the watchdog's keeper from the daemon: start it, hand permits to it, disarm.

Instants are seconds of ``system.clock.monotonic``, the clock that the keeper reads too. Every call
has a time limit and may be made by any thread, one at a time; a permit belongs in a thread that
nothing else holds up.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from opensvc_openha.errors import SystemFault
from opensvc_openha.hints import TypeVar
from opensvc_openha.system import clock
from opensvc_openha.system.unix_socket_path import ShortPath
from opensvc_openha.watchdog import KEEPER_SOCKET, device, holder, keeper
from opensvc_openha.watchdog.starter import Starter, SystemStarter

ANSWER_LIMIT_S = 3.0
"""More than the keeper ever needs: one that takes longer is stopped, or its device hangs."""
ANSWER_PART = 0.5
"""The same as a part of the watchdog's timeout, once it is armed.

Then the keeper is killed, and what is left is enough for another one, and the next renewal.
"""
_LEAST_LIMIT_S = 0.25
_KILL_LIMIT_S = 1.0
START_LIMIT_S = 15.0
_POLL_S = 0.02

# The keeper imports nothing of the package.
assert keeper.SOCKET_NAME == KEEPER_SOCKET

KEEPER_COMMAND = (sys.executable, "-I", "-S", "-B", keeper.__file__)
HOLDER_COMMAND = (sys.executable, "-I", "-S", "-B", holder.__file__)

Result = TypeVar("Result")


@dataclass(frozen=True)
class KeeperSettings:
    """What the keeper works by: the device, its timeout, how late a pet may be, n.

    ``holders`` is how many timeouts the promise counts; with 1 a second process has to hold the
    watchdog, outside the daemon's unit.
    """

    device: str
    timeout_s: int
    answer_s: float
    holders: int = 2


@dataclass(frozen=True)
class KeeperStatus:
    """State of the keeper and its watchdog; the device's own values only once it is open."""

    is_running: bool
    is_armed: bool = False
    """The watchdog runs, and is petted on permits alone, or in a hold."""
    is_kept_idle: bool = False
    """It cannot be stopped (nowayout): the keeper pets it by itself, without any promise."""
    timeout_s: float = 0.0
    """As read back from the driver."""
    granularity_s: float = 0.0
    """How late it may act beside the timeout."""
    holders: int = 2
    """How many timeouts the promise counts."""
    name: str = ""
    last_pet_at: float | None = None
    margin_s: float | None = None
    """Time left until it resets this machine."""
    least_margin_s: float | None = None
    """The least that was left at any pet since it was armed."""
    slowest_pet_s: float = 0.0
    """The longest time that the device took for a pet."""
    held_until: float | None = None
    """The keeper pets by itself until then."""
    pid: int = 0
    holder_pid: int = 0
    settings: KeeperSettings | None = None
    """What it was told by this daemon, or by the one before it."""
    reports: tuple[str, ...] = ()
    """What weakens it on this machine, and what failed of its own pets."""

    @property
    def text(self) -> str:
        """One line for a status."""
        if not self.is_running:
            return "no keeper runs"
        if self.settings is None:
            words = [f"keeper (pid {self.pid}) without a watchdog"]
        elif self.is_kept_idle:
            words = [f"{self._called} cannot be stopped (nowayout), is petted without a promise"]
        elif not self.is_armed:
            words = [f"{self.settings.device} is not armed"]
        else:
            words = [f"{self._called} armed"]
            if self.margin_s is not None and self.least_margin_s is not None:
                words.append(f"margin {self.margin_s:.1f} s, least {self.least_margin_s:.1f} s")
            if not self.holder_pid:
                words.append("held open by its keeper alone")
            if self.held_until is not None:
                words.append("petted without permits until the daemon is back, for a limited time")
        return "; ".join([", ".join(words), *self.reports])

    @property
    def _called(self) -> str:
        assert self.settings is not None
        return f"{self.settings.device} ({self.name} {self.timeout_s:g} s)"


class GrantOutcome(enum.Enum):
    """What became of a permit."""

    PETTED = keeper.PETTED
    LATE = keeper.LATE
    """The answer's time after the renewal was over."""
    REPEATED = keeper.REPEATED
    """There was one for this renewal already, or for a newer one."""


@dataclass(frozen=True)
class Grant:
    """Result of a permit.

    ``is_ready`` for the first that pets after ``ensure_running``: from now on the watchdog is armed
    with what ``status`` reports.
    """

    outcome: GrantOutcome
    status: KeeperStatus
    is_ready: bool = False
    text: str = ""


class DisarmOutcome(enum.Enum):
    """State of the watchdog after its orderly end."""

    STOPPED = keeper.STOPPED
    KEPT = keeper.KEPT
    """It cannot be stopped: the keeper pets it by itself, and is to be left running."""


class KeeperClient:
    """The daemon's end of the keeper that has its socket in ``directory``."""

    def __init__(
        self,
        directory: str,
        settings: KeeperSettings,
        keeper_command: Sequence[str] = KEEPER_COMMAND,
        starter: Starter | None = None,
    ) -> None:
        self.settings = settings
        self._directory = directory
        self._keeper_command = [*keeper_command, directory]
        self._holder_command = [*HOLDER_COMMAND, directory]
        self._starter: Starter = starter or SystemStarter()
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self._is_new = True
        self._is_armed = False

    def ensure_running(self) -> KeeperStatus:
        """Have a keeper that works by these settings, the one that runs already or a new one.

        Opens no device. An armed keeper with other settings is an error, as is one that another
        process commands. Raises SystemFault.
        """
        with self._lock:
            return self._ensure()

    def grant(self, renewed_at: float) -> Grant:
        """Let the keeper pet once for the renewal that began at ``renewed_at``; opens the device.

        If the keeper has ended, another one is started, and the permit is lost: no renewal counts
        twice. Raises SystemFault if the watchdog was not petted for a reason that remains.
        """
        with self._lock:
            is_first = self._is_new
            try:
                outcome, status, text, number = self._ask(f"{keeper.GRANT} {renewed_at!r}")
            except _Gone as gone:
                self._ensure()
                raise SystemFault(
                    f"the watchdog's keeper {gone}: another one was started, and pets with the next"
                    " renewal"
                ) from None
            if outcome == keeper.NO_HOLDER:
                self._start_holder()
                raise SystemFault(
                    f"{self.settings.device} was not petted: {text}; another one is started if it"
                    " has ended, and the next renewal pets"
                )
            if outcome not in {each.value for each in GrantOutcome}:
                raise SystemFault(f"{text}{self._advice(number)}")
            result = GrantOutcome(outcome)
            if result is GrantOutcome.PETTED:
                self._is_new = False
                self._is_armed = True
            return Grant(result, status, is_first and result is GrantOutcome.PETTED, text)

    def hold(self, until: float) -> KeeperStatus:
        """Let the armed keeper pet by itself until then, or until the next permit.

        Raises SystemFault.
        """
        with self._lock:
            outcome, status, text, _ = self._asked(f"{keeper.HOLD} {until!r}")
            if outcome != keeper.DONE:
                raise SystemFault(f"the watchdog's keeper does not hold: {text}")
            return status

    def disarm(self) -> DisarmOutcome:
        """Stop the watchdog in order; to be called only once the promise is withdrawn.

        If its keeper has ended, another one stops it. Raises SystemFault if it may still run: then
        this machine is reset within two timeouts.
        """
        with self._lock:
            self._is_new = True
            request = f"{keeper.DISARM} {keeper.RUNNING if self._is_armed else ''}".strip()
            try:
                outcome, _, text, number = self._ask(request)
            except _Gone:
                if not self._is_armed:
                    return DisarmOutcome.STOPPED
                self._ensure()
                outcome, _, text, number = self._asked(request)
            if outcome not in {each.value for each in DisarmOutcome}:
                raise SystemFault(f"{text}{self._advice(number)}")
            self._is_armed = False
            return DisarmOutcome(outcome)

    def status(self) -> KeeperStatus:
        """Return the state of the keeper, without starting one. Raises SystemFault if it hangs."""
        with self._lock:
            try:
                return self._ask(keeper.STATUS)[1]
            except _Killed as killed:
                raise SystemFault(f"the watchdog's keeper {killed}") from None
            except _Gone:
                return KeeperStatus(is_running=False)

    def close(self) -> None:
        """Leave the keeper; one without an armed watchdog ends."""
        with self._lock:
            self._drop()

    def _ensure(self) -> KeeperStatus:
        asked = self.settings
        request = (
            f"{keeper.SETTINGS} {asked.timeout_s} {asked.answer_s!r} {asked.holders} {asked.device}"
        )
        outcome, status, text, _ = self._with_keeper(lambda: self._ask(request))
        if outcome != keeper.DONE:
            raise SystemFault(f"the watchdog's keeper refuses: {text}")
        self._is_new = True
        self._is_armed = self._is_armed or status.is_armed
        # Also where two timeouts are counted: with it, the death of the keeper costs one only.
        self._start_holder()
        return status

    def _start_holder(self) -> None:
        place = os.path.join(self._directory, keeper.HOLDER_SOCKET_NAME)
        pid = _listener_of(place)
        if not pid:
            self._starter.start("watchdog-holder", self._holder_command)
            clock.wait_until(lambda: _listener_of(place) > 0, START_LIMIT_S, _POLL_S)
            pid = _listener_of(place)
        if self.settings.holders == 1 and (not pid or not self._starter.is_apart(pid)):
            raise SystemFault(
                "the second process that has to hold the watchdog "
                + ("does not start" if not pid else f"(pid {pid}) is in the daemon's own unit")
                + ": a promise that counts one timeout needs it outside"
            )

    def _with_keeper(self, ask: Callable[[], Result]) -> Result:
        try:
            return ask()
        except _Gone:
            pass
        self._starter.start("watchdog-keeper", self._keeper_command)
        give_up = clock.monotonic() + START_LIMIT_S
        while True:
            try:
                return ask()
            except _Gone as gone:
                if clock.monotonic() >= give_up:
                    raise SystemFault(
                        f"the watchdog's keeper does not start ({gone}); this shows why:"
                        f" {' '.join(self._keeper_command)}"
                    ) from None
                clock.pause(_POLL_S)

    def _asked(self, request: str) -> tuple[str, KeeperStatus, str, int]:
        try:
            return self._ask(request)
        except _Gone as gone:
            raise SystemFault(f"the watchdog's keeper {gone}") from None

    def _ask(self, request: str) -> tuple[str, KeeperStatus, str, int]:
        """Return the outcome, the state, a text, and the number of the system's error.

        Raises _Gone if there is no keeper or it ended, SystemFault if it does not answer.
        """
        connection = self._connected()
        answer = self._answer(connection, request)
        head, _, text = answer.partition(" text=")
        outcome, _, facts = head.partition(" ")
        values = dict(fact.partition("=")[::2] for fact in facts.split(" ") if fact)
        try:
            version = int(values["version"])
            if version != keeper.VERSION:
                raise SystemFault(
                    f"the watchdog's keeper (pid {values.get('pid')}) is of version {version}, this"
                    f" daemon needs {keeper.VERSION}: stop the services of this node, so that it"
                    " ends"
                )
            return outcome, _status(values), text, int(values["errno"])
        except (KeyError, ValueError) as error:
            self._drop()
            raise SystemFault(f"the watchdog's keeper answers nonsense: {error}") from error

    def _connected(self) -> socket.socket:
        if self._connection is None:
            connection = _connect(os.path.join(self._directory, keeper.SOCKET_NAME))
            self._connection = connection
            greeting = self._answer(connection)
            if greeting != keeper.DONE:
                self._drop()
                raise SystemFault(f"the watchdog's keeper refuses this process: {greeting}")
        return self._connection

    def _answer(self, connection: socket.socket, request: str = "") -> str:
        limit_s = self._limit_s
        connection.settimeout(limit_s)
        try:
            if request:
                connection.send(request.encode())
            answer = connection.recv(keeper.MESSAGE_BYTES)
        except TimeoutError:
            pid = keeper.peer_of(connection)[0]
            # An armed watchdog has its file open in the holder as well, and bites if nobody pets.
            is_killed = self._is_armed and _kill(connection)
            self._drop()
            if is_killed:
                raise _Killed(
                    f"(pid {pid}) gave no answer within {limit_s:g} s, and was killed"
                ) from None
            raise SystemFault(
                f"the watchdog's keeper (pid {pid}) gave no answer within {limit_s:g} s:"
                " it is stopped, or its device hangs; this machine is reset unless it continues"
            ) from None
        except OSError as error:
            self._drop()
            raise _Gone(f"has ended ({error.strerror})") from None
        if not answer:
            self._drop()
            raise _Gone("has ended")
        return answer.decode("utf-8", "replace")

    @property
    def _limit_s(self) -> float:
        if not self._is_armed:
            return ANSWER_LIMIT_S
        part_s = max(_LEAST_LIMIT_S, ANSWER_PART * self.settings.timeout_s)
        return min(ANSWER_LIMIT_S, part_s)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _advice(self, number: int) -> str:
        """Return what to do about an error of the device, to be appended."""
        if number == errno.EBUSY:
            who = device.user_text(device.processes_with(self.settings.device))
            return f": {who or 'another process has it open'}"
        if number == errno.ENOENT:
            return f": {device.look_at(self.settings.device).problem or 'it is there again'}"
        if number == errno.EOPNOTSUPP:
            return ": load its driver with nowayout=1, or use another watchdog"
        return ""


class _Gone(Exception):
    """There is no keeper; the text continues "the keeper"."""


class _Killed(_Gone):
    """It did not answer."""


def _kill(connection: socket.socket) -> bool:
    """Kill the process at the other end, unless it answers now; return whether it has ended."""
    try:
        process = os.pidfd_open(keeper.peer_of(connection)[0])
    except OSError:
        return True
    try:
        # Nothing to read, so the socket is still open there, and the number is still its own.
        if select.select([connection], [], [], 0)[0]:
            return False
        signal.pidfd_send_signal(process, signal.SIGKILL)
        return bool(select.select([process], [], [], _KILL_LIMIT_S)[0])
    except OSError:
        return False
    finally:
        os.close(process)


def running_settings(directory: str) -> KeeperSettings | None:
    """Return what the armed keeper of a directory works by; None if none is armed.

    For a daemon that starts: its configuration may differ from that of the one before it. Raises
    SystemFault if the keeper hangs or another process commands it.
    """
    client = KeeperClient(directory, KeeperSettings("", 1, 1.0))
    try:
        status = client.status()
    finally:
        client.close()
    return status.settings if status.is_armed else None


def _status(values: dict[str, str]) -> KeeperStatus:
    is_open, is_idle = values["open"] == "1", values["idle"] == "1"
    identity = unquote(values["identity"])
    timeout_s = float(values["timeout"])
    last_pet = _instant(values["last_pet"])
    margin_s = None
    if is_open and last_pet is not None:
        margin_s = last_pet + timeout_s - clock.monotonic()
    path = unquote(values["device"])
    settings = None
    if path:
        settings = KeeperSettings(
            path, int(values["asked"]), float(values["answer"]), int(values["timeouts"])
        )
    return KeeperStatus(
        is_running=True,
        is_armed=is_open and not is_idle,
        is_kept_idle=is_idle,
        timeout_s=timeout_s,
        granularity_s=device.granularity_s(identity) if is_open else 0.0,
        holders=int(values["timeouts"]),
        name=device.watchdog_name(identity, unquote(values["driver"])) if is_open else "",
        last_pet_at=last_pet,
        margin_s=margin_s,
        least_margin_s=_instant(values["least_margin"]),
        slowest_pet_s=float(values["slowest_pet"]),
        held_until=_instant(values["held_until"]),
        pid=int(values["pid"]),
        holder_pid=int(values["holder"]),
        settings=settings,
        reports=tuple(filter(None, unquote(values["reports"]).split("; "))),
    )


def _instant(text: str) -> float | None:
    return float(text) if text else None


def _connect(path: str) -> socket.socket:
    """Return a connection to a socket; _Gone if nobody serves it."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(ANSWER_LIMIT_S)
    try:
        with ShortPath(path) as short:
            connection.connect(short)
    except OSError as error:
        connection.close()
        raise _Gone(f"is not there ({path}: {error.strerror})") from None
    return connection


def _listener_of(path: str) -> int:
    """Return the process that serves a socket; 0 if none does."""
    with contextlib.suppress(_Gone), _connect(path) as connection:
        return keeper.peer_of(connection)[0]
    return 0
