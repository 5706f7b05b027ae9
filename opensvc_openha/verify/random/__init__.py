"""Run two nodes of production code in one process under virtual time: seeds and scenarios."""
