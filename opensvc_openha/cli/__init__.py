"""Commands: arguments in, one call, text out, an exit code."""
