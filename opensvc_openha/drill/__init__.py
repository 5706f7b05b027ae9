"""``openha drill``: try out what the cluster is for, one failure at a time, and record it.

A program of its own: it asks both daemons, orders one thing, waits for what is predicted, and takes
back what it has done at the first thing that is not.
"""
