"""Draw ``images/*.dot`` with graphviz: ``make pictures``.

The pictures are kept beside their sources, so that neither a reader nor the site needs graphviz.
Each names the digest of the source that it shows, which a test compares.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

IMAGES = Path(__file__).parent / "images"


def mark(source: bytes) -> str:
    """Return the comment that a picture of this source has."""
    return f"<!-- source: sha256 {hashlib.sha256(source).hexdigest()} -->"


def main() -> None:
    """Draw every source, without what differs between versions of graphviz."""
    for dot in sorted(IMAGES.glob("*.dot")):
        source = dot.read_bytes()
        svg = subprocess.run(
            ["dot", "-Tsvg"], input=source, stdout=subprocess.PIPE, check=True
        ).stdout.decode()
        svg = re.sub(r"<!DOCTYPE.*?>\s*|<!--.*?-->\s*", "", svg, flags=re.DOTALL)
        declaration, _, rest = svg.partition("\n")
        dot.with_suffix(".svg").write_text(
            f"{declaration}\n{mark(source)}\n{rest}", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
