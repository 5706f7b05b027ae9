"""A9: power boards that are honest, slow, deaf, lying, dead, and what is made of their answers."""

from __future__ import annotations

import json
import statistics
from typing import Any

from tests.acceptance.bed import Bed
from tests.acceptance.outside import PASSWORD, USER
from tests.acceptance.power import SLOW_S, Manner
from tests.acceptance.story import typed

TITLE = "Boards with IPMI: honest, slow, deaf, lying, dead"
SECRET = "/etc/openha-board.secret"
LIMIT_S = 30.0
PEER = "deb1"


def play(bed: Bed) -> None:
    """Let deb2 cut deb1 by its board, in each manner that a board may have."""
    bed.boot_nodes()
    bed.player.on(bed.nodes[1], secret_file(SECRET, PASSWORD))
    look = ask(bed, "look")
    bed.player.check(look["power"] == "on", f"the board of {PEER} reads ON: {look['text']}")
    honest(bed)
    slow(bed)
    deaf(bed)
    lying(bed)
    wrong_password(bed)
    dead(bed)


def secret_file(path: str, secret: str) -> str:
    """Return the command that writes a file of one secret."""
    return typed(path, secret + "\n") + f"\nchmod 600 {path}"


def ask(bed: Bed, do: str, password_file: str = SECRET) -> dict[str, Any]:
    """Ask the program that the daemon runs for a look or a cut."""
    options = {
        "agent": "fence_ipmilan",
        "ip": bed.boards[PEER].address,
        "username": USER,
        "password_file": password_file,
        "lanplus": "1",
        "cipher": "3",
    }
    request = {"do": do, "path": "ipmi", "peer": f"{PEER}.opensvc.com", "limit_s": LIMIT_S}
    text = json.dumps({**request, "options": options})
    said = bed.player.on(
        bed.nodes[1], f"echo '{text}' | python3 -m opensvc_openha.fence_devices.run"
    )
    answer: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
    return answer


def expect(bed: Bed, answer: dict[str, Any], is_proved: bool, is_on: bool) -> None:
    """Check verdict and truth."""
    board = "OFF is believed" if is_proved else "nothing is proved"
    power = "on" if is_on else "off"
    bed.player.check(
        answer["is_proved"] is is_proved and bed.nodes[0].is_on is is_on,
        f"{board}, {PEER} is {power}: {answer['text']}",
    )


def honest(bed: Bed) -> None:
    """Measure the verdict of a good board, round by round."""
    bed.player.title("Honest", f"{bed.rounds} times: off, then OFF read twice.")
    took = []
    for _ in range(bed.rounds):
        if not bed.nodes[0].is_on:
            bed.nodes[0].begin_power_on()
        answer = ask(bed, "cut")
        expect(bed, answer, is_proved=True, is_on=False)
        took.append(float(answer["took_s"]))
    bed.note(
        f"verdict by power: median {statistics.median(took):.2f} s, worst of {len(took)}:"
        f" {max(took):.2f} s"
    )
    answer = ask(bed, "cut")
    bed.player.check(
        "before" in " ".join(answer["hints"]),
        f"off before it was asked for is no more than a hint: {', '.join(answer['hints'])}",
    )


def slow(bed: Bed) -> None:
    """A board that acts late: the verdict waits for it."""
    bed.player.title("Slow", f"The board takes the order and cuts the power {SLOW_S:g} s later.")
    bed.nodes[0].begin_power_on()
    bed.switch.behave(PEER, Manner.SLOW)
    answer = ask(bed, "cut")
    expect(bed, answer, is_proved=True, is_on=False)
    bed.player.check(answer["took_s"] > SLOW_S, "the verdict came after the cut, not before")


def deaf(bed: Bed) -> None:
    """A board that does nothing: no verdict."""
    bed.player.title("Deaf", "The board takes the order and does nothing.")
    bed.nodes[0].begin_power_on()
    bed.switch.behave(PEER, Manner.DEAF)
    answer = ask(bed, "cut")
    expect(bed, answer, is_proved=False, is_on=True)


def lying(bed: Bed) -> None:
    """A board that says off: nothing that it says can show the lie; reservations are for that."""
    bed.player.title("Lying", "The board says off and does nothing: it cannot be seen from there.")
    bed.switch.behave(PEER, Manner.LYING)
    expect(bed, ask(bed, "cut"), is_proved=True, is_on=True)
    bed.switch.behave(PEER, Manner.HONEST)


def wrong_password(bed: Bed) -> None:
    """A refused login is named as such: repeating it would lock the account."""
    bed.player.title("Wrong password", "The board refuses the login.")
    bed.player.on(bed.nodes[1], secret_file("/etc/wrong.secret", "wrong"))
    answer = ask(bed, "look", "/etc/wrong.secret")
    bed.player.check(
        answer["is_refused"] and answer["power"] == "unknown", f"refused: {answer['text']}"
    )


def dead(bed: Bed) -> None:
    """A board without power answers nothing: no verdict, soon; a verdict when it is back."""
    bed.player.title("Dead", "The board has no power itself; then it has it again.")
    bed.boards[PEER].die()
    took = []
    for _ in range(3):
        answer = ask(bed, "cut")
        expect(bed, answer, is_proved=False, is_on=True)
        took.append(float(answer["took_s"]))
    bed.note(f"no verdict from a dead board: after {max(took):.1f} s at most, of {len(took)}")
    bed.boards[PEER].start()
    expect(bed, ask(bed, "cut"), is_proved=True, is_on=False)
