"""Between the engine and the links: threads, codecs and authentication of heartbeats."""
