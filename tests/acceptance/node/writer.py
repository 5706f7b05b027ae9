#!/usr/bin/python3
"""An application that writes all the time: `writer.py start|stop|status|run NAME [DEVICE BLOCK]`.

A line with the time and the node's name is on the disk before the next one is written to
/opt/NAME/journal; then node and a number go to a block of the disk, where `blocks.py watch` sees
them. If a write fails, what it said is left in /run/writer-NAME.error.
"""

import errno
import mmap
import os
import signal
import socket
import subprocess
import sys
import time

GAP_S = 0.2
LIMIT_S = 20.0
SIZE = 512
STAMP = 16


def run(name: str, device: str = "", block: str = "0") -> None:
    """Write until a write fails."""
    node = socket.gethostname().partition(".")[0]
    file = os.open(f"/opt/{name}/journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    disk = os.open(device, os.O_RDWR | os.O_DIRECT) if device else -1
    memory = mmap.mmap(-1, SIZE)
    number = 0
    try:
        while True:
            os.write(file, f"{time.time():.3f} {node}\n".encode())
            os.fsync(file)
            number += 1
            memory[:STAMP] = f"{node} {number}".encode().ljust(STAMP)
            if disk >= 0:
                os.pwritev(disk, [memory], int(block) * SIZE)
            time.sleep(GAP_S)
    except OSError as error:
        with open(f"/run/writer-{name}.error", "w") as out:
            code = errno.errorcode.get(error.errno or 0, "?")
            out.write(f"{time.time():.3f} {code} {error.strerror}\n")


def pid_of(name: str) -> int:
    """Return the process that writes; 0 if none."""
    try:
        with open(f"/run/writer-{name}.pid") as file:
            pid = int(file.read())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return 0
    return pid


def main(verb: str, name: str, *place: str) -> int:
    """Do what an application's script is asked for."""
    if verb == "run":
        run(name, *place)
    elif verb == "start" and not pid_of(name):
        process = subprocess.Popen(
            [sys.executable, __file__, "run", name, *place],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        with open(f"/run/writer-{name}.pid", "w") as file:
            file.write(str(process.pid))
    elif verb == "stop" and pid_of(name):
        os.kill(pid_of(name), signal.SIGKILL)
        deadline = time.monotonic() + LIMIT_S
        while pid_of(name) and time.monotonic() < deadline:
            time.sleep(0.1)
    elif verb == "status":
        return 0 if pid_of(name) else 1
    return 0


sys.exit(main(*sys.argv[1:]))
