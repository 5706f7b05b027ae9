"""Runs commands of the acceptance run in a node: one JSON line asks, one JSON line tells exit code
and output.
"""

import json
import os
import pty
import signal
import socketserver
import subprocess
import sys
import tempfile

PORT = 7777


class Handler(socketserver.StreamRequestHandler):
    """One command; its standard input is a terminal, as an operator's."""

    def handle(self) -> None:
        request = json.loads(self.rfile.readline())
        controller, terminal = pty.openpty()
        with tempfile.TemporaryFile() as out:
            # A file and no pipe: a daemon that the command leaves behind would keep a pipe open.
            process = subprocess.Popen(
                ["/bin/bash", "-c", request["command"]],
                stdin=terminal,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd="/root",
            )
            try:
                code = process.wait(timeout=request["limit_s"])
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                code = 124
            out.seek(0)
            text = out.read().decode("utf-8", "replace")
        os.close(controller)
        os.close(terminal)
        self.wfile.write(json.dumps({"code": code, "output": text}).encode() + b"\n")


class Server(socketserver.ThreadingTCPServer):
    """Takes several commands at once."""

    allow_reuse_address = True
    daemon_threads = True


Server((sys.argv[1], PORT), Handler).serve_forever()
