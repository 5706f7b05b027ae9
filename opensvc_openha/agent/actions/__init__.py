"""Implement the action words: on this node, over the cluster, as a dry run, to fence the peer."""
