"""Checks of the decisions: what must always hold, random histories, and every state of a bounded
model.
"""
