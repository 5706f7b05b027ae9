"""Deterministic exploration of two nodes: the production core under a virtual clock."""
