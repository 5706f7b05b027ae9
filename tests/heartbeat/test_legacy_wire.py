"""Links that speak the original's format: what is believed of its records, and when it is not
allowed.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from opensvc_openha.core.beat import LEGACY_INCARNATION, Beat, BootId
from opensvc_openha.core.events import BeatReceived
from opensvc_openha.core.model import ClusterSpec, LinkSpec, ServiceSpec, Wire
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.errors import ConfigError, FrameError
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.formats.legacy_frame import (
    DISK_BYTES,
    LegacyRecord,
    decode_record,
    encode_disk_record,
    encode_record,
)
from opensvc_openha.heartbeat.authentication import Authentication
from opensvc_openha.heartbeat.beat_intake import BeatIntake, Origin
from opensvc_openha.heartbeat.codec.legacy import LegacyCodec
from opensvc_openha.heartbeat.codec.own import OwnCodec
from opensvc_openha.heartbeat.codec.registry import codec_for
from opensvc_openha.links.base import Received
from opensvc_openha.storage.configuration import (
    check_count,
    fingerprint,
    read_cluster,
    read_options,
)
from opensvc_openha.storage.state_store import StateStore
from opensvc_openha.system.identity import node_name
from tests.cluster_dir import HERE, PEER, ClusterDir
from tests.decoding import heard
from tests.ports import free_port

NODES = ("deb1", "deb2")
NET = LinkSpec("deb2", "net", "eth1", "239.131.50.12", 5012, 0, 10.0, wire=Wire.LEGACY)
DISK = LinkSpec("deb2", "dio", "/dev/sdb", "", 0, 19, 10.0, wire=Wire.LEGACY)
RECORD = LegacyRecord(
    "deb2",
    (("registry", S.STARTED), ("stranger", S.STOPPED)),
    1_795_338_842,
    43,
    0,
    5012,
    "239.131.50.12",
)


def names() -> tuple[str, ...]:
    return ("registry", "busybox")


def reason(codec: LegacyCodec, data: bytes) -> str:
    with pytest.raises(FrameError) as caught:
        heard(codec, data)
    return caught.value.reason


# the codec


def test_link_gets_the_codec_of_its_wire() -> None:
    """legacy and own."""
    authentication = Authentication("deb1", BootId(1, 1))
    assert isinstance(codec_for(NET, names, authentication), LegacyCodec)
    assert isinstance(codec_for(replace(NET, wire=Wire.OWN), names, authentication), OwnCodec)


def test_record_becomes_a_beat_without_acknowledgement_or_life() -> None:
    """Known services only, the clock as sequence.

    Of the same second the network is newer than the disk.
    """
    decoded = heard(LegacyCodec(NET, names), encode_record(RECORD))
    assert decoded.pid == 43
    assert decoded.beat == Beat(
        "deb2",
        LEGACY_INCARNATION,
        2 * 1_795_338_842 + 1,
        None,
        {"registry": S.STARTED},
        sent_at=1_795_338_842.0,
    )
    on_disk = heard(LegacyCodec(DISK, names), encode_disk_record(RECORD))
    assert on_disk.beat.seq == decoded.beat.seq - 1


def test_beat_becomes_a_record_the_original_understands() -> None:
    """Name, states in the order of the services, clock, port and address of the link.

    19 blocks on a disk.
    """
    states = {"registry": S.FROZEN_START, "busybox": S.UNKNOWN}
    beat = Beat("deb2", BootId(3, 4), 17, None, states, sent_at=1_795_338_842.9)
    record = decode_record(LegacyCodec(NET, names).encode(beat, 99, with_names=False))
    assert (record.node, record.clock_s, record.pid, record.port, record.address) == (
        "deb2",
        1_795_338_842,
        99,
        5012,
        "239.131.50.12",
    )
    # UNKNOWN would make a C OpenHA take the service over from a node that lives.
    assert record.states == (("registry", S.START_READY), ("busybox", S.STOP_FAILED))
    assert len(LegacyCodec(DISK, names).encode(beat, 99, with_names=False)) == DISK_BYTES


def test_too_many_services_are_a_clear_error() -> None:
    """129 services: the link reports why it cannot send."""
    beat = Beat(
        "deb2", BootId(3, 4), 17, None, {f"svc{number}": S.STOPPED for number in range(129)}
    )
    with pytest.raises(
        ConfigError, match="link net eth1:239.131.50.12: 129 services are more than the original's"
    ):
        LegacyCodec(NET, names).encode(beat, 99, with_names=False)


def test_address_that_is_longer_than_its_field_is_cut() -> None:
    """Nobody reads it; an IPv6 address is no reason not to be heard."""
    link = replace(NET, address="fe80::1234:5678:9abc")
    data = LegacyCodec(link, names).encode(Beat("deb2", BootId(3, 4), 17, None, {}), 99, False)
    assert decode_record(data).address == "fe80::1234:5678"


def test_services_left_out_for_their_names_are_counted() -> None:
    """Two of three: paths."""
    states = tuple((name, S.STARTED) for name in ("registry", "xx_mail", "xx_web"))
    data = encode_record(replace(RECORD, states=states)).replace(b"xx_", b"../")
    counted: list[tuple[str, str, int]] = []
    LegacyCodec(NET, names).decode(Received(data, 0.0, ""), lambda *count: counted.append(count))
    assert counted == [("name", "left out a service", 2)]


def test_record_of_another_node_is_refused() -> None:
    """One that names this node, which a C OpenHA would write over its own state, and one that names
    a third.
    """
    for node in ("deb1", "deb3"):
        assert reason(LegacyCodec(NET, names), encode_record(replace(RECORD, node=node))) == "node"


def test_same_bytes_again_are_no_sign_of_life() -> None:
    """A record repeated is refused.

    The next second, and a changed state in the same second, count.
    """
    taken: list[BeatReceived] = []
    counted: list[str] = []
    intake = BeatIntake(
        NET,
        LegacyCodec(NET, names),
        lambda event: not taken.append(event),
        lambda reason, what, number: counted.append(reason),
    )
    for record in (
        RECORD,
        RECORD,
        replace(RECORD, states=(("registry", S.STOPPING),)),
        replace(RECORD, clock_s=RECORD.clock_s + 1),
    ):
        intake.take(Received(encode_record(record), 0.0, ""))
    assert (len(taken), counted) == (3, ["repeated"])


def test_short_datagram_is_no_sign_of_life() -> None:
    """One byte keeps a dead peer alive for a C OpenHA; here it is counted."""
    assert reason(LegacyCodec(NET, names), b"x") == "truncated"
    assert reason(LegacyCodec(DISK, names), encode_record(RECORD)) == "truncated"


# the source


def test_configured_address_is_the_only_one() -> None:
    """peer_address is known: any other is refused from the first datagram on and for ever."""
    origin = Origin(replace(NET, peer_address="10.11.1.2"))
    assert not origin.admits("10.11.1.66:5012", 100.0)
    assert origin.admits("10.11.1.2:40000", 101.0)
    origin.record("10.11.1.2:40000", 101.0)
    assert not origin.admits("10.11.1.66:5012", 9000.0)


def test_first_address_is_kept_until_the_link_is_down() -> None:
    """Not configured: the first one heard holds the link as long as it is heard.

    After its timeout another may.
    """
    origin = Origin(NET)
    assert origin.admits("10.11.1.2:5012", 100.0)
    origin.record("10.11.1.2:5012", 100.0)
    assert not origin.admits("10.11.1.66:5012", 105.0)
    assert origin.admits("10.11.1.2:5012", 109.0)
    origin.record("10.11.1.2:5012", 109.0)
    assert not origin.admits("10.11.1.66:5012", 118.9)
    assert origin.admits("10.11.1.66:5012", 119.0)


def test_disk_has_no_address() -> None:
    """The position of the bytes shows who wrote them."""
    assert Origin(DISK).admits("/dev/sdb:19", 100.0)


# openha.conf


def test_more_than_128_services_are_refused_with_a_legacy_link() -> None:
    """128 are fine, and any number without such a link."""
    services = tuple(
        ServiceSpec(f"svc{number}", "/x", "deb2", "deb1", "/x") for number in range(129)
    )
    check_count(ClusterSpec("deb2", "deb1", (NET,), services[1:]), "S")
    check_count(ClusterSpec("deb2", "deb1", (replace(NET, wire=Wire.OWN),), services), "S")
    with pytest.raises(
        ConfigError, match="S: 129 services on this node, and the original's heartbeat holds 128"
    ):
        check_count(ClusterSpec("deb2", "deb1", (NET,), services), "S")


def test_configuration_of_a_node_takes_the_options(tmp_path: Path) -> None:
    """openha.conf beside the monitor file: read with the cluster, and an edit of it is noticed."""
    layout = tree_layout(str(tmp_path))
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/nodes").write_text(f"{node_name()}\npeer\n")
    (tmp_path / "conf/monitor").write_text(
        f"{node_name()} dio /dev/sdb 0 10\npeer dio /dev/sdb 19 10\n"
    )
    assert {link.wire for link in read_cluster(layout).links} == {Wire.OWN}
    assert read_options(layout).heartbeat.wire is Wire.OWN
    before = fingerprint(layout)
    (tmp_path / "conf/openha.conf").write_text(
        "[heartbeat]\nwire = legacy\n[[dio /dev/sdb:0]]\nwire = own\n"
    )
    assert fingerprint(layout) != before
    assert [link.wire for link in read_cluster(layout).links] == [Wire.OWN, Wire.LEGACY]


# what the C OpenHA left on disk


@pytest.mark.parametrize(
    "left, is_first_start, state, must_probe",
    [
        (b"7\0", True, S.UNKNOWN, True),
        (b"7\0", False, S.STOPPED, True),
        (b"2\0", True, S.STARTED, True),
        (b"6\0", True, S.FROZEN_STOP, True),
        (b"0\0", True, S.STOPPED, True),
    ],
)
def test_first_start_after_a_c_openha_asks_what_its_7_means(
    tmp_path: Path, left: bytes, is_first_start: bool, state: S, must_probe: bool
) -> None:
    """START_READY of the original is also a service that runs frozen: the wrapper is asked.

    Everything else as ever.
    """
    layout = tree_layout(str(tmp_path))
    folder = tmp_path / "services" / "registry"
    folder.mkdir(parents=True)
    (folder / "STATE.deb1").write_bytes(left)
    service = ServiceSpec("registry", "/x", "deb1", "deb2", "/x")
    known = StateStore(layout, "deb1", "deb2").recover((service,), True, is_first_start)["registry"]
    assert (known.state, known.must_probe) == (state, must_probe)


def test_legacy_wire_and_enforced_keys_exclude_each_other(cluster_dir: ClusterDir) -> None:
    """A frame that proves nothing would undo the key: refused at start, allowed where it is asked
    to be permissive.
    """
    cluster_dir.path("conf/monitor").write_text(
        f"{HERE}\tunicast\tlo\t127.0.0.1\t{free_port()}\t5\n{PEER}\tunicast\tlo\t127.0.0.1\t{free_port()}\t5\n"
    )
    cluster_dir.ok("openha key generate")
    options = cluster_dir.path("conf/openha.conf")
    options.write_text("[heartbeat]\nwire = legacy\n")
    assert "wire = legacy carries no proof" in cluster_dir.fails("ezha start", 3)
    options.write_text("[heartbeat]\nwire = legacy\nauthentication = permissive\n")
    cluster_dir.ok("ezha start")
    assert cluster_dir.ok("hb -s -v").count(
        "\twire: legacy\n"
    ) == 2 and "wire" not in cluster_dir.ok("hb -s")
    assert {link["wire"] for link in json.loads(cluster_dir.ok("hb -s --json"))["links"]} == {
        "legacy"
    }
