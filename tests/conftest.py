"""Fixtures shared by several folders of tests."""

from __future__ import annotations

import functools
import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from itertools import accumulate, groupby
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from opensvc_openha.formats.layout import Layout, tree_layout
from tests.cluster_dir import ClusterDir

# A loaded machine is no failure: no test asserts a duration. CI tries the same examples in each
# run; other ones are searched for by whoever runs the tests.
settings.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("CI") == "true",
)
settings.load_profile("any machine")

_TESTS = Path(__file__).parent
_MEMORY = "/dev/shm"
_WEIGHT_OF_TWO_NODES = 50
"""A test of two nodes waits as long as so many others."""
_FAST = (
    "core",
    "formats",
    "agent/config/test_checks.py",
    "agent/config/test_schedule.py",
    "agent/config/test_schema.py",
    "agent/config/test_value_types.py",
    "agent/show/test_render.py",
    "cli/test_output.py",
    "heartbeat/test_repeated_frames.py",
    "heartbeat/test_stage_meter.py",
    "links/test_monitor_file.py",
    "mutants/test_pattern.py",
    "setup/test_fence_words.py",
    "setup/test_messages.py",
    "setup/test_networks.py",
    "test_named_tuples.py",
    "test_records.py",
    "verify/test_invariants.py",
    "verify/test_scenarios.py",
)
"""Folders and modules whose tests start no process and open no socket; `make test-fast` runs them,
but for those that are marked exhaustive."""


@functools.cache
def _is_fast(path: Path) -> bool:
    return any(path.is_relative_to(_TESTS / fast) for fast in _FAST)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import nothing else for `-m fast`: collecting all modules takes longer than the tests."""
    if config.option.markexpr != "fast" or _is_fast(collection_path):
        return None
    if collection_path.is_dir():
        return not any((_TESTS / fast).is_relative_to(collection_path) for fast in _FAST)
    return collection_path.name.startswith("test_") or None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage while tests are collected, nor look at all of these for some later.

    Each worker has all of them, a million objects.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


# Before pytest itself chooses by marker.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the fast tests, by where they are, and spread those that only compute."""
    for item in items:
        if _is_fast(item.path) and item.get_closest_marker("exhaustive") is None:
            item.add_marker(pytest.mark.fast)
    items[:] = _spread(items)


def _slow_first(items: list[pytest.Item]) -> list[pytest.Item]:
    """Let each worker begin with its share of the tests of two nodes, which take longest.

    What is left in the last minutes is short then, and all workers share it.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    modules = [list(found) for _, found in groupby(items, lambda item: item.path)]
    if workers == 1:
        return items
    slow = [found for found in modules if _is_of_two_nodes(found[0])]
    slow.sort(key=len, reverse=True)
    others = [item for item in items if not _is_of_two_nodes(item)]
    ordered: list[pytest.Item] = []
    for worker in range(workers):
        ordered += [item for found in slow[worker::workers] for item in found]
        begin, end = (len(others) * part // workers for part in (worker, worker + 1))
        ordered += others[begin:end]
    return ordered


def _spread(items: list[pytest.Item]) -> list[pytest.Item]:
    """Put the tests that only compute evenly among those that mostly wait.

    Each worker of pytest-xdist begins with one part of the list: the processors are in use from
    the first to the last minute. Modules stay whole, for the sake of their fixtures.
    """
    busy: list[pytest.Item] = []
    waiting: list[pytest.Item] = []
    for item in items:
        (busy if _computes(item) else waiting).append(item)
    if not busy or not waiting:
        return items
    # The longest first: one of these computes for a minute.
    busy.sort(
        key=lambda item: (item.path.stem != "test_enumeration", not _is_in(item.path, "verify"))
    )
    waiting = _slow_first(waiting)
    before = [
        0,
        *accumulate(_WEIGHT_OF_TWO_NODES if _is_of_two_nodes(item) else 1 for item in waiting),
    ]
    spread: list[pytest.Item] = []
    done = 0
    for number, item in enumerate(waiting):
        if number and item.path != waiting[number - 1].path:
            due = before[number] * len(busy) // before[-1]
            spread += busy[done:due]
            done = max(done, due)
        spread.append(item)
    return spread + busy[done:]


@functools.cache
def _is_in(path: Path, folder: str) -> bool:
    return path.is_relative_to(_TESTS / folder)


def _is_of_two_nodes(item: pytest.Item) -> bool:
    return _is_in(item.path, "e2e")


def _computes(item: pytest.Item) -> bool:
    return item.get_closest_marker("exhaustive") is not None or _is_in(item.path, "verify")


def pytest_configure(config: pytest.Config) -> None:
    """Restore Ctrl-C, which a shell disables for background tests and their children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def cluster_dir(tmp_path: Path) -> Iterator[ClusterDir]:
    """Yield a cluster directory of this node; its daemon is terminated at the end."""
    cluster = ClusterDir(tmp_path / "cluster")
    yield cluster
    cluster.close()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Return the layout of an empty cluster directory."""
    return tree_layout(str(tmp_path))


@pytest.fixture
def memory_dir() -> Iterator[str]:
    """Yield a directory in memory where there is one, for what waits for its disk."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None) as made:
        yield made


@pytest.fixture
def open_path() -> Iterator[Path]:
    """Yield a directory that any user may traverse.

    pytest's own belong to its user alone, and it restores that repeatedly.
    """
    made = Path(tempfile.mkdtemp(prefix="openha-open."))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def open_cluster_dir(open_path: Path) -> Iterator[ClusterDir]:
    """Yield a cluster directory that other users reach like a system's own."""
    cluster = ClusterDir(open_path / "cluster")
    yield cluster
    cluster.close()
