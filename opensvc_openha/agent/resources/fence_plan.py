"""Run the [stonith#N] sections of a service, level by level, within one deadline for all.

    sections of one level     all must succeed, in the order of the file; after a failure the rest
                              is not tried
    the next higher level     is tried only if the present one failed
    the first whole level     that succeeds is the success

A section gets at most its own `timeout`, and at most its fair share of what is left, so that a
section that hangs leaves the others theirs. The deadline is below the limit that the node daemon
sets to a check-up script, so that this process can report what failed.

A command that succeeds is no proof by itself if the section has a `status_cmd`, see
``fence_status``. A power device, see ``power_sections``, is switched off and asked itself.

Whether the peer must be fenced is decided in ``fencing``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.service_file import Section
from opensvc_openha.agent.config.value_types import duration_of
from opensvc_openha.agent.host.commands import CommandResult, run_logged
from opensvc_openha.agent.host.signals import interruptible
from opensvc_openha.agent.resources.fence_status import (
    ask_power,
    power_of_levels,
    why_not_off,
)
from opensvc_openha.agent.values.action_log import ActionLog
from opensvc_openha.core.timing import CHECK_LIMIT_S, POWER_LOOK_LIMIT_S
from opensvc_openha.errors import SystemFault
from opensvc_openha.fence_devices.power_device import PowerDevice
from opensvc_openha.fence_devices.power_readings import Power
from opensvc_openha.formats.secrets import mask_script
from opensvc_openha.system.clock import monotonic

LIMIT_VARIABLE = "OPENHA_LIMIT_S"
"""Variable in which the node daemon passes the limit of a script in seconds."""

_RESERVE_S, _RESERVE_PART = 10.0, 6
"""Part of the limit kept back: to be started, to kill what hangs, to report."""


@dataclass(frozen=True)
class FenceStep:
    """One section: its command, and its place in the plan.

    ``why_not`` is the reason if it cannot be run.
    """

    rid: str
    level: int
    timeout_s: float
    argv: tuple[str, ...] = ()
    shown: str = ""
    """The command in the form that may be logged."""
    env: Mapping[str, str] = field(default_factory=dict)
    why_not: str = ""
    status_argv: tuple[str, ...] = ()
    """Command that asks the device whether the peer is off, if configured."""
    device: PowerDevice | None = field(default=None, compare=False)
    """The power device of the section, which has no command then."""

    @property
    def why_unasked(self) -> str:
        """Why the power cannot be asked for; empty if it can."""
        if self.why_not:
            return self.why_not
        return "" if self.status_argv or self.device else "it has no status_cmd"


@dataclass(frozen=True)
class Failure:
    """A section that failed.

    ``exit_code`` is never 0, and 1 for a command that had to be killed or was never run.
    """

    rid: str
    level: int
    reason: str
    exit_code: int = 1
    was_run: bool = True

    def __str__(self) -> str:
        return f"level {self.level}: {self.rid}: {self.reason}"


@dataclass(frozen=True)
class FenceReport:
    """Result of the plan: the level that succeeded, or None, and the failures before."""

    level: int | None
    failures: tuple[Failure, ...]

    @property
    def exit_code(self) -> int:
        """0 only if a whole level succeeded, else that of the last section that failed."""
        return 0 if self.level is not None else self.failures[-1].exit_code

    @property
    def story(self) -> str:
        """All failures, in their order."""
        return "; ".join(map(str, self.failures))


def environment(section: Section, svcname: str, node: str) -> dict[str, str]:
    """Return the environment of a fencing command."""
    return {"OPENSVC_SVCNAME": svcname, "OPENSVC_RID": section.name, "OPENSVC_NODENAME": node}


def callout_step(section: Section, svcname: str, node: str) -> FenceStep:
    """Return the step of a section of type callout."""
    command = section.value(schema.FENCE_CMD)
    env = environment(section, svcname, node)
    status = section.value(schema.FENCE_STATUS_CMD)
    return FenceStep(
        section.name,
        section.value(schema.FENCE_LEVEL),
        section.value(schema.FENCE_TIMEOUT),
        ("/bin/sh", "-c", command),
        mask_script(command),
        env,
        status_argv=("/bin/sh", "-c", status) if status else (),
    )


def outline(steps: Sequence[FenceStep]) -> str:
    """Return the plan in a few words: the sections of each level."""
    levels = sorted({step.level for step in steps})
    return "; ".join(
        (f"level {level}: " if len(levels) > 1 else "")
        + ", ".join(step.rid for step in steps if step.level == level)
        for level in levels
    )


def plan_time_s(env: Mapping[str, str]) -> float:
    """Return the seconds for the whole plan, from the caller's limit.

    Without one, the limit of a check-up script applies.
    """
    limit_s = duration_of(env.get(LIMIT_VARIABLE, "")) or CHECK_LIMIT_S
    return limit_s - min(_RESERVE_S, limit_s / _RESERVE_PART)


def fair_share_s(left_s: float, wanted: Sequence[float]) -> float:
    """Return the most that the first of these may take, in seconds.

    Each gets an equal share of what is left, or all it wants if that is less.
    """
    share_s = left_s
    for number, want_s in enumerate(sorted(wanted)):
        share_s = left_s / (len(wanted) - number)
        if want_s > share_s:
            break
        left_s -= want_s
    return min(wanted[0], share_s)


def carry_out(steps: Sequence[FenceStep], time_s: float, log: ActionLog) -> FenceReport:
    """Run one level after the other, within ``time_s`` seconds for all of them.

    There is at least one step.
    """
    deadline = monotonic() + time_s
    ordered = sorted(steps, key=lambda step: step.level)
    failures: list[Failure] = []
    position = 0

    with interruptible():
        for level in sorted({step.level for step in ordered}):
            of_level = [step for step in ordered if step.level == level]
            # Do not begin a level that cannot succeed.
            unable = [step for step in of_level if step.why_not]
            for number, step in enumerate(unable or of_level):
                wanted = [each.timeout_s for each in ordered[position + number :]]
                failure = _run(step, fair_share_s(deadline - monotonic(), wanted), log)
                if failure is not None:
                    failures.append(failure)
                    _log_rest([each for each in of_level[number:] if each is not step], log)
                    break
            if failure is None:
                log.info(f"level {level} succeeded: the peer is fenced")
                return FenceReport(level, tuple(failures))
            position += len(of_level)

    report = FenceReport(None, tuple(failures))
    log.error(f"not fenced: {report.story}")
    return report


def read_power(steps: Sequence[FenceStep], time_s: float, say: Callable[[str], object]) -> Power:
    """Return the peer's power state as the devices report it, one line for each; fences nothing."""
    deadline = monotonic() + time_s
    answers: dict[int, list[Power]] = {}
    with interruptible():
        for number, step in enumerate(steps):
            share_s = (deadline - monotonic()) / (len(steps) - number)
            power = _ask(step, share_s)
            why = f", for {step.why_unasked}" if step.why_unasked else ""
            say(f"level {step.level}: {step.rid}: {power.value}{why}\n")
            answers.setdefault(step.level, []).append(power)
    return power_of_levels(list(answers.values()))


def _ask(step: FenceStep, limit_s: float) -> Power:
    if step.device is None:
        return ask_power(step.status_argv, step.env, limit_s)
    return (
        step.device.look(min(limit_s, POWER_LOOK_LIMIT_S)).power if limit_s > 0 else Power.UNKNOWN
    )


def _run(step: FenceStep, limit_s: float, log: ActionLog) -> Failure | None:
    """Run one section; None is success."""
    own = log.of(step.rid)
    if step.why_not:
        own.error(f"level {step.level}: not run: {step.why_not}")
        return Failure(step.rid, step.level, step.why_not, was_run=False)
    if limit_s <= 0:
        own.error(f"level {step.level}: not run: no time is left")
        return Failure(step.rid, step.level, "not run: no time is left", was_run=False)

    own.info(f"level {step.level}: fencing with {step.rid}, at most {limit_s:.1f} s")
    if step.device is not None:
        return _cut(step, step.device, limit_s, own)
    began = monotonic()
    try:
        result = run_logged(own, step.argv, limit_s, step.env, ends_group=True)
    except SystemFault as error:
        own.error(f"level {step.level}: fencing failed: {error}")
        return Failure(step.rid, step.level, str(error))
    took_s = monotonic() - began

    if result.exit_code == 0 and not result.is_timed_out:
        doubt = _why_not_off(step, began + limit_s, own)
        took_s = monotonic() - began
        if not doubt:
            own.info(f"level {step.level}: succeeded after {took_s:.1f} s")
            return None
        reason = f"{step.shown} exited with 0, but {doubt}"
        own.error(f"level {step.level}, after {took_s:.1f} s: fencing failed: {reason}")
        return Failure(step.rid, step.level, reason)
    reason = f"{step.shown} {_verdict(result, limit_s)}"
    if result.is_timed_out and limit_s < step.timeout_s:
        reason += f" (its timeout is {step.timeout_s:g} s, this was its share of the time for all)"
    own.error(f"level {step.level}, after {took_s:.1f} s: fencing failed: {reason}")
    exit_code = 1 if result.is_timed_out else max(1, result.exit_code)
    return Failure(step.rid, step.level, reason, exit_code)


def _cut(step: FenceStep, device: PowerDevice, limit_s: float, log: ActionLog) -> Failure | None:
    """Cut the peer's power by the device of a section; None is success."""
    report = device.cut(limit_s)
    for hint in report.hints:
        log.warning(hint)
    if report.is_proved:
        log.info(f"level {step.level}: succeeded: {step.shown} {report.text}")
        return None
    reason = f"{step.shown}: {report.text}"
    log.error(f"level {step.level}: fencing failed: {reason}")
    return Failure(step.rid, step.level, reason)


def _why_not_off(step: FenceStep, deadline: float, log: ActionLog) -> str:
    if not step.status_argv:
        return ""
    return why_not_off(lambda left_s: ask_power(step.status_argv, step.env, left_s), deadline, log)


def _verdict(result: CommandResult, limit_s: float) -> str:
    if result.is_timed_out:
        return f"did not end within {limit_s:.3g} s and was killed"
    return f"exited with {result.exit_code}" if result.exit_code > 0 else result.verdict


def _log_rest(steps: Sequence[FenceStep], log: ActionLog) -> None:
    for step in steps:
        log.of(step.rid).info(f"level {step.level}: not tried, for this level has failed")
