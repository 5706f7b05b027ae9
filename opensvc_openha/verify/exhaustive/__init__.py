"""Two real engines in a bounded model: every state, event and fate of a message up to a depth."""
