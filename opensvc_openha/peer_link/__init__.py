"""Carry requests of one node to the other: an authenticated channel, its protocol and its ends."""
