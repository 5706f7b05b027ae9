"""The thread that writes states: one job at a time, its result or its error, and its end."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from opensvc_openha.storage import state_writer
from opensvc_openha.storage.state_writer import StateWriter
from tests.waiting import LIMIT_S, until


def test_jobs_run_in_one_thread_that_is_prepared_first() -> None:
    """The results come in the order of the jobs; the thread begins with the first of them."""
    ran: list[str] = []

    def note(what: str) -> dict[str, str]:
        ran.append(f"{what} in {threading.current_thread().name}")
        return {what: "full"}

    writer = StateWriter(lambda: ran.append(f"enter in {threading.current_thread().name}"))
    assert not writer.is_at_work and ran == []
    for what in ("one", "two"):
        writer.begin(lambda what=what: note(what))  # type: ignore[misc]
        assert writer.wait(LIMIT_S) == {what: "full"}
    assert ran == ["enter in states", "one in states", "two in states"] and writer.is_at_work
    threads = [each for each in threading.enumerate() if each.name == "states"]
    assert threads and all(each.daemon for each in threads)
    comm = Path(f"/proc/self/task/{threads[-1].native_id}/comm")
    assert comm.read_text() == "states\n"
    writer.close()
    assert not writer.is_at_work


def test_job_that_takes_long_is_waited_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """None so far, also for a time that is over; its result comes later; the end has a limit."""
    go_on = threading.Event()
    monkeypatch.setattr(state_writer, "_CLOSE_LIMIT_S", 0.01)

    def hang() -> dict[str, str]:
        go_on.wait()
        return {}

    writer = StateWriter(lambda: None)
    writer.begin(hang)
    assert writer.wait(0.01) is None and writer.wait(-1.0) is None
    writer.close()
    assert writer.is_at_work
    go_on.set()
    assert writer.wait(LIMIT_S) == {}
    until(lambda: not writer.is_at_work)


def test_end_waits_two_seconds_for_a_job_and_no_result_is_waited_for_after_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A limit that is over is none."""
    limits: list[float | None] = []
    go_on = threading.Event()
    writer = StateWriter(lambda: None)
    writer.begin(lambda: {} if go_on.wait() else {})
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "join", lambda _, limit: limits.append(limit))
        writer.close()
    get = writer._ends.get
    ends = SimpleNamespace(
        get=lambda timeout: (limits.append(timeout), get(timeout=timeout))[1], put=writer._ends.put
    )
    writer._ends = ends  # type: ignore[assignment]
    assert writer.wait(-1.0) is None and limits == [2.0, 0.0]
    go_on.set()


@pytest.mark.parametrize("error", [OSError("disk"), KeyError("bug"), SystemExit(3)])
def test_error_of_a_job_is_raised_where_its_result_is_waited_for(error: BaseException) -> None:
    """Whatever it is; the thread continues."""

    def fail() -> dict[str, str]:
        raise error

    writer = StateWriter(lambda: None)
    writer.begin(fail)
    with pytest.raises(type(error)):
        writer.wait(LIMIT_S)
    writer.begin(lambda: {"web": "full"})
    assert writer.wait(LIMIT_S) == {"web": "full"}
    writer.close()


def test_job_runs_at_once_where_no_thread_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its result is there afterwards; with the next job a thread is tried again."""
    ran: list[str] = []

    def job() -> dict[str, str]:
        ran.append(threading.current_thread().name)
        return {}

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    writer = StateWriter(lambda: None)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        writer.begin(job)
        assert writer.wait(0.0) == {} and ran == [threading.current_thread().name]
        writer.close()
    writer.begin(job)
    assert writer.wait(LIMIT_S) == {} and ran[1:] == ["states"]
    writer.close()
