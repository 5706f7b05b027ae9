"""Explore two real engines in a bounded model: every state, event and message outcome."""
