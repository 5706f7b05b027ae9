"""When the peer is fenced before a takeover, and what comes out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensvc_openha.agent.actions.peer_fencing import (
    FencingVerdict,
    PeerKnowledge,
    decide,
    fence_if_needed,
    knowledge_of,
    power_of_peer,
)
from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.service_file import parse_service_text
from opensvc_openha.agent.resources.fence_plan import fair_share_s, plan_time_s
from opensvc_openha.agent.service.loaded_service import Service, load_service
from opensvc_openha.agent.values.action_log import open_log
from opensvc_openha.agent.values.cluster_client import ClusterView
from opensvc_openha.agent.values.resource_status import ResourceStatus
from opensvc_openha.core.states import PEER_OUT, ServiceState
from opensvc_openha.core.status import (
    FencingStatus,
    NodeStatus,
    PathStatus,
    PeerStanding,
    ServiceStatus,
)
from opensvc_openha.errors import ConfigError, NotRunningError
from opensvc_openha.fence_devices.power_readings import Power
from opensvc_openha.formats.layout import agent_layout
from opensvc_openha.system.processes import start_of_process
from tests.agent.embedded import Agent, Outcome
from tests.waiting import until


@pytest.mark.parametrize("state", [None, *ServiceState])
@pytest.mark.parametrize("standing", [None, *PeerStanding])
def test_every_knowledge_of_the_peer_has_one_safe_verdict(
    standing: PeerStanding | None, state: ServiceState | None
) -> None:
    """Silent or unknowable: fence. Live or left and out: nothing to do. Anything else: refuse."""
    verdict = decide(PeerKnowledge(standing, state))
    if standing in (None, PeerStanding.SILENT):
        assert verdict is FencingVerdict.FENCE
    elif standing is not PeerStanding.UNKNOWN and state in PEER_OUT:
        assert verdict is FencingVerdict.PEER_IS_OUT
    else:
        assert verdict is FencingVerdict.REFUSE


def test_environment_without_a_known_standing_reports_nothing() -> None:
    """Absent, empty or misspelt variables are no knowledge; a state that is no state is none."""
    assert knowledge_of({}) is None
    assert knowledge_of({"OPENHA_PEER_STANDING": "sleeping"}) is None
    odd = knowledge_of({"OPENHA_PEER_STANDING": "live", "OPENHA_PEER_STATE": "ODD"})
    assert odd == PeerKnowledge(PeerStanding.LIVE, None)


@pytest.mark.parametrize(
    "standing, state, section, exit_code, fenced",
    [
        ("silent", "UNKNOWN", "[stonith#1]\ntype = callout\ncmd = {mark}; exit 0\n", 0, True),
        ("silent", "UNKNOWN", "[stonith#1]\ntype = callout\ncmd = {mark}; exit 7\n", 7, True),
        (
            "silent",
            "UNKNOWN",
            "[stonith#1]\ntype = callout\ncmd = {mark}; sleep 60\ntimeout = 0.3\n",
            1,
            True,
        ),
        ("silent", "UNKNOWN", "", 1, False),
        ("silent", "UNKNOWN", "[stonith#1]\ntype = ilo\ntarget = x\n", 1, False),
        ("live", "STOPPED", "[stonith#1]\ntype = callout\ncmd = {mark}; exit 7\n", 0, False),
        ("left", "FROZEN_STOP", "[stonith#1]\ntype = callout\ncmd = {mark}; exit 7\n", 0, False),
        ("live", "STARTED", "[stonith#1]\ntype = callout\ncmd = {mark}; exit 0\n", 1, False),
        ("unheard", "UNKNOWN", "[stonith#1]\ntype = callout\ncmd = {mark}; exit 0\n", 1, False),
        ("", "", "[stonith#1]\ntype = callout\ncmd = {mark}; exit 0\n", 0, True),
    ],
)
def test_stonith_action_fences_and_reports_the_truth(
    agent: Agent,
    monkeypatch: pytest.MonkeyPatch,
    standing: str,
    state: str,
    section: str,
    exit_code: int,
    fenced: bool,
) -> None:
    """The fence runs only where it must, and 0 comes out only if the peer is out or was fenced."""
    mark = agent.root / "fenced"
    agent.write("a", "[hb#0]\ntype = OpenHA\n" + section.format(mark=f"touch {mark}"))
    for name, value in (("OPENHA_PEER_STANDING", standing), ("OPENHA_PEER_STATE", state)):
        monkeypatch.setenv(name, value)
    outcome = agent.svcmgr(called_as="a.stonith")
    assert (outcome.exit_code, mark.exists()) == (exit_code, fenced)
    assert outcome.err


UP, OUT = ServiceState.STARTED, ServiceState.STOPPED
UNNAMED = "[hb#0]\ntype = OpenHA\n"
NAMED = UNNAMED + "name = webha\n"
SECTION = "[stonith#1]\ntype = callout\ncmd = exit 1\n"


@contextmanager
def loaded(folder: Path, text: str, cluster: ClusterView) -> Iterator[Service]:
    """The service ``web`` with this file, and this access to the daemon."""
    folders = {f"OSVC_{word}": str(folder / word.lower()) for word in ("ETC", "VAR", "LOG")}
    for each in folders.values():
        Path(each).mkdir()
    (folder / "etc" / "web.env").write_text(text)
    layout = agent_layout("", folders)
    with open_log(layout.log_dir, "web") as log:
        yield load_service(layout, "web", log, cluster)


def no_daemon() -> NodeStatus:
    raise NotRunningError("nmond does not run")


@pytest.mark.parametrize(
    ("heartbeat", "standing", "known", "exit_code", "fenced"),
    [
        (NAMED, PeerStanding.LIVE, {"webha": OUT, "web": UP}, 0, False),
        (NAMED, PeerStanding.LIVE, {"webha": UP, "web": OUT}, 1, False),
        (UNNAMED, PeerStanding.LIVE, {"webha": UP, "web": OUT}, 0, False),
        (UNNAMED, PeerStanding.LIVE, {"webha": OUT, "web": UP}, 1, False),
        ("", PeerStanding.LIVE, {"webha": UP, "web": OUT}, 0, False),
        (UNNAMED, PeerStanding.LIVE, {}, 1, False),
        (UNNAMED, PeerStanding.SILENT, {"web": OUT}, 0, True),
        (UNNAMED, None, {}, 0, True),
    ],
)
def test_action_without_knowledge_in_its_environment_asks_the_daemon(
    tmp_path: Path,
    heartbeat: str,
    standing: PeerStanding | None,
    known: dict[str, ServiceState],
    exit_code: int,
    fenced: bool,
) -> None:
    """The state of this service counts, by its name in the cluster; no daemon is no knowledge."""
    mark = tmp_path / "fenced"

    def status() -> NodeStatus:
        if standing is None:
            return no_daemon()
        services = tuple(
            ServiceStatus(each, "deb1", "deb2", OUT, state, OUT, state)
            for each, state in known.items()
        )
        return NodeStatus("deb1", "deb2", 1, standing, "", (), services)

    text = f"{heartbeat}[stonith#1]\ntype = callout\ncmd = touch {mark}\n"
    with loaded(tmp_path, text, ClusterView(status)) as service:
        assert (fence_if_needed(service, {}), mark.exists()) == (exit_code, fenced)


@pytest.mark.parametrize(("text", "is_said"), [(UNNAMED, True), (UNNAMED + SECTION, False)])
def test_power_of_a_peer_that_no_section_knows_is_unknown_and_why_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, is_said: bool
) -> None:
    """A section that cannot ask either reports that itself."""
    with loaded(tmp_path, text, ClusterView(no_daemon)) as service:
        assert power_of_peer(service, {}) is Power.UNKNOWN
    assert ("no [stonith#N] section defines how to ask" in capsys.readouterr().err) is is_said


@pytest.mark.parametrize(
    ("heartbeat", "name", "state", "status"),
    [
        (UNNAMED, "web stonith#1", "wrong", ResourceStatus.WARN),
        (UNNAMED, "web stonith#1", "unreachable", ResourceStatus.WARN),
        (UNNAMED, "web stonith#1", "armed", ResourceStatus.NA),
        (UNNAMED, "web stonith#1", "untested", ResourceStatus.NA),
        (UNNAMED, "web stonith#2", "wrong", ResourceStatus.NA),
        (UNNAMED + "name = www\n", "web stonith#1", "wrong", ResourceStatus.NA),
        (UNNAMED + "name = www\n", "www stonith#1", "wrong", ResourceStatus.WARN),
        ("", "web stonith#1", "wrong", ResourceStatus.NA),
    ],
)
def test_status_of_a_fence_is_what_the_daemon_found(
    tmp_path: Path, heartbeat: str, name: str, state: str, status: ResourceStatus
) -> None:
    """By the name of the service in the cluster; without a daemon, or a cluster, it has none."""
    paths = (PathStatus(name, "callout", 1, state, "it says OFF"),)

    def node() -> NodeStatus:
        fencing = FencingStatus(service_paths=paths)
        return NodeStatus("deb1", "deb2", 1, PeerStanding.LIVE, "", (), (), fencing=fencing)

    text = f"{heartbeat}[stonith#1]\ntype = callout\ncmd = true\n"
    for cluster, expected in ((ClusterView(node), status), (ClusterView(no_daemon), None)):
        folder = tmp_path / ("seen" if expected else "unseen")
        folder.mkdir()
        with loaded(folder, text, cluster) as service:
            report = service.report()
        (found,) = [res for res in report.resources if res.rid == "stonith#1"]
        assert found.status is (expected or ResourceStatus.NA)
        warned = (f"{state}: it says OFF",) if expected is ResourceStatus.WARN else ()
        assert found.log == warned


def test_stonith_by_hand_under_a_cluster_needs_the_cluster_option(agent: Agent) -> None:
    """svcmgr stonith without --cluster is refused by the safety net."""
    agent.write("a", "[hb#0]\ntype = OpenHA\n[stonith#1]\ntype = callout\ncmd = true\n")
    assert agent.svcmgr("-s", "a", "stonith").exit_code == 1
    assert agent.svcmgr("-s", "a", "stonith", "-c").exit_code == 0


def sections(*lines: str) -> str:
    """A service under the cluster with these fencing sections, each given by its keywords."""
    written = "".join(
        f"[stonith#{number}]\ntype = callout\n{line}\n" for number, line in enumerate(lines, 1)
    )
    return "[hb#0]\ntype = OpenHA\n" + written


def fence_silent(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, text: str, limit: str = ""
) -> Outcome:
    """What `a.stonith` does when the daemon calls it beside a silent peer."""
    agent.write("a", text)
    monkeypatch.setenv("OPENHA_PEER_STANDING", "silent")
    if limit:
        monkeypatch.setenv("OPENHA_LIMIT_S", limit)
    return agent.svcmgr(called_as="a.stonith")


@pytest.mark.parametrize(
    "lines, exit_code, ran",
    [
        (("cmd = {1}; exit 0", "level = 2\ncmd = {2}; exit 0"), 0, "1"),
        (("cmd = {1}; exit 7", "level = 2\ncmd = {2}; exit 0"), 0, "1 2"),
        (("cmd = {1}; exit 7", "level = 2\ncmd = {2}; exit 8"), 8, "1 2"),
        (("level = 2\ncmd = {1}; exit 0", "cmd = {2}; exit 7"), 0, "2 1"),
        (("cmd = {1}; exit 0", "cmd = {2}; exit 7", "level = 5\ncmd = {3}; exit 0"), 0, "1 2 3"),
        (("cmd = {1}; exit 7", "cmd = {2}; exit 0", "level = 2\ncmd = {3}; exit 0"), 0, "1 3"),
        (
            ("cmd = {1}; exit 7", "level = 2\ncmd = {2}; exit 0", "level = 2\ncmd = {3}; exit 9"),
            9,
            "1 2 3",
        ),
        (
            ("cmd = {1}; exit 7", "level = 3\ncmd = {2}; exit 0", "level = 2\ncmd = {3}; exit 9"),
            0,
            "1 3 2",
        ),
        (("cmd = {1}; exit 7", "level = 2\ndisable = true\ncmd = {2}; exit 0"), 7, "1"),
        (("cmd = {1}; exit 0", "type = ilo\ntarget = x"), 1, ""),
        (("cmd = {1}; exit 0", "type = ilo\ntarget = x", "level = 2\ncmd = {3}; exit 0"), 0, "3"),
        (("cmd = {1}; kill -9 $$", "level = 2\ncmd = {2}; kill -9 $$"), 1, "1 2"),
    ],
)
def test_a_level_is_tried_only_after_a_failure_and_one_is_enough(
    agent: Agent,
    monkeypatch: pytest.MonkeyPatch,
    lines: tuple[str, str, str] | tuple[str, str],
    exit_code: int,
    ran: str,
) -> None:
    """Equal levels must all succeed, in the order of the file.

    A level that cannot succeed fences no node.
    """
    path = agent.root / "ran"
    marks = ["", *(f"echo {number} >> {path}" for number in range(1, 4))]
    text = sections(*(line.format(*marks) for line in lines))
    text = text.replace("type = callout\ntype = ilo", "type = ilo")
    outcome = fence_silent(agent, monkeypatch, text)
    assert outcome.exit_code == exit_code, outcome.err
    assert (path.read_text().split() if path.exists() else []) == ran.split()


def test_a_command_that_hangs_leaves_the_next_level_its_time_and_nothing_behind(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Level 1 ignores SIGTERM, and so does what it started: both are killed at its share of the
    limit, then level 2 fences.
    """
    script = agent.root / "hang"
    script.write_text(
        "trap '' TERM\n"
        f"sleep 10000 & echo $! > {agent.root}/child\n"
        f"echo $$ > {agent.root}/parent\n"
        "sleep 10000\n"
    )
    text = sections(f"cmd = sh {script}", "level = 2\ncmd = exit 0")
    outcome = fence_silent(agent, monkeypatch, text, "6")
    assert outcome.exit_code == 0, outcome.err
    for name in ("child", "parent"):
        pid = int((agent.root / name).read_text())
        until(lambda pid=pid: not start_of_process(pid))  # type: ignore[misc]
    assert re.search(r"did not end within \S+ s and was killed \(its timeout is 50 s", outcome.err)


def test_all_levels_hang_and_the_end_is_ours_to_report_before_the_limit(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the daemon reported is its limit is divided among three sections.

    The summary names them all; on a busy machine the later ones may be left without time.
    """
    hang = "cmd = sleep 10000"
    text = sections(hang, f"level = 2\n{hang}", f"level = 3\n{hang}")
    outcome = fence_silent(agent, monkeypatch, text, "1.2")
    assert outcome.exit_code == 1
    last = outcome.err.splitlines()[-1]
    for number in (1, 2, 3):
        assert re.search(
            rf"level {number}: stonith#{number}: (sleep 10000 did not end|not run: no time)", last
        ), outcome.err
    assert "level 1: stonith#1: sleep 10000 did not end" in last, outcome.err


@pytest.mark.parametrize("has_pidfd", [True, False])
def test_what_a_fence_leaves_in_the_background_does_not_shoot_later(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, has_pidfd: bool
) -> None:
    """The command ends with 0 while a child of it continues: it is killed with its process group;
    without pidfd_open, too.
    """
    if not has_pidfd:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    line = f"cmd = sleep 10000 & echo $! > {agent.root}/child"
    assert fence_silent(agent, monkeypatch, sections(line)).exit_code == 0
    pid = int((agent.root / "child").read_text())
    until(lambda: not start_of_process(pid))


def test_log_reports_which_level_and_section_did_what_and_what_failed(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line for each end, with its seconds, and a summary."""
    text = sections("cmd = exit 7", "cmd = exit 0", "level = 2\ncmd = exit 8")
    lines = fence_silent(agent, monkeypatch, text).err.splitlines()
    shown = re.sub(r"\d+\.\d s", "N s", "\n".join(" ".join(line.split()[1:]) for line in lines))
    assert shown.splitlines() == [
        (
            "INFO A peer is silent, its state is not known: fencing with "
            "level 1: stonith#1, stonith#2; level 2: stonith#3"
        ),
        "INFO A.STONITH#1 level 1: fencing with stonith#1, at most N s",
        "INFO A.STONITH#1 /bin/sh -c 'exit 7'",
        "ERROR A.STONITH#1 level 1, after N s: fencing failed: exit 7 exited with 7",
        "INFO A.STONITH#2 level 1: not tried, for this level has failed",
        "INFO A.STONITH#3 level 2: fencing with stonith#3, at most N s",
        "INFO A.STONITH#3 /bin/sh -c 'exit 8'",
        "ERROR A.STONITH#3 level 2, after N s: fencing failed: exit 8 exited with 8",
        (
            "ERROR A not fenced: level 1: stonith#1: exit 7 exited with 7; level 2: stonith#3: exit"
            " 8 exited with 8"
        ),
    ]


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "two", "1 2"])
def test_level_that_is_no_whole_number_from_one_is_an_error_with_its_place(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """`validate config` reports it, and so does the fence, which runs nothing."""
    mark = agent.root / "fenced"
    path = agent.write("a", sections(f"level = {value}\ncmd = touch {mark}"))
    checked = agent.svcmgr("-s", "a", "validate", "config")
    assert checked.exit_code == 3
    assert (
        f"{path}:5: [stonith#1] level is {value!r}, expected a whole number from 1" in checked.out
    )
    monkeypatch.setenv("OPENHA_PEER_STANDING", "silent")
    refused = agent.svcmgr(called_as="a.stonith")
    assert refused.exit_code == 3 and "expected a whole number from 1" in refused.err
    assert not mark.exists()


@pytest.mark.parametrize("value", ["0", "-1", "two"])
def test_a_section_of_a_real_agents_file_needs_a_level_from_one(value: str) -> None:
    """That file was never validated: the place is in the error."""
    text = f"[stonith#1]\ntype = callout\ncmd = true\nlevel = {value}\n"
    section = parse_service_text(text, "svc.env", "svc", "a").sections[0]
    with pytest.raises(
        ConfigError, match=r"svc.env:4: \[stonith#1\] level is '.*', expected a whole number"
    ):
        section.value(schema.FENCE_LEVEL)


def test_levels_are_valid(agent: Agent) -> None:
    """`validate config` of a file with all keywords of a fence finds nothing about them."""
    agent.write(
        "a", sections("cmd = true", "level = 2\ntimeout = 20\ncmd = true\nstatus_cmd = false")
    )
    assert "stonith" not in agent.svcmgr("-s", "a", "validate", "config").out


@pytest.mark.parametrize(
    "left, wanted, share",
    [
        (50, [50], 50),
        (50, [120], 50),
        (50, [10], 10),
        (50, [50, 50], 25),
        (50, [50, 5], 45),
        (50, [40, 10], 40),
        (50, [5, 50, 50], 5),
        (60, [50, 50, 50], 20),
        (60, [30, 5, 50], 27.5),
        (0, [50], 0),
        (-1, [50, 50], -0.5),
    ],
)
def test_share_of_the_time_is_fair(left: int, wanted: list[int], share: float) -> None:
    """Who wants less than an equal part leaves the rest to the others."""
    assert fair_share_s(left, wanted) == share


@given(st.floats(0, 1000), st.lists(st.floats(0.1, 1000), min_size=1, max_size=8))
def test_shares_never_exceed_what_is_left_and_leave_each_its_equal_part(
    left: float, wanted: list[float]
) -> None:
    """Each takes all it may: together they keep the deadline, and none gets less than an equal part
    or what it wants.
    """
    taken: list[float] = []
    for number in range(len(wanted)):
        share = fair_share_s(left - sum(taken), wanted[number:])
        assert share >= min(wanted[number], left / len(wanted)) - 1e-6
        taken.append(share)
    assert sum(taken) <= left + 1e-6


@pytest.mark.parametrize(
    "message, time_s",
    [("60", 50), ("", 50), ("300", 290), ("6", 5), ("0.6", 0.5), ("nonsense", 50), ("-5", 50)],
)
def test_time_of_the_plan_is_below_the_limit_of_the_script(message: str, time_s: float) -> None:
    """What the daemon reports is the limit, or that of a check-up script; some of it is kept
    back.
    """
    assert plan_time_s({"OPENHA_LIMIT_S": message}) == pytest.approx(time_s)
