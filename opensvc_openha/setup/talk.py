"""Say and hear the messages of a set-up over a channel whose ends have proven the secret."""

from __future__ import annotations

from opensvc_openha.errors import OpenhaError, RefusedError
from opensvc_openha.hints import Any, TypeVar
from opensvc_openha.peer_link.channel import Channel
from opensvc_openha.setup.messages import Problem, from_message, to_message

STEP_LIMIT_S = 60.0
"""Seconds for what the other node does by itself."""
OPERATOR_LIMIT_S = 600.0
"""Seconds for what an operator is asked there."""

PURPOSE = "join token"
Message = TypeVar("Message")


class PeerProblem(RefusedError):
    """The other node has ended the attempt, for this reason."""


class Talk:
    """One conversation; every wait has a limit."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.address = channel.address

    def say(self, value: Any) -> None:
        """Send a message."""
        self._channel.send(to_message(value))

    def hear(self, wanted: type[Message], limit_s: float = STEP_LIMIT_S) -> Message:
        """Return the next message, which must be of this class.

        Raises PeerProblem if the other node ends the attempt, PeerError if it breaks off or says
        anything else.
        """
        found = from_message(self._channel.receive(limit_s), wanted)
        if isinstance(found, Problem):
            raise PeerProblem(found.text)
        return found

    def end_with(self, error: OpenhaError) -> None:
        """Say why the attempt ends here, if the other node still listens."""
        if not isinstance(error, PeerProblem):
            try:
                self.say(Problem(str(error)))
            except OpenhaError:
                return  # It has ended itself.
