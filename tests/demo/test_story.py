"""The demo's story: its patterns fit what the tutorial shows, and nothing else.

Its scripts are sound.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from opensvc_openha.demo import story
from opensvc_openha.demo.main import main
from opensvc_openha.demo.player import _problem, _where, starts_in
from opensvc_openha.demo.story import Cast, StoryPace
from opensvc_openha.errors import UsageError

STATUS = """\
=> Querying OpenHA services status [/usr/local/cluster/bin/service -s -c]
service          prinode          pristate       secnode          secstate
busybox          deb1.opensvc.com UNKNOWN        deb2.opensvc.com STARTING
registry         deb1.opensvc.com UNKNOWN        deb2.opensvc.com STARTED
"""

SVCMON = """\
registry.opensvc.com DEV  hosted  up    up    up    up    n/a  n/a  up    up  up    up    False
busybox.opensvc.com  DEV  hosted  down  down  down  down  n/a  n/a  warn  up  down  warn  False
"""

LINKS = """\
net listener eth1:239.131.50.10 pid 2861 status UP, updated at Jun 19 09:31:55
net listener eth2:239.131.50.11 pid 2864 status UP, updated at Jun 19 09:31:55
net sender eth1:239.131.50.12 pid 17469 status UP, updated at Jun 19 09:31:55
dio listener /dev/mapper/disk.hb.0:0 {}
"""


def found(patterns: tuple[str, ...], text: str) -> bool:
    """True if every pattern is found."""
    return all(re.search(pattern, text) for pattern in patterns)


def test_state_patterns_fit_the_tutorial_and_no_other_state() -> None:
    """deb2 runs registry and starts busybox: the patterns for that fit, those for other states do
    not.
    """
    assert found(story.states(registry="UNKNOWN/STARTED", busybox="UNKNOWN/STARTING"), STATUS)
    assert not found(story.states(registry="UNKNOWN/STARTED", busybox="UNKNOWN/STARTED"), STATUS)
    assert not found(story.states(registry="UNKNOWN/START"), STATUS)


def test_svcmon_patterns_look_at_the_hb_and_overall_columns() -> None:
    """registry is up, busybox down with its heartbeat in warn: each pattern fits its own line
    only.
    """
    assert re.search(story.svcmon_line("registry", "up", "up"), SVCMON)
    assert re.search(story.svcmon_line("busybox", "warn", "warn"), SVCMON)
    assert not re.search(story.svcmon_line("busybox", "up", "up"), SVCMON)
    assert not re.search(story.svcmon_line("registry", "up", "warn"), SVCMON)


def test_listener_patterns_count_all_three() -> None:
    """Two of three listeners are up: neither "all" nor "none" fits until the third agrees."""
    up, down = (
        LINKS.format("pid 2873 status UP, updated at Jun 19 09:31:48"),
        LINKS.format("status DOWN"),
    )
    assert found(story.ALL_LISTEN, up)
    assert not found(story.ALL_LISTEN, down)
    assert not found(story.NONE_LISTENS, down)
    assert found(story.NONE_LISTENS, re.sub(r"(listener \S+) pid.*", r"\1 status DOWN", up))


@pytest.mark.parametrize("cast", [story.PROGRAMS, story.CONTAINERS], ids=["plain", "docker"])
def test_the_story_is_the_same_at_both_paces(cast: Cast) -> None:
    """The fast demo runs exactly the commands of the full one, but for its times."""

    def commands(pace: StoryPace) -> list[str]:
        return [
            re.sub(r"\d+\n|sleep \d+", "", getattr(step, "command", ""))
            for step in story.story_steps(pace, cast)
        ]

    assert commands(story.FULL) == commands(story.FAST)


@pytest.mark.parametrize(
    "code, expect, absent, problem",
    [
        (0, ("up",), (), ""),
        (1, ("up",), (), "exit code 1"),
        (0, ("down",), (), "expected 'down'"),
        (0, (), ("up",), "did not expect 'up'"),
    ],
)
def test_a_wrong_output_is_named(
    code: int, expect: tuple[()] | tuple[str], absent: tuple[()] | tuple[str], problem: str
) -> None:
    """An output is judged: the first thing that is wrong is reported, nothing if nothing is."""
    judged = _problem(code, "all is up", expect, absent)
    assert (problem in judged) if problem else judged == ""


def test_a_change_of_directory_goes_to_the_prompt() -> None:
    """A command begins with `cd`: the prompt shows the directory, the command line the rest."""
    assert _where("cd /etc/opensvc; cat a > b\n") == ("/etc/opensvc", "cat a > b\n")
    assert _where("ez_ps") == ("~", "ez_ps")


def test_the_last_start_on_the_node_counts() -> None:
    """An application was started on both nodes, twice on one: the last start on that node is
    taken.
    """
    text = "registry deb2 1.5\nregistry deb1 2.5\nregistry deb2 3.5\n"
    assert starts_in(text, "deb2") == {"registry": 3.5}


def test_the_application_starts_checks_and_stops(tmp_path: Path) -> None:
    """The demo's application runs outside of a cluster: down, then up, started once noted, then
    down again.
    """
    text = story.app_script("registry", 0)
    for place, own in (
        ("/opt/registry.opensvc.com/clock", "clock"),
        ("/run/", ""),
        (story.STARTS_FILE, "starts"),
    ):
        text = text.replace(place, f"{tmp_path}/{own}")
    script = tmp_path / "app"
    script.write_text(text)
    script.chmod(0o755)

    def call(word: str) -> int:
        return subprocess.run([str(script), word], timeout=10, check=False).returncode

    assert call("status") == 1
    try:
        assert call("start") == 0
        assert call("status") == 0
        assert (tmp_path / "starts").read_text().startswith("registry ")
    finally:
        assert call("stop") == 0
    assert call("status") == 1


def test_an_unknown_option_is_refused() -> None:
    """`openha demo --slow` is typed: exit code 2, and no node is made."""
    with pytest.raises(UsageError, match="unknown option --slow"):
        main(["--slow"])
