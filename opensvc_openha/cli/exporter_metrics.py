"""Turn a node's status into metrics: names, labels and meanings are listed in docs/metrics.md.

A state is one-hot: a series for each state that there is, 1 for the present one. Counters begin
again with each start of the daemon, as Prometheus expects. Labels hold names of the configuration
and fixed words alone, so that nothing that comes over the network makes a series.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from opensvc_openha import __version__
from opensvc_openha.core.events import PathState
from opensvc_openha.core.facts import Reach
from opensvc_openha.core.outlook import Severity
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import (
    GAP_BOUNDS_S,
    BeatTiming,
    LinkStatus,
    NodeStatus,
    PathStatus,
    PeerStanding,
    ServiceStatus,
)

_Sample = tuple[Sequence[str], float | None]


def of_daemon(is_up: bool, age_s: float | None) -> Iterator[Metric]:
    """Return what is known without a status: whether a daemon runs, and how old its status is."""
    yield _gauge("openha_up", "1 if the node daemon runs, 0 if it does not.", is_up)
    if age_s is not None:
        yield _gauge(
            "openha_status_age_seconds",
            "Age of the status that the other metrics come from: it grows while the daemon hangs.",
            age_s,
        )


def of_status(status: NodeStatus) -> Iterator[Metric]:
    """Return the metrics of a status."""
    info = InfoMetricFamily("openha", "This node, its peer, and the version of this exporter.")
    info.add_metric([], {"node": status.node, "peer": status.peer, "version": __version__})
    yield info
    yield _gauge("openha_warnings", "Warnings that hb -s shows.", len(status.warnings))
    yield _one_hot(
        "openha_peer_standing",
        "What this node believes of its peer: 1 for the present standing.",
        ["standing"],
        [((), status.peer_standing.value)],
        [standing.value for standing in PeerStanding],
    )
    yield from _of_check(status)
    yield from _of_services(status)
    yield from _of_links(status.links)
    yield from _of_activity(status)
    yield from _of_fencing(status)
    yield from _of_lease(status)
    yield from _of_connectivity(status)


def _of_check(status: NodeStatus) -> Iterator[Metric]:
    """Return what the last scheduled check of this node found; without one, nothing."""
    at, words = status.checked_at, [each.value for each in Severity if each is not Severity.OK]
    counts = collections.Counter(finding.severity.value for finding in status.findings)
    yield _gauges(
        "openha_check_findings",
        "Problems that the last scheduled check of this node found, by severity.",
        ["severity"],
        [((word,), None if at is None else float(counts[word])) for word in words],
    )
    yield _gauges("openha_check_timestamp_seconds", "When that was.", [], [((), at)])


def _of_services(status: NodeStatus) -> Iterator[Metric]:
    services, node, peer = status.services, status.node, status.peer
    yield _one_hot(
        "openha_service_state",
        "State of a service on a node, as this node sees it: 1 for the present state.",
        ["service", "node", "state"],
        [
            ((svc.name, of), state.name)
            for svc in services
            for of, state in ((node, svc.own_state), (peer, svc.peer_state))
            if state is not None
        ],
        [state.name for state in ServiceState],
    )
    yield _gauges(
        "openha_service_primary",
        "1 for the preferred node of a service, 0 for the other one.",
        ["service", "node"],
        [
            ((svc.name, of), float(of == svc.primary))
            for svc in services
            for of in (svc.primary, svc.secondary)
        ],
    )
    yield _gauges(
        "openha_service_state_since_timestamp_seconds",
        "When the state of a service on this node began.",
        ["service"],
        [((svc.name,), svc.since) for svc in services],
    )
    yield _gauges(
        "openha_service_ready",
        "1 if nothing is known that would keep a node from starting a service now, 0 otherwise.",
        ["service", "node"],
        [
            *(((svc.name, node), _own_ready(svc)) for svc in services),
            *(((svc.name, peer), _peer_ready(svc, status)) for svc in services),
        ],
    )
    yield _gauges(
        "openha_service_checked_timestamp_seconds",
        "When it was last checked whether this node could start a service.",
        ["service"],
        [((svc.name,), svc.checked_at) for svc in services],
    )
    yield _gauges(
        "openha_takeover_predicted_seconds",
        "How long a takeover by this node would take if the peer died now.",
        ["service"],
        [((svc.name,), svc.predicted_s) for svc in services],
    )
    yield _gauges(
        "openha_takeover_last_duration_seconds",
        "How long the last takeover by this node took, from the last beat of the peer on.",
        ["service"],
        [((svc.name,), svc.last_takeover_s) for svc in services],
    )
    yield _gauges(
        "openha_takeover_last_timestamp_seconds",
        "When that was.",
        ["service"],
        [((svc.name,), svc.last_takeover_at) for svc in services],
    )
    yield _gauges(
        "openha_service_dual_run",
        "1 while both nodes run a service.",
        ["service"],
        [((svc.name,), float(svc.is_dual_run)) for svc in services],
    )
    yield _gauges(
        "openha_service_parts_up",
        "1 if a service is stopped here, and parts of it were found up.",
        ["service"],
        [((svc.name,), float(svc.has_parts_up)) for svc in services],
    )
    yield _gauges(
        "openha_service_script_running",
        "1 while a script of a service runs on this node.",
        ["service"],
        [((svc.name,), float(bool(svc.script))) for svc in services],
    )


def _own_ready(svc: ServiceStatus) -> float | None:
    """Return what is known of this node, by the engine and by the last scheduled check."""
    return None if svc.own_state is None else float(not svc.cannot_start)


def _peer_ready(svc: ServiceStatus, status: NodeStatus) -> float | None:
    """Return what the peer reports of itself; None while it is not heard."""
    if svc.peer_state is None or status.peer_standing is not PeerStanding.LIVE:
        return None
    return float(not svc.peer_cannot_start)


def _of_links(links: Sequence[LinkStatus]) -> Iterator[Metric]:
    yield _gauges(
        "openha_link_up",
        "1 while an end of a heartbeat link sends, or hears, within its timeout.",
        ["link", "end"],
        [(_end(link), float(link.is_up)) for link in links],
    )
    yield _gauges(
        "openha_link_timeout_seconds",
        "Timeout of a heartbeat link.",
        ["link", "end"],
        [(_end(link), link.spec.timeout_s) for link in links],
    )
    yield _gauges(
        "openha_link_last_beat_timestamp_seconds",
        "When the last beat was sent, or heard.",
        ["link", "end"],
        [(_end(link), link.updated_at) for link in links],
    )
    yield _counters(
        "openha_link_frames_refused",
        "Frames of a link that were refused, by reason.",
        ["link", "end", "reason"],
        [
            ((*_end(link), reason), float(number))
            for link in links
            for reason, number in link.counts.items()
        ],
    )
    heard = [(link.spec.link_id, link.timing) for link in links if link.timing is not None]
    yield _counters(
        "openha_link_beats",
        "Beats of the peer that came in on a link.",
        ["link"],
        [((name,), float(timing.beats)) for name, timing in heard],
    )
    yield _counters(
        "openha_link_beats_lost",
        "Beats of the peer that are missing on a network link.",
        ["link"],
        [((name,), None if timing.lost is None else float(timing.lost)) for name, timing in heard],
    )
    yield _gauges(
        "openha_link_jitter_seconds",
        "How much later than its interval a beat comes in, smoothed over 16 beats.",
        ["link"],
        [((name,), timing.jitter_s) for name, timing in heard],
    )
    yield _gap_histogram(heard)


def _gap_histogram(heard: Iterable[tuple[str, BeatTiming]]) -> Metric:
    found = HistogramMetricFamily(
        "openha_link_beat_gap_seconds",
        "Time between two beats of the peer on a link.",
        labels=["link"],
    )
    bounds = [*(str(bound) for bound in GAP_BOUNDS_S), "+Inf"]
    for name, timing in heard:
        sums = itertools.accumulate(timing.gaps)
        buckets = [(bound, float(number)) for bound, number in zip(bounds, sums, strict=True)]
        found.add_metric([name], buckets, timing.gaps_s)
    return found


def _of_activity(status: NodeStatus) -> Iterator[Metric]:
    activity = status.activity
    yield _counters(
        "openha_decisions",
        "How often a service was brought into a state on this node.",
        ["service", "state"],
        [((each.service, each.state), float(each.number)) for each in activity.decisions],
    )
    scripts = [
        ((each.service, each.kind, each.outcome.replace(" ", "_")), each)
        for each in activity.scripts
    ]
    labels = ["service", "script", "outcome"]
    yield _counters(
        "openha_script_runs",
        "Scripts that ended, by outcome.",
        labels,
        [(key, float(each.number)) for key, each in scripts],
    )
    yield _counters(
        "openha_script_duration_seconds",
        "Time that scripts took, all together.",
        labels,
        [(key, each.took_s) for key, each in scripts],
    )
    yield _gauges(
        "openha_script_last_duration_seconds",
        "Time that the last script took.",
        labels,
        [(key, each.last_s) for key, each in scripts],
    )
    yield _counters(
        "openha_engine_steps", "Steps of the engine.", [], [((), float(activity.steps))]
    )
    yield _gauge(
        "openha_engine_lateness_seconds",
        "By how much the last step of the engine came too late.",
        activity.late_s,
    )
    yield _gauge(
        "openha_engine_lateness_max_seconds",
        "The same at its worst in the last two to four minutes.",
        activity.most_late_s,
    )
    yield _counters(
        "openha_engine_stalls",
        "Stalls of this node that delayed a verdict about the peer.",
        [],
        [((), float(activity.stalls))],
    )
    yield _gauges(
        "openha_beat_stage_seconds",
        "How long a stage on the way of beats took in the last minutes: the median.",
        ["stage"],
        [((each.stage,), each.typical_s) for each in activity.stages],
    )
    yield _gauges(
        "openha_beat_stage_max_seconds",
        "The same at its worst.",
        ["stage"],
        [((each.stage,), each.most_s) for each in activity.stages],
    )


def _of_fencing(status: NodeStatus) -> Iterator[Metric]:
    fencing = status.fencing
    yield _gauge(
        "openha_fence_blocked",
        "1 while this node may not fence, since it has not heard its peer since it booted.",
        fencing.is_blocked,
    )
    yield _gauge(
        "openha_ejected",
        "1 if the peer has ejected this node from the arbiter: it neither fences nor starts.",
        bool(fencing.is_ejected_by),
    )
    yield _gauge(
        "openha_fence_running", "1 while a fence runs.", bool(fencing.step or fencing.flight)
    )
    paths = [*fencing.paths, *fencing.service_paths]
    yield _one_hot(
        "openha_fence_path_state",
        "State of a path of the fence plan, or of a fence of a service file: 1 for the present.",
        ["path", "kind", "level", "state"],
        [(_path(path), path.state) for path in paths],
        [state.value for state in PathState],
    )
    labels = ["path", "kind", "level"]
    yield _gauges(
        "openha_fence_path_looked_timestamp_seconds",
        "When a path of the fence plan was last looked at.",
        labels,
        [(_path(path), path.looked_at) for path in paths],
    )
    yield _gauges(
        "openha_fence_path_tested_timestamp_seconds",
        "When a path of the fence plan was last used or tried out.",
        labels,
        [(_path(path), path.tested_at) for path in paths],
    )
    yield _gauges(
        "openha_fence_path_tested_duration_seconds",
        "How long it took then.",
        labels,
        [(_path(path), path.tested_s) for path in paths],
    )
    groups = [group for group in fencing.groups if group.name]
    yield _gauges(
        "openha_fence_script_worked_timestamp_seconds",
        "When a check-up script last fenced the peer.",
        ["check"],
        [((group.check,), group.worked_at) for group in groups],
    )
    yield _gauges(
        "openha_fence_script_failed_timestamp_seconds",
        "When a check-up script last failed to.",
        ["check"],
        [((group.check,), group.failed_at) for group in groups],
    )
    yield _gauge(
        "openha_services_unfenced",
        "Services whose check-up script proves nothing, where there is no fence plan.",
        sum(len(group.services) for group in fencing.groups if not group.name),
    )


def _of_lease(status: NodeStatus) -> Iterator[Metric]:
    lease = status.lease
    if lease is None:
        return
    yield _gauge(
        "openha_lease_confirmed",
        "1 while what this node promises is confirmed.",
        lease.is_confirmed,
    )
    yield _gauges(
        "openha_watchdog_timeout_seconds",
        "Timeout of this node's watchdog.",
        [],
        [((), lease.timeout_s)],
    )
    yield _gauges(
        "openha_watchdog_margin_seconds",
        "What is left of its time.",
        [],
        [((), lease.margin_s)],
    )
    yield _gauges(
        "openha_watchdog_margin_min_seconds",
        "The least that was left of it in the last day.",
        [],
        [((), lease.least_margin_s)],
    )


def _of_connectivity(status: NodeStatus) -> Iterator[Metric]:
    known = status.connectivity
    if known is None:
        return
    is_known = known.reach != Reach.UNKNOWN.value
    yield _gauges(
        "openha_isolated",
        "1 while none of the targets answers this node, 0 while one does; nothing if not known.",
        [],
        [((), float(known.reach == Reach.ISOLATED.value) if is_known else None)],
    )
    yield _gauges(
        "openha_target_answers",
        "1 if a target answered when it was asked last, 0 if not; nothing if that is not known.",
        ["target"],
        [
            ((each.address,), None if each.answers is None else float(each.answers))
            for each in known.targets
        ],
    )


def _end(link: LinkStatus) -> tuple[str, str]:
    return link.spec.link_id, "sender" if link.is_sender else "listener"


def _path(path: PathStatus) -> tuple[str, str, str]:
    return path.name, path.kind, str(path.level)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _gauges(name: str, text: str, labels: Sequence[str], samples: Iterable[_Sample]) -> Metric:
    """Return a gauge with these samples, without those whose value is not known."""
    return _filled(GaugeMetricFamily(name, text, labels=labels), samples)


def _counters(name: str, text: str, labels: Sequence[str], samples: Iterable[_Sample]) -> Metric:
    """Return a counter likewise; its name gets ``_total``."""
    return _filled(CounterMetricFamily(name, text, labels=labels), samples)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, samples: Iterable[_Sample]) -> Metric:
    for labels, value in samples:
        if value is not None:
            family.add_metric(labels, value)
    return family


def _one_hot(
    name: str,
    text: str,
    labels: Sequence[str],
    present: Iterable[tuple[Sequence[str], str]],
    states: Sequence[str],
) -> Metric:
    """Return a series for each state, also for a present one that this version does not know."""
    return _gauges(
        name,
        text,
        labels,
        [
            ((*key, state), float(state == now))
            for key, now in present
            for state in (states if now in states else (*states, now))
        ],
    )
