"""Settings of Sphinx for the documentation site: ``make docs``."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from manual.markdown import write_command_pages  # noqa: E402
from opensvc_openha import __version__  # noqa: E402

project = "opensvc-openha"
project_copyright = "OpenSVC"
version = release = __version__
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "index"
html_theme = "furo"
html_title = f"OpenHA {__version__}"
html_copy_source = False
html_show_sphinx = False
# Nothing is fetched from elsewhere to read the pages.
html_theme_options = {"navigation_with_keys": True}
myst_heading_anchors = 4
# Files of samples that a page shows are not checked as languages.
highlight_language = "none"
pygments_style = "friendly"
# Pages of the repository's root are shown by pages here, which include them.
_OF_THE_ROOT = {
    "../CONTRIBUTING.md": "contributing.md",
    "../SECURITY.md": "security.md",
    "../CHANGELOG.md": "changelog.md",
    "../README.md": "index.md",
}


def _link_pages_of_the_root(app: Sphinx, page: str, source: list[str]) -> None:
    for theirs, ours in _OF_THE_ROOT.items():
        source[0] = source[0].replace(f"]({theirs}", f"]({ours}")


def _write_generated(app: Sphinx) -> None:
    write_command_pages(HERE / "commands")


def setup(app: Sphinx) -> None:
    """Connect what is done before the pages are read."""
    app.connect("builder-inited", _write_generated)
    app.connect("source-read", _link_pages_of_the_root)
