"""The acceptance run: the installed package on two machines with kernels of their own.

They have LVM, docker and a power switch. Not collected by pytest, since it takes minutes: `make
acceptance`, or `python -m tests.acceptance`. The nodes are User-Mode Linux kernels, so that it
needs no hardware virtualisation, only root on a Debian machine.
"""
