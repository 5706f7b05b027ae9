"""The docker daemon that a service has for itself, and the containers in it."""
