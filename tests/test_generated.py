"""Files that are generated from the code are those of the repository."""

from __future__ import annotations

import pytest

from tests.generated import GENERATED, ROOT


@pytest.mark.parametrize("name", GENERATED)
def test_committed_file_is_what_is_generated(name: str) -> None:
    """Otherwise: ``make generated``."""
    text = (ROOT / name).read_text()
    assert GENERATED[name](text) == text
