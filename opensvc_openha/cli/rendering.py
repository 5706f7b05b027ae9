"""What commands print, for the daemon that words it: the same functions as the commands' own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial

from opensvc_openha.cli import installation, output
from opensvc_openha.cli.service import failure_of, order_of
from opensvc_openha.cli.streams import error_text
from opensvc_openha.cli.views import view_of
from opensvc_openha.control.rendering import Rendered, TypedOrder
from opensvc_openha.core.actions import Answer
from opensvc_openha.core.events import Command
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.errors import OpenhaError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.storage import configuration
from opensvc_openha.system.peer_credentials import Caller

if TYPE_CHECKING:
    from opensvc_openha.cli.history import UsualCall
    from opensvc_openha.control.rendering import Asked, Report, View


class CommandRenderer:
    """The commands of the installation that a daemon serves."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._loading_json = threading.Lock()
        self._has_json = False

    def view(self, words: Sequence[str]) -> View | None:
        """Return how a command line shows a status; None if it does something else.

        JSON is not worded here while a thread loads what it consists of: a disk that hangs must
        not collect the connections that orders need, nor the texts that wait for one another.
        """
        view = view_of(words)
        return None if view and "--json" in words and not self._can_word_json() else view

    def _can_word_json(self) -> bool:
        if not self._has_json and self._loading_json.acquire(blocking=False):
            try:
                from opensvc_openha.cli import json_status  # noqa: F401

                self._has_json = True
            finally:
                self._loading_json.release()
        return self._has_json

    def show(self, view: View, status: NodeStatus) -> Rendered:
        """Return what the command prints of a status; of an old one that it is old, too."""
        text = view(status)
        try:
            installation.expect_present(status)
        except OpenhaError as error:
            return Rendered(text, error_text(error), error.exit_code)
        return Rendered(text)

    def report(self, words: Sequence[str]) -> Report | None:
        """Return how ``why`` and ``history`` are answered for root; None for other commands."""
        command, args = words[0] if words else "", words[1:]
        if command == "why":
            from opensvc_openha.cli.why import service_in

            service = service_in(args)
            return partial(self._why, service) if service else None
        if command == "history":
            from opensvc_openha.cli.history import usual_call

            call = usual_call(args)
            return None if call is None else partial(self._history, call)
        return None

    def _why(self, service: str, asked: Asked) -> Rendered:
        from opensvc_openha.cli.why import Sources, why_text

        # Without a status the command explains by itself from what there is.
        status = asked.newest_status()
        warnings: list[str] = []
        sources = Sources(lambda: status, asked.recent, warnings.append)
        text = why_text(self._layout, service, sources)
        return Rendered(text, "".join(warnings))

    def _history(self, call: UsualCall, asked: Asked) -> Rendered:
        from opensvc_openha.cli.history import history_text

        warnings: list[str] = []
        text = history_text(self._layout, asked.recent(), call, warnings.append)
        return Rendered(text, "".join(warnings))

    def order(self, words: Sequence[str], caller: Caller) -> TypedOrder | None:
        """Return what a command line orders; None for what only the command itself can check.

        A stop may unmount what the caller is in: the command finds out, with the agent's drivers.
        """
        order = order_of(words)
        if order is None:
            return None
        services = {svc.name: svc for svc in configuration.read_services(self._layout)}
        if order.service is not None and order.service not in services:
            return None
        if order.command in (Command.STOP, Command.FREEZE_STOP):
            from opensvc_openha.agent.host.mount_users import uses_root_alone

            if not uses_root_alone(caller.pid):
                return None
        return order

    def answer(self, answer: Answer) -> str:
        """Return the line that the command prints for an answer."""
        return f"{output.answer_line(answer)}\n"

    def outcome(self, failures: Sequence[Answer]) -> Rendered:
        """Return how the command ends after these failures."""
        return self.failure(failure_of(failures)) if failures else Rendered("")

    def failure(self, error: Exception) -> Rendered:
        """Return how the command ends with an error, as if the daemon had answered with it."""
        if not isinstance(error, OpenhaError):
            error = OpenhaError(f"unexpected: {type(error).__name__}: {error}")
        return Rendered("", error_text(error), error.exit_code)
