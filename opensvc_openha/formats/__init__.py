"""Bytes and text to values and back, pure: the caller does the reading and writing."""
