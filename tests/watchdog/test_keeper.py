"""The keeper and the holder as real processes: what reaches the device, and when.

The promise to be kept: no pet later than the answer's time after the beginning of the renewal that
it stands for, whatever happens to the processes. Instants are the device's, stamped by the kernel.
"""

from __future__ import annotations

import errno
import random
import signal
import socket
import subprocess
import threading

import pytest

from opensvc_openha.errors import SystemFault
from opensvc_openha.system import clock
from opensvc_openha.watchdog import keeper, keeper_client
from opensvc_openha.watchdog.keeper_client import DisarmOutcome, GrantOutcome, running_settings
from tests.waiting import until
from tests.watchdog.conftest import (
    KEEPER_COMMAND,
    LONG_S,
    Bench,
    go_on,
    pass_time_to,
    runs,
    stop,
)
from tests.watchdog.simulated_watchdog import CLOSE, OPEN, PET, SET, STOP, SimulatedWatchdog

OVERSHOOT_S = 0.1
"""How much later a stamp may be than the keeper's look: half of the least margin of a promise.

The timer may end 10 ms later than asked, and the kernel may interrupt a process inside of the write
that pets.
"""
FAST_ANSWER_S = 0.3


def test_the_device_is_opened_by_the_first_permit_and_petted_once_for_each(bench: Bench) -> None:
    device = bench.device()
    client = bench.client(timeout_s=7)

    waiting = client.ensure_running()
    assert (waiting.is_running, waiting.is_armed, device.words()) == (True, False, [])

    first = client.grant(clock.monotonic())
    assert first.outcome is GrantOutcome.PETTED and first.is_ready
    assert device.words() == [OPEN, SET, PET]
    status = first.status
    assert (status.is_armed, status.timeout_s, status.holders) == (True, 7.0, 2)
    assert (status.name, status.granularity_s) == ("Simulated", 1.0)

    second = client.grant(clock.monotonic())
    assert second.outcome is GrantOutcome.PETTED and not second.is_ready
    assert device.words() == [OPEN, SET, PET, PET]
    assert second.status.last_pet_at is not None and second.status.least_margin_s is not None
    assert second.status.least_margin_s <= 7.0
    assert "armed, margin" in second.status.text


def test_a_permit_counts_once_and_not_after_a_newer_one(bench: Bench) -> None:
    device = bench.device()
    client = bench.client()
    client.ensure_running()
    renewed_at = clock.monotonic()
    client.grant(renewed_at)

    assert client.grant(renewed_at).outcome is GrantOutcome.REPEATED
    assert client.grant(renewed_at - 1).outcome is GrantOutcome.REPEATED
    assert device.words() == [OPEN, SET, PET]


def test_a_permit_that_comes_late_opens_and_pets_nothing(bench: Bench) -> None:
    device = bench.device()
    client = bench.client(answer_s=0.5)
    client.ensure_running()

    late = client.grant(clock.monotonic() - 0.6)
    assert late.outcome is GrantOutcome.LATE and not late.is_ready
    assert "0.5 s allowed" in late.text
    assert device.words() == []


@pytest.mark.parametrize(
    "request_number",
    [SimulatedWatchdog.OPEN_REQUEST, keeper.GET_SUPPORT, keeper.SET_TIMEOUT, keeper.GET_TIMEOUT],
)
def test_a_keeper_that_is_stopped_between_look_and_pet_does_not_pet_late(
    bench: Bench, request_number: int
) -> None:
    """It is stopped while the device answers it, and goes on when the time is over: it dies."""
    stopped: list[int] = []
    is_stopped = threading.Event()

    def stop_it(request: int) -> None:
        if request == request_number and not stopped:
            stopped.append(pid)
            stop(pid)
            is_stopped.set()

    device = bench.device(on_request=stop_it)
    client = bench.client(answer_s=FAST_ANSWER_S)
    pid = client.ensure_running().pid
    failures: list[SystemFault] = []

    def grant() -> None:
        try:
            client.grant(renewed_at)
        except SystemFault as error:
            failures.append(error)

    renewed_at = clock.monotonic()
    daemon = threading.Thread(target=grant)
    daemon.start()
    if until(lambda: is_stopped.is_set() or not daemon.is_alive()) and stopped:
        pass_time_to(renewed_at + FAST_ANSWER_S + OVERSHOOT_S)
        go_on(pid)
    daemon.join()

    assert all(at <= renewed_at + FAST_ANSWER_S + OVERSHOOT_S for at in device.pets())
    assert PET not in device.words()
    if stopped:
        assert bench.sessions.has_ended(pid)
        assert "another one was started" in str(failures[0])


def test_a_keeper_that_is_stopped_at_random_pets_for_no_renewal_late(bench: Bench) -> None:
    answer_s, slept_s = 0.05, 0.25
    assert slept_s > answer_s + OVERSHOOT_S
    chance = random.Random(14)
    device = bench.device()
    client = bench.client(answer_s=answer_s)
    client.ensure_running()
    renewals: list[float] = []
    grants = threading.Thread()

    def grant() -> None:
        renewals.append(clock.monotonic())
        try:
            client.grant(renewals[-1])
        except SystemFault:
            # It died; another one was started.
            return

    for _ in range(15):
        pid = client.ensure_running().pid
        grants = threading.Thread(target=grant)
        moment = clock.monotonic() + chance.random() * 0.001
        grants.start()
        while clock.monotonic() < moment:
            pass
        stop(pid)
        pass_time_to(clock.monotonic() + slept_s)
        go_on(pid)
        grants.join()

    def is_in_time(at: float) -> bool:
        return any(began <= at <= began + answer_s + OVERSHOOT_S for began in renewals)

    assert [at for at in device.pets() if not is_in_time(at)] == []


def test_a_keeper_that_is_killed_in_a_circle_pets_no_more_than_its_last_close(bench: Bench) -> None:
    """The kernel pets at the last close; keepers without a permit open nothing."""
    device = bench.device()
    client = bench.client()
    _without_holder(client)
    client.ensure_running()
    client.grant(clock.monotonic())

    for _ in range(3):
        bench.sessions.kill(client.status().pid)
        _without_holder(client)
        assert client.ensure_running().is_armed is False
    until(device.words, lambda words: words == [OPEN, SET, PET, CLOSE])

    # A permit opens it again.
    assert client.grant(clock.monotonic()).is_ready
    assert device.words()[4:] == [OPEN, SET, PET]


def test_with_a_holder_the_death_of_the_keeper_is_no_close(bench: Bench) -> None:
    device = bench.device()
    client = bench.client(holders=1)
    client.ensure_running()
    status = client.grant(clock.monotonic()).status
    assert status.holders == 1 and runs(status.holder_pid)

    bench.sessions.kill(status.pid)
    with pytest.raises(SystemFault, match="another one was started"):
        client.grant(clock.monotonic())
    again = client.grant(clock.monotonic())
    # The same open file: a timeout and a pet, both by the permit, but no opening.
    assert again.is_ready and again.status.holder_pid == status.holder_pid
    assert device.words() == [OPEN, SET, PET, SET, PET]

    bench.sessions.kill(again.status.pid)
    bench.sessions.kill(status.holder_pid)
    until(device.words, lambda words: words[5:] == [CLOSE])


def test_a_promise_that_counts_one_timeout_is_not_petted_for_without_a_holder(
    bench: Bench,
) -> None:
    device = bench.device()
    client = bench.client(holders=1)
    client.ensure_running()
    status = client.grant(clock.monotonic()).status

    bench.sessions.kill(status.holder_pid)
    with pytest.raises(SystemFault, match="not petted: the second process"):
        client.grant(clock.monotonic())
    assert device.words() == [OPEN, SET, PET]

    # The new one has the open file before the next pet.
    again = client.grant(clock.monotonic())
    assert device.words() == [OPEN, SET, PET, PET]
    assert again.status.holder_pid not in (0, status.holder_pid)
    bench.sessions.kill(again.status.pid)
    with pytest.raises(SystemFault, match="another one was started"):
        client.grant(clock.monotonic())
    client.grant(clock.monotonic())
    assert OPEN not in device.words()[1:] and CLOSE not in device.words()


def test_a_holder_that_does_not_take_the_open_file_counts_as_none(bench: Bench) -> None:
    device = bench.device()
    client = bench.client(holders=1)
    client.ensure_running()
    holder_pid = bench.sessions.children[-1].pid
    stop(holder_pid)
    with pytest.raises(SystemFault, match="did not take the open watchdog over"):
        client.grant(clock.monotonic())
    with pytest.raises(SystemFault, match="not petted: the second process"):
        client.grant(clock.monotonic())
    assert device.words() == [OPEN, SET, PET]

    go_on(holder_pid)
    until(lambda: _is_petted(client))


def test_a_holder_in_the_unit_of_the_daemon_is_refused(bench: Bench) -> None:
    bench.device()
    bench.sessions.is_all_apart = False
    client = bench.client(holders=1)
    with pytest.raises(SystemFault, match="in the daemon's own unit"):
        client.ensure_running()
    client.close()
    # Where two timeouts are counted, it makes things better only.
    assert bench.client(holders=2).ensure_running().is_running


def test_an_orderly_end_stops_the_device_and_the_processes(bench: Bench) -> None:
    device = bench.device()
    client = bench.client()
    client.ensure_running()
    status = client.grant(clock.monotonic()).status

    assert client.disarm() is DisarmOutcome.STOPPED
    until(device.words, lambda words: words == [OPEN, SET, PET, PET, STOP])
    assert not client.status().is_armed
    client.close()
    until(lambda: bench.sessions.has_ended(status.pid))
    until(lambda: bench.sessions.has_ended(status.holder_pid))
    assert client.disarm() is DisarmOutcome.STOPPED, "without a keeper there is nothing to stop"


@pytest.mark.parametrize("is_holder_killed", [False, True])
def test_an_orderly_end_after_the_death_of_the_keeper_stops_the_device(
    bench: Bench, is_holder_killed: bool
) -> None:
    """Nothing is promised any more, so another keeper may open what still runs, to stop it."""
    device = bench.device()
    client = bench.client()
    client.ensure_running()
    status = client.grant(clock.monotonic()).status
    bench.sessions.kill(status.pid)
    if is_holder_killed:
        bench.sessions.kill(status.holder_pid)

    assert client.disarm() is DisarmOutcome.STOPPED
    until(device.words, lambda words: words[-1] == STOP)
    assert device.words().count(OPEN) == (2 if is_holder_killed else 1)


def test_a_device_that_fails_under_a_new_keeper_is_not_stopped(bench: Bench) -> None:
    """The promise of the former keeper counts on it: it is not petted, and bites."""
    device = bench.device()
    client = bench.client()
    client.ensure_running()
    status = client.grant(clock.monotonic()).status
    bench.sessions.kill(status.pid)
    with pytest.raises(SystemFault, match="another one was started"):
        client.grant(clock.monotonic())

    for error in (errno.EINVAL, errno.EIO):
        device.errors[keeper.GET_TIMEOUT] = error
        with pytest.raises(SystemFault, match="cannot set the timeout of"):
            client.grant(clock.monotonic())
    assert STOP not in device.words() and PET not in device.words()[3:]

    device.errors.clear()
    assert client.grant(clock.monotonic()).is_ready


def test_a_device_that_fails_when_it_is_opened_is_not_stopped_as_it_may_have_run(
    bench: Bench,
) -> None:
    device = bench.device()
    client = bench.client()
    client.ensure_running()
    device.errors[keeper.GET_TIMEOUT] = errno.EIO
    with pytest.raises(SystemFault, match="cannot set the timeout of"):
        client.grant(clock.monotonic())
    assert STOP not in device.words()
    # The daemon withdraws its promise, and then it is stopped.
    assert client.disarm() is DisarmOutcome.STOPPED
    until(device.words, lambda words: words[-1] == STOP)


def test_a_timeout_that_the_device_does_not_take_is_read_back(bench: Bench) -> None:
    device = bench.device(most_timeout_s=30)
    client = bench.client(timeout_s=40)
    client.ensure_running()
    assert client.grant(clock.monotonic()).status.timeout_s == device.timeout_s == 60


def test_a_device_that_reports_no_timeout_is_refused_and_stopped(bench: Bench) -> None:
    """Such a one was never armed by anybody: no promise counts on it."""
    device = bench.device()
    device.errors[keeper.GET_TIMEOUT] = errno.EOPNOTSUPP
    client = bench.client()
    client.ensure_running()
    with pytest.raises(SystemFault, match="cannot set the timeout of"):
        client.grant(clock.monotonic())
    until(device.words, lambda words: words[-1] == STOP)


def test_a_holder_that_is_stopped_does_not_keep_the_device_from_its_orderly_end(
    bench: Bench,
) -> None:
    device = bench.device()
    client = bench.client()
    client.ensure_running()
    holder_pid = client.grant(clock.monotonic()).status.holder_pid
    stop(holder_pid)

    assert client.disarm() is DisarmOutcome.STOPPED
    until(device.words, lambda words: words[-1] == STOP)
    until(lambda: bench.sessions.has_ended(holder_pid))


@pytest.mark.parametrize("reports_nowayout", [True, False])
def test_a_device_that_cannot_be_stopped_is_petted_on_without_a_promise(
    bench: Bench, reports_nowayout: bool
) -> None:
    """Nor is one closed of which the kernel does not report that: it would reset the machine."""
    device = bench.device(is_nowayout=True, reports_nowayout=reports_nowayout, most_timeout_s=1)
    client = bench.client(timeout_s=1)
    client.ensure_running()
    pid = client.grant(clock.monotonic()).status.pid

    assert client.disarm() is DisarmOutcome.KEPT
    status = client.status()
    assert (status.is_armed, status.is_kept_idle) == (False, True)
    assert "cannot be stopped (nowayout)" in status.text
    client.close()
    petted = len(device.words())
    until(lambda: len(device.words()), lambda count: count >= petted + 2)

    # Armed again: from the first permit on it is petted on permits alone.
    again = bench.client(timeout_s=1)
    assert again.ensure_running().pid == pid
    assert again.grant(clock.monotonic()).is_ready
    assert again.status().is_armed and CLOSE not in device.words()


def test_a_device_that_a_close_stops_is_refused(bench: Bench) -> None:
    """Without the magic letter any close stops it: so would the death of the keeper."""
    device = bench.device(options=keeper.SET_TIMEOUT_OPTION)
    client = bench.client()
    client.ensure_running()
    with pytest.raises(SystemFault, match=r"cannot open .*: it stops when .*nowayout=1"):
        client.grant(clock.monotonic())
    assert SET not in device.words() and not client.status().is_armed


def test_a_daemon_that_comes_again_takes_the_armed_keeper_over(bench: Bench) -> None:
    device = bench.device()
    client = bench.client(timeout_s=7)
    client.ensure_running()
    before = client.grant(clock.monotonic()).status
    client.close()

    assert running_settings(str(bench.directory)) == client.settings
    second = bench.client(timeout_s=7)
    assert second.ensure_running().pid == before.pid
    taken = second.grant(clock.monotonic())
    # The timeout is set and read back for the new daemon.
    assert taken.is_ready and device.words() == [OPEN, SET, PET, SET, PET]


def test_a_keeper_that_is_about_to_end_does_not_keep_the_next_one_from_its_place(
    bench: Bench,
) -> None:
    """One without a watchdog ends with its daemon; the next daemon may come at the same moment."""
    bench.device()
    for _ in range(3):
        client = bench.client()
        assert client.ensure_running().is_running
        client.close()


def test_an_armed_keeper_takes_no_other_settings(bench: Bench) -> None:
    bench.device()
    client = bench.client(timeout_s=7)
    client.ensure_running()
    client.grant(clock.monotonic())
    client.close()
    with pytest.raises(SystemFault, match="armed with timeout 7 s.*orderly end first"):
        bench.client(timeout_s=8).ensure_running()


def test_a_keeper_in_a_hold_pets_by_itself_until_then_and_no_longer(bench: Bench) -> None:
    device = bench.device()
    client = bench.client(timeout_s=1)
    client.ensure_running()
    client.grant(clock.monotonic())
    client.hold(clock.monotonic() + LONG_S)
    until(device.words, lambda words: len(words) > 4)

    held_until = clock.monotonic() + 0.5
    assert client.hold(held_until).held_until == held_until
    client.close()
    pass_time_to(held_until + 0.5)
    petted = device.pets()
    assert max(petted) <= held_until + OVERSHOOT_S
    assert running_settings(str(bench.directory)) is not None

    # The next permit ends a hold.
    second = bench.client(timeout_s=1)
    second.ensure_running()
    second.hold(clock.monotonic() + 1000)
    assert second.grant(clock.monotonic()).status.held_until is None


def test_a_keeper_that_sleeps_over_the_end_of_a_hold_does_not_pet_and_goes_on(bench: Bench) -> None:
    device = bench.device()
    client = bench.client(timeout_s=1)
    client.ensure_running()
    pid = client.grant(clock.monotonic()).status.pid
    held_until = clock.monotonic() + 0.5
    client.hold(held_until)
    stop(pid)
    pass_time_to(held_until + OVERSHOOT_S)
    go_on(pid)
    until(lambda: bench.sessions.has_ended(pid) or client.status().held_until is None)
    assert max(device.pets()) <= held_until + OVERSHOOT_S


def test_an_impossible_renewal_is_refused(bench: Bench) -> None:
    """A renewal in the future would let the keeper pet too late."""
    device = bench.device()
    client = bench.client()
    client.ensure_running()
    for renewed_at in (clock.monotonic() + 100, float("nan"), -1.0):
        with pytest.raises(SystemFault, match="not past"):
            client.grant(renewed_at)
    assert device.words() == []


def test_a_second_keeper_and_a_second_daemon_are_refused(bench: Bench) -> None:
    bench.device()
    client = bench.client()
    client.ensure_running()

    second = subprocess.run(
        [*KEEPER_COMMAND, str(bench.directory)], capture_output=True, text=True, cwd="/"
    )
    assert second.returncode != 0 and "one is enough" in second.stderr

    with pytest.raises(SystemFault, match=r"refuses this process: process \d+ commands it"):
        bench.client().ensure_running()
    assert client.ensure_running().is_running


def test_a_device_that_another_process_has_open_is_named(bench: Bench) -> None:
    device = bench.device()
    client = bench.client()
    client.ensure_running()
    client.grant(clock.monotonic())
    other = Bench(bench.directory / "other", bench.sessions, bench.devices, bench.clients)
    other.directory.mkdir()
    second = other.client()
    second.ensure_running()
    with pytest.raises(SystemFault, match=r"cannot open .*: Device or resource busy: another"):
        second.grant(clock.monotonic())
    assert device.words() == [OPEN, SET, PET]


def test_a_device_that_is_missing_is_reported_with_what_to_do(bench: Bench) -> None:
    device = bench.device()
    client = bench.client()
    client.ensure_running()
    device.path.unlink()
    with pytest.raises(SystemFault, match="cannot open .*No such file.*modprobe softdog"):
        client.grant(clock.monotonic())


def test_an_order_to_end_is_obeyed_only_without_an_armed_device(bench: Bench) -> None:
    device = bench.device()
    client = bench.client()
    pid = client.ensure_running().pid
    client.grant(clock.monotonic())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        for child in bench.sessions.children:
            child.send_signal(number)
    assert runs(client.status().holder_pid)
    assert client.grant(clock.monotonic()).status.pid == pid
    assert CLOSE not in device.words()

    holder_pid = client.status().holder_pid
    client.disarm()
    until(lambda: bench.sessions.has_ended(holder_pid))
    keeper_process = next(child for child in bench.sessions.children if child.pid == pid)
    keeper_process.terminate()
    until(lambda: bench.sessions.has_ended(pid))


def test_a_keeper_that_is_stopped_is_an_error_and_not_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_client, "ANSWER_LIMIT_S", 0.2)
    bench.device()
    client = bench.client()
    pid = until(lambda: _pid(client))
    stop(pid)
    try:
        with pytest.raises(SystemFault, match=rf"\(pid {pid}\) gave no answer within"):
            client.status()
    finally:
        go_on(pid)


def test_an_armed_keeper_that_is_stopped_is_killed_and_another_one_pets(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder keeps the file open meanwhile: the watchdog is not closed, nor is it petted."""
    device = bench.device()
    client = bench.client()
    pid = client.ensure_running().pid
    holder_pid = client.grant(clock.monotonic()).status.holder_pid
    monkeypatch.setattr(keeper_client, "ANSWER_LIMIT_S", 1.0)
    stop(pid)
    pets = device.words().count(PET)
    with pytest.raises(
        SystemFault, match=rf"\(pid {pid}\) gave no answer within 1 s, and was killed: another"
    ):
        client.grant(clock.monotonic())
    assert device.words().count(PET) == pets
    assert bench.sessions.has_ended(pid)
    monkeypatch.undo()
    granted = client.grant(clock.monotonic())
    assert granted.outcome is GrantOutcome.PETTED and granted.is_ready
    assert granted.status.pid != pid and granted.status.holder_pid == holder_pid
    assert CLOSE not in device.words()


def test_a_look_reports_that_a_stopped_keeper_was_killed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the daemon is told is the reason, not only that there is none."""
    bench.device()
    client = bench.client()
    pid = client.ensure_running().pid
    client.grant(clock.monotonic())
    monkeypatch.setattr(keeper_client, "ANSWER_LIMIT_S", 0.5)
    stop(pid)
    with pytest.raises(SystemFault, match=rf"\(pid {pid}\) gave no answer within 0.5 s, and was"):
        client.status()
    until(lambda: bench.sessions.has_ended(pid))


def test_a_keeper_that_answers_at_last_is_not_killed() -> None:
    """The process at the other end is the one that runs this test."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.send(b"late")
        assert not keeper_client._kill(ours)


def _pid(client: keeper_client.KeeperClient) -> int:
    """Return its process; with so short a limit a loaded machine may take several tries."""
    try:
        return client.ensure_running().pid
    except SystemFault:
        return 0


def _is_petted(client: keeper_client.KeeperClient) -> bool:
    try:
        return client.grant(clock.monotonic()).outcome is GrantOutcome.PETTED
    except SystemFault:
        return False


def _without_holder(client: keeper_client.KeeperClient) -> None:
    """As where its start failed: two timeouts are counted, so nothing depends on it."""
    client._start_holder = lambda: None  # type: ignore[method-assign]
