"""The simulator's STATE files on a disk: no power cut takes what was announced, and the check would
notice.
"""

from __future__ import annotations

from random import Random

import pytest

from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.formats.state_file import StoredState, decode
from opensvc_openha.storage.state_recovery import content_due
from opensvc_openha.verify.invariants import InvariantBroken
from opensvc_openha.verify.random import logged_store
from opensvc_openha.verify.random.logged_store import LoggedStore

NAMES = ("mail", "registry", "web")
SPECS = tuple(ServiceSpec(name, "/opt/it", "deb1", "deb2", "/bin/true") for name in NAMES)
STATES = (S.FROZEN_STOP, S.STOPPED, S.STARTING, S.STARTED)
SEEDS = 150


def _play(seed: int, cuts: int = 12) -> None:
    """Write states, kill daemons, cut the power, and spoil files, drawn from the seed."""
    dice, now = Random(seed), [1_000.0]
    store = LoggedStore(Random(f"{seed} disk"), lambda: now[0])
    for _ in range(cuts):
        store.begin_daemon(SPECS[: dice.randrange(2, 4)])
        for _ in range(dice.randrange(8)):
            now[0] += dice.choice((0.0, 0.001, 3.0, -60.0))
            if dice.random() < 0.1:
                store.damage_state(dice.choice(NAMES), dice.choice((None, b"", b"9999")))
            states = {
                name: StoredState(dice.choice(STATES))
                for name in dice.sample(NAMES, dice.randrange(1, 4))
            }
            store.log_states(states)
            for name, stored in states.items():
                if dice.random() < 0.1:
                    break  # The daemon is killed here.
                store.write_state(name, stored)
            else:
                continue
            break
        end = dice.random()
        if end < 0.5:
            store.is_same_boot = False
            if end < 0.1:
                store.tear_log()
            store.lose_power()
        elif end < 0.7:
            store.end_daemon()


@pytest.mark.parametrize("first", range(0, SEEDS, 50))
def test_power_cut_takes_nothing_that_was_announced(first: int) -> None:
    """Whatever reached the disk of the files; the rule of production decides what counts."""
    for seed in range(first, first + 50):
        _play(seed)


@pytest.mark.parametrize("fault", ["file counts", "no sync", "first record", "old generation"])
def test_check_notices_what_is_lost(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Where the file counts always, where no file is on disk before its record goes, and where the
    log is wrong.
    """
    if fault == "file counts":
        monkeypatch.setattr(logged_store, "content_due", lambda *_: None)
    elif fault == "first record":
        due = content_due
        monkeypatch.setattr(
            logged_store,
            "content_due",
            lambda records, *found: due(records, *found) and records[0].content,
        )
    elif fault == "no sync":
        monkeypatch.setattr(LoggedStore, "_sync", lambda *_: None)
    else:
        monkeypatch.setattr(LoggedStore, "_begin_generation", lambda self: None)
    with pytest.raises(InvariantBroken, match="was announced with"):
        for seed in range(SEEDS):
            _play(seed)


def test_frozen_service_is_found_frozen_after_the_cut() -> None:
    """Its file may be the old one, or empty."""
    found = set()
    for seed in range(50):
        store = LoggedStore(Random(seed), lambda: 1_000.0)
        store.begin_daemon(SPECS)
        for state in (S.STARTED, S.FROZEN_STOP):
            store.log_states({"web": StoredState(state)})
            store.write_state("web", StoredState(state))
        store.lose_power()
        found.add(store.files.get("web"))
        store.is_same_boot = False
        recovered, _ = store.begin_daemon(SPECS)
        assert recovered["web"].state is S.FROZEN_STOP
        assert recovered["web"].reason == "frozen before the machine was started"
        assert decode(store.files["web"]).state is S.FROZEN_STOP
    assert len(found) > 2, "the power cuts leave different files"


def test_daemon_that_starts_on_a_full_disk_knows_what_the_log_has() -> None:
    """Its file is older, and cannot be written: the freeze counts all the same, until it can be."""
    found = set()
    for seed in range(20):
        store = LoggedStore(Random(seed), lambda: 1_000.0)
        store.begin_daemon(SPECS)
        store.log_states({"web": StoredState(S.STOPPED)})
        store.write_state("web", StoredState(S.STOPPED))
        store.log_states({"web": StoredState(S.FROZEN_STOP)})
        store.write_state("web", StoredState(S.FROZEN_STOP))
        store.is_same_boot, store.is_full = False, True
        store.lose_power()
        found.add(store.files.get("web"))
        recovered, _ = store.begin_daemon(SPECS)
        assert recovered["web"].state is S.FROZEN_STOP
        store.is_full = False
        store.write_state("web", StoredState(S.STOPPED))
        assert store.read_state("web") == (StoredState(S.STOPPED), "")
    assert len(found) > 2, "the power cuts leave different files"
