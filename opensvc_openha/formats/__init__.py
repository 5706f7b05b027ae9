"""Convert bytes and text to values and back, without I/O: the caller reads and writes."""
