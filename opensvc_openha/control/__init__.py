"""The control socket: what goes over it, the daemon's end of it, and the end of commands and
agents.
"""
