"""Two nodes of production code in one process under virtual time: random histories, told stories, and every small world."""
