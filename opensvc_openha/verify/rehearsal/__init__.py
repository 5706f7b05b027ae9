"""Rehearse an event: both nodes as they are now, the engine of production, simulated time."""
