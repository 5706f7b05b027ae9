"""Tests of the lean client and of what words its answers."""
