"""Action words to what they do: on this node, over the cluster, as a dry run, to fence the peer."""
