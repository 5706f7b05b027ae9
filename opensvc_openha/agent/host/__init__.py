"""Access to this machine: commands, signals, child processes, mounts, volume groups, ssh."""
