"""A booted node that may not fence asks the fence itself whether its peer is off: twice off is a
proof that fences no node.
"""

from __future__ import annotations

from opensvc_openha.core.actions import RunScript
from opensvc_openha.core.events import (
    Command,
    ReadinessFound,
    RecoveredState,
    ScriptExited,
    ScriptKind,
    ScriptOutcome,
)
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.timing import POWER_AGAIN_S, POWER_GAP_S, PROOF_LIFE_S
from opensvc_openha.verify.simulated_node import SimulatedNode
from tests.core.fences import OUT_S, STOPPED, Fences
from tests.core.pair import TIMEOUT_S, Host

ON, OFF, UNCLEAR = ScriptOutcome.UP, ScriptOutcome.DOWN, ScriptOutcome.UNSURE


class Asked(Fences):
    """deb2, booted into a silence, with a fence that reports power.

    ``answers`` are what it reports, the last one for ever.
    """

    def __init__(
        self,
        *answers: ScriptOutcome,
        reports_power: tuple[str, ...] = ("registry", "files"),
        recovered: dict[str, RecoveredState] = STOPPED,
    ) -> None:
        super().__init__()
        self.answers = list(answers)
        self.asked: list[tuple[float, str]] = []
        self.deb2.boot(dict(recovered))
        self.deb2.handle(self.deb2.life, ReadinessFound({}, frozenset(reports_power)))

    def run_script(self, node: SimulatedNode, action: RunScript) -> None:
        """Answers a question for the peer's power; other scripts run as ever."""
        if action.kind is not ScriptKind.POWER:
            super().run_script(node, action)
            return
        self.asked.append((self.now, action.service))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        event = ScriptExited(action.service, ScriptKind.POWER, answer)
        self.schedule(0.3, self.deb2.handle, self.deb2.life, event)

    @property
    def host(self) -> Host:
        """The node that booted."""
        return self.deb2


def test_off_twice_starts_what_waits_and_fences_no_node() -> None:
    """Not before the peer is silent, the two questions some seconds apart and about the same
    service.
    """
    pair = Asked(OFF)
    pair.run(TIMEOUT_S - 0.5)
    assert pair.asked == []
    pair.run(POWER_GAP_S + 3)
    (first, one), (second, other) = pair.asked
    assert one == other and second - first >= POWER_GAP_S
    assert pair.state("deb2", "registry") is pair.state("deb2", "files") is S.STARTED
    assert pair.checks() == []
    assert any("reports twice that it is off" in record.reason for record in pair.host.records)


def test_once_off_is_no_proof() -> None:
    """Off, then on or nothing clear, begins again.

    Two that are off with something else between are no proof.
    """
    for other in (ON, UNCLEAR):
        pair = Asked(OFF, other, OFF, other)
        pair.run(300)
        assert pair.state("deb2", "registry") is S.STOPPED
        pair.answers = [OFF]
        pair.run(POWER_AGAIN_S + POWER_GAP_S + 3)
        assert pair.state("deb2", "registry") is S.STARTED


def test_fence_that_reports_on_is_asked_again_and_again() -> None:
    """Without end, half a minute apart; the history has it once."""
    pair = Asked(ON, reports_power=("registry",))
    pair.run(600)
    gaps = [later - earlier for (earlier, _), (later, _) in zip(pair.asked, pair.asked[1:])]
    assert len(gaps) > 10 and min(gaps) >= POWER_AGAIN_S and max(gaps) <= POWER_AGAIN_S + 2
    assert [record.new for record in pair.host.records].count("POWER") == 1
    assert pair.state("deb2", "registry") is S.STOPPED and pair.checks() == []


def test_only_fences_that_report_power_are_asked() -> None:
    """What somebody wrote who knows no status may shoot whatever it is called with."""
    silent = Asked(OFF, reports_power=())
    silent.run(120)
    assert silent.asked == [] and silent.state("deb2", "registry") is S.STOPPED
    pair = Asked(OFF, reports_power=("files",))
    pair.run(60)
    assert {service for _, service in pair.asked} == {"files"}
    assert pair.state("deb2", "files") is S.STARTED, (
        "and its success serves all services of the same fence"
    )
    assert pair.state("deb2", "registry") is S.STARTED


def test_frozen_services_ask_no_fence() -> None:
    """Nothing waits, nothing is asked; unfrozen, it asks by itself."""
    pair = Asked(
        OFF,
        recovered={
            "registry": RecoveredState(S.FROZEN_STOP),
            "files": RecoveredState(S.FROZEN_STOP),
        },
    )
    pair.run(100)
    assert pair.asked == []
    pair.host.command(Command.UNFREEZE, "registry")
    pair.run(POWER_GAP_S + 3)
    assert pair.state("deb2", "registry") is S.STARTED


def test_proof_grows_old_and_the_fence_is_asked_again() -> None:
    """A service unfrozen after a minute is started on two more answers, not on the first ones."""
    pair = Asked(
        OFF,
        recovered={"registry": RecoveredState(S.STOPPED), "files": RecoveredState(S.FROZEN_STOP)},
    )
    pair.run(30)
    assert pair.state("deb2", "registry") is S.STARTED
    pair.answers = [ON]
    pair.run(PROOF_LIFE_S)
    pair.host.command(Command.UNFREEZE, "files")
    pair.run(60)
    assert pair.state("deb2", "files") is S.STOPPED


def test_nothing_is_asked_once_the_peer_was_heard() -> None:
    """From then on this node may fence by itself; what was sent before proves nothing."""
    pair = Asked(OFF)
    pair.run(TIMEOUT_S + 1)
    assert len(pair.asked) == 1
    pair.deb1.boot(dict(STOPPED))
    pair.run(5)
    pair.cut_all()
    pair.works = False
    pair.run(OUT_S + 10)
    assert len(pair.asked) == 1 and pair.checks()


def test_stall_between_two_answers_voids_the_first_one() -> None:
    """The peer may have been back meanwhile."""
    pair = Asked(OFF)
    pair.run(TIMEOUT_S + 1)
    pair.host.is_stalled = True
    pair.run(4)
    pair.resume(pair.host)
    pair.run(TIMEOUT_S - 1)
    assert len(pair.asked) == 1 and pair.state("deb2", "registry") is S.STOPPED
    pair.run(2 * POWER_GAP_S + 3)
    assert len(pair.asked) == 3 and pair.state("deb2", "registry") is S.STARTED
