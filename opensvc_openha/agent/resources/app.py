"""Applications: a script, or command lines, to start, stop and check; and launchers.

``start``, ``stop`` and ``check`` are a number (the place in the sequence; the script is called with
start, stop or status), yes or no, or a command line of its own. A check that ends with 0 is up,
with 1 is down, with anything else a warning. Launchers are links S10name, K10name and C10name in
the service's directory beside the service file: such numbers for the script they lead to.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
from collections.abc import Iterable

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.service_file import Section
from opensvc_openha.agent.config.value_types import NO_PLACE
from opensvc_openha.agent.host.commands import (
    COMMAND_TIMEOUT_S,
    CommandResult,
    run_command,
    run_logged,
)
from opensvc_openha.agent.host.mounts import read_mounts, top_mount
from opensvc_openha.agent.resources.base import (
    DriverContext,
    LocalResource,
    index_of,
)
from opensvc_openha.agent.values.resource_status import HIDDEN, Finding, Group, ResourceStatus
from opensvc_openha.errors import ActionError
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.named_tuples import NamedTuple

if TYPE_CHECKING:
    from opensvc_openha.agent.values.readiness import Remark, Surroundings

CHECK_TIMEOUT_S = 30.0
_WORDS = {"S": "start", "K": "stop", "C": "check"}
_STEPS = {
    "start": (schema.APP_START, schema.APP_START_TIMEOUT, "start"),
    "stop": (schema.APP_STOP, schema.APP_STOP_TIMEOUT, "stop"),
    "check": (schema.APP_CHECK, schema.APP_CHECK_TIMEOUT, "status"),
}
"""Keywords of each step, and the argument that it calls the script with."""
_LAUNCHER = re.compile(r"([SKC])(\d{1,5})(.*)\Z")


class Step(NamedTuple):
    """One of start, stop, check: the command and its place in the sequence."""

    argv: tuple[str, ...]
    place: int
    timeout_s: float


def is_application(section: Section) -> bool:
    """Return whether this section without number defines a command, like one with a number."""
    return bool(section.own & {"script", *_STEPS})


def launchers(context: DriverContext) -> list[Section]:
    """Return sections for the launchers in the service's directory.

    Launchers of scripts that the service file names are left out.
    """
    configured = next((section for section in context.file.sections if section.name == "app"), None)
    is_template = configured is not None and not is_application(configured)
    directory = configured.value(schema.APP_DIR) if configured else ""
    directory = directory or _directory(context)
    sections = [section for section in context.file.sections if section.group == "app"]
    sections = [section for section in sections if not is_template or section is not configured]
    named = {
        os.path.realpath(_script_path(section, context))
        for section in sections
        if section.value(schema.SCRIPT)
    }
    places: dict[str, dict[str, str]] = {}
    for word, place, path in _links(directory):
        if path not in named:
            places.setdefault(path, {})[word] = place
    taken = {section.name for section in sections}
    free = (
        f"app#{number}"
        for number in range(len(taken) + len(places) + 1)
        if f"app#{number}" not in taken
    )
    template = (
        configured
        if configured is not None and is_template
        else context.file.default._replace(own=frozenset())
    )
    in_order = sorted(places, key=lambda path: (int(places[path].get("start", NO_PLACE)), path))
    return [
        template._replace(
            name=next(free), values={**template.values, "script": path, **places[path]}
        )
        for path in in_order
    ]


def _links(directory: str) -> Iterable[tuple[str, str, str]]:
    """Yield step, number and script of each launcher; the script may be unreachable now."""
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return
    for name in names:
        match = _LAUNCHER.match(name)
        if match:
            yield (
                _WORDS[match.group(1)],
                match.group(2),
                os.path.realpath(os.path.join(directory, name)),
            )


class App(LocalResource):
    """One application of the service."""

    def __init__(self, section: Section, context: DriverContext) -> None:
        index = index_of(section)
        self._script = _script_path(section, context)
        self._steps = {word: _step(section, word, self._script) for word in _STEPS}
        if not self._script and not any(self._steps.values()):
            raise section.error(
                "script", "is missing, expected a script, or start, stop and check commands"
            )
        super().__init__(section, context, Group.APP, "app", self._name_shown() or section.name)
        start, stop = self._steps["start"], self._steps["stop"]
        self.start_rank = (start.place if start else NO_PLACE, f"{index:010}")
        # The highest rank stops first, while stop numbers count upwards.
        self.stop_rank = (-stop.place if stop else -NO_PLACE, f"{index:010}")
        self._view = context.view
        self._run_as = section.value(schema.RUN_AS)
        self._points = context.file.mount_points
        self._env = {
            "OPENSVC_SVCNAME": context.svcname,
            "OPENSVC_RID": section.name,
            "OPENSVC_NODENAME": context.node,
        }

    def status(self) -> Finding:
        """Return the verdict of the check, if there is one."""
        check = self._steps["check"]
        if not any(self._steps.values()):
            return Finding(
                ResourceStatus.NA, ("start, stop and check are not set: it is never called",)
            )
        if check is None:
            return Finding(ResourceStatus.NA, ("check is not set",))
        if self._is_script_missing(check):
            if not self._sees_all:
                return HIDDEN
            # Usually the file system that holds it is not mounted here.
            return Finding(
                ResourceStatus.NA,
                (f"not evaluated ({self._script} {self._why_not_run('is not here')})",),
            )
        result = run_command(check.argv, check.timeout_s, self._env, is_tied=False)
        if result.exit_code == 0:
            return Finding(ResourceStatus.UP)
        if not self._sees_all:
            return HIDDEN  # It may have failed only for lack of privileges.
        if result.exit_code == 1:
            return Finding(ResourceStatus.DOWN)
        return Finding(ResourceStatus.WARN, (f"check {result.verdict}",))

    def start(self) -> None:
        """Run the start step unless the check reports up."""
        start = self._steps["start"]
        if start is None:
            return
        if self._is_script_missing(start):
            raise self.spec.error(ActionError, f"script {self._script} {self._why_not_run()}")
        if self._steps["check"] is not None and self.status().status is ResourceStatus.UP:
            self._log.info(f"{self.spec.label} is already started")
            return
        self._run_or_fail(start, may_linger=True)

    def readiness(self, around: Surroundings) -> Iterable[Remark]:
        """Yield what would keep the start step from being run."""
        from opensvc_openha.agent.values.readiness import beware, would_fail
        from opensvc_openha.system.programs import why_not_runnable

        script = self._script
        used = [word for word, step in self._steps.items() if step and script in step.argv]
        if script and used and not around.is_hidden(script):
            problem = why_not_runnable(script)
            if problem and "start" in used:
                yield would_fail("scripts", problem)
            elif problem:
                yield beware("scripts", problem)
        if self._run_as:
            try:
                pwd.getpwnam(self._run_as)
            except KeyError:
                yield would_fail("users", f"there is no user {self._run_as} on this node")

    def stop(self) -> None:
        """Run the stop step unless the check reports down."""
        if self._steps["check"] is not None and self.status().status is ResourceStatus.DOWN:
            self._log.info(f"{self.spec.label} is already stopped")
            return
        step = self._steps["stop"]
        if step is not None and self._is_script_missing(step) and self._may_run():
            raise self.spec.error(
                ActionError,
                f"script {self._script} {self._why_not_run()}, and the service is"
                " not down here: whether the application runs is not known, nor can it be"
                " stopped",
            )
        self.roll_back()

    def roll_back(self) -> None:
        """Run the stop step, whatever the check reports: the start may be half done."""
        stop = self._steps["stop"]
        if stop is None:
            return
        if self._is_script_missing(stop):
            self._log.warning(f"script {self._script} {self._why_not_run()}: nothing to stop")
            return
        self._run_or_fail(stop)

    def _run_or_fail(self, step: Step, may_linger: bool = False) -> None:
        result: CommandResult = run_logged(
            self._log, step.argv, step.timeout_s, self._env, may_linger
        )
        if result.exit_code != 0:
            from opensvc_openha.formats.secrets import mask_command
            from opensvc_openha.system.programs import NOT_RUN, why_not_runnable

            is_script = (
                bool(self._script) and self._script in step.argv and result.exit_code in NOT_RUN
            )
            reason = why_not_runnable(self._script) if is_script else ""
            why = f": {reason}" if reason else ""
            raise self.spec.error(ActionError, f"{mask_command(step.argv)} {result.verdict}{why}")

    def _is_script_missing(self, step: Step) -> bool:
        return (
            bool(self._script)
            and self._script in step.argv
            and not os.access(self._script, os.X_OK)
        )

    def _may_run(self) -> bool:
        """Return whether the application may be running here; its missing script cannot report it.

        False if the service's data, or the file system with the script, is down here.
        """
        mounts = read_mounts()
        if any(
            self._script.startswith(f"{point}/") and top_mount(point, mounts) is None
            for point in self._points
        ):
            return False
        return self._view.data_status() not in (
            ResourceStatus.DOWN,
            ResourceStatus.NA,
            ResourceStatus.STDBY_DOWN,
        )

    def _why_not_run(self, absent: str = "does not exist") -> str:
        return (
            f"is not executable (chmod +x {shlex.quote(self._script)})"
            if os.path.exists(self._script)
            else absent
        )

    def _name_shown(self) -> str:
        if self._script:
            return os.path.basename(self._script)
        commands = [step.argv[-1] for step in self._steps.values() if step is not None]
        words = commands[0].split() if commands else []
        # "[ -e flag ]" and the like name no script.
        return os.path.basename(words[0]) if words and words[0][-1].isalnum() else ""


def _script_path(section: Section, context: DriverContext) -> str:
    script = section.value(schema.SCRIPT)
    if not script or script.startswith("/"):
        return script
    return os.path.join(_directory(context), script)


def _directory(context: DriverContext) -> str:
    """Return the directory of the service's scripts: <service>.d or <service>.dir.

    Agents create <service>.d as a link to <service>.dir.
    """
    link = context.layout.command_link(context.svcname)
    return (
        f"{link}.dir"
        if os.path.isdir(f"{link}.dir") and not os.path.isdir(f"{link}.d")
        else f"{link}.d"
    )


def _step(section: Section, word: str, script: str) -> Step | None:
    keyword, own_timeout, argument = _STEPS[word]
    default_s = CHECK_TIMEOUT_S if word == "check" else COMMAND_TIMEOUT_S
    timeout_s = section.value(own_timeout) or section.value(schema.APP_TIMEOUT) or default_s
    step = section.value(keyword)
    if step is None:
        return None
    run_as = section.value(schema.RUN_AS)
    user = ("runuser", "-u", run_as, "--") if run_as else ()
    if isinstance(step, str):
        return Step((*user, "/bin/sh", "-c", step), NO_PLACE, timeout_s)
    if not script:
        raise section.error(
            word,
            f"is {section.text(word)!r} and script is missing, expected script = /path, or a"
            " command line here",
        )
    return Step((*user, script, argument), step, timeout_s)


build = App
