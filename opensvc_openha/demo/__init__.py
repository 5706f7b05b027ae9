"""Two nodes on one machine, in namespaces: replay of the tutorial, test bed of end-to-end tests."""
