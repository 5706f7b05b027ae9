"""`openha history` and `openha why` on a real daemon: what an operator who is woken up reads."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import jsonschema
import pytest

from opensvc_openha.cli.json_views import VIEWS
from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import NodeStatus, PeerStanding, ServiceStatus
from opensvc_openha.storage.explanation import explain
from opensvc_openha.storage.history_entry import Entry, EntryKind
from opensvc_openha.storage.history_file import HistoryFile, read_entries
from opensvc_openha.storage.outlook import Circumstances
from opensvc_openha.system import clock
from tests.cli.test_json_views import published
from tests.cluster_dir import HERE, PEER, ClusterDir


def section(text: str, title: str) -> list[str]:
    """Lines of one part of `openha why`."""
    lines = text.splitlines()
    begin = lines.index(title) + 1
    end = lines.index("", begin) if "" in lines[begin:] else len(lines)
    return [line.strip() for line in lines[begin:end]]


def why(cluster: ClusterDir, needle: str) -> str:
    """`openha why registry`, which contains this at once."""
    text = cluster.ok("openha why registry")
    assert needle in text, text
    return text


def history_path(cluster: ClusterDir) -> str:
    """The file, which is written a moment after the decision."""
    return str(cluster.path("services/.proc/history"))


def await_force_start(cluster: ClusterDir) -> None:
    """Wait until the file has what the service's last command did: what a kill leaves."""
    path = history_path(cluster)
    cluster.wait(
        lambda: (
            os.path.exists(path)
            and any(entry.reason == "operator: force-start" for entry in read_entries(path))
        ),
        "it is in the file",
    )


def fill(cluster: ClusterDir, count: int) -> None:
    """A history with one entry each ten seconds until now."""
    cluster.path("services/.proc").mkdir(parents=True, exist_ok=True)
    file = HistoryFile(history_path(cluster), "m")
    now = clock.wall()
    file.append(
        [
            Entry(
                now - 10 * (count - number),
                10.0 * number,
                EntryKind.SERVICE,
                "registry",
                "A",
                "B",
                f"operator: {number}",
            )
            for number in range(count)
        ],
        1_000,
    )
    file.close()


def test_takeover_is_explained_while_it_waits_and_when_it_is_done(cluster_dir: ClusterDir) -> None:
    """The peer is silent: what it waits for.

    Then silence, links, own lateness, delay and scripts, each with its time.
    """
    cluster_dir.add(
        "registry",
        "case $1 in start) sleep 0.4;; esac",
        check=cluster_dir.script("check.sh", "sleep 0.2"),
    )
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry unfreeze")
    cluster_dir.wait_state("registry", "START_READY")
    text = why(cluster_dir, "START_READY: peer is silent")
    assert text.startswith(f"registry: START_READY on {HERE}, its primary since ")
    assert section(text, "Waits for") == [
        "peer is silent: start-ready delay (5 s where the peer is silent)"
    ]
    assert (
        section(text, "What to do")[0]
        == "to prevent the start: $EZ_BIN/service -A registry freeze-stop"
    )
    cluster_dir.wait_state("registry", "STARTED")
    text = why(cluster_dir, "STARTING -> STARTED")
    way = "\n".join(section(text, "How it came to this"))
    expected = (
        "command unfreeze for registry: by root",
        "FROZEN_STOP -> STOPPED: operator: unfreeze",
        "STOPPED -> START_READY: peer is silent",
        "START_READY -> STARTING: peer is silent, check-up script",
        "check-up script of registry: ok after",
        "start script of registry: ok after",
        "STARTING -> STARTED: start script succeeded",
    )
    places = [way.find(piece) for piece in expected]
    assert -1 not in places and places == sorted(places), way
    # The verdict on the peer and the command come from two sides: either may be first.
    assert -1 < way.find(f"peer {PEER}: UNHEARD -> SILENT") < way.find("STOPPED -> START_READY"), (
        way
    )
    took = [float(number) for number in re.findall(r"(?:ok after|lasted) (\d+\.\d\d) s", way)]
    assert took[1] >= 5.0 and took[2] >= 0.2 and took[3] >= 0.4 and took[4] >= took[2] + took[3]
    seen = [line for line in text.splitlines() if "timeout 2 s" in line]
    assert len(seen) == 2 and all(": down, never heard" in line for line in seen)
    assert "this node itself was late by 0." in text
    ruled_out = section(text, "Ruled out")
    assert len(ruled_out) == 3 and ruled_out[2].endswith("check.sh succeeded")
    assert "rule: STARTING, start ok -> STARTED" in section(text, "Why")


def test_dead_daemon_is_no_reason_to_print_nothing(cluster_dir: ClusterDir) -> None:
    """kill -9, then why: how it ended, what was known, what to do.

    After the next start the way is still reported.
    """
    cluster_dir.add("registry", "echo up")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    await_force_start(cluster_dir)
    cluster_dir.kill()
    text = cluster_dir.ok("openha why registry")
    assert text.startswith(f"registry: STARTED on {HERE}, its primary since ")
    assert "the last one ended without a goodbye" in text and "operator: force-start" in text
    assert section(text, "Waits for") == ["nothing is decided on this node until nmond runs"]
    assert section(text, "What to do")[0].startswith("start the daemon: $EZ/ezha start")
    cluster_dir.ok("ezha start")
    text = why(cluster_dir, "wrapper's status of registry: up")
    assert "operator: force-start" in text and "as before the daemon was restarted" in text
    assert "ended without a goodbye" in cluster_dir.ok("openha history")
    cluster_dir.ok("ezha kill")
    assert "the last one ended: end of the daemon, by root" in cluster_dir.ok("openha why registry")
    # A command for all services is no entry of one that never was.
    assert "no service ghost" in cluster_dir.fails("openha history ghost", 2)


def test_entry_is_shown_that_the_file_does_not_have(cluster_dir: ClusterDir) -> None:
    """The end of the file is lost, as before the daemon has written it: why and history show all
    the same what the status knows, in its order and once.
    """
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    path = history_path(cluster_dir)
    cluster_dir.wait(lambda: os.path.exists(path) and bool(read_entries(path)), "the file")
    cluster_dir.ok("service -A registry force-start")
    await_force_start(cluster_dir)
    whole = cluster_dir.ok("openha history registry").splitlines()
    (file,) = Path(path).iterdir()
    text = file.read_bytes()
    os.truncate(file, text.index(b'"force-start"'))
    assert not any(entry.new == "STARTED" for entry in read_entries(path, "registry"))

    printed = why(cluster_dir, "FROZEN_STOP -> STARTED: operator: force-start")
    assert "command force-start for registry: by root" in printed
    lines = cluster_dir.ok("openha history registry").splitlines()
    assert lines == whole and len(lines) == len(set(lines)) and lines == sorted(lines)
    assert lines[-1].endswith("FROZEN_STOP -> STARTED: operator: force-start")
    assert cluster_dir.ok("openha history registry -n 1").splitlines() == lines[-1:]


def test_damaged_line_is_left_out_and_reported(cluster_dir: ClusterDir) -> None:
    """One of three: the others are shown, by either way, and how many are not."""
    cluster_dir.add("registry")
    fill(cluster_dir, 3)
    (file,) = Path(history_path(cluster_dir)).iterdir()
    file.write_bytes(file.read_bytes().replace(b'"operator: 1"', b'"operator: \xff"'))
    for words in ("openha history", "openha history -n 0"):
        done = cluster_dir.run(words)
        assert [line[-1] for line in done.stdout.splitlines()] == ["0", "2"]
        assert done.stderr == f"a damaged line of the history {file.parent} left out\n"


def test_history_survives_a_reboot_and_reports_it(cluster_dir: ClusterDir) -> None:
    """The machine's life is another one at the next start: STOPPED since the machine was started,
    and what was before.
    """
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    await_force_start(cluster_dir)
    cluster_dir.kill()
    cluster_dir.path("services/.proc/boot").write_text("7 another-life:1\n")
    cluster_dir.ok("ezha start")
    text = why(cluster_dir, "the machine was started")
    assert "first start since the machine was started" in text
    assert "operator: force-start" in cluster_dir.ok("openha history registry")


def test_commands_are_in_the_history_with_who_gave_them_and_refusals_with_their_reason(
    cluster_dir: ClusterDir,
) -> None:
    """A refused stop, a freeze of all services, an end of the daemon: who, when, and what came of
    it.
    """
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    cluster_dir.fails("service -A registry stop", 5)
    cluster_dir.ok("service -A force-start")
    cluster_dir.ok("ezha stop")
    text = cluster_dir.ok("openha history")
    for piece in (
        "command stop for registry: by root",
        "command stop REFUSED for registry: we are FROZEN_STOP, the peer is",
        "command force-start: by root",
        "command stop of this node: by root",
        "nmond ENDED: orderly",
        "stop script of registry: ok after",
        "STOPPING -> STOPPED: stop script succeeded",
    ):
        assert piece in text, piece
    assert cluster_dir.ok("openha history registry").count("nmond") == 0


def test_failed_start_reports_what_the_script_printed_and_what_to_do(
    cluster_dir: ClusterDir,
) -> None:
    """START_FAILED: exit code and last words of the script, its log, and the way out."""
    cluster_dir.add(
        "registry",
        "case $1 in start) echo no such volume: vgregistry; exit 5;; esac",
        check="/bin/true",
    )
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry unfreeze")
    cluster_dir.wait_state("registry", "START_FAILED")
    text = why(cluster_dir, "STARTING -> START_FAILED")
    assert "exited with 5 (no such volume: vgregistry)" in section(text, "Why")[0]
    advice = "\n".join(section(text, "What to do"))
    assert (
        "log/registry.log" in advice
        and "service -A registry freeze-stop" in advice
        and "configure fencing" in advice
    )
    assert "NOTHING is proved" in text


def test_json_holds_what_the_text_holds(cluster_dir: ClusterDir) -> None:
    """Both commands, for programs: state, reason, rule, steps, and what was seen on each link."""
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    printed = json.loads(cluster_dir.ok("openha why registry --json"))
    assert (printed["state"], printed["role"], printed["rule"]) == (
        "STARTED",
        "primary",
        "FROZEN_STOP, force-start -> STARTED",
    )
    assert [step["new"] for step in printed["steps"] if step["kind"] in ("command", "service")] == [
        "force-start",
        "STARTED",
    ]
    assert {link["link_id"].split()[0] for link in printed["decision"]["sight"]["links"]} == {
        "unicast",
        "dio",
    }
    listed = json.loads(cluster_dir.ok("openha history --json -n 3"))["entries"]
    assert len(listed) == 3 and listed[-1]["at"] >= listed[0]["at"]
    for view in VIEWS[:5]:
        done = cluster_dir.quick(view.COMMAND.replace("SERVICE", "registry"))
        assert not done.stderr, done
        jsonschema.validate(json.loads(done.stdout), published(view))


def test_wrong_call_is_reported_in_one_line(cluster_dir: ClusterDir) -> None:
    """What was wrong, and exit code 2."""
    cluster_dir.add("registry")
    fill(cluster_dir, 1)
    for command, text in (
        ("openha why", "expected SERVICE"),
        ("openha why ghost", "no service ghost"),
        ("openha history ghost", "no service ghost"),
        ("openha history --since yesterday", "--since: expected 90s"),
        ("openha history -n many", "-n: expected a number"),
        ("openha history --all", "unknown option --all"),
    ):
        assert text in cluster_dir.fails(command, 2)


def test_history_before_the_first_start_reports_where_it_will_be(cluster_dir: ClusterDir) -> None:
    """Nothing was ever written: exit code 7 and the path; `why` reports what the files hold."""
    cluster_dir.add("registry")
    assert "there is no history yet" in cluster_dir.fails("openha history", 7)
    done = cluster_dir.run("openha why registry")
    assert (
        done.returncode == 0
        and "start the daemon: $EZ/ezha start" in done.stdout
        and "no history yet" in done.stderr
    )


def test_since_and_number_select(cluster_dir: ClusterDir) -> None:
    """Entries from before are left out.

    -n 0 gives all, the newest 50 are the default, and --since has no such limit.
    """
    cluster_dir.add("registry")
    fill(cluster_dir, 70)
    assert len(cluster_dir.ok("openha history").splitlines()) == 50
    assert len(cluster_dir.ok("openha history -n 0").splitlines()) == 70
    assert cluster_dir.ok("openha history registry -n 3").splitlines()[0].endswith("operator: 67")
    assert len(cluster_dir.ok("openha history --since 650s").splitlines()) in range(50, 67)
    assert cluster_dir.ok("openha history registry --since 0s") == ""


@pytest.mark.parametrize(
    "text",
    ["2014-06-19", "2014-06-19 09:31", "2014-06-19T09:31:57", "09:31", "23:59:59", "3d", "90s"],
)
def test_instants_an_operator_types_are_understood(text: str) -> None:
    """Each form gives an instant, and those that name one give it back."""
    instant = clock.read_stamp(text)
    if "-" in text:
        assert clock.precise_stamp(instant).startswith(text.replace("T", " "))


@pytest.mark.parametrize("own", list(ServiceState))
@pytest.mark.parametrize("peer", list(ServiceState))
def test_every_state_has_something_it_waits_for_and_something_to_do(
    own: ServiceState, peer: ServiceState
) -> None:
    """Whatever both nodes report, the explanation is not empty."""
    spec = ServiceSpec("registry", "/etc/registry", "deb1", "deb2", "/opt/fence")
    svc = ServiceStatus("registry", "deb1", "deb2", own, peer, own, peer, "a reason", 1.0)
    status = NodeStatus("deb1", "deb2", 1, PeerStanding.LIVE, "heard", (), (svc,))
    printed = explain(
        Circumstances(
            "registry", "deb1", "deb2", spec, (), (), status, "", "", "", "/log/registry.log", 5.0
        )
    )
    if own is not ServiceState.FORCE_STOP:
        assert printed.waits_for and printed.advice
    assert not any("both nodes run it" in text for text in printed.advice)
    assert printed.state == own.name and printed.reason == "a reason"


def test_two_copies_and_missing_fencing_are_explained_by_what_the_status_reports_not_its_text() -> (
    None
):
    """The advice follows from the status' fields; a warning that is advice is not shown twice."""
    spec = ServiceSpec("registry", "/etc/registry", "deb1", "deb2", "/bin/true")
    started = ServiceState.STARTED
    svc = ServiceStatus(
        "registry", "deb1", "deb2", started, started, started, started, "any", is_dual_run=True
    )
    status = NodeStatus(
        "deb1",
        "deb2",
        1,
        PeerStanding.LIVE,
        "heard",
        (),
        (svc,),
        warnings=("any fence", "any other"),
        fencing_warnings=("any fence",),
    )
    printed = explain(
        Circumstances(
            "registry", "deb1", "deb2", spec, (), (), status, "", "", "", "/log/registry.log", 5.0
        )
    )
    assert printed.warnings == ("any other",)
    assert printed.advice[0].startswith("both nodes run it")
    assert printed.advice[-1].startswith("configure fencing")
