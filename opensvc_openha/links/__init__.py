"""Do the heartbeat I/O: one module per type of the monitor file, a sender and a listener each."""
