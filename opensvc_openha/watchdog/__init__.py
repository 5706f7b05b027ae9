"""Keep this node's watchdog: the process that pets it on permits, and the daemon's end of it.

Decides nothing: what a renewal is, and when the watchdog is armed, is decided in the core.
"""
