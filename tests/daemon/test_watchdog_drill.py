"""The drill of a watchdog: what it leaves for the next boot, and one that resets nobody."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from opensvc_openha.daemon import watchdog_drill
from opensvc_openha.daemon.watchdog_drill import FILE, WatchdogDrill, WatchdogTrial
from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.layout import Layout
from opensvc_openha.watchdog.keeper_client import KeeperSettings
from tests.daemon.test_watchdog_thread import PlayedKeeper
from tests.waiting import until

SETTINGS = KeeperSettings("/dev/watchdog", 4, 1.0)


class Told(list[tuple[str, str, bool]]):
    def __call__(self, word: str, text: str, is_alarm: bool) -> None:
        self.append((word, text, is_alarm))


def test_next_boot_shows_how_long_the_watchdog_took(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then the record grows; it is in the history once, and in the status from then on."""
    told, keeper = Told(), PlayedKeeper(SETTINGS)
    drill = WatchdogDrill(layout, told)
    assert drill.begin(keeper) == 4.0 and drill.is_running
    record = Path(layout.proc_dir) / FILE
    until(lambda: record.exists() and json.loads(record.read_text())["lived_s"] > 0)
    again = WatchdogDrill(layout, told)
    again.recover()
    assert again.last is None and not told, "the daemon was restarted: the node still lives"
    drill.stop()
    monkeypatch.setattr(watchdog_drill, "life", lambda: "another boot")
    for _ in range(2):
        booted = WatchdogDrill(layout, told)
        booted.recover()
        assert booted.last is not None and booted.last.lived_s > 0
    assert len(told) == 1 and told[0][0] == "DRILL" and "softdog of 4 s has reset" in told[0][1]
    assert "disarm" not in keeper.asked


@pytest.mark.parametrize(("lived_s", "is_late"), [(4.1, False), (4.6, False), (8.1, True)])
def test_watchdog_that_comes_late_is_an_alarm(
    layout: Layout, lived_s: float, is_late: bool
) -> None:
    """Some firmware makes iTCO_wdt count twice: a promise by it is not kept."""
    record = Path(layout.proc_dir) / FILE
    record.parent.mkdir(parents=True)
    trial = WatchdogTrial("before", 1.0, "iTCO_wdt", 4.0, 0.1, lived_s)
    record.write_text(json.dumps(dataclasses.asdict(trial)))
    told = Told()
    drill = WatchdogDrill(layout, told)
    drill.recover()
    assert drill.last == trial and trial.is_late is is_late
    assert [(is_alarm, "LATE" in text) for _, text, is_alarm in told] == [(is_late, is_late)]


def test_watchdog_that_resets_nobody_is_reported(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And disarmed; nothing is kept of it."""
    monkeypatch.setattr(watchdog_drill, "_PATIENCE_S", -7.9)
    told, keeper = Told(), PlayedKeeper(SETTINGS)
    drill = WatchdogDrill(layout, told)
    drill.begin(keeper)
    until(lambda: not drill.is_running and told)
    word, text, is_alarm = told[0]
    assert (word, is_alarm) == ("DRILL FAILED", True) and "keeps no promise" in text
    assert keeper.asked[-1] == "disarm" and keeper.is_closed
    assert not (Path(layout.proc_dir) / FILE).exists()


def test_drill_that_cannot_arm_the_watchdog_has_done_nothing(layout: Layout) -> None:
    """The reason goes to whoever asked for it."""
    told, keeper = Told(), PlayedKeeper(SETTINGS)
    keeper.fault = "another process has it open"
    with pytest.raises(SystemFault, match="another process has it open"):
        WatchdogDrill(layout, told).begin(keeper)
    assert keeper.is_closed and not told and not (Path(layout.proc_dir) / FILE).exists()
