"""Render the output of the status commands."""
