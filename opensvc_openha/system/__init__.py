"""Wrap the operating system: clocks, names, files, logs, locks, programs; no cluster knowledge."""
