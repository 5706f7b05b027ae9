"""Have the node daemon carry out and word a command; print that, without loading the package.

It knows which command lines it may ask for, where the socket is, and how an answer is framed: each
is stated again by the package, and a test compares both. What it does not know, and whatever does
not go as it should, is left to the package, which asks again; an order that was sent is not, since
it must not be given twice.

Imports only what the interpreter is built with: neither ``os`` nor ``json`` nor ``socket``, each of
which takes longer than the command.
"""

import _signal  # type: ignore[import-not-found]  # typeshed has none of it
import _socket
import posix
import sys

ORDERS = (
    "start",
    "stop",
    "freeze-stop",
    "freeze-start",
    "unfreeze",
    "force-stop",
    "force-start",
)
_VIEWS = {"service": {"-s", "-c", "-sc", "-v", "--json"}, "hb": {"-s", "-v", "--json"}}
_FRAME = b"OPENHA1"
_TREE = b"/usr/local/cluster"
_FHS = b"/usr/lib/openha"
_ENTRIES_MAX = 500
_REASON_CHARACTERS = 200
_LOOK_S = 0.02
"""Seconds between checks whether the daemon was stopped meanwhile."""
_READ_LOOKS = 50
_ORDER_LOOKS = 100
"""So many checks until an answer is overdue: after a second, after two for an order."""
_PART_BYTES = 65_536
_INTERRUPTED = 130


class Unanswered(Exception):
    """An order was sent, and what became of it is not known."""

    def __init__(self, is_late: bool) -> None:
        super().__init__()
        self.is_late = is_late
        """It was not answered in time; else the connection has ended."""


def run(words: list[str], environ: dict[bytes, bytes], version: str) -> int | None:
    """Run a command; return its exit code, None if the package has to run it.

    Raises OSError and ValueError for an output that cannot be written, and Unanswered.
    """
    is_order = _is_order(words)
    request = _request(words, environ, version, is_order)
    if request is None or None in (sys.stdin, sys.stdout, sys.stderr):
        return None
    try:
        connection = _connected(environ)
        if connection is None:
            return None
        try:
            return (_give if is_order else _show)(connection, request)
        finally:
            connection.close()
    except KeyboardInterrupt:
        if is_order:
            _report("interrupted: the node daemon continues the action, see `service -s -c`\n")
        return _INTERRUPTED


def _is_order(words: list[str]) -> bool:
    return words[:2] == ["service", "-A"]


def _request(
    words: list[str], environ: dict[bytes, bytes], version: str, is_order: bool
) -> bytes | None:
    """Return the request for a command line; None for one that is the package's."""
    more = {}
    if is_order:
        words, typed = _without_reason(words)
        reason = _text(environ.get(b"OPENHA_REASON", b"")) if typed is None else typed
        if not 3 <= len(words) <= 4 or words[-1].lower() not in ORDERS:
            return None
        if words[2].startswith("-"):
            return None
        if reason != reason.strip() or len(reason) > _REASON_CHARACTERS:
            return None
        if reason:
            more["order_reason"] = reason
    elif not _is_read(words):
        return None
    if b"TZ" in environ:
        more["zone"] = _text(environ[b"TZ"])

    if not all(map(_is_plain, (*words, version, *more.values()))):
        return None
    text = '","'.join(words)
    rest = "".join(f',"{key}":"{value}"' for key, value in more.items())
    return f'{{"do":"render","version":"{version}","words":["{text}"]{rest}}}\n'.encode()


def _is_read(words: list[str]) -> bool:
    """Return whether a command line is one of those that the daemon words."""
    command, args = words[:1], words[1:]
    if command == ["service"]:
        return bool(args) and _VIEWS["service"].issuperset(args)
    if command == ["hb"]:
        return "-s" in args and _VIEWS["hb"].issuperset(args)
    if command == ["why"]:
        return len(args) == 1 and not args[0].startswith("-")
    if command == ["history"]:
        return _is_history(args)
    return words in (["status"], ["ezha", "status"])


def _is_history(args: list[str]) -> bool:
    """Return whether these words of ``history`` ask for so many entries, and for a service."""
    if "-n" in args[:-1]:
        place = args.index("-n")
        number = args[place + 1]
        if not number.isdigit() or len(number) > 3 or not 0 < int(number) <= _ENTRIES_MAX:
            return False
        args = args[:place] + args[place + 2 :]
    return len(args) <= 1 and not "".join(args).startswith("-")


def _without_reason(words: list[str]) -> tuple[list[str], str | None]:
    """Return the words of an order without its reason, and that; None without one."""
    if words[-2:-1] == ["--reason"]:
        # An empty one is an error, which the package reports.
        return words[:-2], words[-1] or "\n"
    if words[-1].startswith("--reason="):
        return words[:-1], words[-1].partition("=")[2] or "\n"
    return words, None


def _is_plain(text: str) -> bool:
    """Return whether a text may stand between quotes in the request as it is."""
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


def _text(value: bytes) -> str:
    # What is no ASCII is not printable then: left to the package.
    return value.decode("ascii", "surrogateescape")


def _connected(environ: dict[bytes, bytes]) -> _socket.socket | None:
    """Return a connection to the daemon; None if that is not simply possible."""
    path = socket_path(environ)
    if path is None:
        return None
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.settimeout(_LOOK_S)
        connection.connect(path)
    except OSError:
        connection.close()
        return None
    return connection


def socket_path(environ: dict[bytes, bytes]) -> bytes | None:
    """Return the control socket of the layout in force; None for a layout that is missing."""
    ez = environ.get(b"EZ", b"")
    is_tree = True
    if ez:
        if not _exists(ez + b"/."):
            return None
        ez = ez.rstrip(b"/") or b"/"
        is_tree = not (b"EZ_CONF" in environ and b"EZ_VAR" in environ and ez.endswith(_FHS))
    else:
        ez = _TREE
        if not _exists(_TREE + b"/conf"):
            is_tree = not (environ.get(b"EZ_CONF") or _exists(b"/etc/openha"))
            ez = _TREE if is_tree else _FHS
    usual = ez if is_tree else ez[: -len(_FHS)] + b"/var/lib/openha"
    var = environ.get(b"EZ_VAR") or usual
    return var + (b"/services/.proc" if var == ez else b"/proc") + b"/nmond.sock"


def _exists(path: bytes) -> bool:
    try:
        posix.stat(path)
    except OSError:
        return False
    return True


def _show(connection: _socket.socket, request: bytes) -> int | None:
    """Print what is asked for; return the exit code, None for no answer of this version."""
    try:
        connection.sendall(request)
        found = _frame(connection, b"", _READ_LOOKS)
    except (OSError, ValueError):
        return None
    if found is None or found[2] is None:
        return None
    out, err, code, _ = found
    sys.stdout.write(out.decode("utf-8", "surrogateescape"))
    sys.stdout.flush()
    _report(err.decode("utf-8", "surrogateescape"))
    return code


def _give(connection: _socket.socket, request: bytes) -> int | None:
    """Give an order, print each answer as it comes; return the exit code.

    None if the daemon has not taken it, and leaves it to the package.
    """
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    try:
        connection.sendall(request)
    except OSError:
        return None  # A part of a request is none.
    try:
        found = _frame(connection, b"", _ORDER_LOOKS)
        if found is None:
            return None
        connection.settimeout(None)  # From here on scripts run, and take the time they take.
        while found is not None:
            out, err, code, rest = found
            _print(out)
            if code is not None:
                _report(err.decode("utf-8", "surrogateescape"))
                return code
            found = _frame(connection, rest, 0)
    except TimeoutError:
        raise Unanswered(is_late=True) from None
    except (OSError, ValueError):
        pass
    raise Unanswered(is_late=False)


def _frame(
    connection: _socket.socket, begun: bytes, looks: int
) -> tuple[bytes, bytes, int | None, bytes] | None:
    """Return output, errors, exit code and the bytes behind them; None for another answer.

    The exit code is None if more is to come. Raises TimeoutError, and ValueError at the end.
    """
    while b"\n" not in begun:
        begun += _part(connection, looks)
    head, _, rest = begun.partition(b"\n")
    words = head.split()
    if words[:1] != [_FRAME]:
        return None
    code = None if words[1] == b"-" else int(words[1])
    out, err = int(words[2]), int(words[3])
    while len(rest) < out + err:
        rest += _part(connection, looks)
    return rest[:out], rest[out : out + err], code, rest[out + err :]


def _part(connection: _socket.socket, looks: int) -> bytes:
    """Return what has come; raise TimeoutError after so many looks (0: never), ValueError."""
    while True:
        try:
            part = connection.recv(_PART_BYTES)
        except TimeoutError:
            looks -= 1
            if looks == 0 or _is_stopped(connection):
                raise
            continue
        if not part:
            raise ValueError("the connection has ended")
        return part


def _is_stopped(connection: _socket.socket) -> bool:
    """Return True if a signal or a debugger stopped the daemon: waiting for it is no use."""
    raw = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    pid = int.from_bytes(raw[:4], sys.byteorder)
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1] in (b"T", b"t")
    except OSError:
        return False


def _print(out: bytes) -> None:
    """Print what an order did; what cannot be written changes nothing of it."""
    try:
        while out:
            out = out[posix.write(1, out) :]
    except OSError:
        return


def _report(err: str) -> None:
    try:
        posix.write(2, err.encode("utf-8", "backslashreplace"))
    except OSError:
        return  # It can be reported nowhere.
