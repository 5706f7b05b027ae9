"""One real daemon: its life, its death, and what it remembers."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess

import pytest

from tests.cluster_dir import HERE, PEER, ClusterDir
from tests.waiting import LIMIT_S, stays, until


def test_start_is_done_when_the_daemon_serves_and_stop_when_it_has_gone(
    cluster_dir: ClusterDir,
) -> None:
    """Silent as in the tutorial; the first command after it works."""
    assert cluster_dir.ok("ezha start") == ""
    assert "UP" in cluster_dir.ok("hb -s")
    assert cluster_dir.ok("ezha stop") == ""
    assert cluster_dir.pid() == 0


def test_second_daemon_is_refused(cluster_dir: ClusterDir) -> None:
    """One daemon per node, in the background and in the foreground."""
    cluster_dir.ok("ezha start")
    pid = cluster_dir.pid()
    for command in ("ezha start", "nmond", "nmond -f"):
        assert cluster_dir.fails(command, 5) == f"nmond is already running on this node (pid {pid})"
    assert cluster_dir.pid() == pid


def test_ps_shows_the_threads_like_the_processes_of_the_tutorial(cluster_dir: ClusterDir) -> None:
    """One line for each end of a link in the order of the monitor file, nmond last."""
    cluster_dir.ok("ezha start")
    lines = cluster_dir.ok("openha ps").splitlines()
    bin_dir = cluster_dir.path("bin")
    commands = [" ".join(line.split()[10 : 3 + 10]) for line in lines]
    assert [command.split()[0] for command in commands] == [
        f"{bin_dir}/heartd_unicast",
        f"{bin_dir}/heartc_unicast",
        f"{bin_dir}/heartd_dio",
        f"{bin_dir}/heartc_dio",
        f"{bin_dir}/nmond",
    ]
    # One thread for both ends on the network, one for each end on the disk, and the main thread.
    numbers = [line.split()[1] for line in lines]
    assert numbers[0] == numbers[1] and len(set(numbers)) == 4
    assert os.path.exists(f"/proc/{cluster_dir.pid()}/task/{lines[0].split()[1]}")


def test_alone_it_takes_over_after_timeout_and_start_ready(cluster_dir: ClusterDir) -> None:
    """No peer in sight: UNKNOWN, START_READY for five seconds, then check-up script and start
    script.
    """
    cluster_dir.add("registry", check=cluster_dir.script("check.sh", "exit 0"))
    cluster_dir.ok("ezha start")
    assert (
        cluster_dir.ok("service -A registry unfreeze")
        == "Ready to UNFREEZE, we are (FROZEN_STOP)\nService registry UNFROZEN\n"
    )
    cluster_dir.wait_state("registry", "START_READY")
    assert cluster_dir.calls("registry.sh") == []
    cluster_dir.wait_state("registry", "STARTED")
    assert cluster_dir.calls("check.sh") == ["start"] and cluster_dir.calls("registry.sh") == [
        "start"
    ]
    assert cluster_dir.state_file("registry").read_bytes() == b"2\0"
    assert cluster_dir.state_file("registry", PEER).read_bytes() == b"8\0"


def test_failing_check_script_prevents_the_start_and_is_shown(cluster_dir: ClusterDir) -> None:
    """START_FAILED with the reason; freeze-stop and unfreeze let it be tried again."""
    cluster_dir.add(
        "registry", check=cluster_dir.script("check.sh", "echo no fence for you; exit 3")
    )
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry unfreeze")
    cluster_dir.wait_state("registry", "START_FAILED")
    assert cluster_dir.calls("registry.sh") == []
    shown = cluster_dir.ok("service -s -v")
    assert "exited with 3" in shown and "no fence for you" in shown
    assert "Service registry FROZEN-STOP" in cluster_dir.ok("service -A registry freeze-stop")


def test_failed_stop_is_reported_with_its_reason_and_is_not_zero(cluster_dir: ClusterDir) -> None:
    """STOP_FAILED: the operator reads what the script printed last."""
    cluster_dir.add("registry", "case $1 in stop) echo busy: /data; exit 1;; esac")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    done = cluster_dir.run("service -A registry stop")
    assert done.returncode == 6
    assert "exited with 1 (busy: /data)" in done.stderr and "STOP_FAILED" in done.stderr
    assert cluster_dir.state("registry") == "STOP_FAILED"


def test_actions_in_a_wrong_state_are_refused_in_the_originals_words(
    cluster_dir: ClusterDir,
) -> None:
    """Exit code 5, one line."""
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    assert (
        cluster_dir.fails("service -A registry stop", 5)
        == "Cannot stop registry: service not in correct state (partner node is UNKNOWN, we are"
        " FROZEN_STOP)"
    )
    cluster_dir.ok("service -A registry force-start")
    assert (
        cluster_dir.fails("service -A registry unfreeze", 5)
        == "Cannot UNFREEZE registry: not in FREEZE state (we are STARTED)"
    )


def test_frozen_start_is_a_state_of_its_own_and_digit_seven_on_disk(
    cluster_dir: ClusterDir,
) -> None:
    """Hole H15: shown as FROZEN_START, `7` for older readers, and known again after a restart."""
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    cluster_dir.ok("service -A registry freeze-start")
    assert cluster_dir.state("registry") == "FROZEN_START"
    assert cluster_dir.state_file("registry").read_bytes()[:2] == b"7\0"
    cluster_dir.ok("ezha restart")
    assert cluster_dir.state("registry") == "FROZEN_START"
    cluster_dir.ok("service -A registry unfreeze")
    assert cluster_dir.state("registry") == "STARTED"
    assert cluster_dir.state_file("registry").read_bytes() == b"2\0"


@pytest.mark.parametrize("how", ["restart", "kill -9", "kill -15"])
def test_restart_of_the_daemon_moves_no_service(cluster_dir: ClusterDir, how: str) -> None:
    """However it ended, a new daemon finds the service STARTED and runs neither start nor stop."""
    cluster_dir.add("registry", "echo up; exit 0")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    if how == "restart":
        cluster_dir.ok("ezha restart")
    else:
        pid = cluster_dir.pid()
        cluster_dir.kill(int(how[6:]))
        cluster_dir.wait(lambda: cluster_dir.pid() != pid, "the daemon is gone")
        cluster_dir.ok("ezha start")
    cluster_dir.wait(
        lambda: "status" in cluster_dir.all_calls("registry.sh"), "the wrapper is asked"
    )
    cluster_dir.wait_state("registry", "STARTED")
    stays(lambda: set(cluster_dir.all_calls("registry.sh")), lambda seen: seen == {"status"}, 0.5)


def test_service_found_down_after_a_crash_is_not_claimed(cluster_dir: ClusterDir) -> None:
    """The wrapper reports down: STARTED in the STATE file was the past."""
    cluster_dir.add("registry", "case $1 in status) echo down; exit 1;; esac")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    cluster_dir.kill()
    cluster_dir.ok("ezha start")
    cluster_dir.wait(lambda: cluster_dir.state("registry") != "STARTED", "found down")


def test_wrapper_that_prints_down_is_believed_whatever_its_exit_code(
    cluster_dir: ClusterDir,
) -> None:
    """`status) [ -e flag ] && echo up || echo down`: the word counts."""
    flag = cluster_dir.root / "flag"
    cluster_dir.add("registry", f"case $1 in status) [ -e {flag} ] && echo up || echo down;; esac")
    cluster_dir.ok("ezha start")
    flag.write_text("")
    cluster_dir.ok("service -A registry force-start")
    cluster_dir.ok("ezha restart")
    cluster_dir.wait(lambda: "found up" in cluster_dir.ok("service -s -v"), "found up")
    flag.unlink()
    cluster_dir.ok("ezha restart")
    cluster_dir.wait(lambda: cluster_dir.state("registry") != "STARTED", "found down")


def test_socket_replaced_by_a_dead_one_is_put_right(cluster_dir: ClusterDir) -> None:
    """A restored backup of the state directory brings a socket without a server."""
    import socket

    cluster_dir.ok("ezha start")
    path = cluster_dir.path("services/.proc/nmond.sock")
    path.unlink()
    with socket.socket(socket.AF_UNIX) as dead:
        os.chdir(path.parent)
        dead.bind("nmond.sock")
    cluster_dir.wait(lambda: cluster_dir.run("hb -s").returncode == 0, "the socket is served again")


def test_heartbeat_file_that_is_replaced_is_opened_again(cluster_dir: ClusterDir) -> None:
    """The path names another file: the sender writes there within seconds, and not for ever to the
    one that is gone.
    """
    cluster_dir.ok("ezha start")
    disk = cluster_dir.root / "disk"
    other = cluster_dir.root / "other"
    other.write_bytes(bytes(1 << 20))
    other.rename(disk)
    cluster_dir.wait(lambda: any(disk.read_bytes()), "the new file is written to")


def test_script_of_a_killed_daemon_is_waited_for(cluster_dir: ClusterDir) -> None:
    """kill -9 during a start: the new daemon waits for the orphan, then cleans up.

    Never two scripts at once.
    """
    trail = cluster_dir.root / "trail"
    body = (
        f'case $1 in status) exit 4;; esac; echo "begin $1" >> {trail}; sleep 1.5; echo "end $1" >>'
        f" {trail}"
    )
    cluster_dir.add("registry", body)
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry unfreeze")
    cluster_dir.wait(lambda: trail.exists(), "the start script runs")
    cluster_dir.kill()
    cluster_dir.ok("ezha start")
    cluster_dir.wait(lambda: "end stop" in trail.read_text(), "the interrupted start is cleaned up")
    assert trail.read_text().splitlines()[:4] == [
        "begin start",
        "end start",
        "begin stop",
        "end stop",
    ]


@pytest.mark.parametrize("content", [b"", b"x\n", b"99", b"-1", b" 2", b"\xff\xfe"])
def test_damaged_state_file_never_starts_or_claims_anything(
    cluster_dir: ClusterDir, content: bytes
) -> None:
    """Hole H16: garbage is neither STOPPED nor FROZEN_STOP.

    The wrapper gives no answer either: UNKNOWN, with the reason.
    """
    cluster_dir.add("registry", "exit 4")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    cluster_dir.kill()
    cluster_dir.state_file("registry").write_bytes(content)
    cluster_dir.ok("ezha start")
    cluster_dir.wait(
        lambda: "status" in cluster_dir.all_calls("registry.sh"), "the wrapper is asked"
    )
    assert cluster_dir.state("registry") == "UNKNOWN"
    assert "STATE" in cluster_dir.ok("service -s -v")


def test_damage_to_the_state_file_of_a_running_daemon_changes_nothing(
    cluster_dir: ClusterDir,
) -> None:
    """Hole H16: the daemon knows its own state; the next change writes the file again."""
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    cluster_dir.state_file("registry").write_bytes(b"0\0")
    assert cluster_dir.state("registry") == "STARTED"
    cluster_dir.state_file("registry").unlink()
    cluster_dir.ok("service -A registry freeze-start")
    assert cluster_dir.state_file("registry").exists()


def test_unwritable_state_directory_starts_nothing_and_reports_why(cluster_dir: ClusterDir) -> None:
    """The state cannot be written (a file stands where its directory was): no start script, and the
    reason is shown.
    """
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    cluster_dir.obstruct("services/registry")
    cluster_dir.run("service -A registry unfreeze")
    cluster_dir.wait(lambda: "cannot" in cluster_dir.ok("service -s -v"), "the reason is shown")
    cluster_dir.wait(lambda: "NOT WRITTEN" in cluster_dir.log(), "it is logged")
    stays(lambda: cluster_dir.calls("registry.sh"), lambda seen: seen == [], 1)


def test_service_added_and_removed_by_hand_is_taken_over(cluster_dir: ClusterDir) -> None:
    """Hole H9: an edit is seen whatever its time stamp.

    A mistake is logged once and changes nothing.
    """
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    services = cluster_dir.path("conf/services")
    good = services.read_text()
    web = cluster_dir.script("web.sh", "exit 0")
    services.write_text(good + f"web {web} {HERE} {PEER} /bin/true\n")
    # Until its script has answered, nobody knows whether a new service runs.
    cluster_dir.wait(lambda: "web" in cluster_dir.ok("service -s -c"), "web is known")
    cluster_dir.wait_state("web", "FROZEN_STOP")
    services.write_text("rubbish\n")
    cluster_dir.wait(
        lambda: "configuration not taken over" in cluster_dir.ok("service -s -v"),
        "the mistake is reported",
    )
    assert cluster_dir.state("registry") == "FROZEN_STOP"
    services.write_text(good)
    cluster_dir.wait(lambda: "web" not in cluster_dir.ok("service -s -c"), "web is gone")


def test_link_added_while_it_runs_is_used_without_a_restart(cluster_dir: ClusterDir) -> None:
    """`hb -a` and `hb -r` reach the running daemon; its pid stays."""
    cluster_dir.ok("ezha start")
    pid = cluster_dir.pid()
    link = f"-n {HERE} -t unicast -i lo -d 127.0.0.1 -p 45999"
    cluster_dir.ok(f"hb -a {link} -T 10")
    assert cluster_dir.ok("hb -s").count("unicast sender") == 2
    cluster_dir.ok(f"hb -r {link}")
    assert cluster_dir.ok("hb -s").count("unicast sender") == 1
    assert cluster_dir.pid() == pid


def test_hung_daemon_is_distinguished_from_none_and_can_be_killed(cluster_dir: ClusterDir) -> None:
    """SIGSTOP: commands give up with the reason, `ezha kill` ends it."""
    cluster_dir.ok("ezha start")
    pid = cluster_dir.pid()
    cluster_dir.kill(signal.SIGSTOP)
    assert (
        cluster_dir.fails("service -s -c", 4)
        == f"nmond (pid {pid}) does not answer: stopped, or overloaded"
    )
    assert cluster_dir.run("ezha kill").returncode == 0
    assert cluster_dir.pid() == 0


def test_command_given_up_while_the_daemon_hung_is_not_carried_out_later(
    cluster_dir: ClusterDir,
) -> None:
    """SIGSTOP, a freeze-stop that fails after two seconds, SIGCONT: the service is left as it
    was.
    """
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    cluster_dir.kill(signal.SIGSTOP)
    assert "does not answer" in cluster_dir.fails("service -A registry freeze-stop", 4)
    cluster_dir.kill(signal.SIGCONT)
    cluster_dir.wait_state("registry", "STARTED")
    stays(lambda: cluster_dir.state("registry"), lambda seen: seen == "STARTED", 1)


def test_removed_lock_and_socket_are_put_back(cluster_dir: ClusterDir) -> None:
    """`rm -rf` of the run-time files: the commands work again within seconds, and no second daemon
    can start.
    """
    cluster_dir.ok("ezha start")
    pid = cluster_dir.pid()
    for entry in cluster_dir.path("services/.proc").iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    cluster_dir.wait(lambda: cluster_dir.run("hb -s").returncode == 0, "the socket is there again")
    cluster_dir.wait(
        lambda: cluster_dir.path("services/.proc/nmond.lock").exists(), "the lock is there again"
    )
    assert (
        cluster_dir.fails("ezha start", 5) == f"nmond is already running on this node (pid {pid})"
    )


def test_no_second_daemon_starts_before_a_removed_lock_is_put_back(cluster_dir: ClusterDir) -> None:
    """`rm -rf` of the run-time files and `ezha start` at once: refused, and the daemon that runs
    continues without a traceback.
    """
    cluster_dir.ok("ezha start")
    pid = cluster_dir.pid()
    shutil.rmtree(cluster_dir.path("services/.proc"))
    assert f"nmond is already running on this node (pid {pid})" in cluster_dir.fails(
        "ezha start", 5
    )
    cluster_dir.wait(lambda: cluster_dir.pid() == pid, "the lock is there again")
    cluster_dir.wait(lambda: cluster_dir.run("hb -s").returncode == 0, "the socket is there again")
    assert "Traceback" not in cluster_dir.log() and "CRITICAL" not in cluster_dir.log()


def test_daemon_whose_place_is_taken_ends_with_one_line(cluster_dir: ClusterDir) -> None:
    """The lock file was replaced, and another process holds the new one: this daemon falls silent,
    and reports why.
    """
    cluster_dir.ok("ezha start")
    pid, lock = cluster_dir.pid(), cluster_dir.path("services/.proc/nmond.lock")
    with open(lock.with_name("new"), "w+", encoding="ascii") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write("1\n")
        other.flush()
        os.replace(other.name, lock)
        cluster_dir.wait(lambda: not os.path.exists(f"/proc/{pid}"), "the daemon has ended")
    text = (
        "another daemon has taken the place of this one: nmond is already running on this node"
        " (pid 1)"
    )
    assert text in cluster_dir.log() and "Traceback" not in cluster_dir.log()


def test_lock_that_cannot_be_put_back_is_no_mistake_in_the_configuration(
    cluster_dir: ClusterDir,
) -> None:
    """A directory stands in its place: reported as what it is, once each way, beside a mistake in a
    file at the same time.
    """
    cluster_dir.ok("ezha start")
    lock = cluster_dir.path("services/.proc/nmond.lock")
    pid = lock.read_text()
    lock.unlink()
    lock.mkdir()
    warning = f"warning: lock or control socket not put back: cannot open {lock}: Is a directory"
    cluster_dir.wait(lambda: warning in cluster_dir.ok("hb -s -v"), "the lock is missed")
    assert "not taken over" not in cluster_dir.ok("hb -s -v")
    services = cluster_dir.path("conf/services")
    services.write_text("rubbish\n")
    cluster_dir.wait(
        lambda: "configuration not taken over" in cluster_dir.ok("hb -s -v"),
        "the mistake is reported",
    )
    assert warning in cluster_dir.ok("hb -s -v")
    services.write_text("")
    lock.rmdir()
    cluster_dir.wait(lambda: "not put back" not in cluster_dir.ok("hb -s -v"), "the lock is back")
    assert lock.read_text() == pid
    assert (
        cluster_dir.log().count("not put back") == 2
        and cluster_dir.log().count("not taken over") == 2
    )


def test_lost_state_directory_of_a_service_that_may_run_is_not_a_new_service(
    cluster_dir: ClusterDir,
) -> None:
    """kill -9, the service's directory is removed, start: the wrapper is asked, and nothing is
    called stopped.
    """
    cluster_dir.add("registry", "exit 4")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    cluster_dir.kill()
    for entry in cluster_dir.path("services/registry").iterdir():
        entry.unlink()
    cluster_dir.path("services/registry").rmdir()
    cluster_dir.ok("ezha start")
    cluster_dir.wait(
        lambda: "status" in cluster_dir.all_calls("registry.sh"), "the wrapper is asked"
    )
    assert cluster_dir.state("registry") == "UNKNOWN"


def test_vanished_services_file_changes_nothing(cluster_dir: ClusterDir) -> None:
    """An editor that replaces the file in two steps: no service is forgotten in between."""
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    cluster_dir.path("conf/services").unlink()
    cluster_dir.wait(lambda: "vanished" in cluster_dir.ok("service -s -v"), "it is reported")
    assert cluster_dir.state("registry") == "FROZEN_STOP"


def test_service_removed_and_added_again_by_hand_keeps_its_state(cluster_dir: ClusterDir) -> None:
    """A line that was gone for a moment: an unfrozen standby is STOPPED again, not frozen."""
    cluster_dir.add("registry")
    cluster_dir.add("web")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-stop")
    services = cluster_dir.path("conf/services")
    both = services.read_text()
    services.write_text("".join(line for line in both.splitlines(True) if line.startswith("web")))
    cluster_dir.wait(lambda: "registry" not in cluster_dir.ok("service -s -c"), "registry is gone")
    services.write_text(both)
    cluster_dir.wait(lambda: "registry" in cluster_dir.ok("service -s -c"), "registry is back")
    until(
        lambda: cluster_dir.state("registry"),
        lambda state: state in ("STOPPED", "START_READY"),
        "its script has answered",
    )


def test_scripts_run_without_a_place_for_their_output(cluster_dir: ClusterDir) -> None:
    """The log directory is no directory any more (as good as full): services are started and
    stopped all the same.
    """
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    cluster_dir.obstruct("log")
    cluster_dir.ok("service -A registry force-start")
    assert "successfully stopped" in cluster_dir.run("service -A registry stop").stdout
    assert cluster_dir.calls("registry.sh") == ["stop"]


def test_unusable_directory_of_one_service_does_not_keep_the_others(
    cluster_dir: ClusterDir,
) -> None:
    """A file stands where web's states were: the daemon starts, registry is managed, and web's
    trouble is reported.
    """
    cluster_dir.add("registry")
    cluster_dir.add("web")
    cluster_dir.obstruct("services/web")
    cluster_dir.ok("ezha start")
    assert cluster_dir.state("registry") == "FROZEN_STOP"
    assert "services/web" in cluster_dir.ok("service -s -v")


def test_action_whose_state_cannot_be_kept_is_not_called_a_success(cluster_dir: ClusterDir) -> None:
    """freeze-stop holds until the daemon ends, but a restart would forget it: exit code 6 and
    why.
    """
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    cluster_dir.obstruct("services/registry")
    done = cluster_dir.run("service -A registry unfreeze")
    assert done.returncode == 6 and "not kept" in done.stderr


def test_foreground_daemon_notifies_systemd_and_ends_orderly(cluster_dir: ClusterDir) -> None:
    """READY=1 when it serves, STOPPING=1 at SIGTERM, exit code 0."""
    import socket

    address = str(cluster_dir.root / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(address)
        notify.settimeout(LIMIT_S)
        process = subprocess.Popen(
            [str(cluster_dir.path("bin/nmond")), "-f"],
            stderr=subprocess.PIPE,
            text=True,
            env={**cluster_dir.env, "NOTIFY_SOCKET": address},
        )
        assert notify.recv(200).startswith(b"READY=1")
        assert "DOWN" in cluster_dir.ok("hb -s")
        process.terminate()
        assert notify.recv(200) == b"STOPPING=1"
        _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0
    assert "starting" in errors and "ended" in errors


def test_log_without_a_reader_delays_nothing(cluster_dir: ClusterDir) -> None:
    """The reader of the daemon's stderr hangs and the pipe is full: it serves, starts, reports
    goodbye, and ends all the same.
    """
    cluster_dir.add("registry")
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    process = subprocess.Popen(
        [str(cluster_dir.path("bin/nmond")), "-f"], stderr=writer, env=cluster_dir.env
    )
    try:
        cluster_dir.wait(lambda: cluster_dir.run("service -s -c").returncode == 0, "it serves")
        # Refused while the status script is running, as it is at first.
        unfreeze = "service -A registry unfreeze"
        cluster_dir.wait(lambda: cluster_dir.run(unfreeze).returncode == 0, unfreeze)
        cluster_dir.wait_state("registry", "STARTED")
        assert "STARTING -> STARTED" in cluster_dir.log()
        process.terminate()
        assert process.wait(LIMIT_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reader)
        os.close(writer)


def test_killed_before_it_serves_is_reported_by_start(cluster_dir: ClusterDir) -> None:
    """A directory that cannot be made: `ezha start` reports it and is not zero."""
    cluster_dir.obstruct("services/.proc")
    assert "services/.proc" in cluster_dir.fails("ezha start", 7)


def test_real_time_class_is_an_option_that_scripts_do_not_inherit(cluster_dir: ClusterDir) -> None:
    """`realtime = yes`: threads that hear and decide have it where permitted, a script never.

    The thread that reads the reports of a disk's process is one of them. The status reports either
    way.
    """
    seen = cluster_dir.root / "policy"
    cluster_dir.path("conf/openha.conf").write_text("[node]\nrealtime = yes\n")
    noted = f"cut -d' ' -f41 /proc/self/stat >> {seen}; echo $1 >> {seen}.calls"
    cluster_dir.add("registry", noted)
    cluster_dir.ok("ezha start")
    tasks = cluster_dir.root.__class__(f"/proc/{cluster_dir.pid()}/task")

    def real_time() -> dict[str, int]:
        """Names of the threads in the class, with what the kernel has for each."""
        found: dict[str, int] = {}
        for task in tasks.iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                policy = os.sched_getscheduler(int(task.name))
                if policy & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO:
                    found[(task / "comm").read_text().strip()] = policy
        return found

    shown = cluster_dir.ok("hb -s -v")
    if "scheduling: real-time" in shown:
        links = {"links", "sender disk", "listener disk", "disk disk"}
        expected = {"engine", "pulse", "interfaces", "states", *links}
        cluster_dir.wait(lambda: expected <= set(real_time()), f"{expected} in the class")
        assert real_time() == dict.fromkeys(expected, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK)
    else:
        assert "no real-time class" in shown or "memory not locked" in shown
    cluster_dir.ok("service -A registry force-start")
    cluster_dir.run("service -A registry stop")
    calls = cluster_dir.root / "policy.calls"
    assert {"status", "stop"} <= set(calls.read_text().split())
    assert set(seen.read_text().split()) == {str(os.SCHED_OTHER)}


def test_ordinary_scheduling_is_the_default(cluster_dir: ClusterDir) -> None:
    """Nothing is asked for, and the status reports it."""
    cluster_dir.ok("ezha start")
    assert "scheduling: ordinary\n" in cluster_dir.ok("hb -s -v")


def test_quiet_cluster_logs_nothing(cluster_dir: ClusterDir) -> None:
    """Three beats later the log is as long as before."""
    cluster_dir.ok("ezha start")
    cluster_dir.wait(lambda: "SILENT" in cluster_dir.log(), "the verdict on the absent peer")
    before = cluster_dir.log()
    stays(cluster_dir.log, lambda seen: seen == before, 3)


@pytest.mark.parametrize("name", ["nodes", "monitor", "services", "openha.conf"])
def test_restart_with_a_mistake_in_a_file_keeps_the_running_daemon(
    cluster_dir: ClusterDir, name: str
) -> None:
    """The node is not left without a daemon for a typing error: the error is reported, with its
    place, and all runs on.
    """
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    pid = cluster_dir.pid()
    path = cluster_dir.path(f"conf/{name}")
    before = path.read_text() if path.exists() else ""
    path.write_text("a mistake in\n")
    done = cluster_dir.run("ezha restart")
    assert done.returncode == 3 and str(path) in done.stderr and "not restarted" in done.stderr, (
        done
    )
    assert cluster_dir.pid() == pid and cluster_dir.state("registry") == "STARTED"
    path.write_text(before)
    cluster_dir.ok("ezha restart")
    assert cluster_dir.pid() not in (0, pid)


def test_reload_with_a_mistake_in_a_file_changes_nothing(cluster_dir: ClusterDir) -> None:
    """The mistake is reported with its line, each time; the corrected file is applied."""
    cluster_dir.ok("ezha start")
    pid = cluster_dir.pid()
    path = cluster_dir.path("conf/services")
    before = path.read_text() if path.exists() else ""
    path.write_text(f"{before}a mistake in\n")
    line = before.count("\n") + 1
    for command in ("openha reload", "ezha reload"):
        done = cluster_dir.run(command)
        assert done.returncode == 3 and f"{path}:{line}: " in done.stderr, done
        assert "not reloaded: the running daemon continues" in done.stderr
    path.write_text(before)
    cluster_dir.ok("openha reload")
    assert cluster_dir.pid() == pid
    cluster_dir.ok("ezha kill")
    assert "nmond is not running" in cluster_dir.fails("openha reload", 4)


@pytest.mark.parametrize("name", ["nodes", "services", "openha.conf"])
@pytest.mark.parametrize("is_stopped", [True, False])
def test_stop_with_a_mistake_in_a_file_reports_what_became_of_the_services(
    cluster_dir: ClusterDir, name: str, is_stopped: bool
) -> None:
    """The configuration is not needed to stop: 0 if all was stopped, else 6 and the service that
    was not.
    """
    cluster_dir.add("registry", "exit 0" if is_stopped else "[ $1 != stop ]")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    cluster_dir.path(f"conf/{name}").write_text("a mistake in\n")
    if is_stopped:
        cluster_dir.ok("ezha stop")
    else:
        assert "registry STOP_FAILED" in cluster_dir.fails("ezha stop", 6)
    assert cluster_dir.pid() == 0 and cluster_dir.calls("registry.sh")[-1] == "stop"


def test_displaced_daemon_writes_no_state_and_leaves_the_other_its_socket(
    cluster_dir: ClusterDir,
) -> None:
    """Lock and control socket are another daemon's now: a command that waits is not carried out on
    its STATE file.
    """
    cluster_dir.add("registry", "exit 0")
    cluster_dir.ok("ezha start")
    pid, folder = cluster_dir.pid(), cluster_dir.path("services/.proc")
    os.kill(pid, signal.SIGSTOP)
    command = subprocess.Popen(
        [str(cluster_dir.path("bin/service")), "-A", "registry", "force-start"],
        env=cluster_dir.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with open(folder / "new", "w+", encoding="ascii") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write("1\n")
        other.flush()
        os.replace(other.name, folder / "nmond.lock")
        (folder / "socket").write_text("the other's")
        os.replace(folder / "socket", folder / "nmond.sock")
        os.kill(pid, signal.SIGCONT)
        cluster_dir.wait(lambda: not cluster_dir.is_alive(pid), "the daemon has ended")
    assert command.wait(LIMIT_S) != 0
    assert (folder / "nmond.sock").read_text() == "the other's"
    assert cluster_dir.state_file("registry").read_bytes() == b"6\0"


def test_storm_of_restarts_leaves_one_daemon_that_agrees_with_its_state_file(
    cluster_dir: ClusterDir,
) -> None:
    """SIGHUP, run-time files removed, restarts and kills in turn, between commands: never two
    daemons, never two answers.
    """
    cluster_dir.add(
        "registry",
        f"case $1 in start) touch {cluster_dir.root}/runs ;; stop) rm -f {cluster_dir.root}/runs ;;"
        f" status) [ -e {cluster_dir.root}/runs ] && echo up || echo down ;; esac",
    )
    cluster_dir.ok("ezha start")
    codes = {
        "FROZEN_STOP": b"6\0",
        "STARTED": b"2\0",
        "STOPPED": b"0\0",
        "FROZEN_START": b"7\0FROZEN_START\n",
    }

    def agree() -> bool:
        """A state that lasts, the same in the file and in the answer."""
        done = cluster_dir.run("service -s -c")
        if done.returncode:
            return False
        states = [
            words[2] for words in map(str.split, done.stdout.splitlines()) if words[0] == "registry"
        ]
        return (
            states[0] in codes
            and cluster_dir.state_file("registry").read_bytes() == codes[states[0]]
        )

    def hang_up() -> None:
        for pid in cluster_dir.daemons():
            os.kill(pid, signal.SIGHUP)

    def remove() -> None:
        shutil.rmtree(cluster_dir.path("services/.proc"), ignore_errors=True)

    def restart() -> None:
        cluster_dir.run("ezha restart")

    def kill() -> None:
        for pid in cluster_dir.daemons():
            os.kill(pid, signal.SIGKILL)
        cluster_dir.wait(lambda: not cluster_dir.daemons(), "killed")
        cluster_dir.run("ezha start")

    commands = ["unfreeze", "freeze-start", "unfreeze", "freeze-stop"]
    rounds = [
        (hang_up, remove),
        (remove, restart),
        (restart, hang_up),
        (remove, hang_up, restart),
        (kill, remove),
        (hang_up, kill),
        (remove, hang_up),
        (kill, restart),
    ]
    for number, steps in enumerate(rounds):
        for step in steps:
            step()
        cluster_dir.wait(agree, f"file and daemon agree after round {number}")
        cluster_dir.run(f"service -A registry {commands[number % len(commands)]}")
        cluster_dir.wait(agree, f"file and daemon agree after the command of round {number}")
        assert len(cluster_dir.daemons()) == 1, f"round {number}"
    assert "Traceback" not in cluster_dir.log() and "engine failed" not in cluster_dir.log()
