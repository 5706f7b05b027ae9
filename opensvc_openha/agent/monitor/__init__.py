"""Rounds over all services: resources that fail, synchronisations that are due."""
