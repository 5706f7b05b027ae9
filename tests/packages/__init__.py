"""Packages: cheap checks with the other tests, and two systemd nodes by `make package-test`."""
