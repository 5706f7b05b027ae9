"""Test the authenticated link between the nodes, over real sockets."""
