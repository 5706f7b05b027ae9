"""Resource drivers of the embedded agent, one module per group."""
