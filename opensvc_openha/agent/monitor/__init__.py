"""Periodic checks of all services: failed resources, synchronisations that are due."""
