"""Run disk_io, for disk_process: in a child process, so that a hung disk hangs no other.

Started by its path with ``-I -S``, and ended by closing its standard input. A script is compiled at
each start, and what that takes stays with the process: so this one only finds what is compiled.

Usage: disk_worker.py PATH direct|buffered HANDLE-OF-THE-PAGE
"""

import sys

if __name__ == "__main__":
    sys.path.insert(0, __file__.rsplit("/", 3)[0])
    from opensvc_openha.links.disk_io import serve

    del sys.path[0]
    serve()
