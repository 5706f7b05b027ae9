"""Set up a cluster from two blank nodes: what they share, and the conversation of both."""
