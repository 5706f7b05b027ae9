"""Three thousand services on one real daemon: it starts, answers all the time, and announces all of
them on each kind of link.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opensvc_openha.core.model import SLOT_BLOCKS
from opensvc_openha.core.states import ServiceState
from opensvc_openha.formats.beat_frame import open_frame
from opensvc_openha.formats.disk_slot import decode_slot
from tests.cluster_dir import HERE, PEER, ClusterDir
from tests.peer_voice import PeerVoice

SLOT_BYTES = SLOT_BLOCKS * 512
COUNT = 3_000
NEW = 400
"""Services without a STATE file."""
TIMEOUT_S = 30


@pytest.mark.timeout(900)
def test_thousands_of_services_are_announced_and_shown_while_wrappers_are_asked(
    tmp_path: Path,
) -> None:
    """All wrappers are asked at the start: no status fails meanwhile, and peer and disk get all
    states.
    """
    cluster = ClusterDir(tmp_path / "cluster", TIMEOUT_S)
    script = cluster.script("all.sh", "echo down")
    names = [f"svc{number}" for number in range(COUNT)]
    cluster.path("conf/services").write_text(
        "".join(f"{name} {script} {HERE} {PEER} {script}\n" for name in names)
    )
    for name in names[NEW:]:
        cluster.path(f"services/{name}").mkdir()
        cluster.state_file(name).write_bytes(b"6\0")
    voice = PeerVoice(cluster)
    try:
        cluster.ok("ezha start")
        assert cluster.ok("service -s -c").count("\n") == COUNT + 1
        # Looks of what the file shows: those of the commands cost more than all wrappers.
        cluster.wait(lambda: len(cluster.all_calls("all.sh")) >= COUNT, "every wrapper has begun")
        cluster.wait(
            lambda: "UNKNOWN        peer" not in cluster.ok("service -s -c"), "no state is unknown"
        )
        cluster.wait(
            lambda: '"script": "status"' not in cluster.ok("service -s --json"),
            "every wrapper was asked",
        )
        # The first to be asked may be asked again meanwhile: whether somebody started them by hand.
        calls = cluster.all_calls("all.sh")
        assert set(calls) == {"status"} and len(calls) >= COUNT
        voice.states = dict.fromkeys(names, ServiceState.STOPPED)
        voice.meet(cluster)
        heard = voice.listen()
        assert (
            heard is not None
            and set(heard.states) == {ServiceState.FROZEN_STOP}
            and len(heard.states) == COUNT
        )
        shown = json.loads(cluster.ok("service -s --json"))["services"]
        assert {svc["peer_state"] for svc in shown} == {"STOPPED"} and len(shown) == COUNT
        slot = (cluster.root / "disk").read_bytes()[:SLOT_BYTES]
        assert len(open_frame(decode_slot(slot)).decode().states) == COUNT
    finally:
        voice.close()
        cluster.close()
