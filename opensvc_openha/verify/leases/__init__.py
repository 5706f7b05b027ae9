"""Simulate the protocol of a promise alone: two nodes, their watchdogs, the media between them."""
