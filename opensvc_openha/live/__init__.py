"""Watch a cluster as it is now: what ``openha top`` and ``openha web`` show, and how."""
