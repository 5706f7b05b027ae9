"""`openha exporter`: metrics of a daemon that runs, of one that hangs and of one that is gone."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("prometheus_client", reason="the extra `metrics` is not installed")
from prometheus_client.parser import text_string_to_metric_families

from opensvc_openha.cli import exporter
from opensvc_openha.cli.exporter_server import metrics_text
from opensvc_openha.cli.status_source import Seen, StatusSource
from opensvc_openha.control import client
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import NodeStatus, PathStatus, PeerStanding
from opensvc_openha.errors import NotAnsweringError, NotRunningError, SystemFault, UsageError
from opensvc_openha.formats.layout import tree_layout
from tests.cluster_dir import HERE, PEER, ClusterDir
from tests.local_user import as_nobody, needs_root
from tests.metric_names import STATUS, metric_names
from tests.ports import free_port
from tests.waiting import LIMIT_S, until

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples_of(text: bytes) -> Samples:
    """All samples, by name and labels: one value each."""
    found: Samples = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


def value(samples: Samples, name: str, **labels: str) -> float | None:
    """The value of one sample; None if there is none."""
    return samples.get((name, frozenset(labels.items())))


def of(status: NodeStatus) -> Samples:
    """The metrics of a status."""
    source = StatusSource(lambda: status, print)
    source.ask_now()
    return samples_of(metrics_text(source))


def test_names_follow_the_conventions_and_each_metric_has_a_sample() -> None:
    """Base units, `_total` for counters alone, one prefix, a help text that is a sentence."""
    names = metric_names()
    assert len({each.name for each in names}) == len(names)
    for each in names:
        assert re.fullmatch(r"openha_[a-z_]+", each.name), each
        assert each.name.endswith("_total") == (each.kind == "counter"), each
        assert not re.search(r"_(ms|milliseconds|minutes|count|sum)$", each.name), each
        assert each.text.endswith(".") and not each.text[0].islower(), each
        for word in ("timestamp", "age", "duration", "lateness", "jitter", "timeout", "margin"):
            if f"_{word}" in each.name:
                assert re.search(r"_seconds(_total)?$", each.name), each


def test_states_are_one_hot_for_each_node() -> None:
    """Exactly one is 1, also for a state that only a newer daemon knows."""
    path = PathStatus("ipmi", "power", 0, "asleep")
    fencing = dataclasses.replace(STATUS.fencing, paths=(path,))
    found = of(dataclasses.replace(STATUS, fencing=fencing))
    for name, labels in (
        ("openha_service_state", {"service": "web", "node": "deb1"}),
        ("openha_service_state", {"service": "web", "node": "deb2"}),
        ("openha_peer_standing", {}),
        ("openha_fence_path_state", {"path": "ipmi", "kind": "power", "level": "0"}),
    ):
        values = [
            number
            for (sample, keys), number in found.items()
            if sample == name and labels.items() <= dict(keys).items()
        ]
        assert sorted(values)[-2:] == [0.0, 1.0] and len(values) >= 4, (name, labels)
    state = {"service": "web", "node": "deb1", "state": "STARTED"}
    assert value(found, "openha_service_state", **state) == 1.0
    assert value(found, "openha_service_primary", service="web", node="deb1") == 1.0
    assert value(found, "openha_service_primary", service="web", node="deb2") == 0.0


def test_what_was_measured_is_shown() -> None:
    """Buckets are cumulative, as Prometheus wants them; outcomes are words without blanks."""
    found, link = of(STATUS), "net eth1:239.131.50.10"
    assert value(found, "openha_link_up", link=link, end="listener") == 1.0
    assert value(found, "openha_link_beats_lost_total", link=link) == 1.0
    assert value(found, "openha_link_jitter_seconds", link=link) == 0.25
    bucket = "openha_link_beat_gap_seconds_bucket"
    assert [value(found, bucket, link=link, le=le) for le in ("0.75", "1.0", "1.1", "+Inf")] == [
        0.0,
        6.0,
        8.0,
        8.0,
    ]
    assert value(found, "openha_link_beat_gap_seconds_sum", link=link) == 8.2
    refused = {"link": link, "end": "listener", "reason": "checksum"}
    assert value(found, "openha_link_frames_refused_total", **refused) == 2.0
    script = {"service": "web", "script": "start", "outcome": "not_begun"}
    assert value(found, "openha_script_runs_total", **script) == 2.0
    assert value(found, "openha_script_duration_seconds_total", **script) == 3.5
    assert value(found, "openha_script_last_duration_seconds", **script) == 1.5
    assert value(found, "openha_decisions_total", service="web", state="STARTED") == 2.0
    assert value(found, "openha_services_unfenced") == 2.0
    assert value(found, "openha_engine_lateness_max_seconds") == 0.5


def test_readiness_is_known_of_a_peer_that_is_heard_alone() -> None:
    """A silent peer is neither ready nor not."""
    labels = {"service": "web", "node": "deb2"}
    (web,) = STATUS.services
    assert value(of(STATUS), "openha_service_ready", **labels) == 1.0
    unready = dataclasses.replace(web, is_peer_unready=True, unready="no script")
    found = of(dataclasses.replace(STATUS, services=(unready,)))
    assert value(found, "openha_service_ready", **labels) == 0.0
    assert value(found, "openha_service_ready", service="web", node="deb1") == 0.0
    silent = dataclasses.replace(STATUS, peer_standing=PeerStanding.SILENT)
    assert value(of(silent), "openha_service_ready", **labels) is None


def test_outlook_of_a_service_is_shown() -> None:
    """What the scheduled check found, the predicted takeover and the last one."""
    found = of(STATUS)
    assert value(found, "openha_takeover_predicted_seconds", service="web") == 7.5
    assert value(found, "openha_takeover_last_duration_seconds", service="web") == 8.5
    assert value(found, "openha_check_findings", severity="warning") == 1.0
    assert value(found, "openha_check_findings", severity="error") == 0.0
    (web,) = STATUS.services
    checked = dataclasses.replace(web, ready="no", ready_text="no image", predicted_s=None)
    found = of(dataclasses.replace(STATUS, services=(checked,), findings=(), checked_at=None))
    assert value(found, "openha_service_ready", service="web", node="deb1") == 0.0
    assert value(found, "openha_takeover_predicted_seconds", service="web") is None
    assert value(found, "openha_check_findings", severity="error") is None


def test_names_of_any_characters_are_quoted() -> None:
    """The text can be parsed whatever a check-up script is called."""
    (web,) = STATUS.services
    odd = dataclasses.replace(web, name='w"e\\b\n', own_state=ServiceState.STOPPED)
    found = of(dataclasses.replace(STATUS, services=(odd,)))
    assert value(found, "openha_service_dual_run", service='w"e\\b\n') == 0.0


def test_scrape_gets_the_last_status_while_the_daemon_does_not_answer() -> None:
    """It does not wait for the question that hangs; a status that comes later is shown then."""
    hangs, answers = threading.Event(), threading.Event()
    news: list[str] = []

    def ask() -> NodeStatus:
        if hangs.is_set():
            answers.wait(LIMIT_S)
            hangs.clear()
            raise NotAnsweringError("nmond does not answer")
        return STATUS

    source = StatusSource(ask, news.append)
    source.start()
    fresh = source.newest(LIMIT_S)
    assert fresh.status == STATUS and fresh.is_up and news == []
    hangs.set()
    old = source.newest(0.01)
    older = source.newest(0.01)
    assert old.status == STATUS and old.is_up and older.is_up
    assert older.age_s is not None and old.age_s is not None and older.age_s >= old.age_s
    answers.set()
    until(lambda: news, what="the problem is reported")
    assert news[0] == "nmond does not answer"
    until(lambda: source.newest(0.01).problem == "", what="it answers again")
    assert news == ["nmond does not answer", "nmond answers"]


def test_old_status_of_an_engine_that_hangs_is_as_old_as_the_daemon_says() -> None:
    """The daemon answers for its engine."""
    source = StatusSource(lambda: dataclasses.replace(STATUS, age_s=30.0), print)
    source.ask_now()
    age_s = value(samples_of(metrics_text(source)), "openha_status_age_seconds")
    assert age_s is not None and age_s >= 30.0


def test_daemon_that_never_answered_has_an_age_and_nothing_else() -> None:
    """It counts from the first question: an alert on the age sees it."""

    def ask() -> NodeStatus:
        raise NotAnsweringError("nmond does not answer")

    source = StatusSource(ask, lambda text: None)
    source.ask_now()
    found = samples_of(metrics_text(source))
    assert value(found, "openha_up") == 1.0 and set(found) == {
        ("openha_up", frozenset()),
        ("openha_status_age_seconds", frozenset()),
    }


@pytest.fixture(name="scrape_url")
def run_exporter(cluster_dir: ClusterDir) -> Iterator[str]:
    """An exporter of the cluster directory, as a process of its own; its address."""
    port = free_port()
    command = [sys.executable, "-m", "opensvc_openha", "exporter", f"--listen=127.0.0.1:{port}"]
    with subprocess.Popen(
        command,
        env={**os.environ, "EZ": str(cluster_dir.root)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            url = f"http://127.0.0.1:{port}/metrics"
            assert process.stderr.readline() == f"metrics at {url}\n"
            yield url
        finally:
            process.terminate()
    assert process.returncode == 0


def scrape(url: str) -> Samples:
    """What Prometheus gets there."""
    with urllib.request.urlopen(url, timeout=LIMIT_S) as answer:
        return samples_of(answer.read())


def test_real_daemon_that_runs_hangs_and_is_killed(
    cluster_dir: ClusterDir, scrape_url: str
) -> None:
    """Up with its services; up with a status that grows old; down, and nothing else is claimed."""
    assert value(scrape(scrape_url), "openha_up") == 0.0
    cluster_dir.ok("ezha start")
    cluster_dir.add("registry")
    state = {"service": "registry", "node": HERE, "state": "FROZEN_STOP"}
    found = until(
        lambda: scrape(scrape_url),
        lambda seen: value(seen, "openha_service_state", **state) == 1.0,
        "the service is shown",
    )
    assert value(found, "openha_up") == 1.0
    cluster_dir.kill(signal.SIGSTOP)
    age = until(
        lambda: value(scrape(scrape_url), "openha_status_age_seconds"),
        lambda seen: seen is not None and seen > 0.5,
        "the status is old",
    )
    found = scrape(scrape_url)
    assert age is not None and (value(found, "openha_status_age_seconds") or 0.0) > age
    assert value(found, "openha_up") == 1.0
    assert value(found, "openha_service_state", **state) == 1.0
    cluster_dir.kill()
    found = until(
        lambda: scrape(scrape_url),
        lambda seen: value(seen, "openha_up") == 0.0,
        "the daemon is gone",
    )
    assert len(found) == 1, PEER


def test_text_file_is_replaced_whole(cluster_dir: ClusterDir, tmp_path: Path) -> None:
    """For the collector of node_exporter; without a daemon it has one metric alone."""
    path = tmp_path / "openha.prom"
    cluster_dir.ok(f"openha exporter --textfile {path}")
    assert samples_of(path.read_bytes()) == {("openha_up", frozenset()): 0.0}
    assert path.stat().st_mode & 0o777 == 0o644
    lost = tmp_path / "none/openha.prom"
    assert cluster_dir.quick(f"openha exporter --textfile {lost}").stderr == (
        f"cannot write {lost}: No such file or directory\n"
    )


@needs_root
def test_any_user_may_export(open_cluster_dir: ClusterDir) -> None:
    """The unit runs it as a user of its own: the socket is all that it needs."""
    open_cluster_dir.ok("ezha start")
    open_cluster_dir.add("registry")
    layout = tree_layout(str(open_cluster_dir.root))

    def work() -> str:
        source = StatusSource(
            lambda: client.fetch_status(layout, is_old_fine=True), lambda text: None
        )
        source.ask_now()
        assert source.newest(0.0).status is not None
        return metrics_text(source).decode()

    work()  # Once as root, so that all modules are imported.
    code, text = as_nobody(work)
    assert code == 0, text
    state = {"service": "registry", "node": HERE, "state": "FROZEN_STOP"}
    assert value(samples_of(text.encode()), "openha_service_state", **state) == 1.0


@pytest.mark.parametrize(
    "words, text",
    [
        (["--listen", "everywhere"], "expected ADDRESS:PORT"),
        (["--listen", "127.0.0.1:99999"], "expected ADDRESS:PORT"),
        (["--listen", "node1:5431"], "expected ADDRESS:PORT"),
        (["--textfile", "/tmp/openha.txt"], ".prom"),
        (["--every", "15"], "--textfile"),
        (["--textfile", "x.prom", "--every", "soon"], "expected seconds"),
    ],
)
def test_wrong_words_are_refused(words: list[str], text: str) -> None:
    """With what to write."""
    with pytest.raises(UsageError, match=re.escape(text)):
        exporter.main(words)


def test_place_that_is_taken_is_an_error(cluster_dir: ClusterDir, scrape_url: str) -> None:
    """With the address, and what the system says."""
    place = scrape_url.removeprefix("http://").removesuffix("/metrics")
    found = cluster_dir.fails(f"openha exporter --listen {place}", SystemFault.exit_code)
    assert found == f"cannot listen on {place}: Address already in use"


def test_missing_library_is_named_with_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a traceback: an installation without the extra has the command, too."""
    monkeypatch.setitem(sys.modules, "opensvc_openha.cli.exporter_server", None)
    monkeypatch.delitem(sys.modules, "opensvc_openha.cli.exporter_server")
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(SystemFault, match="python3-prometheus-client"):
        exporter.main([])


def test_none_running_is_no_problem_of_the_exporter() -> None:
    """It is what the metric is for; a socket that it may not use is one, reported once."""
    news: list[str] = []

    def ask() -> NodeStatus:
        raise NotRunningError("nmond is not running")

    def ask_in_vain() -> NodeStatus:
        raise SystemFault("cannot talk to nmond: Permission denied")

    source = StatusSource(ask, news.append)
    source.ask_now()
    assert news == [] and source.newest(0.0) == Seen(None, False, None)
    source = StatusSource(ask_in_vain, news.append)
    for _ in range(3):
        source.ask_now()
    assert news == ["cannot talk to nmond: Permission denied"] and not source.newest(0.0).is_up
