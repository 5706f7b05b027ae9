"""Devices that fence the peer: how each is asked, ordered, and believed.

Decides nothing about takeovers: what a device said is returned as a value, with every doubt.
"""
