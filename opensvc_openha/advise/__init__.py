"""Advise on timeouts, links and slow services from what was measured: a program of its own."""
