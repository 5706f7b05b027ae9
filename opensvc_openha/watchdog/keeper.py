"""Pet a watchdog device on permits of the daemon alone, in a small process that outlives it.

Run as a file by keeper_client, never as part of the package; it imports nothing of it. A permit
names the instant ``s`` at which a renewal of this node's promise began that is confirmed since. The
promise to the peer holds as long as no pet comes later than ``s`` + answer, whatever happens to
this process in between:

- "Look at the clock, then pet" is one step: before it looks, the process sets its interval timer to
  that instant, with the default action: death. Stopped between look and pet, it dies before its
  next instruction.
- Opening a watchdog and setting its timeout pet it, too, so both need a permit. Otherwise a keeper
  that is killed and started in a circle would keep the machine alive.
- The kernel pets a watchdog once more at the last close of its file, so also when its keeper is
  killed. Where the promise does not count that (timeouts 1), a permit is refused unless a second,
  sleeping process (holder.py) has the same open file.

Instants are seconds of CLOCK_BOOTTIME, the clock of the daemon's decisions (system/clock.py).

Usage: keeper.py DIRECTORY, which gets watchdog-keeper.sock and watchdog-keeper.lock
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable

VERSION = 1
"""Of the requests and answers: a newer daemon commands an older keeper after an upgrade."""
SOCKET_NAME, LOCK_NAME = "watchdog-keeper.sock", "watchdog-keeper.lock"
HOLDER_SOCKET_NAME = "watchdog-holder.sock"
MESSAGE_BYTES = 8192

# Requests.
SETTINGS, STATUS, GRANT, HOLD, DISARM = "SETTINGS", "STATUS", "GRANT", "HOLD", "DISARM"
# Outcomes.
DONE, PETTED, LATE, REPEATED = "DONE", "PETTED", "LATE", "REPEATED"
NO_HOLDER, FAILED, REFUSED = "NO_HOLDER", "FAILED", "REFUSED"
RUNNING = "RUNNING"
"""With DISARM: it was armed, so it runs even if the keeper that had it has ended."""
STOPPED, KEPT = "STOPPED", "KEPT"
"""Of DISARM: the watchdog stands still; or it cannot be stopped, and is petted without permits."""

# What the holder is asked for, and answers; the path of the device follows.
KEEP, GIVE, DROP = b"KEEP", b"GIVE", b"DROP"
KEPT_BY_HOLDER, HERE, NONE = b"KEPT", b"HERE", b"NONE"
HOLDER_LIMIT_S = 0.3

MAGIC_CLOSE_OPTION, SET_TIMEOUT_OPTION = 0x0100, 0x0080
"""Source: linux/watchdog.h, as the requests below."""
GET_SUPPORT, GET_TIMEOUT, SET_TIMEOUT = 0x80285700, 0x80045707, 0xC0045706
SUPPORT_BYTES = 40

IDLE_TIMEOUT_S = 60
"""Asked for where a watchdog cannot be stopped: enough for the end of a shutdown."""
_PETS_IN_TIMEOUT = 4
_ALONE_LIMIT_S = 60.0
"""A keeper without a watchdog ends if no daemon comes in this time, or when its daemon leaves."""
_LOCK_LIMIT_S = 2.0
_CANNOT = (errno.EINVAL, errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS)
"""Errors of a driver that will never do what was asked of it, so that it was never armed either."""
_LEAST_LEFT_S = 0.002
"""A pet with less time left would often be its last: the timer would end this process after it."""
_LOOK_S = 0.01
"""Longest time between the two looks at the clock around the setting of the timer.

The timer runs from the second look on, so that it may end later by this much, which the margin of
the promise covers twenty times.
"""
_LOOKS = 5
_REAL_TIME_PRIORITY = 49
"""Below the threads of interrupts, which have 50 where the kernel has them."""
_LOCK_CURRENT_AND_FUTURE_PAGES = 3


def now() -> float:
    """Return the daemon's clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Watchdog:
    """A watchdog device. Opening it starts it; the kernel lets one file be open at a time."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.handle = -1
        self.identity = ""
        self.options = 0

    @property
    def is_open(self) -> bool:
        """Return whether this process has it open."""
        return self.handle >= 0

    def open(self) -> None:
        """Open it, which starts and pets it. Raises OSError."""
        self.adopt(self._open())

    def adopt(self, handle: int) -> None:
        """Take an open file of it over. Raises OSError."""
        self.handle = handle
        support = self._ioctl(GET_SUPPORT, bytes(SUPPORT_BYTES))
        self.options = struct.unpack("=I", support[:4])[0]
        self.identity = support[8:].split(b"\0")[0].decode("ascii", "replace").strip()

    def set_timeout(self, seconds: int) -> int:
        """Set its timeout, which pets it; return what it has. Raises OSError.

        A driver that does not take it keeps its own: what it has is what counts.
        """
        if self.options & SET_TIMEOUT_OPTION:
            try:
                self._ioctl(SET_TIMEOUT, struct.pack("=i", seconds))
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
        return int(struct.unpack("=i", self._ioctl(GET_TIMEOUT, bytes(4)))[0])

    def pet(self) -> None:
        """Restart its time. Raises OSError."""
        os.write(self.handle, b"\1")

    def stop_at_close(self) -> None:
        """Let the last close stop it, unless it is petted before. Raises OSError."""
        os.write(self.handle, b"V")

    def close(self) -> None:
        """Close this process's file, which the kernel answers with a pet if it is the last one."""
        handle, self.handle = self.handle, -1
        os.close(handle)

    def is_nowayout(self) -> bool | None:
        """Return whether it cannot be stopped any more; None if the kernel does not report it.

        A kernel without CONFIG_WATCHDOG_SYSFS does not. Closed in order the watchdog goes on then.
        """
        return {"0": False, "1": True}.get(_text(f"{self._facts()}/nowayout"))

    def driver(self) -> str:
        """Return the name of its driver, such as ``iTCO_wdt``; empty for one without hardware."""
        with contextlib.suppress(OSError):
            return os.path.basename(os.readlink(f"{self._facts()}/device/driver"))
        return ""

    def _facts(self) -> str:
        found = os.fstat(self.handle).st_rdev
        # The old name of the first one.
        if (os.major(found), os.minor(found)) == (10, 130):
            return "/sys/class/watchdog/watchdog0"
        return f"/sys/dev/char/{os.major(found)}:{os.minor(found)}"

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)

    def _ioctl(self, request: int, data: bytes) -> bytes:
        buffer = bytearray(data)
        fcntl.ioctl(self.handle, request, buffer)
        return bytes(buffer)


class Holder:
    """Connection to the process that has the same open file, and sleeps."""

    def __init__(self) -> None:
        self._connection: socket.socket | None = None

    def is_there(self) -> bool:
        """Return whether it lives, after an attempt to reach it."""
        if self._connection is not None:
            try:
                # It sends nothing unasked: what can be read is its end.
                if not select.select([self._connection], [], [], 0)[0]:
                    return True
            except OSError:
                pass
            self.leave()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.settimeout(HOLDER_LIMIT_S)
        try:
            connection.connect(HOLDER_SOCKET_NAME)
        except OSError:
            connection.close()
            return False
        self._connection = connection
        return True

    def pid(self) -> int:
        """Return its process id; 0 if it is not there."""
        if self._connection is None:
            return 0
        return peer_of(self._connection)[0]

    def keep(self, device: Watchdog) -> bool:
        """Return whether it has this open file from now on, too."""
        return self._ask(KEEP + device.path.encode(), device.handle)[0] == KEPT_BY_HOLDER

    def give(self, path: str) -> int:
        """Return the open file of this device that it has, to be closed here; -1 if it has none."""
        answer, handle = self._ask(GIVE)
        if handle >= 0 and answer != HERE + path.encode():
            # Of another device, which the settings named before: it bites.
            os.close(handle)
            return -1
        return handle

    def drop(self) -> None:
        """Let it close its file; kill it if it does not: the last close stops the watchdog."""
        if not self.is_there():
            return
        pid = self.pid()
        if self._ask(DROP)[0] != NONE:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def leave(self) -> None:
        """Close the connection; it ends by itself if it has no open file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, request: bytes, handle: int = -1) -> tuple[bytes, int]:
        connection = self._connection
        if connection is None:
            return b"", -1
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", handle))
        try:
            connection.sendmsg([request], [rights] if handle >= 0 else [])
            answer, received, _, _ = connection.recvmsg(
                MESSAGE_BYTES, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC
            )
        except OSError:
            # An answer that comes later belongs to no other request.
            self.leave()
            return b"", -1
        for level, kind, data in received:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                return answer, int(struct.unpack("i", data[:4])[0])
        return answer, -1


class Keeper:
    """The watchdog, its permits, and what is answered to the daemon."""

    def __init__(self, device_type: Callable[[str], Watchdog], reports: list[str]) -> None:
        self._device_type = device_type
        self._device = device_type("")
        self._holder = Holder()
        self._reports = reports
        self._asked_s = 0
        self._timeout_s = 0
        self._answer_s = 0.0
        self._timeouts = 2
        self._last_renewal = float("-inf")
        self._last_pet: float | None = None
        self._least_margin_s: float | None = None
        self._slowest_pet_s = 0.0
        self._attempted_at = 0.0
        self._held_until: float | None = None
        self._is_idle = False
        self._is_to_set = False
        self._is_shared = False
        self._errno = 0

    @property
    def is_open(self) -> bool:
        """Return whether the watchdog runs by this process."""
        return self._device.is_open

    def answer(self, request: str) -> str:
        """Carry a request out: the outcome, facts as ``name=value``, and after them a text."""
        word, _, rest = request.partition(" ")
        self._errno = 0
        try:
            if word == SETTINGS:
                outcome, text = self._settings(*rest.split(" ", 3))
            elif word == GRANT:
                outcome, text = self._grant(float(rest))
            elif word == HOLD:
                outcome, text = self._hold(float(rest))
            elif word == DISARM:
                outcome, text = self._disarm(is_running=rest == RUNNING)
            elif word == STATUS:
                outcome, text = DONE, ""
            else:
                outcome, text = REFUSED, f"unknown request {word[:40]!r}"
        except (ValueError, TypeError) as error:
            outcome, text = REFUSED, f"unreadable request {request[:80]!r}: {error}"
        return f"{outcome} {self._facts()} text={text}"

    def next_pet_at(self) -> float | None:
        """Return when to call ``pet_unasked``."""
        if not self._device.is_open or not (self._is_idle or self._held_until is not None):
            return None
        return self._attempted_at + self._timeout_s / _PETS_IN_TIMEOUT

    def pet_unasked(self) -> None:
        """Pet for a daemon that is away by its own word, or a watchdog that cannot be stopped."""
        try:
            if self._is_idle or self._is_still_held():
                self._pet()
        except OSError as error:
            self._reports.append(f"{self._device.path}: the pet failed: {error.strerror}")
            del self._reports[:-10]
        finally:
            _live_on()

    def _is_still_held(self) -> bool:
        if self._held_until is None:
            return False
        if self._die_after(self._held_until):
            return True
        if now() >= self._held_until - _LEAST_LEFT_S:
            self._held_until = None
        self._attempted_at = now()
        return False

    def end(self) -> bool:
        """Return whether this process may end, as it was asked to.

        Not while a promise counts on it. A watchdog that cannot be stopped gets its longest time.
        """
        if not self._device.is_open:
            return True
        if self._is_idle:
            with contextlib.suppress(OSError):
                self._device.pet()
        return self._is_idle

    def _settings(self, timeout_s: str, answer_s: str, timeouts: str, path: str) -> tuple[str, str]:
        asked = path, int(timeout_s), float(answer_s), int(timeouts)
        if asked[1] < 1 or asked[2] <= 0 or asked[3] not in (1, 2):
            raise ValueError("out of range")
        if self._device.is_open:
            present = self._device.path, self._asked_s, self._answer_s, self._timeouts
            if asked != present and (asked[0] != present[0] or not self._is_idle):
                return REFUSED, (
                    f"{present[0]} is armed with timeout {present[1]} s, answer {present[2]:g} s,"
                    f" {present[3]} timeouts counted: other settings need its orderly end first"
                )
        else:
            self._device = self._device_type(path)
        self._asked_s, self._answer_s, self._timeouts = asked[1:]
        # With the next permit: the daemon learns what the device has.
        self._is_to_set = True
        return DONE, ""

    def _grant(self, renewed_at: float) -> tuple[str, str]:
        if not self._asked_s:
            return REFUSED, "a permit before the settings"
        if not 0 <= renewed_at <= now():
            return REFUSED, f"a renewal at {renewed_at!r} that is not past"
        # Not twice for one renewal, not even if the first attempt fails.
        if renewed_at <= self._last_renewal:
            return REPEATED, ""
        self._last_renewal = renewed_at
        if not self._is_held() and self._timeouts == 1:
            return NO_HOLDER, "the second process that has to hold the watchdog is not there"
        is_new = not self._device.is_open
        found = self._holder.give(self._device.path) if is_new else -1
        if not self._die_after(renewed_at + self._answer_s):
            if found >= 0:
                os.close(found)
            late_s = now() - renewed_at
            return LATE, f"{late_s:.3f} s after the renewal, {self._answer_s:g} s allowed"
        doing = "pet"
        try:
            if is_new:
                doing = "open"
                self._open(found)
            if self._is_to_set:
                doing = "set the timeout of"
                self._timeout_s = self._device.set_timeout(self._asked_s)
                self._is_to_set = self._is_idle = False
            doing = "pet"
            self._pet()
            self._held_until = None
        except OSError as error:
            # Otherwise a promise may count on it, that of a former keeper: it runs on, and bites.
            if is_new and found < 0 and self._device.is_open and error.errno in _CANNOT:
                self._close()
            return self._failed(doing, error)
        finally:
            _live_on()
        if not self._is_held() and self._timeouts == 1:
            return NO_HOLDER, "the second process did not take the open watchdog over"
        return PETTED, ""

    def _failed(self, doing: str, error: OSError) -> tuple[str, str]:
        self._errno = error.errno or 0
        return FAILED, f"cannot {doing} {self._device.path}: {error.strerror or error}"

    def _is_held(self) -> bool:
        """Return whether the holder is there, and has the open file if there is one."""
        had = self._holder.pid()
        if not self._holder.is_there():
            return False
        # A new one may have been started after the end of the former one.
        self._is_shared = self._is_shared and self._holder.pid() == had
        if self._device.is_open and not self._is_shared:
            self._is_shared = self._holder.keep(self._device)
        return self._is_shared or not self._device.is_open

    def _open(self, found: int) -> None:
        self._least_margin_s = self._last_pet = None
        self._is_to_set = True
        self._is_shared = False
        if found >= 0:
            self._device.adopt(found)
        else:
            self._device.open()
        if not self._device.options & MAGIC_CLOSE_OPTION and not self._device.is_nowayout():
            raise OSError(
                errno.EOPNOTSUPP,
                "it stops when its file is closed, so the end of a process stops it",
            )

    def _hold(self, until: float) -> tuple[str, str]:
        if not self._device.is_open or self._is_idle:
            return REFUSED, "no watchdog is armed"
        self._held_until = until
        return DONE, ""

    def _disarm(self, is_running: bool) -> tuple[str, str]:
        self._held_until = None
        try:
            if not self._device.is_open and self._asked_s:
                # Of a keeper that has ended. No promise counts on it any more, so it may be petted.
                found = self._holder.give(self._device.path) if self._holder.is_there() else -1
                if found >= 0 or is_running:
                    self._open(found)
            if not self._device.is_open:
                self._holder.leave()
                return STOPPED, ""
            if self._device.is_nowayout() is not False:
                self._timeout_s = self._asked_s
                with contextlib.suppress(OSError):
                    self._timeout_s = self._device.set_timeout(max(IDLE_TIMEOUT_S, self._asked_s))
                self._is_idle = self._is_to_set = True
                self._pet()
                return KEPT, "nowayout, or not known: the kernel may not stop it any more"
            self._close()
        except OSError as error:
            return self._failed("stop", error)
        return STOPPED, ""

    def _close(self) -> None:
        try:
            self._device.stop_at_close()
        finally:
            # The last one to close stops it.
            self._holder.drop()
            self._device.close()
            self._is_idle = False
            self._holder.leave()

    def _die_after(self, instant: float) -> bool:
        """Set the timer, then look; return False, with the timer off, if the instant is past."""
        for _ in range(_LOOKS):
            before = now()
            if instant - before < _LEAST_LEFT_S:
                break
            signal.setitimer(signal.ITIMER_REAL, instant - before)
            after = now()
            if after - before <= _LOOK_S and after < instant:
                return True
        _live_on()
        return False

    def _pet(self) -> None:
        # A device that fails is asked again in its time, not in a circle.
        began = self._attempted_at = now()
        self._device.pet()
        ended = now()
        self._slowest_pet_s = max(self._slowest_pet_s, ended - began)
        if self._last_pet is not None:
            margin = self._last_pet + self._timeout_s - ended
            least = self._least_margin_s
            self._least_margin_s = margin if least is None else min(margin, least)
        # The watchdog counts from some instant in between: the earlier one is the safe one for its
        # margin.
        self._last_pet = began

    def _facts(self) -> str:
        device = self._device
        facts = {
            "version": VERSION,
            "pid": os.getpid(),
            "open": int(device.is_open),
            "idle": int(self._is_idle),
            "asked": self._asked_s,
            "timeout": self._timeout_s if device.is_open else 0,
            "answer": self._answer_s,
            "timeouts": self._timeouts,
            "errno": self._errno,
            "holder": self._holder.pid(),
            "last_pet": _number(self._last_pet),
            "least_margin": _number(self._least_margin_s),
            "slowest_pet": _number(self._slowest_pet_s),
            "held_until": _number(self._held_until),
            "identity": _word(device.identity),
            "driver": _word(device.driver() if device.is_open else ""),
            "device": _word(device.path),
            "reports": _word("; ".join(self._reports)),
        }
        return " ".join(f"{name}={value}" for name, value in facts.items())


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Return the process id and the user id of the other end."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, _ = struct.unpack("3i", raw)
    return pid, uid


def listen(directory: str, socket_name: str, lock_name: str) -> socket.socket:
    """Return a socket in that directory for this user alone; end if another process has it."""
    # A short name: the path of a socket has at most 107 bytes.
    os.chdir(directory)
    lock = os.open(lock_name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    # The one before it may be about to end.
    give_up = now() + _LOCK_LIMIT_S
    while not _is_mine(lock):
        if now() >= give_up:
            owner = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
            raise SystemExit(f"{directory}/{lock_name}: process {owner} holds it: one is enough")
        time.sleep(0.02)
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(socket_name)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    os.umask(0o077)
    listener.bind(socket_name)
    listener.listen(64)
    return listener


def _is_mine(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def survive(is_real_time: bool) -> list[str]:
    """Make this process one that the kernel runs first and kills last; return what was refused."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    refused = []
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("-1000")
    except OSError as error:
        refused.append(f"may be killed when memory runs out (oom_score_adj: {error.strerror})")
    if not is_real_time:
        return refused
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(_REAL_TIME_PRIORITY))
    except OSError as error:
        refused.append(f"no real-time class ({error.strerror}): a busy machine may delay it")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_LOCK_CURRENT_AND_FUTURE_PAGES) != 0:
        reason = os.strerror(ctypes.get_errno())
        refused.append(f"its memory is not locked ({reason}): swapping may delay it")
    return refused


def main(argv: list[str], device_type: Callable[[str], Watchdog] = Watchdog) -> None:
    """Serve one daemon after the other, until there is nothing to keep."""
    listener = listen(argv[1], SOCKET_NAME, LOCK_NAME)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    keeper = Keeper(device_type, survive(is_real_time=True))
    is_asked_to_end = []
    signal.signal(signal.SIGTERM, lambda number, frame: is_asked_to_end.append(True))
    client: socket.socket | None = None
    alone_since = now()
    while True:
        wake_at = keeper.next_pet_at()
        if client is None and not keeper.is_open:
            alone_until = alone_since + _ALONE_LIMIT_S
            wake_at = alone_until if wake_at is None else min(wake_at, alone_until)
        # Bounded, as a signal that came just before the wait does not end it.
        wait_s = 1.0 if wake_at is None else min(1.0, max(0.0, wake_at - now()))
        ready = select.select([listener] if client is None else [listener, client], [], [], wait_s)[
            0
        ]
        if is_asked_to_end:
            if keeper.end():
                return
            is_asked_to_end.clear()
        due = keeper.next_pet_at()
        if due is not None and due <= now():
            keeper.pet_unasked()
        if client in ready and client is not None and not _serve(client, keeper):
            client.close()
            client = None
            if not keeper.is_open:
                return
        if listener in ready:
            client = _admit(listener, client)
            alone_since = now()
        elif client is None and not keeper.is_open and now() >= alone_since + _ALONE_LIMIT_S:
            return


def _admit(listener: socket.socket, present: socket.socket | None) -> socket.socket | None:
    try:
        connection, _ = listener.accept()
    except OSError:
        return present
    connection.setblocking(False)
    _, uid = peer_of(connection)
    greeting = DONE
    if uid not in (0, os.getuid()):
        greeting = f"user {uid} may not command it"
    elif present is not None:
        greeting = f"process {peer_of(present)[0]} commands it"
    try:
        connection.send(greeting.encode())
    except OSError:
        greeting = ""
    if greeting == DONE:
        return connection
    connection.close()
    return present


def _serve(client: socket.socket, keeper: Keeper) -> bool:
    """Answer one request; return False at the end of the connection."""
    try:
        request = client.recv(MESSAGE_BYTES)
        if not request:
            return False
        client.send(keeper.answer(request.decode("utf-8", "replace")).encode("utf-8", "replace"))
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True


def _live_on() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)


def _word(text: str) -> str:
    """Return a text as one word: facts are split at blanks."""
    return text.replace("%", "%25").replace(" ", "%20").replace("\n", "%20")


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


if __name__ == "__main__":
    main(sys.argv)
