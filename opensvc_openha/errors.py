"""Define every exception of the package, with the exit code of a command.

The type shows who has to act::

    OpenhaError                  1   base, never raised itself
     +- UsageError               2   the command line is wrong
     +- ConfigError              3   a configuration file is wrong (file:line, what was expected)
     +- NotRunningError          4   no node daemon answers here
     |   +- NotAnsweringError    4   it runs, but does not answer (stopped, overloaded, hung)
     +- RefusedError             5   the cluster is not in a state that allows the action
     +- ActionError              6   the action was attempted and failed
     +- SystemFault              7   the system refused (file, socket, device, right)
     +- PeerError                8   the peer sent something that cannot be used
         +- FrameError           8   a heartbeat frame or disk slot cannot be decoded
         +- PeerLinkError        8   something is wrong with the peer link
             +- NoPeerLinkError  8   there is none: nothing was asked for
             +- PeerLinkLostError 8  it ended: whether what was asked for happened is not known
             +- UnknownOutcomeError 8  that is not known for good: the peer could not be asked

    InterruptedAction          128+N a signal asked the action to end: no error, so that no handler
                               of errors continues after it

A command prints ``str(error)`` as one line on stderr. The code is never zero for an action that did
not happen.
"""

from __future__ import annotations


class OpenhaError(Exception):
    """Base of all errors that the package raises on purpose."""

    exit_code = 1
    rid = ""
    """The resource whose id the message begins with, if any."""


class UsageError(OpenhaError):
    """The command line is wrong."""

    exit_code = 2


class ConfigError(OpenhaError):
    """A configuration file is wrong: place, value found, value expected."""

    exit_code = 3

    def __init__(self, message: str, path: str = "", line: int | None = None) -> None:
        self.message = message
        self.path = path
        self.line = line
        place = path if line is None else f"{path}:{line}"
        super().__init__(f"{place}: {message}" if place else message)


class NotRunningError(OpenhaError):
    """No node daemon listens on the control socket of this layout."""

    exit_code = 4


class NotAnsweringError(NotRunningError):
    """The node daemon holds its lock but does not answer in time."""


class RefusedError(OpenhaError):
    """The state of the service or of the cluster does not allow the action."""

    exit_code = 5


class ActionError(OpenhaError):
    """The action was attempted and failed."""

    exit_code = 6


class InterruptedAction(BaseException):
    """A signal ended the action.

    Like KeyboardInterrupt it is no error: no handler of errors may continue after it.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        self.signal_number = signal_number
        super().__init__(message)

    @property
    def exit_code(self) -> int:
        """Exit code 128+N, as a shell reports a command that signal N ended."""
        return 128 + self.signal_number


class SystemFault(OpenhaError):
    """The operating system refused something that is needed."""

    exit_code = 7


class PeerError(OpenhaError):
    """A message from the peer cannot be used."""

    exit_code = 8


class FrameError(PeerError):
    """A heartbeat frame or disk slot cannot be decoded.

    ``reason`` is the name of its counter, one of: blank, alien, version, truncated, oversized,
    checksum, malformed; for a complete frame that is not the peer's: unauthenticated, unknown key,
    forged, foreign cluster, node, own, namesake.
    """

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class PeerLinkError(PeerError):
    """Something is wrong with the peer link."""


class NoPeerLinkError(PeerLinkError):
    """No peer link could be set up, so nothing was asked for.

    ``reason`` is one of: UNREACHABLE, REFUSED, BUSY, PROOF, VERSION, NODE
    (peer_link.channel.Refusal); OFF, this node has none; WITHDRAWN, the request did not arrive in
    time, and will not be executed.
    """

    def __init__(self, message: str, reason: str = "UNREACHABLE") -> None:
        self.reason = reason
        super().__init__(message)


class PeerLinkLostError(PeerLinkError):
    """An open peer link ended: an order that was on its way may have been executed, or not."""


class UnknownOutcomeError(PeerLinkError):
    """A request was sent, and the peer could not be asked what became of it."""
