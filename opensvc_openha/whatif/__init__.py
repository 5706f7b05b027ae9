"""Show what would happen to the cluster: a program of its own, above simulator and commands."""
