"""The private docker daemon of a service and the containers in it."""
