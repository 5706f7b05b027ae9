"""Claim the right to fence, round by round, at the same instant as the other node.

claims.py NODE PEER OWN_ADDRESS PEER_ADDRESS DISK ROUNDS. Prints one JSON line for each round.
"""

import json
import random
import socket
import sys
import time

from opensvc_openha.errors import SystemFault
from opensvc_openha.fence_devices.arbiter_disk import ArbiterDisk

PORT = 7789
JITTER_S = 0.006
"""About the time of a claim, so that who is first is open."""
LIMIT_S = 60.0


def meet(own: str, peer: str, is_first: bool) -> socket.socket:
    """Return a connection to the other node."""
    if is_first:
        with socket.create_server((own, PORT)) as server:
            server.settimeout(LIMIT_S)
            connection, _ = server.accept()
    else:
        deadline = time.monotonic() + LIMIT_S
        while True:
            try:
                connection = socket.create_connection((peer, PORT), 5.0)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
    connection.settimeout(LIMIT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def wait_for_peer(connection: socket.socket) -> None:
    """Return when the other node is here too."""
    connection.sendall(b".")
    if connection.recv(1) != b".":
        raise ConnectionError("the other node went away")


def main(node: str, peer: str, own: str, other: str, disk: str, rounds: int) -> None:
    """Play the rounds."""
    is_first = own < other
    connection = meet(own, other, is_first)
    arbiter = ArbiterDisk(disk, node, peer)
    for number in range(rounds):
        for turn in (True, False):
            if turn is is_first:
                arbiter.register_in_peace(is_readmitted=True)
            wait_for_peer(connection)
        generation = arbiter.watch().generation
        wait_for_peer(connection)
        go = time.monotonic() + random.random() * JITTER_S
        while time.monotonic() < go:
            pass
        began = time.monotonic()
        claim = arbiter.claim(generation)
        took_s = time.monotonic() - began
        wait_for_peer(connection)
        try:
            look = arbiter.watch().text
        except SystemFault as error:
            look = str(error)
        answer = {"round": number, "outcome": claim.outcome.value, "took_s": round(took_s, 4)}
        print(json.dumps({**answer, "text": claim.text, "look": look}), flush=True)
        wait_for_peer(connection)
    arbiter.close()


main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5], int(sys.argv[6]))
