"""Two nodes on one machine, in namespaces: the tutorial replayed, and the test bed of the
end-to-end tests.
"""
