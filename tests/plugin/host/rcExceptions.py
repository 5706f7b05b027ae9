"""Exceptions of the 1.x agents, as far as a driver sees them."""


class excError(Exception):
    """The action failed."""


class excAbortAction(Exception):
    """The action is not wanted."""


class excEndAction(Exception):
    """The action is done."""
