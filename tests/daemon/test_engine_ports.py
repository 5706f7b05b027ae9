"""What an engine's decisions do: files, the outbox, and whether a script may still begin."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from opensvc_openha.core.actions import (
    Announce,
    Answer,
    AnswerCode,
    MirrorPeer,
    Persist,
    Record,
    RecordKind,
    RememberFencing,
    RememberIncarnations,
    RunFenceStep,
    RunScript,
)
from opensvc_openha.core.beat import Beat, BootId, Causality, Goodbye
from opensvc_openha.core.events import BeatReceived, Command, ScriptKind
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.peer_word import PeerWord
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import PeerStanding, Sight
from opensvc_openha.core.timing import BACKLOG_S, WORD_WAIT_S
from opensvc_openha.daemon.engine_ports import EnginePorts
from opensvc_openha.daemon.inbox import EngineInbox
from opensvc_openha.daemon.open_commands import Answers, OpenCommands
from opensvc_openha.errors import RefusedError, SystemFault
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.formats.state_file import StoredState
from opensvc_openha.heartbeat.outbox import BeatOutbox
from opensvc_openha.storage.fencing_store import FencingStore
from opensvc_openha.storage.history_writer import History
from opensvc_openha.storage.state_store import StateStore
from opensvc_openha.system import clock as system_clock
from tests.simulated_clock import SimulatedClock

LINK = LinkSpec("deb2", "net", "eth1", "239.131.50.10", 5010, 0, 2.0)
BEAT = Beat("deb1", BootId(1, 1), 1, None, {})
SIGHT = Sight(5.0, (), PeerStanding.SILENT, 0.0, None)
CAUSALITY, OF_STEP = Causality(BootId(1, 1), 5), Causality(BootId(1, 1), 4)
UP, DOWN = ServiceState.STARTED, ServiceState.STOPPED
Overtaken = Callable[[], str]
WORD = PeerWord(PeerStanding.LIVE, Beat("deb2", BootId(2, 2), 1, None, {"web": DOWN}), 100.0)


class Rig:
    """Ports with real files and queues; what runs scripts and watches the clock notes its calls."""

    def __init__(self, root: str) -> None:
        self.layout = tree_layout(root)
        Path(self.layout.proc_dir).mkdir(parents=True)
        self.engine = SimpleNamespace(
            spec=SimpleNamespace(node="deb1"),
            is_peer_silent=True,
            is_isolated=False,
            is_proved_by_deed=lambda service: False,
            peer_word=WORD,
            sight=SIGHT,
            causality=CAUSALITY,
            causality_of_step=OF_STEP,
        )
        self.inbox = EngineInbox()
        self.outbox = BeatOutbox()
        self.commands = OpenCommands()
        self.history = History(self.layout, 1, lambda is_fault, text: None)
        self.store = StateStore(self.layout, "deb1", "deb2")
        self.fencing_store = FencingStore(self.layout)
        self.place_error: Exception | None = None
        self.stopped_since: list[float] = []
        self.is_stopped = False
        self.ran: list[tuple[Any, Overtaken]] = []
        self.invalidated: list[str] = []
        self.lease: list[Any] = []
        self.is_news = False
        self.has_unread: Callable[[], bool] = lambda: False
        self.learned: list[dict[str, BootId]] = []
        self.ports = EnginePorts(
            self.layout,
            logging.getLogger("test"),
            cast(Any, self.engine),
            self.inbox,
            cast(Any, SimpleNamespace(expect=self._expect)),
            self.store,
            self.fencing_store,
            cast(Any, SimpleNamespace(relevant=self._relevant, learn=self._learn)),
            self.outbox,
            cast(Any, SimpleNamespace(run=self._run)),
            cast(Any, SimpleNamespace(run=self._run)),
            cast(Any, SimpleNamespace(carry_out=self.lease.append)),
            cast(Any, SimpleNamespace(was_stopped=self._was_stopped)),
            self.commands,
            self.history,
            cast(Any, SimpleNamespace(invalidate=self.invalidated.append)),
            lambda: self.has_unread(),
        )

    def _expect(self) -> None:
        if self.place_error is not None:
            raise self.place_error

    def _relevant(self, incarnations: dict[str, BootId]) -> dict[str, BootId]:
        return {key_id: boot for key_id, boot in incarnations.items() if key_id != "gone"}

    def _learn(self, incarnations: dict[str, BootId]) -> bool:
        self.learned.append(incarnations)
        return self.is_news

    def _run(self, action: Any, is_overtaken: Overtaken) -> None:
        self.ran.append((action, is_overtaken))

    def _was_stopped(self, since: float) -> bool:
        self.stopped_since.append(since)
        return self.is_stopped

    def script(self, standing: PeerStanding, kind: ScriptKind = ScriptKind.CHECK) -> Overtaken:
        """Have a script run; return how it asks whether it may begin."""
        action = RunScript("web", kind, "/check", UP, standing)
        self.ports.run_script(action)
        assert self.ran[-1][0] == action
        return self.ran[-1][1]

    def file(self, name: str) -> str:
        """A file of the daemon's directory."""
        return (Path(self.layout.proc_dir) / name).read_text()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimulatedClock:
    """Of the whole package."""
    made = SimulatedClock(monkeypatch)
    made.now = 100.0
    monkeypatch.setattr(system_clock, "wall", lambda: 1_000.5)
    return made


@pytest.fixture
def rig(clock: SimulatedClock, tmp_path: Path) -> Rig:
    """At the instant 100.0."""
    return Rig(str(tmp_path))


# files


def _count() -> None:
    """Count nothing."""


def test_states_are_written_and_the_caches_of_agents_go(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once, with the frozen state that the script must end in; not the cache of a service
    whose state could not be written.
    """
    written: list[dict[str, StoredState]] = []

    def write(states: dict[str, StoredState], _note: Callable[[], None]) -> dict[str, str]:
        written.append(states)
        return {"web": "", "mail": "no space left"}

    monkeypatch.setattr(rig.store, "write_own", write)
    stopping = Persist("web", ServiceState.STOPPING, ServiceState.FROZEN_STOP)
    problems = rig.ports.persist_all([stopping, Persist("mail", UP)], _count)
    assert problems == {"web": "", "mail": "no space left"} and rig.invalidated == ["web"]
    assert written == [
        {
            "web": StoredState(ServiceState.STOPPING, ServiceState.FROZEN_STOP),
            "mail": StoredState(UP),
        }
    ]


def test_nothing_is_written_once_another_daemon_has_the_place(rig: Rig) -> None:
    """Neither a state nor the note of fencing."""
    rig.place_error = RefusedError("nmond is already running")
    with pytest.raises(RefusedError):
        rig.ports.persist_all([Persist("web", UP)], _count)
    with pytest.raises(RefusedError):
        rig.ports.remember_fencing(RememberFencing(FencingMemory(has_heard=True)))
    assert rig.store.kept(()) == () and not Path(rig.layout.fencing_file).exists()
    assert rig.invalidated == []


def test_place_that_cannot_be_looked_at_stops_nothing(rig: Rig) -> None:
    """The main thread reports it."""
    rig.place_error = SystemFault("no lock")
    rig.ports.persist_all([Persist("web", UP)], _count)
    rig.ports.remember_fencing(RememberFencing(FencingMemory(has_heard=True)))
    assert rig.invalidated == ["web"] and FencingStore(rig.layout).read().has_heard


def test_state_of_the_peer_is_mirrored(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """For people and tools."""
    mirrored: list[tuple[str, ServiceState]] = []
    monkeypatch.setattr(rig.store.mirror, "put", lambda *values: mirrored.append(values))
    rig.ports.mirror(MirrorPeer("web", UP))
    assert mirrored == [("web", UP)]


@pytest.mark.parametrize("is_news", [True, False])
def test_incarnations_of_the_peer_are_kept_for_the_keys_that_exist(
    rig: Rig, caplog: pytest.LogCaptureFixture, is_news: bool
) -> None:
    """That beats without the key are refused from now on is logged once."""
    rig.is_news = is_news
    Path(rig.layout.key_mark_file).parent.mkdir()
    boot = BootId(7, 0xAB)
    with caplog.at_level(logging.INFO):
        rig.ports.remember_incarnations(RememberIncarnations((("k1", boot), ("gone", boot))))
    assert rig.learned == [{"k1": boot}]
    assert Path(rig.layout.peer_lives_file).read_text() == "k1 7 ab\n"
    text = "node deb1: the peer has the key: beats without it are refused from now on"
    assert caplog.messages == ([text] if is_news else [])


def test_incarnations_that_cannot_be_written_are_logged(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """And stop nothing."""
    Path(rig.layout.peer_lives_file).mkdir()
    rig.ports.remember_incarnations(RememberIncarnations((("k1", BootId(7, 1)),)))
    (text,) = caplog.messages
    assert text.startswith(f"node deb1: cannot write {rig.layout.peer_lives_file}: ")


# beats and scripts


def test_beat_is_posted_with_the_wall_clock(rig: Rig) -> None:
    """And with the names if the peer needs them."""
    rig.ports.announce(Announce(BEAT, with_names=True))
    number, posted = rig.outbox.wait_after(0, 0.0)
    assert number == 1 and posted is not None and posted.with_names
    assert posted.beat.sent_at == 1_000.5 and posted.beat.seq == 1


@pytest.mark.parametrize("kind", [ScriptKind.CHECK, ScriptKind.POWER])
def test_start_of_a_script_is_kept_until_its_end_but_for_a_power_question(
    rig: Rig, kind: ScriptKind
) -> None:
    """That one is asked again and again."""
    rig.script(PeerStanding.LIVE, kind)
    assert list(rig.history._scripts) == ([] if kind is ScriptKind.POWER else [("web", kind)])


def test_script_begins_while_the_peer_is_silent_as_it_was_decided(rig: Rig) -> None:
    """The process is asked whether it stood still since the event was taken, not since the
    script's thread exists.
    """
    rig.ports.begin_step(99.5)
    is_overtaken = rig.script(PeerStanding.SILENT)
    rig.ports.begin_step(100.0)
    assert not is_overtaken() and rig.stopped_since == [99.5]
    rig.is_stopped = True
    assert is_overtaken()


def test_decision_before_the_first_step_is_as_old_as_the_ports(
    rig: Rig, clock: SimulatedClock
) -> None:
    """No stall of a former engine counts."""
    clock.now = 101.0
    assert not rig.script(PeerStanding.LIVE)() and rig.stopped_since == [100.0]


@pytest.mark.parametrize("standing", [PeerStanding.LIVE, PeerStanding.SILENT])
def test_script_for_a_silent_peer_does_not_begin_once_it_is_heard(
    rig: Rig, standing: PeerStanding
) -> None:
    """One that was decided on while it was heard does."""
    is_overtaken = rig.script(standing)
    rig.engine.is_peer_silent = False
    assert bool(is_overtaken()) == (standing is PeerStanding.SILENT)


def test_script_for_a_silent_peer_waits_for_what_nobody_has_read(
    rig: Rig, clock: SimulatedClock
) -> None:
    """What waits in the kernel may be the peer's beat; a flood, which never ends, is no reason."""
    is_overtaken = rig.script(PeerStanding.SILENT)
    looks = [True, True, False]

    def look() -> bool:
        rig.engine.is_peer_silent = len(looks) > 1
        return looks.pop(0)

    rig.has_unread = look
    assert is_overtaken() and looks == []
    rig.engine.is_peer_silent = True
    rig.has_unread = lambda: True
    began = clock.now
    assert not is_overtaken() and clock.now - began < 2 * BACKLOG_S


@pytest.mark.parametrize(
    ("kind", "standing", "is_left_out"),
    [
        (ScriptKind.CHECK, PeerStanding.SILENT, True),
        (ScriptKind.CHECK, PeerStanding.LIVE, False),
        (ScriptKind.START, PeerStanding.SILENT, False),
    ],
)
def test_check_up_of_a_silent_peer_does_not_begin_on_a_node_that_became_isolated(
    rig: Rig, kind: ScriptKind, standing: PeerStanding, is_left_out: bool
) -> None:
    """What is proved out already is started all the same."""
    is_overtaken = rig.script(standing, kind)
    assert not is_overtaken()
    rig.engine.is_isolated = True
    assert bool(is_overtaken()) == is_left_out


def test_check_up_that_follows_a_shot_begins_on_an_isolated_node(rig: Rig) -> None:
    """It fences no node: the shot has proved the peer out before."""
    rig.engine.is_proved_by_deed = lambda service: True
    is_overtaken = rig.script(PeerStanding.SILENT, ScriptKind.CHECK)
    rig.engine.is_isolated = True
    assert not is_overtaken()


def test_beats_that_wait_are_taken_before_a_script_for_a_silent_peer(
    rig: Rig, clock: SimulatedClock
) -> None:
    """For a second at most; then the script does not begin."""
    is_overtaken = rig.script(PeerStanding.SILENT)
    rig.inbox.put(BeatReceived(LINK, BEAT, 100.0))
    assert is_overtaken()
    assert 1.0 <= clock.now - 100.0 <= 1.02 and clock.pauses[0] == 0.01
    rig.inbox.get(0)  # In the engine's hand.
    assert is_overtaken()
    rig.inbox.get(0)
    assert not is_overtaken()


def _heard(seq: int, state: ServiceState, at: float) -> BeatReceived:
    return BeatReceived(LINK, Beat("deb2", BootId(2, 2), seq, None, {"web": state}), at)


@pytest.mark.parametrize(
    ("kind", "standing", "is_left_out"),
    [
        (ScriptKind.START, PeerStanding.LIVE, True),
        (ScriptKind.START, PeerStanding.SILENT, False),
        (ScriptKind.START, PeerStanding.DEPARTED, False),
        (ScriptKind.CHECK, PeerStanding.LIVE, False),
    ],
)
def test_start_does_not_begin_on_an_old_word_of_the_peer(
    rig: Rig, clock: SimulatedClock, kind: ScriptKind, standing: PeerStanding, is_left_out: bool
) -> None:
    """Its state was written for long, or it waited for its place. What was proved of a peer that is
    not heard does not age with beats. The next word is waited for.
    """
    rig.engine.peer_word = replace(WORD, standing=standing)
    why_not = rig.script(standing, kind)
    clock.now = 106.0
    assert ("was not heard for" in why_not()) is is_left_out
    assert (clock.now >= 106.0 + WORD_WAIT_S) is is_left_out


def test_start_begins_on_what_came_in_while_the_engine_writes(
    rig: Rig, clock: SimulatedClock
) -> None:
    """At once, though the engine has not taken it; it may be in its hand."""
    why_not = rig.script(PeerStanding.LIVE, ScriptKind.START)
    clock.now = 106.0
    rig.inbox.put(_heard(2, DOWN, 105.5))
    assert why_not() == "" and clock.now == 106.0
    rig.inbox.get(0)
    assert why_not() == "" and clock.now == 106.0


def test_start_waits_for_the_next_word_of_the_peer(rig: Rig, clock: SimulatedClock) -> None:
    """It begins as soon as that is here, whoever has it."""
    why_not = rig.script(PeerStanding.LIVE, ScriptKind.START)
    clock.now = 106.0
    clock.at_pause = lambda: rig.inbox.put(_heard(2, DOWN, clock.now))
    assert why_not() == "" and 106.0 < clock.now < 106.1


def test_start_does_not_begin_on_a_word_that_is_over(rig: Rig, clock: SimulatedClock) -> None:
    """What came in and says something else is left to the engine, which is waited for; what the
    engine knows is not.
    """
    why_not = rig.script(PeerStanding.LIVE, ScriptKind.START)
    rig.inbox.put(_heard(2, UP, 100.0))
    assert "not handled yet" in why_not() and clock.now >= 100.0 + WORD_WAIT_S
    began = clock.now
    rig.engine.peer_word = PeerWord(PeerStanding.LIVE, _heard(2, UP, 100.0).beat, 100.0)
    assert why_not() == "the peer reports STARTED by now" and clock.now == began


@pytest.mark.parametrize("state", [UP, DOWN])
def test_start_does_not_begin_on_the_goodbye_of_a_peer_that_is_back(
    rig: Rig, state: ServiceState
) -> None:
    """Its beats may wait for the engine. Where it left services running, its silence counts."""
    left = Beat("deb2", BootId(2, 2), 1, None, {"web": state}, Goodbye.RESTART)
    rig.engine.peer_word = PeerWord(PeerStanding.DEPARTED, left, 100.0)
    why_not = rig.script(PeerStanding.DEPARTED, ScriptKind.START)
    assert why_not() == ""
    back = Beat("deb2", BootId(3, 3), 1, None, {"web": DOWN})
    rig.inbox.put(BeatReceived(LINK, back, 100.0))
    assert ("not handled yet" in why_not()) is (state is DOWN)
    rig.engine.peer_word = PeerWord(PeerStanding.LIVE, back, 100.0)
    assert (why_not() == "the peer's daemon was started again") is (state is DOWN)


def test_start_does_not_begin_on_the_word_of_another_daemon_of_the_peer(rig: Rig) -> None:
    """That one knows nothing of what was agreed on."""
    why_not = rig.script(PeerStanding.LIVE, ScriptKind.START)
    assert why_not() == ""
    other = Beat("deb2", BootId(3, 3), 1, None, {"web": DOWN})
    rig.engine.peer_word = PeerWord(PeerStanding.LIVE, other, 100.0)
    assert why_not() == "the peer's daemon was started again"


def test_revoked_decisions_are_overtaken(rig: Rig) -> None:
    """The engine that made them has failed."""
    is_overtaken = rig.script(PeerStanding.LIVE)
    rig.ports.revoke()
    assert is_overtaken()


def test_node_that_was_mute_as_long_as_the_peer_is_patient_begins_nothing(
    rig: Rig, clock: SimulatedClock
) -> None:
    """The peer may have acted: also if beats are posted again before the script begins."""
    rig.ports.patience_s = 5.0
    clock.now = 102.0
    rig.ports.announce(Announce(BEAT, False))
    is_overtaken = rig.script(PeerStanding.LIVE)
    clock.now = 106.99
    assert not is_overtaken()
    clock.now = 107.0
    assert is_overtaken()
    rig.ports.announce(Announce(BEAT, False))
    assert is_overtaken()
    clock.now = 107.5
    assert not rig.script(PeerStanding.LIVE)()


def test_script_that_is_announced_with_the_beat_that_ends_a_silence_begins(
    rig: Rig, clock: SimulatedClock
) -> None:
    """Decided with that beat, not before the silence. A pause that is short ends nothing."""
    rig.ports.patience_s = 5.0
    clock.now = 105.0
    rig.ports.announce(Announce(BEAT, False))
    is_overtaken = rig.script(PeerStanding.LIVE)
    assert not is_overtaken()
    clock.now = 109.5
    rig.ports.announce(Announce(BEAT, False))
    assert not is_overtaken()


def test_without_links_no_silence_is_long_enough(rig: Rig, clock: SimulatedClock) -> None:
    """Nobody hears this node anyway."""
    is_overtaken = rig.script(PeerStanding.LIVE)
    clock.now = 1e9
    assert not is_overtaken()


def test_step_of_the_fence_plan_is_for_a_silent_peer(rig: Rig, clock: SimulatedClock) -> None:
    """And as old as the decision."""
    rig.ports.patience_s = 5.0
    rig.ports.begin_step(99.0)
    step = object()
    rig.ports.run_fence_step(RunFenceStep(cast(Any, step)))
    action, is_overtaken = rig.ran[0]
    rig.ports.begin_step(100.0)
    assert action is step and not is_overtaken() and rig.stopped_since == [99.0]
    rig.engine.is_peer_silent = False
    assert is_overtaken()
    rig.engine.is_peer_silent = True
    clock.now = 105.0
    rig.ports.announce(Announce(BEAT, False))
    assert is_overtaken()


def test_order_for_the_watchdog_is_passed_on(rig: Rig) -> None:
    """As it is."""
    order = cast(Any, object())
    rig.ports.carry_out_lease(order)
    assert rig.lease == [order]


# for people


def test_answer_reaches_who_waits_for_it_and_a_refusal_the_history(rig: Rig) -> None:
    """The history first: who has the answer may look there."""
    answers: Answers = Answers()
    event = rig.commands.add("web", Command.STOP, "operator", answers)
    answer = Answer(
        event.command_id, "stop", "web", AnswerCode.REFUSED, UP, DOWN, "why", True, False
    )
    rig.ports.answer(answer)
    assert answers.get_nowait() == answer
    assert [(entry.old, entry.new, entry.reason) for entry in rig.history.recent] == [
        ("stop", "REFUSED", "why")
    ]


def test_change_is_logged_and_in_the_history_with_its_evidence(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """What this node saw at that step."""
    record = Record(RecordKind.SERVICE, "web", "STARTED", "STOPPED", "why", True)
    rig.ports.record(record)
    assert caplog.messages == ["service web: STARTED -> STOPPED: why"]
    (entry,) = rig.history.recent
    assert (entry.name, entry.old, entry.new, entry.sight) == ("web", "STARTED", "STOPPED", SIGHT)
    assert entry.cause == OF_STEP
