"""openha.conf beside the other files: what goes together, and what a running daemon makes of an
edit.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from opensvc_openha.control import client
from opensvc_openha.core.model import FrozenStorage, LeasePolicy, OnDualRun, PathKind, Profile
from opensvc_openha.daemon.launch import expect_startable
from opensvc_openha.errors import ConfigError, OpenhaError
from opensvc_openha.formats.key_file import KeyRing
from opensvc_openha.formats.layout import Layout, tree_layout
from opensvc_openha.formats.options_file import parse_options
from opensvc_openha.storage import configuration
from opensvc_openha.storage.configuration import check_devices, read_cluster, read_options
from opensvc_openha.storage.key_store import new_key, read_settings, write_keys
from opensvc_openha.system.identity import node_name
from tests.cluster_dir import HERE, PEER, ClusterDir

FAST = "[timing]\nprofile = fast\nfence_time = 0.5\n"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Two nodes, a link each way with a timeout of 0.3 s, and a service with a check-up script of
    its own.
    """
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/nodes").write_text(f"{node_name()}\npeer\n")
    (tmp_path / "conf/monitor").write_text(
        f"{node_name()} dio /dev/sdb 0 0.3\npeer dio /dev/sdb 19 0.3\n"
    )
    (tmp_path / "conf/services").write_text(
        f"# ours\nregistry /x {node_name()} peer /usr/local/bin/fence\n"
    )
    return tree_layout(str(tmp_path))


def refusal(layout: Layout, text: str) -> str:
    """Why the cluster cannot be read with this openha.conf."""
    Path(layout.options_file).write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_cluster(layout)
    return str(caught.value).replace(f"{layout.conf_dir}/", "")


def test_options_reach_the_cluster(layout: Layout) -> None:
    """Profile, fence time, policy and limits are in the values that the engine gets."""
    assert read_cluster(layout).profile is Profile.TUTORIAL
    Path(layout.options_file).write_text(
        FAST + "[scripts]\nstart_timeout = 9\n[policy]\non_dual_run = stop-youngest\n"
    )
    spec = read_cluster(layout)
    assert (spec.profile, spec.fence_time_s) == (Profile.FAST, 0.5)
    assert spec.services[0].limits.start_s == 9
    assert spec.services[0].policy.on_dual_run is OnDualRun.STOP_YOUNGEST


PLAN = """[fencing]
levels = ipmi + pdu, reservation, mine
arbiter = disk /dev/sdb
[[ipmi peer]]
agent = fence_ipmilan
ip = 10.0.0.1
timeout = 12
[[ipmi {here}]]
agent = fence_ipmilan
ip = 10.0.0.2
[[pdu peer]]
agent = callout
cmd = /bin/cut
status_cmd = /bin/cut status
[[pdu {here}]]
agent = callout
cmd = /bin/cut
[[mine peer]]
agent = callout
cmd = /bin/cut
[[mine {here}]]
agent = callout
cmd = /bin/cut
"""


def test_fence_plan_reaches_the_cluster(layout: Layout) -> None:
    """The paths against the peer, with their limits; what can be asked for its power is a power
    device.
    """
    Path(layout.options_file).write_text(PLAN.format(here=node_name()))
    policy = read_cluster(layout).fencing
    power, callout, reservation = PathKind.POWER, PathKind.CALLOUT, PathKind.RESERVATION
    assert [
        [(path.name, path.kind, path.limit_s) for path in level] for level in policy.levels
    ] == [
        [("ipmi", power, 12.0), ("pdu", power, 30.0)],
        [("reservation", reservation, 30.0)],
        [("mine", callout, 30.0)],
    ]
    assert policy.has_arbiter
    marks = {path.name: path.mark for path in policy.paths}
    Path(layout.options_file).write_text(PLAN.format(here=node_name()).replace(".0.1", ".0.3"))
    changed = {
        path.name for path in read_cluster(layout).fencing.paths if path.mark != marks[path.name]
    }
    assert changed == {"ipmi"}


def test_lease_reaches_the_cluster(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path lasts as long as the promise of a watchdog of the least exact kind."""
    monkeypatch.setattr(configuration, "is_virtual_machine", lambda: False)
    Path(layout.options_file).write_text(
        "[fencing]\n[[lease]]\nwatchdog = /dev/watchdog1\n[[etcd]]\nurls = http://a:2379\n"
    )
    policy = read_cluster(layout).fencing
    assert policy.lease == LeasePolicy("/dev/watchdog1", 4.0, 1.0, has_witness=True)
    assert [
        [(path.name, path.kind, path.limit_s) for path in level] for level in policy.levels
    ] == [[("lease", PathKind.LEASE, 13.7)]]
    Path(layout.options_file).write_text(
        "[fencing]\n[[lease]]\non_lost = stop\nstop_time = 30\n[[etcd]]\nurls = http://a:2379\n"
    )
    lease = read_cluster(layout).fencing.lease
    assert lease is not None and (lease.timeout_s, lease.stop_s) == (35.0, 30.0)
    Path(layout.options_file).write_text("[timing]\nprofile = fast\n[fencing]\n[[lease]]\n")
    policy = read_cluster(layout).fencing
    assert [path.limit_s for path in policy.paths] == [3.08]


def test_lease_that_would_harm_or_prove_nothing_is_refused(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With file and line, and what to do."""
    monkeypatch.setattr(configuration, "is_virtual_machine", lambda: True)
    alone = "[fencing]\n[[lease]]\n"
    paused = f"{alone}virtual_pause = never\n"
    refused = refusal(layout, alone)
    assert refused.startswith("openha.conf:2: [[lease]] is the only level, and this is a virtual")
    assert "virtual_pause = never" in refused
    Path(layout.options_file).write_text(paused)
    lease = read_cluster(layout).fencing.lease
    assert lease is not None and lease.is_pause_excluded
    Path(layout.options_file).write_text(f"{alone}[timing]\nprofile = fast\nfence_time = 2\n")
    assert refusal(layout, f"{alone}[timing]\nprofile = fast\nfence_time = 2\n").startswith(
        "openha.conf:5: fence_time: 2 s are declared, and the lease proves that the peer is out"
        " after 3.08 s"
    )
    legacy = refusal(layout, f"{paused}[heartbeat]\nwire = legacy\n")
    assert legacy.startswith("openha.conf:2: [[lease]] the disk links have wire = legacy: a cut of")
    for links, why in (
        ("{} unicast lo 127.0.0.1 1 2\n{} unicast lo 127.0.0.1 2 2\n", "there is no disk link"),
        ("{} disk /dev/sdb 0 2\n{} disk /dev/sdb 19 2\n", "disk /dev/sdb:0 is read through the"),
    ):
        Path(layout.monitor_file).write_text(links.format(node_name(), "peer"))
        assert refusal(layout, paused).startswith(f"openha.conf:2: [[lease]] {why}")


def test_lease_without_a_key_is_refused(layout: Layout) -> None:
    """Whatever the authentication: anybody could promise in the name of a node."""
    text = "[fencing]\n[[lease]]\nvirtual_pause = never\n"
    for more in ("", "[heartbeat]\nauthentication = off\n"):
        options = parse_options(text + more, layout.options_file)
        with pytest.raises(ConfigError, match=r"2: \[\[lease\]\] needs authenticated heartbeats"):
            read_settings(layout, options)
    write_keys(layout, KeyRing(new_key()))
    assert read_settings(layout, parse_options(text, layout.options_file))[0] is not None
    with pytest.raises(ConfigError, match="needs authenticated heartbeats"):
        read_settings(layout, options)


def test_frozen_storage_reaches_the_service(layout: Layout) -> None:
    """Of all services, and of one alone; without it nothing is given up."""
    policy = read_cluster(layout).services[0].policy
    assert (policy.frozen_storage, policy.data_disks) == (FrozenStorage.IGNORE, ())
    Path(layout.options_file).write_text(
        "[policy]\nfrozen_after = 20\n[[registry]]\nfrozen_storage = give_up\n"
        "data_disks = /dev/sdb, /dev/mapper/data.1,/dev/sdb\n"
    )
    policy = read_cluster(layout).services[0].policy
    assert policy.is_given_up and policy.frozen_after_s == 20
    assert policy.data_disks == ("/dev/sdb", "/dev/mapper/data.1")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("frozen_storage = giveup", "2: frozen_storage: expected one of ignore, give_up; found"),
        ("frozen_after = 5", "2: frozen_after: at least 15 seconds, since what the peer last saw"),
        ("data_disks = sdb", "2: data_disks: expected paths of devices, separated by commas;"),
        ("data_disks = /dev/a /dev/b", "2: data_disks: expected paths of devices, separated by"),
    ],
)
def test_mistake_in_frozen_storage_is_refused_with_its_line(
    layout: Layout, text: str, why: str
) -> None:
    """What is wrong, and what is expected."""
    assert f"openha.conf:{why}" in refusal(layout, f"[policy]\n{text}\n")


def test_frozen_storage_that_could_end_in_two_copies_is_refused(layout: Layout) -> None:
    """The peer must have something to prove this node out by, and must report its disks."""
    text = "[policy]\n[[registry]]\nfrozen_storage = give_up\n"
    Path(layout.services_file).write_text(f"registry /x {node_name()} peer /bin/true\n")
    refused = refusal(layout, text)
    assert refused.startswith(
        "openha.conf:3: frozen_storage = give_up for registry: its check-up script is /bin/true"
        " (services:1), so that the peer would start it while writes of this node are still on"
    )
    everywhere = refusal(layout, "[policy]\nfrozen_storage = give_up\n")
    assert everywhere.startswith("openha.conf:2: frozen_storage = give_up for registry: its check")
    Path(layout.options_file).write_text(f"{text}[fencing]\nlevels = reservation\n")
    assert read_cluster(layout).services[0].policy.is_given_up
    Path(layout.services_file).write_text(f"registry /x {node_name()} peer /usr/bin/fence\n")
    legacy = refusal(layout, f"{text}[heartbeat]\nwire = legacy\n")
    assert legacy.startswith("openha.conf:3: frozen_storage = give_up for registry: all links have")


def test_frozen_storage_without_a_key_is_refused(layout: Layout) -> None:
    """Anybody could report that the peer reads the disks."""
    text = "[policy]\n[[registry]]\nfrozen_storage = give_up\n"
    Path(layout.options_file).write_text(text)
    for more in ("", "[heartbeat]\nauthentication = off\n"):
        options = parse_options(text + more, "openha.conf")
        with pytest.raises(ConfigError, match="conf:3: .*registry: needs authenticated heartbeats"):
            read_settings(layout, options)
    whole = parse_options("[policy]\nfrozen_storage = give_up\n", "openha.conf")
    with pytest.raises(ConfigError, match="conf:2: .* for all services: needs authenticated"):
        read_settings(layout, whole)
    write_keys(layout, KeyRing(new_key()))
    assert read_settings(layout, whole)[0] is not None


def test_plan_must_fit_the_nodes_and_the_links(layout: Layout) -> None:
    """With file and line."""
    text = PLAN.format(here=node_name())
    assert refusal(layout, text.replace("[[ipmi peer]]", "[[ipmi pear]]")).startswith(
        "openha.conf:4: [[ipmi pear]] is of no node"
    )
    assert refusal(layout, text.replace("/dev/sdb", "/dev/sdc")) == (
        "openha.conf:3: arbiter: /dev/sdc is the disk of no heartbeat link (it has /dev/sdb): both"
        " nodes must reach it all the time"
    )


def test_options_of_the_devices_are_checked_with_their_line(layout: Layout) -> None:
    """A misspelt or refused one; one of an agent that is not there cannot be."""
    text = PLAN.format(here=node_name())

    def check(text: str) -> list[str]:
        Path(layout.options_file).write_text(text)
        return check_devices(read_options(layout))

    assert check(text) == []
    for wrong, message in (
        ("lanpls = 1", ":6: [[ipmi peer]] lanpls: is no option of fence_ipmilan: did you mean"),
        ("method = cycle", ":6: [[ipmi peer]] method: is refused: a power cycle is not verified"),
    ):
        with pytest.raises(ConfigError) as caught:
            check(text.replace("ip = 10.0.0.1", f"{wrong}\nip = 10.0.0.1"))
        assert message in str(caught.value)
    with pytest.raises(ConfigError, match="ip is missing"):
        check(text.replace("ip = 10.0.0.2\n", ""))
    absent = check(text.replace("fence_ipmilan", "fence_nowhere", 1))
    assert absent == ["ipmi: there is no program fence_nowhere: install the package fence-agents"]


def test_agents_that_do_not_answer_cost_one_limit_together(layout: Layout, tmp_path: Path) -> None:
    """A running daemon must not miss what it does each second; what is not checked is reported."""
    script = tmp_path / "fence_hanging"
    script.write_text("#!/bin/sh\necho $1 >> $0.asked\nexec sleep 1000\n")
    script.chmod(0o755)
    text = PLAN.format(here=node_name()).replace("fence_ipmilan", str(script))
    Path(layout.options_file).write_text(text)
    (problem,) = check_devices(read_options(layout), 0.5)
    assert problem.startswith(f"ipmi: {script} gives no metadata: no answer in 0.")
    assert len(Path(f"{script}.asked").read_text().split()) <= 1


def test_daemon_refuses_to_start_with_a_misspelt_device(
    cluster_dir: ClusterDir,
) -> None:
    """With the line; and it starts once that is corrected."""
    plan = (
        "[fencing]\nlevels = ipmi\n"
        f"[[ipmi {PEER}]]\nagent = fence_ipmilan\nip = 127.0.0.1\n"
        f"[[ipmi {HERE}]]\nagent = fence_ipmilan\nip = 127.0.0.1\n"
    )
    conf = cluster_dir.path("conf/openha.conf")
    conf.write_text(plan.replace("ip =", "ipp =", 1))
    with pytest.raises(ConfigError, match="openha.conf:5: .*did you mean ip"):
        expect_startable(tree_layout(str(cluster_dir.root)))
    conf.write_text(plan)
    expect_startable(tree_layout(str(cluster_dir.root)))


@pytest.mark.parametrize("check", ["/bin/true", "/usr/bin/true"])
def test_fast_is_refused_for_a_service_without_fencing(layout: Layout, check: str) -> None:
    """Its check-up script always succeeds: both lines are named.

    A service of other nodes does not matter.
    """
    services = Path(layout.services_file)
    services.write_text(services.read_text() + f"web /x peer {node_name()} {check}\n")
    message = refusal(layout, FAST)
    assert message.startswith(
        "openha.conf:2: profile = fast needs a check-up script that fences the peer"
    )
    assert (
        f"service web is {check} (services:3)" in message
        and "write profile = balanced or tutorial" in message
    )
    services.write_text(
        services.read_text().replace(f"peer {node_name()} {check}", f"peer another {check}")
    )
    assert read_cluster(layout).profile is Profile.FAST


def test_fast_needs_timeouts_of_three_beats(layout: Layout) -> None:
    """0.3 s are three beats of 100 ms.

    0.29 s are refused with the line of the link, and stay allowed with tutorial.
    """
    Path(layout.options_file).write_text(FAST)
    assert read_cluster(layout).links[1].timeout_s == 0.3
    monitor = Path(layout.monitor_file)
    monitor.write_text(monitor.read_text().replace("19 0.3", "19 0.29"))
    message = refusal(layout, FAST)
    assert message.startswith(
        "monitor:2: timeout 0.29 of dio /dev/sdb:19 is too short: with profile = fast at least"
        " 0.3 s"
    )
    Path(layout.options_file).write_text("[timing]\nprofile = tutorial\n")
    assert read_cluster(layout).links[1].timeout_s == 0.29


BALANCED = "[timing]\nprofile = balanced\n"


@pytest.mark.parametrize("check", ["/bin/true", "/etc/fence"])
def test_balanced_takes_any_fence_and_none(layout: Layout, check: str) -> None:
    """No time need be declared: a service without a fence keeps the delay of the tutorial."""
    Path(layout.options_file).write_text(BALANCED)
    monitor = Path(layout.monitor_file)
    monitor.write_text(monitor.read_text().replace(" 0.3\n", " 1\n"))
    services = Path(layout.services_file)
    services.write_text(services.read_text() + f"web /x peer {node_name()} {check}\n")
    assert read_cluster(layout).profile is Profile.BALANCED


def test_balanced_needs_timeouts_of_four_beats_and_no_c_openha(layout: Layout) -> None:
    """1 s is four beats of 250 ms; a C OpenHA sends one beat a second."""
    assert "with profile = balanced at least 1 s, four beats" in refusal(layout, BALANCED)
    monitor = Path(layout.monitor_file)
    monitor.write_text(monitor.read_text().replace(" 0.3\n", " 1\n"))
    message = refusal(layout, BALANCED + "[heartbeat]\n[[dio /dev/sdb:19]]\nwire = legacy\n")
    assert "profile = balanced, and dio /dev/sdb:19 has wire = legacy" in message


def test_fast_and_a_c_openha_exclude_each_other(layout: Layout) -> None:
    """It sends one beat a second: a timeout of 0.3 s would call it silent between any two."""
    message = refusal(layout, FAST + "[heartbeat]\n[[dio /dev/sdb:19]]\nwire = legacy\n")
    assert message.startswith(
        "openha.conf:2: profile = fast, and dio /dev/sdb:19 has wire = legacy"
    )


def test_running_daemon_takes_limits_over_without_a_role_change(cluster_dir: ClusterDir) -> None:
    """A stop that would take a minute is ended, with all its children, at the limit that was
    written a moment ago.
    """
    started = cluster_dir.root / "started"
    cluster_dir.add("registry", f"[ $1 = stop ] && touch {started} && sleep 61 & wait")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    pid = cluster_dir.pid()
    cluster_dir.path("conf/openha.conf").write_text("[scripts]\n[[registry]]\nstop_timeout = 0.5\n")
    client.reload(tree_layout(str(cluster_dir.root)))
    assert cluster_dir.state("registry") == "STARTED"
    done = cluster_dir.run("service -A registry stop")
    assert "did not end within 0.5 s and was killed" in done.stdout + done.stderr
    assert started.exists() and cluster_dir.pid() == pid
    cluster_dir.wait(lambda: not _runs("sleep\x0061\x00"), "no child of the script is left")


def test_mistake_in_the_options_changes_nothing_and_is_reported_once(
    cluster_dir: ClusterDir,
) -> None:
    """The reason is in the status for as long as it holds, in the log once.

    A correction is taken over.
    """
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    options = cluster_dir.path("conf/openha.conf")
    options.write_text("[policy]\non_dual_run = kill\n")
    mistake = (
        f"configuration not taken over: {options}:2: on_dual_run: expected one of report,"
        " stop-secondary, stop-youngest"
    )
    cluster_dir.wait(lambda: mistake in cluster_dir.ok("service -s -v"), "the mistake is shown")
    options.write_text("# still\n[policy]\non_dual_run = kill\n[timing]\nprofile = fast\n")
    cluster_dir.wait(
        lambda: f"{options}:5" in cluster_dir.ok("service -s -v"), "the next one is shown"
    )
    options.write_text("[policy]\non_dual_run = report\n")
    cluster_dir.wait(
        lambda: "not taken over" not in cluster_dir.ok("service -s -v"),
        "the correction is taken over",
    )
    assert cluster_dir.log().count("not taken over") == 3  # Two mistakes, and their end.
    assert cluster_dir.state("registry") == "FROZEN_STOP"


def test_commands_refuse_what_the_options_do_not_allow(cluster_dir: ClusterDir) -> None:
    """`service -a`, `service -r` and `hb -a` report file and line, and leave the files as they
    are.
    """
    cluster_dir.add("registry")
    options = cluster_dir.path("conf/openha.conf")
    options.write_text("[scripts]\n[[registry]]\nstop_timeout = 5\n")
    assert cluster_dir.fails("service -r registry", 3).startswith(
        f"{options}:2: [[registry]] is no service"
    )
    options.write_text(FAST)
    script = cluster_dir.script("web.sh", "exit 0")
    assert "Failed" in cluster_dir.run(f"service -a web {script} {HERE} {PEER} /bin/true").stdout
    assert "web" not in cluster_dir.path("conf/services").read_text()
    monitor = cluster_dir.path("conf/monitor").read_text()
    refused = cluster_dir.fails(f"hb -a -n {HERE} -t unicast -i lo -d 127.0.0.1 -p 45998 -T 0.2", 3)
    assert "timeout 0.2 of unicast lo:127.0.0.1 is too short" in refused
    assert cluster_dir.path("conf/monitor").read_text() == monitor


def _runs(command_line: str) -> bool:
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and command_line in (entry / "cmdline").read_text():
                return True
        except OSError:
            continue
    return False


@pytest.mark.parametrize("text", ["", "one\ntwo\n", None])
def test_names_stand_for_those_that_cannot_be_read(layout: Layout, text: str | None) -> None:
    """An empty file, one of other nodes, none at all; in either order while it can be read."""
    own = node_name()
    assert configuration.names_or(layout, "the peer") == (own, "peer")
    Path(layout.nodes_file).write_text(f"peer\n{own}\n")
    assert configuration.both_names(layout) == (own, "peer")
    Path(layout.nodes_file).unlink()
    if text is not None:
        Path(layout.nodes_file).write_text(text)
    assert configuration.names_or(layout, "the peer") == (own, "the peer")
    with pytest.raises(OpenhaError):
        configuration.both_names(layout)
