"""Write manual pages and completion below a directory: ``python -m manual DIR``.

``man/man5``, ``man/man8`` and ``completion/{bash,zsh,fish}`` in it are replaced.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from manual.command_pages import command_pages
from manual.completion import completion_files
from manual.file_pages import file_pages
from manual.parsers import OWN_NAMES


def main(target: Path) -> None:
    """Write all files, and remove those of an earlier run."""
    for part in ("man", "completion"):
        shutil.rmtree(target / part, ignore_errors=True)
    pages = {**command_pages(), **file_pages()}
    for name, text in pages.items():
        _write(target / _place(name), text)
    for name in OWN_NAMES:
        (target / _place(f"{name}.8")).symlink_to(f"openha-{name}.8")
    scripts = completion_files()
    for name, text in scripts.items():
        _write(target / "completion" / name, text)
    print(f"{len(pages)} manual pages and {len(scripts)} completion files in {target}")


def _place(page: str) -> str:
    return f"man/man{page[-1]}/{page}"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m manual DIR")
    main(Path(sys.argv[1]))
