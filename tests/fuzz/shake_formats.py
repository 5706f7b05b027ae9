"""The same inputs without atheris: mutations of what the fuzzer kept, or of the inputs to begin
with; faster, but blind.

    python -m tests.fuzz.shake_formats COUNT SEED [FOLDER]

Every input goes to ``Intruder.take``, which fails if it does more than it may; the input that
failed is printed.
"""

from __future__ import annotations

import os
import sys
import time
from random import Random

from tests.fuzz.intruder import Intruder, seeds

MAX_BYTES = 600


def mutated(data: bytes, others: list[bytes], dice: Random) -> bytes:
    """The input with one to four changes: a byte replaced, a bit flipped, a piece cut, doubled, or
    taken from another one.
    """
    changed = bytearray(data)
    for _ in range(1 + dice.getrandbits(2)):
        at, what = int(dice.random() * (len(changed) + 1)), dice.getrandbits(3)
        if what < 3 and at < len(changed):
            changed[at] = dice.getrandbits(8)
        elif what == 3 and at < len(changed):
            changed[at] ^= 1 << dice.getrandbits(3)
        elif what == 4:
            del changed[at : at + 1 + dice.getrandbits(3)]
        elif what == 5:
            changed[at:at] = changed[at : at + 1 + dice.getrandbits(4)]
        elif what == 6:
            other = others[int(dice.random() * len(others))]
            begin = int(dice.random() * (len(other) + 1))
            changed[at : at + dice.getrandbits(4)] = other[begin : begin + dice.getrandbits(5)]
        else:
            changed[at:at] = dice.getrandbits(32).to_bytes(4, "big")
    return bytes(changed[:MAX_BYTES])


def main() -> None:
    """Takes that many inputs and reports what became of those that reached the node."""
    count, dice = int(sys.argv[1]), Random(int(sys.argv[2]))
    inputs = list(seeds())
    for folder in sys.argv[3:]:
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name), "rb") as file:
                inputs.append(file.read())
    intruder, began = Intruder(), time.monotonic()
    for done in range(count):
        data = mutated(inputs[int(dice.random() * len(inputs))], inputs, dice)
        try:
            intruder.take(data)
        except BaseException:
            print(f"input {done} of seed {sys.argv[2]} failed: {data!r}", flush=True)
            raise
    print(
        f"{count} inputs in {time.monotonic() - began:.0f} s, none failed; at the node that"
        " enforces its key:"
    )
    print(
        ", ".join(f"{number} {reason}" for reason, number in sorted(intruder.target.counts.items()))
    )


if __name__ == "__main__":
    main()
