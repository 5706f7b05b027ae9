"""Hold the node daemon: one process that runs the engine and carries out its actions."""
