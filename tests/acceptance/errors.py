"""Errors that end an acceptance run early."""


class CannotRun(Exception):
    """This machine lacks something that the run needs: nothing was tried."""


class NotAccepted(Exception):
    """A step did not have its expected result."""
