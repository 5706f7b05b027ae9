"""The common part of the hb drivers for OpenSVC agents: read and change a service's state.

    resHbOpenHA.py (one per agent line) --> this file --> states: control socket of nmond, or
                                                          STATE files if it does not answer
                                                      --> actions: `openha cluster-action`

Agents load a copy of this file under their own Python (2.7, 3.6 and newer), so it imports nothing
of the package and uses only what all of these support. The installer writes `openha_driver.json`,
which holds the paths, beside the copy.
"""

import errno
import fcntl
import json
import os
import re
import socket
import subprocess
import time

try:
    from typing import Any, Callable, Dict, List, Optional, Tuple  # noqa: F401 - Python 2.7 has it in comments only.
except ImportError:
    pass

ANSWER_LIMIT_S = 0.5
"""Seconds for the daemon to answer if its process is not known."""
BUSY_LIMIT_S = 2.0
"""Seconds for an answer while its process is seen to run: a loaded machine is not a hung daemon."""
ANSWER_KEPT_S = 0.3
"""Reuse one daemon reply for so many seconds."""
PROCESS_CHECK_S = 0.1
"""Seconds without an answer after which to check whether the daemon's process is stopped."""
SILENCE_KEPT_S = 5
"""Seconds during which a status does not ask an unresponsive daemon again."""
LINE_LIMIT = 16000000

NOT_INSTALLED = "open-ha is not installed"
NOT_RUNNING = "open-ha daemons are not running"
NOT_ANSWERING = "open-ha daemon does not answer"
NO_STATE = "unable to determine cluster service state"

DIGITS = ("stopped", "stopping", "started", "starting", "start_failed", "stop_failed",
          "frozen_stop", "start_ready", "unknown", "force_stop")
STATE_WORD = re.compile(r"[A-Za-z_]{1,40}\Z")
WRAPPERS = ("cluster", "stonith")
MARK = "Made by `openha agent install`"


def native(text):
    # type: (Any) -> str
    """Convert a text to the agents' native type.

    Bytes under Python 2, where mixed types fail at the first non-ASCII character.
    """
    if isinstance(text, str):
        return text
    if str is bytes:  # type: ignore[comparison-overlap]  # Python 2.
        return text.encode("utf-8", "replace")  # type: ignore[no-any-return]
    return str(text.decode("utf-8", "replace")) if isinstance(text, bytes) else str(text)


class Refused(Exception):
    """The action is refused; the text is the reason."""

    def __init__(self, text):
        # type: (Any) -> None
        Exception.__init__(self, native(text))


class Ended(Exception):
    """The action is complete: the agent has nothing left to do."""


class States(object):
    """State of one service: lower-case states of both nodes, and the problem of the daemon."""

    def __init__(self, own, peer, standing="", problem=""):
        # type: (str, str, str, str) -> None
        self.own = own
        self.peer = peer
        self.standing = standing
        self.problem = problem


def finding(states):
    # type: (States) -> Tuple[str, List[str]]
    """Return the status of the hb resource, as the agent's word, and the lines that explain it."""
    if states.problem:
        # On one line: the 1.8 shows only the first.
        is_known = states.problem == NOT_ANSWERING and states.own != "unknown"
        last = ", last cluster service status was %s" % states.own if is_known else ""
        return "warn", [states.problem + last]
    if states.own == "unknown":
        return "warn", [NO_STATE]
    if states.own == "started":
        return "up", []
    if states.own == "stopped":
        return "down", []
    return "warn", ["cluster service status is %s" % states.own]


class StatusReader(object):
    """Reads the cluster's states of services from this node's daemon."""

    _answers = {}  # type: Dict[str, Tuple[float, Any, str]]

    def __init__(self, places):
        # type: (Dict[str, Any]) -> None
        self._places = places

    def read(self, service, node, peer, is_fresh=False):
        # type: (str, str, str, bool) -> States
        """Return the state of a service, at most ANSWER_KEPT_S old unless ``is_fresh``."""
        if not is_installed(self._places):
            return States("unknown", "unknown", problem=NOT_INSTALLED)
        answer, problem = self._answer(is_fresh)
        if problem == NOT_RUNNING:
            return States("unknown", "unknown", problem=problem)
        states = None if answer is None else _read(answer, service)
        if states is not None:
            return states
        # The daemon is stopped, overloaded, or its answer has another format: use the last state
        # from the files.
        return States(self._stored(service, node), self._stored(service, peer), problem=problem)

    def _answer(self, is_fresh):
        # type: (bool) -> Tuple[Any, str]
        path = self._places["control_socket"]
        kept = self._answers.get(path)
        if kept is not None and not is_fresh:
            kept_s = SILENCE_KEPT_S if kept[2] == NOT_ANSWERING else ANSWER_KEPT_S
            if 0 <= time.time() - kept[0] < kept_s:
                return kept[1], kept[2]
        answer, problem = fetch_status(path, str(self._places.get("lock_file", "")))
        StatusReader._answers[path] = (time.time(), answer, problem)
        return answer, problem

    def _stored(self, service, node):
        # type: (str, str) -> str
        """Return the state in the STATE file of one node."""
        folder = os.path.join(self._places["services_dir"], service)
        try:
            names = [name for name in os.listdir(folder) if name.lower() == "state." + node.lower()]
            with open(os.path.join(folder, names[0]), "rb") as file:
                data = file.read(64).decode("ascii")
        except (OSError, IOError, ValueError, IndexError):
            return "unknown"
        if data[:1] == "7" and data[2:].strip() == "FROZEN_START":
            return "frozen_start"
        return DIGITS[int(data[0])] if data[:1].isdigit() else "unknown"


def _read(answer, service):
    # type: (Any, str) -> Optional[States]
    """Parse the part of an answer about one service; None if it is invalid."""
    try:
        status = answer["status"]
        for svc in status["services"]:
            if svc["name"] == service:
                return States(_word(svc["own_state"]), _word(svc["peer_state"]),
                            str(status.get("peer_standing") or ""))
        return States("unknown", "unknown")
    except (KeyError, TypeError, AttributeError, ValueError):
        return None


def _word(state):
    # type: (Any) -> str
    """Return the state as a lower-case word; ValueError if it is none."""
    if state is None:
        return "unknown"
    if not STATE_WORD.match(state):
        raise ValueError(repr(state))
    return str(state).lower()


def fetch_status(path, lock_file=""):
    # type: (str, str) -> Tuple[Any, str]
    """Read the daemon's status in one round trip.

    Return the answer, or None, and the problem. ``lock_file`` names the daemon's process.
    """
    began = time.time()
    deadline = began + ANSWER_LIMIT_S
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(ANSWER_LIMIT_S)
        _connect(connection, path)
        connection.sendall(b'{"do":"status"}\n')
        parts = []  # type: List[bytes]
        size = 0
        while not parts or not parts[-1].endswith(b"\n"):
            rest_s = deadline - time.time()
            if rest_s <= 0 or size > LINE_LIMIT:
                return None, NOT_ANSWERING
            # A clock that was set back must not extend the wait.
            connection.settimeout(min(rest_s, PROCESS_CHECK_S))
            try:
                part = connection.recv(262144)
            except socket.timeout:
                process = _process_state(lock_file)
                if process in ("T", "t"):
                    return None, NOT_ANSWERING
                if process in ("R", "S", "D"):
                    deadline = began + BUSY_LIMIT_S
                continue
            if not part:
                break
            parts.append(part)
            size += len(part)
    except socket.timeout:
        return None, NOT_ANSWERING
    except (OSError, IOError) as error:
        nobody_listens = error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR)
        return None, _without_answer(lock_file, nobody_listens)
    finally:
        connection.close()
    if not parts:
        return None, _without_answer(lock_file, False)
    try:
        answer = json.loads(b"".join(parts).decode("utf-8"))
    except (ValueError, RuntimeError):  # RuntimeError: nested too deeply.
        return None, ""
    # A hung engine is reported by the thread that serves the socket.
    is_hung = isinstance(answer, dict) and answer.get("code") == 4
    return answer, NOT_ANSWERING if is_hung else ""


def _without_answer(lock_file, nobody_listens):
    # type: (str, bool) -> str
    """Return NOT_RUNNING only if no daemon runs, else the reason why it does not answer.

    A running daemon holds its lock also while it binds its socket again, or resets connections. If
    the lock cannot be read, a connection that succeeded counts as proof of a daemon.
    """
    is_held = _is_locked(lock_file)
    if is_held is None:
        return NOT_RUNNING if nobody_listens else NOT_ANSWERING
    return NOT_ANSWERING if is_held else NOT_RUNNING


def _is_locked(lock_file):
    # type: (str) -> Optional[bool]
    """Return whether a daemon holds its lock; None if that is unknown."""
    try:
        handle = os.open(lock_file, os.O_RDONLY)
    except (OSError, IOError) as error:
        return False if lock_file and error.errno == errno.ENOENT else None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (OSError, IOError):
        return True
    finally:
        os.close(handle)
    return False


def _process_state(lock_file):
    # type: (str) -> str
    """Return ps's state letter of the process in the lock file, T if stopped; empty if unknown."""
    try:
        with open(lock_file) as file:
            pid = int(file.read(32))
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rpartition(")")[2].split()[0]
    except (OSError, IOError, ValueError, IndexError):
        return ""


def _connect(connection, path):
    # type: (socket.socket, str) -> None
    if len(path) < 100:
        connection.connect(path)
        return
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        connection.connect("/proc/self/fd/%d/%s" % (folder, os.path.basename(path)))
    finally:
        os.close(folder)


class Host(object):
    """Operations that differ between agent lines; each driver file provides an implementation."""

    def __init__(self, resource, nodename, etc_dir):
        # type: (Any, str, str) -> None
        self.resource = resource
        self.nodename = nodename
        self.etc_dir = etc_dir

    @property
    def svc(self):
        # type: () -> Any
        """Return the agent's service."""
        return self.resource.svc

    @property
    def script_base(self):
        # type: () -> str
        """Return the path of the wrappers without their suffixes."""
        return os.path.join(self.etc_dir, self.svc.svcname)

    @property
    def default_name(self):
        # type: () -> str
        """Return the cluster's name for the service if the section has none."""
        return str(self.svc.svcname)

    def is_dry_run(self):
        # type: () -> bool
        """Return whether --dry-run was given: nothing may be changed."""
        return bool(getattr(getattr(self.svc, "options", None), "dry_run", False))

    def destination(self):
        # type: () -> str
        """Return the node of --to; empty without it."""
        return str(getattr(self.svc, "destination_node", None) or "")

    def is_cluster(self):
        # type: () -> bool
        """Return whether --cluster was given: the cluster calls."""
        return bool(self.svc.cluster)

    def is_remote(self):
        # type: () -> bool
        """Return whether --remote was given: the peer's agent calls."""
        return bool(getattr(self.svc, "remote", False))

    def is_scoped(self):
        # type: () -> bool
        """Return whether the action is limited to some resources."""
        return bool(hasattr(self.svc, "command_is_scoped") and self.svc.command_is_scoped())

    def call_peer(self, peer, action):
        # type: (str, str) -> Tuple[int, str]
        """Run an action of this service on the peer; return its exit code and output."""
        out, err, code = self.svc.remote_action(peer, action, sync=True)
        return code, native(out) + native(err)

    def unlock(self):
        # type: () -> None
        """Release the action lock for the cluster's own call of the agent."""
        self.svc.svcunlock()


class Driver(object):
    """One hb resource: its status and its actions."""

    def __init__(self, host, name, places=None):
        # type: (Host, Optional[str], Optional[Dict[str, Any]]) -> None
        self._host = host
        self._name = name
        self._places = read_places() if places is None else places
        self._reader = StatusReader(self._places)

    # --- what the agent asks ----------------------------------------------------------------------

    @property
    def service(self):
        # type: () -> str
        """Return the cluster's name of the service."""
        return native(self._name) if self._name else self._host.default_name

    def states(self, is_fresh=True):
        # type: (bool) -> States
        """Return the current state of the service."""
        return self._reader.read(self.service, self._host.nodename, self._peer(), is_fresh)

    def status(self):
        # type: () -> Tuple[str, List[str]]
        """Return status word and reasons; any error here becomes a reason."""
        try:
            return finding(self.states(is_fresh=False))
        # Catch all here: a status must not show a traceback.
        except Exception as error:
            return "warn", ["%s (%s: %s)" % (NO_STATE, type(error).__name__, error)]

    def ensure_wrappers(self):
        # type: () -> None
        """Write `<svc>.cluster` and `<svc>.stonith` if they differ; keep what cannot be written."""
        for kind in WRAPPERS:
            text = self._places.get("wrappers", {}).get(kind)
            if text:
                try:
                    ensure_script("%s.%s" % (self._host.script_base, kind),
                                  text.replace("@SVCNAME@", self._host.svc.svcname))
                except (OSError, IOError) as error:
                    self._log("cannot write the %s wrapper: %s" % (kind, error))

    def need_stonith(self):
        # type: () -> bool
        """Return False if the peer is known to be alive.

        Otherwise the fencing commands that follow must succeed.
        """
        states = self.states()
        is_needed = bool(states.problem) or states.peer == "unknown" or states.standing == "silent"
        if is_needed:
            for resource in self._host.svc.get_resources("stonith"):
                resource.vcall = _checked(resource.vcall)
        return is_needed

    def freezestop(self):
        # type: () -> None
        """Request a frozen stop here without waiting for it: the agent holds its lock now."""
        if self._host.is_dry_run():
            self._log("would run %s -A %s freeze-stop"
                      % (self._places["service_command"], self.service))
            return
        self._host.svc.node.cmdworker.enqueue(
            [self._places["service_command"], "-A", self.service, "freeze-stop"])

    def is_dry_run(self):
        # type: () -> bool
        """Return whether nothing may be changed."""
        return self._host.is_dry_run()

    def run(self, action):
        # type: (str) -> None
        """Run an action of the agent through the cluster; raise Ended or Refused.

        ``action`` is start, stop, switch, freeze or thaw.
        """
        if (action in ("start", "stop", "switch")
                and (self._host.is_cluster() or self._host.is_scoped())):
            return
        if not is_installed(self._places):
            raise Refused(NOT_INSTALLED)
        words = [self._places["openha_command"], "cluster-action", self.service, action,
                 "--node", self._host.nodename, "--nodes", " ".join(sorted(self._host.svc.nodes))]
        words += ["--remote"] if self._host.is_remote() else []
        words += ["--dry-run"] if self._host.is_dry_run() else []
        words += ["--to", self._host.destination()] if self._host.destination() else []
        try:
            # close_fds: it must not inherit the agent's lock.
            process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT, close_fds=True)
        except (OSError, IOError) as error:
            raise Refused("%s: %s" % (words[0], error))
        end, error_text = self._serve(process)
        if process.returncode != 0:
            raise Refused(error_text or "%s failed with exit code %d"
                          % (" ".join(words[:4]), process.returncode))
        if end:
            raise Ended(end)

    def _serve(self, process):
        # type: (Any) -> Tuple[str, str]
        """Do what `openha cluster-action` prints; return the texts of its end and of its error."""
        end = error_text = stray = ""
        try:
            for line in iter(process.stdout.readline, b""):
                word, _, text = native(line).rstrip("\n").partition(" ")
                if word == "log":
                    self._log(text)
                elif word == "unlock":
                    self._host.unlock()
                elif word == "peer":
                    node, _, peer_action = text.partition(" ")
                    code = self._call_peer(node, peer_action)
                    os.write(process.stdin.fileno(), ("%d\n" % code).encode("ascii"))
                elif word == "end":
                    end = text
                elif word == "error":
                    error_text = text
                else:
                    stray = native(line).strip()
                    self._log(stray)
        except BaseException:
            # The agent is interrupted: what the daemon was asked for continues.
            process.terminate()
            raise
        finally:
            process.stdin.close()
            process.stdout.close()
            process.wait()
        # The last line of a command that could not run is the reason.
        return end, error_text or stray

    def _call_peer(self, node, action):
        # type: (str, str) -> int
        """Run an action of this service on the peer, and log its output; return its exit code."""
        code, text = self._host.call_peer(node, action)
        for line in text.splitlines():
            if line.strip():
                self._log("%s: %s" % (node, line.rstrip()))
        return int(code)

    # --- means ------------------------------------------------------------------------------------

    def _peer(self):
        # type: () -> str
        nodes = [node for node in self._host.svc.nodes
                 if node.lower() != self._host.nodename.lower()]
        return str(nodes[0]) if nodes else ""

    def _log(self, text):
        # type: (str) -> None
        self._host.resource.log.info(native(text))


class HbActions(object):
    """Methods of a 1.x hb resource; each driver file derives its Hb from this and resHb.Hb."""

    openha = None  # type: Any
    ex = None  # type: Any
    rc_status = None  # type: Any

    def cluster_files(self):
        # type: () -> None
        """Repair the wrappers; the agent calls this with each status."""
        self.openha.ensure_wrappers()

    def openha_status(self):
        # type: () -> Any
        """Return the agent's number for the status; the reasons go to the status log."""
        word, lines = self.openha.status()
        for line in lines:
            self.status_log(line)  # type: ignore[attr-defined]  # Of the agent's own class.
        return {"up": self.rc_status.UP, "down": self.rc_status.DOWN,
                "warn": self.rc_status.WARN}[word]

    def need_stonith(self):
        # type: () -> bool
        """Return whether to fence; called by the agent's stonith resources."""
        return bool(self.openha.need_stonith())

    def freezestop(self):
        # type: () -> None
        """Run the monitor action."""
        self.openha.freezestop()

    def action_main(self, action):
        # type: (str) -> None
        """Run an action; called by the 1.6 and the 1.7.

        In a dry run they would not ask the resource, and would continue with the next one.
        """
        if self.openha.is_dry_run() and action in ("start", "stop", "switch"):
            self._openha_run(action)
        super(HbActions, self).action_main(action)  # type: ignore[misc]  # Of the agent's own class.

    def start(self):
        # type: () -> None
        """Start the service on this node, through the cluster."""
        self._openha_run("start")

    def stop(self):
        # type: () -> None
        """Stop and freeze the service on both nodes."""
        self._openha_run("stop")

    def switch(self):
        # type: () -> None
        """Move the service to the other node."""
        self._openha_run("switch")

    def freeze(self):
        # type: () -> None
        """Suspend the cluster's decisions on both nodes."""
        self._openha_run("freeze")

    def thaw(self):
        # type: () -> None
        """Resume the cluster's decisions on both nodes."""
        self._openha_run("thaw")

    def _openha_run(self, action):
        # type: (str) -> None
        # An agent without excEndAction calls an hb resource only for its own --cluster actions.
        ended = getattr(self.ex, "excEndAction", self.ex.excError)
        try:
            self.openha.run(action)
        except Ended as error:
            raise ended(str(error))
        except Refused as error:
            raise self.ex.excError(str(error))
        except (self.ex.excError, ended):
            raise
        # Catch all here: the operator gets one line instead of a traceback.
        except Exception as error:
            raise self.ex.excError("%s %s: %s: %s"
                                   % (self.openha.service, action, type(error).__name__, error))


def _checked(vcall):
    # type: (Callable[..., Any]) -> Callable[..., Any]
    """Make a failed fencing command abort the action: the agents drop its exit code."""
    def call(command, *args, **options):
        # type: (Any, Any, Any) -> Any
        import rcExceptions  # type: ignore[import-not-found]  # The agent's own.
        result = vcall(command, *args, **options)
        if result[0] != 0:
            raise rcExceptions.excError("fencing failed: %s exited with %s"
                                        % (" ".join(command), result[0]))
        return result
    return call


def ensure_script(path, text):
    # type: (str, str) -> bool
    """Write a wrapper unless it is up to date; keep a foreign one beside it."""
    if not os.path.islink(path) and os.path.exists(path):
        with open(path, "rb") as file:
            found = native(file.read())
        if found == text and os.access(path, os.X_OK):
            return False
        if found != text and MARK not in found:
            os.rename(path, path + ".replaced")
    temporary = "%s.new%d" % (path, os.getpid())
    with open(temporary, "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode("utf-8"))
    os.chmod(temporary, 0o755)
    os.rename(temporary, path)
    return True


def drop_stale_summary(path, rid, driver):
    # type: (str, str, Driver) -> None
    """Remove the agent's summary file of statuses if its entry of this resource is outdated."""
    try:
        with open(path) as file:
            kept = json.load(file)["resources"][rid]
        word, lines = driver.status()
        if (kept["status"] == word and all(line in kept["log"] for line in lines)
                and bool(kept["log"]) == bool(lines)):
            return
    except (OSError, IOError):
        return
    except (KeyError, TypeError, ValueError):
        pass  # Invalid content: remove it.
    try:
        os.unlink(path)
    except OSError:
        pass


def _native_keys(found):
    # type: (Dict[Any, Any]) -> Dict[str, Any]
    """Convert keys and values that Python 2 reads from JSON as unicode."""
    return dict((native(key), native(value) if isinstance(value, type(u"")) else value)
                for key, value in found.items())


def is_installed(places):
    # type: (Dict[str, Any]) -> bool
    """Return whether the cluster is where the installer found it."""
    return bool(places) and os.path.exists(places["service_command"])


def read_places():
    # type: () -> Dict[str, Any]
    """Read the paths that the installer wrote beside this file.

    Empty if the file is missing, which counts as not installed.
    """
    try:
        folder = os.path.dirname(os.path.abspath(__file__))
        with open(os.path.join(folder, "openha_driver.json")) as file:
            places = json.load(file, object_hook=_native_keys)
        return places if isinstance(places, dict) else {}
    except (OSError, IOError, ValueError):
        return {}
