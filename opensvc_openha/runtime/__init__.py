"""The shell around core: clock, node loop, daemon, state store, scripts, control socket, logs."""
