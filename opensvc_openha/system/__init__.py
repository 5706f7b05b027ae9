"""What the operating system gives and takes: clocks, names, files, logs, locks, programs.

Knows nothing of clusters.
"""
