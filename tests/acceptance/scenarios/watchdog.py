"""A6: an armed watchdog. What resets its node, and when; what does not.

The survivor counts from the last renewal that it saw: D later the node must be dead, whatever
happened to daemon, keeper and holder, and in which order.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.acceptance.bed import Bed
from tests.acceptance.errors import NotAccepted
from tests.acceptance.machines import HOST_ADDRESS, Machine

TITLE = "An armed watchdog: killed, stopped, replaced"
PORT = 7799
TIMEOUT_S, ANSWER_S, INTERVAL_S = 4, 1.0, 0.5
HOLDERS = 2
DEATH_S = 1.2 * (ANSWER_S + HOLDERS * (TIMEOUT_S + 0.05)) + 0.5
"""What the node promises: dead so long after the last sign of life."""
LATE_S = 1.0
"""A watchdog bites this much after its time at most, with the time until that is noticed."""
STILL_S = 2.5
BEGIN_S = 3.0
LIMIT_S = 60.0
LEASE = "/acceptance/lease.py"
NUMBERS = f"{TIMEOUT_S} {ANSWER_S:g}"


@dataclass
class Life:
    """What one life of the node's kernel has reported. Instants are of its own clock."""

    beacon: float = 0.0
    heard_at: float = 0.0
    """When the last beacon came, by the clock of the machine that runs the kernels."""
    renewed_at: float = 0.0
    petted_at: float = 0.0
    keeper: int = 0
    holder: int = 0
    pets: int = 0
    others: list[str] = field(default_factory=list)
    """Reports of anything else than a pet."""

    @property
    def keepers(self) -> set[str]:
        """Keepers that a daemon without renewals has started."""
        first = f"keeper {self.keeper}"
        return {text for text in self.others if text.startswith("keeper ") and text != first}


class Ears:
    """Collects the reports of the nodes."""

    def __init__(self) -> None:
        self.lives: dict[str, Life] = {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HOST_ADDRESS, PORT))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            what, name, *words = self._socket.recv(1000).decode().split(" ")
            life = self.lives.setdefault(name, Life())
            if what == "beacon":
                life.beacon, life.heard_at = float(words[0]), time.monotonic()
            elif words[2] == "PETTED":
                life.renewed_at, life.petted_at = float(words[0]), float(words[1])
                life.keeper, life.holder = int(words[3]), int(words[4])
                life.pets += 1
            else:
                life.others.append(" ".join(words[2:]))


def play(bed: Bed) -> None:
    """Play what must not reset a node, then what must, in a life of its own each."""
    ears = Ears()
    node = bed.nodes[0]
    stays(bed, node, ears)
    for title, act, is_bite_at_timeout in CASES:
        bed.player.title(title)
        life = armed(bed, node, ears)
        act(bed, node, life)
        bites(bed, node, life, is_bite_at_timeout)
        if act is crash_loop:
            count = len(life.keepers)
            bed.player.check(count > 0, f"{count} keepers after the first one did not pet it")


def armed(bed: Bed, node: Machine, ears: Ears, what: str = "") -> Life:
    """Boot the node, arm its watchdog, and wait for some pets."""
    if not node.is_on:
        node.power_on()
    bed.player.on(node, "modprobe softdog && ls -l /dev/watchdog*")
    before = set(ears.lives)
    bed.player.on(node, background("beacon"))
    bed.player.on(node, background(what or daemon()))
    wait(lambda: any(life.pets > 2 for name, life in ears.lives.items() if name not in before))
    (name,) = set(ears.lives) - before
    return ears.lives[name]


def background(words: str) -> str:
    """Return the command that leaves the daemon's part running; its pid is kept."""
    what = words.split(" ")[0]
    # The end of the command's terminal must not reach it.
    start = f"trap '' HUP; setsid {LEASE} {words} > /run/{what}.log 2>&1 < /dev/null"
    return f"{start} & echo $! > /run/{what}.pid"


def wait(is_so: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    """Wait for a report."""
    deadline = time.monotonic() + limit_s
    while not is_so():
        if time.monotonic() > deadline:
            raise NotAccepted(f"not reported within {limit_s:g} s")
        time.sleep(0.05)


def stays(bed: Bed, node: Machine, ears: Ears) -> None:
    """Kill the daemon, upgrade it, end it in order: the node lives."""
    player = bed.player
    player.title("No reset", "The daemon is killed and comes back; is upgraded; ends in order.")
    life = armed(bed, node, ears)
    keeper, pets = life.keeper, life.pets
    player.on(node, f"kill -9 $(cat /run/daemon.pid); {background(daemon())}")
    wait(lambda: life.pets > pets + 3 * TIMEOUT_S / INTERVAL_S)
    player.check(life.keeper == keeper, "killed, and back in time: the same keeper pets on")
    hold_s = 3 * TIMEOUT_S
    player.on(node, f"kill -9 $(cat /run/daemon.pid); {LEASE} hold {NUMBERS} {hold_s + 5}")
    lives(bed, life, hold_s, f"no daemon for {hold_s} s, as was announced: the keeper pets")
    pets = life.pets
    player.on(node, background(daemon()))
    wait(lambda: life.pets > pets + 2 * TIMEOUT_S / INTERVAL_S)
    player.check(life.keeper == keeper, "the next daemon took the same keeper over")
    player.on(node, f"kill -9 $(cat /run/daemon.pid); {LEASE} disarm {NUMBERS}")
    lives(bed, life, 3 * TIMEOUT_S, "disarmed in order: nothing resets the node")
    node.cut_power()


def daemon() -> str:
    """Return the words for a daemon whose renewals all succeed."""
    return f"daemon {NUMBERS} {INTERVAL_S:g}"


def lives(bed: Bed, life: Life, seconds: float, why: str) -> None:
    """Let the time pass; the node must be alive then."""
    until = life.beacon + seconds
    wait(lambda: life.beacon > until or is_still(life))
    bed.player.check(life.beacon > until, why)


def is_still(life: Life) -> bool:
    """Return whether no beacon comes any more."""
    return time.monotonic() > life.heard_at + STILL_S


def bites(bed: Bed, node: Machine, life: Life, is_at_timeout: bool) -> None:
    """Wait for the reset; measure it in the node's own time."""
    wait(lambda: is_still(life))
    after_pet_s, after_renewal_s = life.beacon - life.petted_at, life.beacon - life.renewed_at
    bed.note(
        f"reset {after_pet_s:.2f} s after the last pet of a permit, {after_renewal_s:.2f} s after"
        f" its renewal: {DEATH_S - after_renewal_s:.2f} s before the time that was promised"
    )
    bed.player.check(
        after_renewal_s <= DEATH_S, f"the node is dead before D = {DEATH_S:.1f} s are over"
    )
    if is_at_timeout:
        bed.player.check(
            after_pet_s <= TIMEOUT_S + LATE_S, f"the watchdog bit after its {TIMEOUT_S} s"
        )
    node.cut_power()


def kill_daemon(bed: Bed, node: Machine, life: Life) -> None:
    """End the daemon; none comes."""
    bed.player.on(node, "kill -9 $(cat /run/daemon.pid)")


def stop_keeper(bed: Bed, node: Machine, life: Life) -> None:
    """Stop the keeper; the daemon goes on with its permits."""
    bed.player.on(node, f"kill -STOP {life.keeper}")


def kill_keeper_late(bed: Bed, node: Machine, life: Life) -> None:
    """End the keeper late in the timeout, without a permit after it."""
    bed.player.on(node, stopped_then(f"kill -9 {life.keeper}"))


def kill_both_late(bed: Bed, node: Machine, life: Life) -> None:
    """End keeper and holder late in the timeout: the kernel pets once more."""
    bed.player.on(node, stopped_then(f"kill -9 {life.keeper} {life.holder}"))


def stopped_then(command: str) -> str:
    """Return a command that stops the daemon, and does something before the watchdog bites."""
    return f"kill -STOP $(cat /run/daemon.pid); sleep {TIMEOUT_S * 0.6:g}; {command}"


def crash_loop(bed: Bed, node: Machine, life: Life) -> None:
    """End one keeper after the other, while a daemon without a renewal starts the next."""
    kill = 'kill -9 "$(cat /run/keeper/watchdog-keeper.lock)"'
    loop = f"while :; do {kill}; sleep 0.8; done > /dev/null 2>&1 < /dev/null &"
    # It takes its time to begin, and is refused as long as the daemon has the keeper.
    bed.player.on(node, background(f"keepers {NUMBERS} 0.1"))
    time.sleep(BEGIN_S)
    bed.player.on(node, f"trap '' HUP; kill -9 $(cat /run/daemon.pid); {loop}")


Act = Callable[[Bed, Machine, Life], None]
CASES: tuple[tuple[str, Act, bool], ...] = (
    ("The daemon is gone", kill_daemon, True),
    ("The keeper is stopped", stop_keeper, True),
    ("The keeper is killed late", kill_keeper_late, True),
    ("Keeper and holder are killed late", kill_both_late, False),
    ("The keeper is killed in a circle", crash_loop, True),
)
