"""Make the README's picture from what the demo printed.

``openha demo | python docs/picture.py docs/images/takeover.svg``. Keeps the samples of the watching
loop in which the service states differ from those before. Needs `rich`.
"""

from __future__ import annotations

import io
import re
import sys

from rich.console import Console
from rich.text import Text

COLORS = {
    "STARTED": "green",
    "STARTING": "yellow",
    "START_READY": "yellow",
    "UNKNOWN": "red",
    "DOWN": "red",
    "UP": "green",
}


def samples(printed: str) -> list[str]:
    """Return the loop's samples at which something changed."""
    loop = printed.split("while true; do", 1)[1].split("\nroot@", 1)[0]
    found: list[str] = []
    seen = ""
    for sample in loop.split("-----------------------------\n")[1:]:
        states = sample.split("=> Querying OpenHA heartbeat")[0]
        if states != seen:
            seen = states
            found.append(sample)
    return found


def main() -> None:
    """Read the demo's output from standard input and write the picture to the file named first."""
    console = Console(record=True, width=92, file=io.StringIO())
    console.print(
        Text(
            "root@deb2:~# while true; do echo ---; ez_svc_status; ez_hb_status; date; sleep 1;"
            " done",
            style="bold",
        )
    )
    for sample in samples(sys.stdin.read()):
        console.print("-----------------------------")
        for line in sample.rstrip("\n").splitlines():
            text = Text(line.rstrip(), style="dim" if line.startswith("--") else "")
            for word, color in COLORS.items():
                for match in re.finditer(rf"\b{word}\b", text.plain):
                    text.stylize(color, *match.span())
            console.print(text)
    picture = console.export_svg(title="deb2 takes over: the power of deb1 was cut")
    # The viewer's own fonts do: nothing is fetched to look at a picture.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    picture = re.sub(r"<!--.*?-->\s*", "", picture, flags=re.DOTALL)
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write(picture)


main()
