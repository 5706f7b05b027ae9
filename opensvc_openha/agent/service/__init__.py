"""One service: its resources and their order, validation of its file, start and stop."""
