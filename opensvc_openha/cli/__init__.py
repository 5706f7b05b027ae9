"""Commands: parse arguments, make one call, print text, return an exit code."""
