"""Draw what was typed and printed on a terminal: ``make pictures``.

``images/NAME.txt`` is the text of a real run, its first line the title; ``images/NAME.svg`` shows
it.
``openha demo | python docs/recordings.py takeover`` takes the takeover out of the demo's output:
the samples of its watching loop in which the service states differ from those before.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from diagrams import IMAGES, mark
from rich.console import Console
from rich.text import Text

COLORS = {
    "STARTED": "green",
    "STARTING": "yellow",
    "START_READY": "yellow",
    "START_FAILED": "red",
    "UNKNOWN": "red",
    "silent": "red",
    "confirmed": "green",
    "DOWN": "red",
    "UP": "green",
}
_PROMPT = re.compile(r"(?:root@)?deb[12](?::\S*)?# ")
_WIDTH = 112
_SEPARATOR = "-----------------------------"


def takeover(printed: str) -> str:
    """Return the recording of a takeover: the loop's samples at which something changed."""
    loop = printed.split("while true; do", 1)[1].split("\nroot@", 1)[0]
    typed = re.findall(r"(?m)^.*# while true; do.*$", printed)[0]
    found = ["deb2 takes over: the power of deb1 was cut", typed]
    seen = ""
    for sample in loop.split(f"{_SEPARATOR}\n")[1:]:
        states = sample.split("=> Querying OpenHA heartbeat")[0]
        if states != seen:
            seen = states
            found += [_SEPARATOR, sample.rstrip("\n")]
    return "\n".join(line.rstrip() for line in "\n".join(found).split("\n")) + "\n"


def draw(path: Path) -> None:
    """Draw one recording."""
    source = path.read_bytes()
    title, *lines = source.decode("utf-8").splitlines()
    console = Console(record=True, width=_WIDTH, file=io.StringIO())
    for line in lines:
        text = Text(line, style="bold" if _PROMPT.match(line) else "")
        if line.startswith("-- "):
            text.stylize("dim")
        for word, color in COLORS.items():
            for match in re.finditer(rf"\b{word}\b", text.plain):
                text.stylize(color, *match.span())
        console.print(text)
    picture = console.export_svg(title=title, unique_id=path.stem)
    # The viewer's own fonts do: nothing is fetched to look at a picture.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    picture = re.sub(r"<!--.*?-->\s*", "", picture, flags=re.DOTALL)
    path.with_suffix(".svg").write_text(f"{picture}\n{mark(source)}\n", encoding="utf-8")


def main() -> None:
    """Draw all recordings; with `takeover` make the text of that one first."""
    if sys.argv[1:] == ["takeover"]:
        (IMAGES / "takeover.txt").write_text(takeover(sys.stdin.read()), encoding="utf-8")
    for path in sorted(IMAGES.glob("*.txt")):
        draw(path)


if __name__ == "__main__":
    main()
