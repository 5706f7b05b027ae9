"""The scenarios by the name that `--only` takes, in the order in which they are played."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from tests.acceptance.bed import Scenario

MODULES = {
    "story": "tests.acceptance.story",
    "claims": "tests.acceptance.scenarios.claims",
    "A1": "tests.acceptance.scenarios.self_fenced",
    "A2": "tests.acceptance.scenarios.duel",
    "A2-etcd": "tests.acceptance.scenarios.duel_etcd",
    "A3": "tests.acceptance.scenarios.cut_off",
    "A3-data": "tests.acceptance.scenarios.frozen_data",
    "A3-clocks": "tests.acceptance.scenarios.clocks",
    "A4": "tests.acceptance.scenarios.slow_target",
    "A5": "tests.acceptance.scenarios.ejected",
    "A6": "tests.acceptance.scenarios.watchdog",
    "A6-stopped": "tests.acceptance.scenarios.stopped_keeper",
    "A7": "tests.acceptance.scenarios.relogin",
    "A8": "tests.acceptance.scenarios.paused",
    "A9": "tests.acceptance.scenarios.boards",
    "A9-retry": "tests.acceptance.scenarios.board_back",
    "A10": "tests.acceptance.scenarios.frozen_array",
    "A11": "tests.acceptance.scenarios.agents",
}


def scenario(name: str) -> Scenario:
    """Return the module of a scenario."""
    return cast(Scenario, import_module(MODULES[name]))
