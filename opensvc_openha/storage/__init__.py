"""Hold files that outlive a process: configuration, states, keys, history, fencing memory."""
