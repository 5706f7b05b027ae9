"""The quick way of commands that are only asked of the daemon: no module but what they print by."""
