"""The page in a real browser: clicks, keys, widths, and what it shows while nothing answers.

Skipped where Chromium or Selenium is not installed: `make web-test` installs both.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opensvc_openha.errors import NotRunningError
from tests.live.stage import S, Served, Stage, healthy, link, service
from tests.waiting import until

selenium = pytest.importorskip("selenium", reason="Selenium is not installed: make web-test")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if not (CHROMIUM and DRIVER):
    pytest.skip("Chromium is not installed: make web-test", allow_module_level=True)

from selenium import webdriver  # noqa: E402 - after the skip
from selenium.webdriver.chrome.options import Options  # noqa: E402 - after the skip
from selenium.webdriver.chrome.service import Service  # noqa: E402 - after the skip
from selenium.webdriver.common.keys import Keys  # noqa: E402 - after the skip

TOKEN = "t" * 24
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


class Page:
    """The page of a stage in a browser."""

    def __init__(self, driver: Any, behind: Served, shots: str) -> None:
        self.driver = driver
        self.behind = behind
        self._shots = shots
        driver.get(behind.url)

    def find(self, selector: str) -> Any:
        """Return an element once it is there."""
        found = until(
            lambda: self.driver.find_elements("css selector", selector), what=f"{selector} is there"
        )
        return found[0]

    def text(self, selector: str = "body") -> str:
        """Return what can be read in an element; nothing of one that is not shown."""
        script = (
            "const one = document.querySelector(arguments[0]);"
            "return one && one.getClientRects().length ? one.innerText : ''"
        )
        return str(self.driver.execute_script(script, selector))

    def shows(self, words: str, selector: str = "body") -> None:
        """Wait until these words can be read."""
        until(lambda: self.text(selector), lambda text: words in text, words)

    def look(self, width: int, height: int, is_dark: bool) -> None:
        """Take this size and these colours."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        colours = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [colours]})

    def shoot(self, name: str) -> None:
        """Keep a picture, if a folder is named in OPENHA_SHOTS."""
        if self._shots:
            self.driver.save_screenshot(f"{self._shots}/{name}.png")


class Runs:
    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def __call__(self, name: str, action: str, reason: str) -> tuple[bool, str]:
        assert reason.startswith("CHG-12 ")
        self.calls.append((name, action))
        return True, f"Service {name} successfully stopped"


@pytest.fixture
def stage() -> Stage:
    """A page that takes orders."""
    return Stage(TOKEN, Runs())


@pytest.fixture
def page(stage: Stage, tmp_path: Path) -> Iterator[Page]:
    """Opened with the token."""
    options = Options()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path}/profile"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    behind = Served(stage)
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        found = Page(driver, behind, os.environ.get("OPENHA_SHOTS", ""))
        found.find("#token").send_keys("wrong")
        found.find("#login button").click()
        found.shows("this is not the token")
        found.find("#token").clear()
        found.find("#token").send_keys(TOKEN + Keys.ENTER)
        found.shows("hear each other on all links")
        yield found
        messages = [line["message"] for line in driver.get_log("browser")]
        assert not [text for text in messages if "Content Security Policy" in text], messages
    finally:
        driver.quit()
        behind.close()


def test_page_shows_what_happens_and_takes_an_order(stage: Stage, page: Page) -> None:
    """One browser for all: it takes seconds to start."""
    runs = stage.orders._run  # type: ignore[union-attr]
    assert isinstance(runs, Runs)
    # Phone width, dark and light: nothing is cut off at the side.
    for name, width, is_dark in (("desktop", 1280, False), ("phone", 360, True)):
        page.look(width, 900, is_dark)
        wide = page.driver.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width
        page.shoot(f"{name}-{'dark' if is_dark else 'light'}")
    colour = "return getComputedStyle(document.body).backgroundColor"
    dark = page.driver.execute_script(colour)
    page.look(1280, 900, False)
    assert page.driver.execute_script(colour) != dark

    # Words and shapes for each state, and a plot with its figures as text for each link.
    icons = page.driver.execute_script(
        "return [...document.querySelectorAll('main .state, main .banner:not([hidden])')]"
        ".every((one) => one.querySelector('svg[role=img][aria-label]') && one.innerText.trim())"
    )
    assert icons
    assert page.driver.execute_script("return document.querySelectorAll('.plot').length") == 4
    page.shows("longest silence", "#links")

    # Why, by keys alone: focus, enter, escape; focus is back where it was.
    button = page.find("[data-mark='why web']")
    page.driver.execute_script("arguments[0].focus()", button)
    button.send_keys(Keys.ENTER)
    page.shows("why web", "#why-text")
    page.shoot("why")
    page.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    until(lambda: page.driver.switch_to.active_element.text, lambda text: text == "Why", "focus")

    # An order: named, typed, confirmed, shown.
    page.find("[data-mark='switch web']").click()
    page.shows("Switch web on deb1?", "#confirm")
    assert not page.find("#confirm-yes").is_enabled()
    page.find("#confirm-name").send_keys("registry")
    assert not page.find("#confirm-yes").is_enabled()
    page.find("#confirm-name").clear()
    page.find("#confirm-name").send_keys("web")
    page.find("#confirm-reason").send_keys("CHG-12")
    page.shoot("confirm")
    page.find("#confirm-yes").click()
    page.shows("successfully stopped", "#orders")
    assert runs.calls == [("web", "stop")]
    page.shoot("order")

    # Dual run, a link that is down, frozen: in words.
    well = healthy()
    stage.status = replace(well, services=(service("web", S.STARTED, S.STARTED, is_dual_run=True),))
    page.shows("dual run: both nodes run web", "#headline")
    page.shoot("dual-run")
    stage.status = replace(
        well,
        services=(service("web", S.FROZEN_START, S.STOPPED),),
        links=(link("eth1:239.131.50.10", False, False, 20.0), *well.links[2:]),
    )
    page.shows("1 of 3 ends of links down", "#headline")
    page.shows("FROZEN_START", "#services")
    page.shoot("frozen")

    # A daemon that hangs, that is gone, that is back; then the server of the page itself.
    stage.status = replace(well, age_s=12.5)
    page.shows("its engine hangs; what is shown is", "#headline")
    assert not page.driver.find_elements("css selector", "[data-mark='switch web']")
    page.shoot("hangs")
    stage.status = NotRunningError("nmond is not running on this node")
    page.shows("nmond is not running on this node; what is shown is", "#headline")
    stage.status = replace(well, pid=4712)
    page.shows("nmond was restarted: pid 4712", "#warnings")
    page.shows("hear each other on all links", "#headline")


def test_page_reports_that_its_own_server_has_gone(page: Page) -> None:
    """It looks no more as if all were well."""
    page.find("#logout").click()
    page.find("#token").send_keys(TOKEN + Keys.ENTER)
    page.shows("hear each other on all links", "#headline")
    page.behind.close()
    page.shows("what is shown is as it was", "#lost")
    until(lambda: page.text("#headline"), lambda text: not text, "the headline is gone")
    page.shoot("server-gone")
