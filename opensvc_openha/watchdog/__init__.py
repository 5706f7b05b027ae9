"""Keep this node's watchdog: the process that pets it on permits, and the daemon's end of it.

Decides nothing: what a renewal is, and when the watchdog is armed, is decided in the core.
"""

KEEPER_SOCKET = "watchdog-keeper.sock"
"""The keeper's socket in the daemon's directory, for who asks whether there is one."""
