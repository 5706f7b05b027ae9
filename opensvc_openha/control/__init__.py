"""Hold the control socket: its protocol, the daemon's end, and the end of commands and agents."""
