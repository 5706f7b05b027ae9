"""The pages say what the code does: states, exit codes, samples and the tutorial's output."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensvc_openha.agent.config.checks import keywords_of, unknown_names, wrong_in_resource
from opensvc_openha.agent.config.schema import NO_RESOURCES
from opensvc_openha.agent.config.service_file import parse_service_text
from opensvc_openha.core.states import ServiceState
from opensvc_openha.errors import OpenhaError
from opensvc_openha.formats.options_file import parse_options

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
IMAGES = DOCS / "images"
TRANSCRIPTS = ("tutorial.txt", "tutorial_containers.txt")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


def blocks(page: str, language: str) -> list[str]:
    return [text for word, text in _BLOCK.findall((DOCS / page).read_text()) if word == language]


def test_page_of_states_has_each_with_its_digit() -> None:
    found = re.findall(r"^\| ([A-Z_]+) \| (\d+) \|", (DOCS / "states.md").read_text(), re.MULTILINE)
    assert {word: int(digit) for word, digit in found} == {
        state.name: state.digit for state in ServiceState
    }


def test_page_of_exit_codes_has_those_of_all_errors() -> None:
    def codes(error: type[OpenhaError]) -> Iterator[int]:
        yield error.exit_code
        for each in error.__subclasses__():
            yield from codes(each)

    table = (DOCS / "exit-codes.md").read_text().split("\n\nSome commands")[0]
    found = set(map(int, re.findall(r"^\| (\d+) \|", table, re.MULTILINE)))
    assert found == {0, *codes(OpenhaError)}


@pytest.mark.parametrize(
    "source", [*IMAGES.glob("*.dot"), *IMAGES.glob("*.txt")], ids=lambda path: path.name
)
def test_picture_is_that_of_its_source(source: Path) -> None:
    """Otherwise: ``make pictures``."""
    mark = runpy.run_path(str(DOCS / "diagrams.py"))["mark"]
    assert mark(source.read_bytes()) in source.with_suffix(".svg").read_text()


def test_what_the_tutorial_prints_is_printed() -> None:
    """Each line of output is one that the tests of the tutorial compare with a real run."""

    def normalised(line: str) -> str:
        line = re.sub(r"pid (\d+|N)", "pid N", line.rstrip())
        return re.sub(r"updated at .*", "updated at T", line)

    printed = {
        normalised(line)
        for name in TRANSCRIPTS
        for line in (ROOT / "tests/e2e" / name).read_text().splitlines()
    }
    shown = [
        line
        for block in blocks("tutorial.md", "console")
        for line in block.splitlines()
        if re.match(
            r"(net|dio) |=> |service  |registry  |busybox  |\||'-|overall|State |Dir|Ready|Serv",
            line,
        )
    ]
    assert len(shown) > 50
    assert [line for line in shown if normalised(line) not in printed] == []


@pytest.mark.parametrize("page", ["containers.md", "other-clusters.md", "tutorial.md"])
def test_service_files_and_options_of_a_page_are_valid(page: str) -> None:
    for text in blocks(page, "ini"):
        if "[fencing]" in text:
            assert parse_options(text, page).fence_plan.levels
            continue
        sections = parse_service_text(text, page, "web", "deb1").sections
        for section in (each for each in sections if each.group not in NO_RESOURCES):
            keywords = keywords_of(section)
            if keywords is not None:
                assert list(wrong_in_resource(section)) == []
                assert list(unknown_names(section, keywords)) == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_of_pages_outside_the_site_lead_somewhere(page: str) -> None:
    missing = [
        link for link in _LINK.findall((ROOT / page).read_text()) if not (ROOT / link).exists()
    ]
    assert missing == []


def test_every_page_is_in_the_table_of_contents() -> None:
    """Sphinx fails for one that is not (``make docs``)."""
    listed = {"index"}
    for page in DOCS.glob("*.md"):
        for toctree in re.findall(r"```{toctree}\n(.*?)```", page.read_text(), re.DOTALL):
            listed |= set(toctree.split())
    assert {page.stem for page in DOCS.glob("*.md")} <= listed


def test_readme_has_120_columns() -> None:
    """It is shown on an index, and by `less` on a server."""
    long = [line for line in (ROOT / "README.md").read_text().splitlines() if len(line) > 120]
    assert long == []
