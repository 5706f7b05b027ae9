"""The status on the control socket: the keys that commands and agents of other versions read."""

from __future__ import annotations

import json
from dataclasses import replace

from opensvc_openha.control import protocol
from opensvc_openha.core.model import LinkSpec, Wire
from opensvc_openha.core.status import (
    Activity,
    BeatTiming,
    DecisionCount,
    LinkStatus,
    NodeStatus,
    PeerStanding,
    ScriptCount,
)

NET = LinkSpec("deb1", "net", "eth1", "239.131.50.10", 5010, 0, 10.0)
DISK = LinkSpec("deb2", "dio", "/dev/hb", "", 0, 10, 12.5, wire=Wire.LEGACY)
STATUS = NodeStatus(
    "deb1",
    "deb2",
    4711,
    PeerStanding.LIVE,
    "heard",
    (
        LinkStatus(NET, True, True, 4713, 1403158249.5, "", 4713),
        LinkStatus(DISK, False, False, 99, None, "never heard", 4714, {"torn": 2}),
    ),
    (),
)


def test_links_are_flat_objects_with_the_keys_and_the_order_that_readers_know() -> None:
    """The row of the monitor file is spread over the object of its status."""
    assert json.dumps(protocol.status_to_json(STATUS)["links"]) == (
        '[{"kind": "net", "label": "eth1:239.131.50.10", "is_sender": true, "is_up": true,'
        ' "pid": 4713, "updated_at": 1403158249.5, "reason": "", "device": "eth1",'
        ' "address": "239.131.50.10", "port": 5010, "offset": 0, "timeout_s": 10.0,'
        ' "thread": 4713, "counts": {}, "wire": "own"},'
        ' {"kind": "dio", "label": "/dev/hb:10", "is_sender": false, "is_up": false, "pid": 99,'
        ' "updated_at": null, "reason": "never heard", "device": "/dev/hb", "address": "",'
        ' "port": 0, "offset": 10, "timeout_s": 12.5, "thread": 4714, "counts": {"torn": 2},'
        ' "wire": "legacy"}]'
    )


def test_status_comes_back_as_it_was_and_keys_of_a_newer_daemon_are_skipped() -> None:
    """Also the sending node of each link, which is not written but follows from its end."""
    data = json.loads(json.dumps(protocol.status_to_json(STATUS)))
    data["links"][0]["of a newer daemon"] = 1
    assert protocol.status_from_json(data) == STATUS


def test_measured_values_come_back_as_they_were() -> None:
    """The gaps of a listener, and what the daemon did; a daemon of before sends neither."""
    timed = replace(STATUS.links[1], timing=BeatTiming(3, 1, 0.25, tuple(range(16)), 2.5, 1.5))
    activity = Activity(
        (DecisionCount("web", "STARTED", 2),),
        (ScriptCount("web", "start", "ok", 2, 3.5, 1.5),),
        100,
        0.25,
        0.5,
        1,
    )
    status = replace(STATUS, links=(STATUS.links[0], timed), activity=activity)
    data = json.loads(json.dumps(protocol.status_to_json(status)))
    assert protocol.status_from_json(data) == status
    del data["activity"], data["links"][1]["timing"]
    assert protocol.status_from_json(data) == STATUS


def test_link_of_a_type_that_only_a_newer_daemon_knows_is_shown() -> None:
    """By the word of its type: a command of this version has nothing to decide by it."""
    data = protocol.status_to_json(STATUS)
    data["links"][0]["kind"] = "pigeon"
    assert protocol.status_from_json(data).links[0].spec.link_id == "pigeon eth1:239.131.50.10"
