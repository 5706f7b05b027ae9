"""What the control socket serves, without the threads of a daemon."""

from __future__ import annotations

import logging

import pytest
from pytest_mock import MockerFixture

from opensvc_openha.daemon.control_service import ControlService
from opensvc_openha.daemon.engine_loop import EngineLoop
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.storage.history_file import EntryKind
from opensvc_openha.storage.history_writer import History


class Bench:
    """A service with a history that is not written, and an engine that does what a test asks
    for.
    """

    def __init__(self, root: str, mocker: MockerFixture) -> None:
        layout = tree_layout(root)
        self.loop = mocker.create_autospec(EngineLoop, instance=True)
        self.history = History(layout, 1, lambda is_fault, text: None)
        self.service = ControlService(
            layout=layout,
            logger=logging.getLogger("test"),
            configuration=mocker.Mock(),
            loop=self.loop,
            inbox=mocker.Mock(),
            commands=mocker.Mock(),
            report=mocker.Mock(),
            links=mocker.Mock(),
            history=self.history,
            removed=mocker.Mock(),
            fence=mocker.Mock(),
            lease=mocker.Mock(),
            leaving=None,
        )

    def record(self, reason: str) -> None:
        self.history.record(EntryKind.SERVICE, "web", "STARTED", reason)

    def recent(self) -> list[str]:
        return [entry.reason for entry in self.service.recent()]


@pytest.fixture
def bench(tmp_path: object, mocker: MockerFixture) -> Bench:
    """See Bench."""
    return Bench(str(tmp_path), mocker)


def test_recent_entries_have_what_the_engine_records_after_its_states(bench: Bench) -> None:
    """A status has shown a state that is being written: its entry comes with the end of the step,
    which is waited for.
    """
    bench.record("before")
    bench.loop.await_records.side_effect = lambda: bench.record("the step that was shown")
    assert bench.recent() == ["before", "the step that was shown"]
