"""Run a command: the lean client first, then, for what is not its business, the whole package.

The interpreter may have been started without ``site``, which costs more than the client does; the
package gets it here, so that it finds what it depends on.
"""

import posix
import sys

from opensvc_openha import __version__
from opensvc_openha.lean import client


def console() -> None:
    """Run the command that is typed, and end this process with its exit code."""
    failure: Exception | None = None
    try:
        code = client.run(sys.argv[1:], posix.environ, __version__)
    except (OSError, client.Unanswered) as error:
        code, failure = None, error
    if code is not None:
        # Nothing is left to be done, and taking the interpreter apart takes time.
        posix._exit(code)

    if sys.flags.no_site:
        import site

        site.main()
    from opensvc_openha.cli import main

    if failure is None:
        main.console()

    def report(_: list[str]) -> int:
        if isinstance(failure, client.Unanswered):
            from opensvc_openha.cli.service import raise_unanswered

            raise_unanswered(failure.is_late)
        assert failure is not None
        raise failure

    main.run(report)
