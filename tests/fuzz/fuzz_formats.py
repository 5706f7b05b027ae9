"""Coverage-guided fuzzing of all parsers and of a whole node, with atheris: ``make fuzz``, or for
one long run

python -m tests.fuzz.fuzz_formats -runs=5000000 -max_len=600

What counts as a failure is reported in ``intruder``. Options are those of libFuzzer; the inputs
that it keeps are in a folder that goes away at the end, and an input that fails is printed.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile

import atheris  # type: ignore[import-untyped, unused-ignore]

with atheris.instrument_imports(include=["opensvc_openha", "configobj"]):
    from tests.fuzz.intruder import Intruder, seeds


def main() -> None:
    """Runs until ``-runs`` inputs are through, or one fails."""
    with tempfile.TemporaryDirectory(prefix="openha-fuzz.") as corpus:
        for number, seed in enumerate(seeds()):
            with open(os.path.join(corpus, f"seed{number}"), "wb") as file:
                file.write(seed)
        intruder = Intruder()
        # libFuzzer ends the process itself, so the folder is removed before.
        child = os.fork()
        if child == 0:
            atheris.Setup(
                [
                    sys.argv[0],
                    f"-artifact_prefix={tempfile.gettempdir()}/openha-fuzz-",
                    *sys.argv[1:],
                    corpus,
                ],
                intruder.take,
            )
            atheris.Fuzz()
        _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
