"""Other programs for two nodes, set up in the same kind of nodes, to compare with."""
