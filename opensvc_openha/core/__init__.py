"""Decisions: values and an instant go in, actions come out.

No clock, socket, file, thread, process or logging.
"""
