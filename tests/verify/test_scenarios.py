"""Operators' stories on the simulator, played as they are written in tests/scenarios."""

from __future__ import annotations

from pathlib import Path

import pytest

from opensvc_openha.verify.random.main import main
from opensvc_openha.verify.random.scenario import render

_STORIES = sorted((Path(__file__).parents[1] / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("path", _STORIES, ids=lambda path: path.stem)
def test_scenario_runs_as_written(path: Path) -> None:
    """Every line is as in the file.

    After a wanted change: python -m opensvc_openha.verify.random --rewrite --scenario FILE.
    """
    assert len(_STORIES) >= 10
    text = path.read_text(encoding="ascii")
    assert render(text) == text


def test_story_that_changed_is_shown_and_rewritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line that is not reported any more: a difference and exit code 1.

    With --rewrite the file is right again.
    """
    path = tmp_path / "story.txt"
    path.write_text("# One node.\n> boot deb1\n    nothing happens\n> show\n", encoding="ascii")
    assert main(["--scenario", str(path)]) == 1
    assert "-    nothing happens" in capsys.readouterr().out
    assert main(["--scenario", str(path), "--rewrite"]) == 0
    assert main(["--scenario", str(path)]) == 0
    assert path.read_text(encoding="ascii").startswith(
        "# One node.\n> boot deb1\n    0.000 deb1  power on\n"
    )
