"""Two nodes of production code in one process under virtual time: histories drawn from a seed, and
scenarios.
"""
