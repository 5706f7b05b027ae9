"""Docker containers: created at the first start, started again later, on either node.

They follow the service's file system. A container keeps the arguments it was created with. If the
service file has changed since, the status reports it, and the operator decides when to remove the
container: data written inside would be lost with it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
from collections.abc import Iterable

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.service_file import Section
from opensvc_openha.agent.docker.docker_daemon import DockerDaemon
from opensvc_openha.agent.docker.engine_view import (
    Container,
    EngineView,
    Health,
    Standing,
    answers,
    find_image,
    read_probes,
)
from opensvc_openha.agent.docker.settings import option_names
from opensvc_openha.agent.docker.spawn import reasons_in
from opensvc_openha.agent.docker.stored_images import has_stored_image, registry_of
from opensvc_openha.agent.host.commands import command_environment, run_command, run_logged
from opensvc_openha.agent.resources.base import (
    DriverContext,
    LocalResource,
    Resource,
    is_disabled,
)
from opensvc_openha.agent.resources.unhandled import Unhandled
from opensvc_openha.agent.values.resource_status import HIDDEN, Finding, Group, ResourceStatus
from opensvc_openha.errors import ActionError
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.system.clock import monotonic, pause, wait_until

if TYPE_CHECKING:
    from opensvc_openha.agent.values.readiness import Remark, Surroundings

PULL_LIMIT_S = 600.0
ANSWER_LIMIT_S = 30.0
STOP_SLACK_S = 15.0
SETTLE_S = 0.5
HEALTH_LIMIT_S = 600.0
"""Longest wait for the result of a HEALTHCHECK after a restart."""
_READY_LOOK_S = 1.5

_DEFINITION_LABEL = "opensvc.openha.definition"
_LOG_LINES = 5
_POLL_S = 0.1
_HEALTH_POLL_S = 0.5
_IMAGE_ID = re.compile(r"(sha256:)?[0-9a-f]{12,64}\Z")


def build(section: Section, context: DriverContext) -> Resource:
    """Build one container; a disabled one does without the docker daemon and its settings."""
    if is_disabled(section, context.node):
        return Unhandled(section, context)
    return DockerContainer(section, context)


class DockerContainer(LocalResource):
    """One container in the docker daemon of the service."""

    def __init__(self, section: Section, context: DriverContext) -> None:
        self._image = section.value(schema.RUN_IMAGE)
        super().__init__(section, context, Group.CONTAINER, "container.docker", self._image)
        self._args = section.value(schema.RUN_ARGS)
        for name in ("--name", "--cidfile"):
            if name in option_names(self._args):
                problem = f"holds {name}, expected none: the agent names the container"
                raise section.error(schema.RUN_ARGS.name, problem)
        self._command = section.value(schema.RUN_COMMAND)
        self._stop_timeout_s = section.value(schema.CONTAINER_STOP_TIMEOUT)
        self._start_limit_s = section.value(schema.CONTAINER_START_TIMEOUT)
        self._heeds_health = section.value(schema.HEALTHCHECK) == "monitor"
        self._engine: DockerDaemon = context.docker
        self._name = self._engine.settings.container_name(section.name)

    @property
    def image(self) -> str:
        """Image as named in the service file."""
        return self._image

    @property
    def name(self) -> str:
        """Name of the container."""
        return self._name

    def status(self) -> Finding:
        """Return up with id and image while it runs; down, with the exit code if it ended.

        One that its HEALTHCHECK calls unhealthy is a warning, unless that is to be ignored.
        """
        view = self._engine.view()
        if view.standing is not Standing.RUNNING and not self._sees_all:
            return HIDDEN
        if view.standing is Standing.HUNG:
            return Finding(ResourceStatus.WARN, ("docker daemon does not answer",))
        if view.standing is Standing.STOPPED:
            if self._engine.has_leftovers():
                return Finding(
                    ResourceStatus.WARN,
                    ("docker daemon is not running, but containers it started still run",),
                )
            return Finding(ResourceStatus.DOWN, ("docker daemon is not running",))
        container = view.container(self._name)
        if container is None:
            return Finding(ResourceStatus.DOWN, (f"container {self._name} does not exist yet",))
        label = f"{container.short_id}@{view.image_name(container, self._image)}"
        if container.state == "running":
            remarks = self._remarks(container)
            if container.health is Health.UNHEALTHY:
                complaint = self._complaint(container)
                if self._heeds_health:
                    return Finding(ResourceStatus.WARN, (complaint, *remarks), label)
                remarks = (*remarks, f"{complaint} (healthcheck = ignore)")
            if container.health is Health.STARTING:
                remarks = (*remarks, "its HEALTHCHECK has no result yet")
            return Finding(ResourceStatus.UP, remarks, label)
        status = (
            ResourceStatus.DOWN if container.state in ("created", "exited") else ResourceStatus.WARN
        )
        return Finding(status, (_sentence(container),), label)

    def start(self) -> None:
        """Start or create the container; ActionError if it does not stay up."""
        self._engine.ensure_running()
        container = self._seen()
        if container is not None and container.state == "running":
            self._log.info(f"{self._name} is already running")
            return
        if container is not None and container.state == "paused":
            self._docker("unpause", container.id)
        elif container is None or container.state == "created":
            self._make(container)
            return
        else:
            for remark in self._remarks(container):
                self._log.warning(remark)
            self._docker("start", container.id)
        self._await_up()

    def restart(self) -> None:
        """Start it after a failure, and wait for the result of its HEALTHCHECK.

        One that runs and is unhealthy is stopped first. ActionError if it is unhealthy again.
        """
        if not self._heeds_health:
            self.start()
            return
        self._engine.ensure_running()
        container = self._seen()
        if container is not None and container.health is Health.UNHEALTHY:
            self._log.info(f"stopping {self._name}, {self._complaint(container)}")
            self._stop_container(container)
            self._engine.forget_view()
        self.start()
        self._await_health()

    def _await_health(self) -> None:
        container = self._seen()
        if container is None or container.health is not Health.STARTING:
            return
        limit_s = read_probes(self._engine.settings.socket, container).verdict_s
        limit_s = min(limit_s + STOP_SLACK_S, HEALTH_LIMIT_S)
        self._log.info(f"waiting for the HEALTHCHECK of {self._name}, at most {limit_s:g} s")
        give_up = monotonic() + limit_s
        while container is not None and container.health is Health.STARTING:
            if monotonic() > give_up:
                return  # It is up, and not known to be unhealthy.
            pause(_HEALTH_POLL_S)
            container = self._seen()
        if container is not None and container.health is Health.UNHEALTHY:
            problem = f"{self._name}, started again, is {self._complaint(container)}"
            raise self.spec.error(ActionError, problem)

    def _complaint(self, container: Container) -> str:
        probes = read_probes(self._engine.settings.socket, container)
        times = f", {probes.failures} times in a row" if probes.failures > 1 else ""
        last = f": {probes.last}" if probes.last else ""
        return f"unhealthy by its HEALTHCHECK{times}{last}"

    def _make(self, unfinished: Container | None) -> None:
        """Create the container; remove one that does not come up even once.

        It would keep the arguments that it failed with.
        """
        self._run(unfinished)
        try:
            self._await_up()
        except ActionError:
            self._log.info(
                f"{self._name} never came up: removing it, so that the next start creates it again"
            )
            run_logged(
                self._log,
                self._engine.settings.docker_command("rm", "-f", self._name),
                self._start_limit_s,
            )
            self._engine.forget_view()
            raise

    def readiness(self, around: Surroundings) -> Iterable[Remark]:
        """Yield what is missing of docker, and whether the image would have to be pulled."""
        from opensvc_openha.agent.values.readiness import unclear, why_no_directory, would_fail

        settings = self._engine.settings
        programs = {"docker": settings.docker_exe}
        if settings.is_private:
            programs["dockerd"] = settings.dockerd_exe
        for name, program in programs.items():
            if not shutil.which(program, path=command_environment()["PATH"]):
                text = f"{name} is not installed: there is no {program}"
                yield would_fail("containers", text, "install docker, or set its path")
        if settings.is_private and around.is_hidden(settings.data_dir):
            return  # Images are on the file system of the service.
        standing = answers(settings.socket, _READY_LOOK_S)
        if standing is Standing.RUNNING:
            is_here: bool | None = find_image(settings.socket, self._image) is not None
        elif standing is Standing.HUNG:
            yield unclear("containers", "the docker daemon does not answer in time")
            return
        elif not settings.is_private:
            text = "the docker daemon of this node does not answer"
            yield would_fail("containers", text, "systemctl start docker")
            return
        else:
            problem = why_no_directory(settings.data_dir)
            if problem:
                text = f"docker_data_dir {settings.data_dir} cannot be made: {problem}"
                yield would_fail("containers", text)
            is_here = has_stored_image(settings.data_dir, self._image)
        if is_here:
            return
        fix = f"'{settings.svcname} docker pull {self._image}' here"
        if is_here is None:
            text = f"whether image {self._image} is in {settings.data_dir} is seen at a start only"
            yield unclear("images", text)
        elif _IMAGE_ID.match(self._image):
            text = f"there is no image {self._image}, and it is an id, which cannot be pulled"
            yield would_fail("images", text, f"'{settings.svcname} docker load -i FILE' here")
        else:
            text = (
                f"image {self._image} is not here: a start pulls it from"
                f" {registry_of(self._image)}, if that answers by then"
            )
            yield unclear("images", text, fix)

    def stop(self) -> None:
        """Stop the container, by force after its stop_timeout; stop an unused daemon too."""
        if self._engine.kill_if_broken():
            return
        view = self._engine.view_now()
        if view.standing is Standing.HUNG:
            view = self._require_answer()
        container = view.container(self._name)
        if container is not None and container.has_processes:
            self._stop_container(container)
        else:
            self._log.info(f"{self._name} is already stopped")
        self._engine.stop_if_unused()

    @property
    def _definition(self) -> str:
        words = "\0".join([self._image, *self._args, "", *self._command])
        return hashlib.sha256(words.encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def _remarks(self, container: Container) -> tuple[str, ...]:
        made_with = container.labels.get(_DEFINITION_LABEL, self._definition)
        if made_with == self._definition:
            return ()
        return (
            (
                "was made before run_image, run_args or run_command changed:"
                f" '{self._engine.settings.svcname} docker rm -f {self._name}' and a start create"
                " it again"
            ),
        )

    def _seen(self) -> Container | None:
        return self._require_answer().container(self._name)

    def _run(self, unfinished: Container | None) -> None:
        """Create and start the container.

        The remains of a failed run are removed: they have the old arguments.
        """
        self._require_image()
        if unfinished is not None:
            self._docker("rm", unfinished.id)
        label = f"{_DEFINITION_LABEL}={self._definition}"
        try:
            self._docker(
                "run",
                "-d",
                f"--name={self._name}",
                f"--label={label}",
                *self._args,
                self._image,
                *self._command,
            )
        except ActionError:
            container = self._engine.view_now().container(self._name)
            if container is not None and container.state == "created":
                self._docker("rm", container.id)
            raise

    def _require_image(self) -> None:
        settings = self._engine.settings
        if find_image(settings.socket, self._image) is not None:
            return
        reason = "it is an id, which cannot be pulled"
        if not _IMAGE_ID.match(self._image):
            self._log.info(f"image {self._image} is not here yet")
            result = run_logged(
                self._log, settings.docker_command("pull", self._image), PULL_LIMIT_S
            )
            if result.exit_code == 0:
                return
            reason = f"docker pull {result.verdict}"
        place = f" in {settings.data_dir}" if settings.is_private else ""
        first = (
            f" after '{settings.svcname} start --rid fs'"
            if settings.is_private and settings.mount_points
            else ""
        )
        raise self.spec.error(
            ActionError,
            f"there is no image {self._image}{place}, and {reason}: bring it with"
            f" '{settings.svcname} docker load -i FILE' or '{settings.svcname} docker pull"
            f" NAME'{first}, or correct run_image",
        )

    def _await_up(self) -> None:
        """Wait until it has run for half a second."""
        settled_at = monotonic() + SETTLE_S
        give_up = monotonic() + self._start_limit_s
        while True:
            container = self._seen()
            if container is not None and container.state in ("exited", "dead", "restarting"):
                settings = self._engine.settings
                logs = settings.docker_command("logs", "--tail", str(_LOG_LINES), container.id)
                output = run_command(logs, STOP_SLACK_S).output.strip()
                problem = f"{self._name} {_sentence(container)} at once"
                raise self.spec.error(ActionError, f"{problem}: {output}" if output else problem)
            if container is None and monotonic() >= settled_at:
                raise self.spec.error(
                    ActionError,
                    f"{self._name} ended at once and is gone, perhaps by --rm in run_args",
                )
            if container is not None and container.state == "running" and monotonic() >= settled_at:
                self._log.info(f"{self._name} is running as {container.short_id}")
                return
            if monotonic() > give_up:
                state = container.state if container else "absent"
                raise self.spec.error(
                    ActionError,
                    f"{self._name} is {state} after {self._start_limit_s:g} s, expected running",
                )
            pause(_POLL_S)

    def _stop_container(self, container: Container) -> None:
        if container.state == "paused":
            self._docker("unpause", container.id)
        grace_s = max(1, round(self._stop_timeout_s))
        for words in (("stop", "-t", str(grace_s)), ("kill",)):
            argv = self._engine.settings.docker_command(*words, container.id)
            result = run_logged(self._log, argv, grace_s + STOP_SLACK_S)
            if self._has_stopped():
                return
            self._log.error(
                f"docker {words[0]} {container.short_id} {result.verdict}, but {self._name} still"
                " runs"
            )
        self._kill_processes(container)

    def _kill_processes(self, container: Container) -> None:
        """Kill the container's first process, and with it all others: the daemon cannot stop it."""
        argv = self._engine.settings.docker_command("inspect", "-f", "{{.State.Pid}}", container.id)
        pid = run_command(argv, STOP_SLACK_S).output.strip()
        if pid.isdigit() and int(pid) > 0:
            self._log.error(f"killing process {pid} of {self._name}")
            os.kill(int(pid), signal.SIGKILL)
        if wait_until(self._has_stopped, STOP_SLACK_S):
            return
        problem = (
            f"{self._name} cannot be stopped, docker does not see the end of its process {pid}"
        )
        if not self._engine.settings.is_private:
            raise self.spec.error(ActionError, problem)
        self._log.error(f"{problem}: killing the docker daemon with all its containers")
        self._engine.kill()

    def _has_stopped(self) -> bool:
        view = self._engine.view_now()
        if view.standing is not Standing.RUNNING:
            # The state of the daemon is checked at the end of the stop.
            return view.standing is Standing.STOPPED
        container = view.container(self._name)
        return container is None or not container.has_processes

    def _docker(self, *words: str) -> None:
        """Run a docker command that must succeed."""
        result = run_logged(
            self._log, self._engine.settings.docker_command(*words), self._start_limit_s
        )
        self._engine.forget_view()
        if result.exit_code != 0:
            reasons = reasons_in(result.output) or ["it gave no reason"]
            raise self.spec.error(
                ActionError, f"docker {words[0]} of {self._name} {result.verdict}: {reasons[-1]}"
            )

    def _require_answer(self) -> EngineView:
        """Return the daemon's containers, waiting for a busy machine; raise without an answer."""
        view = self._engine.view_now(ANSWER_LIMIT_S)
        if view.standing is not Standing.RUNNING:
            raise self.spec.error(
                ActionError, f"the docker daemon does not answer within {ANSWER_LIMIT_S:g} s"
            )
        return view


def _sentence(container: Container) -> str:
    """Return the state of a stopped container in words."""
    if container.state == "exited":
        return f"exited with exit code {container.exit_code}"
    if container.state == "created":
        return "was never started"
    if container.state == "restarting":
        return "ends again and again, and docker restarts it"
    return f"is {container.state}"
