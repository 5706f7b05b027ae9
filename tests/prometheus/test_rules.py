"""The alert rules and the dashboard that are shipped: of metrics that there are, and they fire.

`promtool` evaluates the rules on written series, where it is installed (Debian: prometheus).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("prometheus_client", reason="the extra `metrics` is not installed")
from tests.generated import ROOT
from tests.metric_names import metric_names

SHIPPED = ROOT / "resources/prometheus"
RULES = SHIPPED / "openha.rules.yml"
DASHBOARD = SHIPPED / "grafana-dashboard.json"
_NAME = re.compile(r"\b(openha_[a-z_]+)")
_SELECTED = re.compile(r"\b(openha_[a-z_]+)\{([^}]*)\}")
_LABEL = re.compile(r"([a-z_]+)\s*(?:=|!=|=~|!~)\s*\"")
_OF_SCRAPE = {"cluster", "instance", "job"}
"""Labels that Prometheus adds."""

WEB = 'service="web",node='
LINK = 'link="net eth1:239.131.50.10"'


class Case(NamedTuple):
    """Series from the first minute on, and what fires after so many minutes."""

    series: dict[str, str]
    firing: set[str]
    minutes: int = 30


def at(instance: str, name: str, labels: str = "") -> str:
    """The name of a series of one node."""
    return f'{name}{{job="openha",instance="{instance}:5431"{"," if labels else ""}{labels}}}'


def one(name: str, labels: str, values: str) -> dict[str, str]:
    """A series of the first node."""
    return {at("deb1", name, labels): values}


HEALTHY = {
    at(node, name, labels): values
    for node in ("deb1", "deb2")
    for name, labels, values in (
        ("up", "", "1x60"),
        ("openha_up", "", "1x60"),
        ("openha_status_age_seconds", "", "0.01x60"),
        ("openha_peer_standing", 'standing="live"', "1x60"),
        ("openha_peer_standing", 'standing="silent"', "0x60"),
        ("openha_service_state", f'{WEB}"deb1",state="STARTED"', "1x60"),
        ("openha_service_state", f'{WEB}"deb2",state="STARTED"', "0x60"),
        ("openha_service_state", f'{WEB}"deb1",state="FROZEN_STOP"', "0x60"),
        ("openha_service_state", f'{WEB}"deb2",state="FROZEN_STOP"', "0x60"),
        ("openha_service_state", f'{WEB}"deb2",state="START_FAILED"', "0x60"),
        ("openha_service_dual_run", 'service="web"', "0x60"),
        ("openha_service_ready", f'{WEB}"deb1"', "1x60"),
        ("openha_service_ready", f'{WEB}"deb2"', "1x60"),
        ("openha_link_up", f'{LINK},end="listener"', "1x60"),
        ("openha_link_up", 'link="dio /dev/hb:0",end="listener"', "1x60"),
        ("openha_link_timeout_seconds", f'{LINK},end="listener"', "10x60"),
        ("openha_link_beats_total", LINK, "0+60x60"),
        ("openha_link_beats_lost_total", LINK, "0x60"),
        ("openha_link_beat_gap_seconds_bucket", f'{LINK},le="1.1"', "0+60x60"),
        ("openha_link_beat_gap_seconds_bucket", f'{LINK},le="10.0"', "0+60x60"),
        ("openha_link_beat_gap_seconds_bucket", f'{LINK},le="+Inf"', "0+60x60"),
        ("openha_link_frames_refused_total", f'{LINK},end="listener",reason="repeated"', "0+9x60"),
        ("openha_fence_path_state", 'path="ipmi",kind="power",level="0",state="armed"', "1x60"),
        (
            "openha_fence_path_tested_timestamp_seconds",
            'path="ipmi",kind="power",level="0"',
            "0x60",
        ),
        ("openha_services_unfenced", "", "0x60"),
        ("openha_fence_blocked", "", "0x60"),
        ("openha_ejected", "", "0x60"),
        ("openha_engine_stalls_total", "", "0x60"),
        ("openha_watchdog_timeout_seconds", "", "10x60"),
        ("openha_watchdog_margin_min_seconds", "", "6x60"),
    )
}
CASES = {
    "a healthy cluster": Case({}, set()),
    "a node without power": Case(
        {
            at("deb2", "up"): "0x60",
            at("deb1", "openha_peer_standing", 'standing="live"'): "0x60",
            at("deb1", "openha_peer_standing", 'standing="silent"'): "1x60",
            at("deb1", "openha_takeover_last_timestamp_seconds", 'service="web"'): "1200x60",
        },
        {"OpenhaExporterDown", "OpenhaPeerNotHeard", "OpenhaTakeover"},
    ),
    "a takeover of long ago": Case(
        one("openha_takeover_last_timestamp_seconds", 'service="web"', "60x60"), set()
    ),
    "a daemon that is gone": Case(one("openha_up", "", "0x60"), {"OpenhaDaemonDown"}),
    "a restart of a daemon": Case(one("openha_up", "", "1x29 0 1x29"), set()),
    "a daemon that hangs": Case(
        one("openha_status_age_seconds", "", "0+60x60"), {"OpenhaDaemonHangs"}
    ),
    "a service that runs nowhere": Case(
        {
            at(node, "openha_service_state", f'{WEB}"deb1",state="STARTED"'): "0x60"
            for node in ("deb1", "deb2")
        },
        {"OpenhaServiceDown"},
    ),
    "a service that is stopped on purpose": Case(
        {
            at(node, "openha_service_state", f'{WEB}"{of}",state="{state}"'): value
            for node in ("deb1", "deb2")
            for of in ("deb1", "deb2")
            for state, value in (("STARTED", "0x60"), ("FROZEN_STOP", "1x60"))
        },
        set(),
    ),
    "a start that failed": Case(
        one("openha_service_state", f'{WEB}"deb2",state="START_FAILED"', "1x60"),
        {"OpenhaServiceFailed"},
    ),
    "both nodes run it": Case(
        one("openha_service_dual_run", 'service="web"', "1x60"), {"OpenhaDualRun"}
    ),
    "a standby that is not ready": Case(
        one("openha_service_ready", f'{WEB}"deb2"', "0x60"), {"OpenhaStandbyNotReady"}
    ),
    "a link that is down, and the last one": Case(
        one("openha_link_up", f'{LINK},end="listener"', "0x60"),
        {"OpenhaLinkDown", "OpenhaLastLink"},
    ),
    "a link that loses beats": Case(
        one("openha_link_beats_lost_total", LINK, "0+6x60"), {"OpenhaLinkLoss"}
    ),
    "a link that is late": Case(
        one("openha_link_beat_gap_seconds_bucket", f'{LINK},le="1.1"', "0+50x60"),
        {"OpenhaLinkNearTimeout"},
    ),
    "frames of somebody else": Case(
        one(
            "openha_link_frames_refused_total",
            f'{LINK},end="listener",reason="forged"',
            "0+5x60",
        ),
        {"OpenhaFramesRefused"},
    ),
    "a fence that does not answer": Case(
        one(
            "openha_fence_path_state",
            'path="ipmi",kind="power",level="0",state="unreachable"',
            "1x60",
        ),
        {"OpenhaFencePathBroken"},
    ),
    "a fence that was tried out long ago": Case(
        one(
            "openha_fence_path_tested_timestamp_seconds",
            'path="ipmi",kind="power",level="0"',
            "-20000000x1500",
        ),
        {"OpenhaFencePathUntested"},
        70,
    ),
    "services without a fence": Case(
        one("openha_services_unfenced", "", "2x120"), {"OpenhaNotFenced"}, 70
    ),
    "a node that boots into a silence": Case(
        {
            **one("openha_fence_blocked", "", "1x60"),
            **one("openha_peer_standing", 'standing="live"', "0x60"),
        },
        {"OpenhaMayNotFence", "OpenhaPeerNotHeard"},
    ),
    "a node that was ejected": Case(one("openha_ejected", "", "1x60"), {"OpenhaEjected"}),
    "a node that nothing answers": Case(one("openha_isolated", "", "1x60"), {"OpenhaIsolated"}),
    "a node that stood still": Case(
        one("openha_engine_stalls_total", "", "0x20 1x40"), {"OpenhaNodeStalls"}
    ),
    "a watchdog that was nearly late": Case(
        one("openha_watchdog_margin_min_seconds", "", "1.5x60"), {"OpenhaWatchdogMargin"}
    ),
}


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression of the rules and of the dashboard, with where it stands."""
    for match in re.finditer(
        r"^ +- alert: (\w+)\n +expr: (>-\n(?: {10}.*\n)+|.*\n)", RULES.read_text(), re.MULTILINE
    ):
        yield match.group(1), match.group(2).removeprefix(">-")
    board = json.loads(DASHBOARD.read_text())
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]
    for note in board["annotations"]["list"]:
        yield note["name"], note["expr"]


def alerts() -> list[str]:
    """The names of the rules."""
    return re.findall(r"^ +- alert: (\w+)$", RULES.read_text(), re.MULTILINE)


def test_every_expression_is_of_metrics_and_labels_that_there_are() -> None:
    """A metric that is renamed, or loses a label, must not leave a rule that never fires."""
    known = {each.name: {*each.labels, "le", *_OF_SCRAPE} for each in metric_names()}
    found = list(expressions())
    assert len([name for name, _ in found if name.startswith("Openha")]) == len(alerts())
    for where, text in found:
        names = _NAME.findall(text)
        assert names or where == "OpenhaExporterDown", where
        for name in names:
            assert name in known, f"{where}: there is no metric {name}"
        for name, selector in _SELECTED.findall(text):
            for label in _LABEL.findall(selector):
                assert label in known[name], f"{where}: {name} has no label {label}"


def test_texts_of_alerts_use_labels_that_the_alert_has() -> None:
    """An aggregation drops all others."""
    for block in RULES.read_text().split("- alert: ")[1:]:
        kept = re.search(r"^ +expr: (?:>-\s+)?(?:max|min|sum) by \(([^)]*)\)", block, re.MULTILINE)
        used = set(re.findall(r"\$labels\.(\w+)", block))
        if kept is not None:
            assert used <= {word.strip() for word in kept.group(1).split(",")}, block
        else:
            names = _NAME.findall(block)
            labels = {each.name: each.labels for each in metric_names()}
            own = {label for name in names if name in labels for label in labels[name]}
            assert used <= own | _OF_SCRAPE, block


def test_panels_fill_the_screen_and_have_ids_of_their_own() -> None:
    """No two overlap; each has a title and a data source that can be chosen."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
        assert panel["title"] and panel["datasource"]["uid"] == "${datasource}"


def promtool(*words: str) -> None:
    """Run it; skip where it is not installed."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    done = subprocess.run(["promtool", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_are_valid() -> None:
    """By Prometheus' own check."""
    promtool("check", "rules", str(RULES))


def test_rules_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    """Each on series of the case that it is for, beside a cluster that is healthy otherwise."""
    fired = {name for case in CASES.values() for name in case.firing}
    assert fired == set(alerts())
    file = tmp_path / "rules.test.yml"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "tests": list(_tests(CASES.values()))}))
    promtool("test", "rules", str(file))


def _tests(cases: Iterable[Case]) -> Iterator[dict[str, Any]]:
    for case in cases:
        series = {**HEALTHY, **case.series}
        yield {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname) (ALERTS{alertstate="firing"}) > bool 0',
                    "eval_time": f"{case.minutes}m",
                    "exp_samples": [
                        {"labels": f'{{alertname="{name}"}}', "value": 1}
                        for name in sorted(case.firing)
                    ],
                }
            ],
        }
