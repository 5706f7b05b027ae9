"""Everything a real OpenSVC agent needs to show and drive the services of this cluster."""
