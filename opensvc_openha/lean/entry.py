"""Run a command: the lean client first, then, for what is not its business, the whole package.

The interpreter may have been started without ``site``, which costs more than the client does; the
package gets it here, so that it finds what it depends on. The agent's commands depend on nothing
but the standard library in most cases, and get it when they import something else.
"""

import posix
import sys

from opensvc_openha import __version__
from opensvc_openha.lean import client


class _SiteWhenNeeded:
    """Finds what no other finder does: in the directories that ``site`` adds."""

    _NOT_INSTALLED = frozenset({"org"})
    """Names that the standard library tries on other systems, beside those of its own."""

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> object:
        """Return the spec of a module of another package; None for one that is none."""
        if path is not None or name in sys.stdlib_module_names or name in cls._NOT_INSTALLED:
            return None
        sys.meta_path.remove(cls)  # type: ignore[arg-type]
        _add_site()
        for finder in sys.meta_path:
            spec: object = finder.find_spec(name, None)
            if spec is not None:
                return spec
        return None


def _add_site() -> None:
    import site

    site.main()


def console() -> None:
    """Run the command that is typed, and end this process with its exit code."""
    failure: Exception | None = None
    try:
        code = client.run(sys.argv[1:], posix.environ, __version__)
    except (OSError, ValueError, client.Unanswered) as error:
        code, failure = None, error
    if code is not None:
        # Nothing is left to be done, and taking the interpreter apart takes time.
        posix._exit(code)

    if sys.flags.no_site:
        if sys.argv[1:2] in (["svcmon"], ["svcmgr"]):
            # Typed without importing what its type consists of.
            sys.meta_path.append(_SiteWhenNeeded)  # type: ignore[arg-type]
        else:
            _add_site()
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
