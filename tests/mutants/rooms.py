"""The rooms in which faults are planted, the files that matter, and the tests of each.

A fault in a room other than core affects threads, sockets, files and processes: its tests run real
daemons.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "opensvc_openha"
CORE = "core"


@dataclass(frozen=True)
class Room:
    """One room: its files, their names in lists, and the place of its tests."""

    name: str
    files: tuple[str, ...]
    tests: tuple[str, ...]


_DECISIONS = (
    "cut_off.py",
    "connectivity.py",
    "data_disks.py",
    "fail_back.py",
    "giving_up.py",
    "drill_notes.py",
    "own_silence.py",
    "fence_paths.py",
    "fence_plan.py",
    "lease_owner.py",
    "lease_view.py",
    "promise.py",
    "promised_disks.py",
    "proof.py",
    "plan_desk.py",
    "transitions.py",
    "service_machine.py",
    "engine.py",
    "announcer.py",
    "confirmation.py",
    "departure.py",
    "lateness.py",
    "managed_services.py",
    "peer_watch.py",
    "start_problems.py",
    "shared_step.py",
    "expected_beat.py",
    "work_list.py",
    "peer_view.py",
    "peer_word.py",
    "link_monitor.py",
    "beat_filter.py",
    "incarnations.py",
    "contenders.py",
    "link_down_notice.py",
    "policies.py",
    "service_mismatch.py",
    "configuration_marks.py",
    "states.py",
    "timing.py",
    "beat.py",
    "fencing.py",
    "fence_turns.py",
    "power_questions.py",
)


def _in(folder: str, names: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}.py" for name in names.split())


ROOMS = {
    room.name: room
    for room in (
        # The decision code is named without its room.
        Room(
            CORE,
            _DECISIONS,
            ("tests/core", "tests/verify/test_enumeration.py", "tests/verify/test_scenarios.py"),
        ),
        *(
            Room(name, _in(name, files), tests)
            for name, files, tests in (
                (
                    "system",
                    "atomic_files lock_file processes log_file bounded_log script_log",
                    ("tests/system", "tests/storage", "tests/daemon", "tests/agent"),
                ),
                (
                    "storage",
                    "state_store state_log state_recovery peer_mirror proc_files managed_list"
                    " key_store fencing_store state_writer history_writer history_entry"
                    " history_file history_segments history_conversion",
                    ("tests/storage", "tests/daemon", "tests/cli"),
                ),
                (
                    "heartbeat",
                    "authentication beat_intake repeat_filter link_end link_workers datagram_ends"
                    " datagram_loop outbox codec/own codec/base codec/registry codec/legacy",
                    ("tests/heartbeat", "tests/daemon", "tests/cli/test_key.py"),
                ),
                (
                    "daemon",
                    "action_executor daemon engine_loop engine_ports incarnation recovery"
                    " control_service link_manager open_commands script_runner lock stall_detector"
                    " log_keeper check_scripts readiness outside_starts agent_cache_invalidation"
                    " realtime fence_program fence_runner fence_watch fence_service arbiter_watch"
                    " reserved_disks reservation_watch service_fences inbox watchdog_thread"
                    " witness_threads",
                    ("tests/daemon", "tests/storage"),
                ),
                (
                    "control",
                    "server protocol requests",
                    ("tests/control", "tests/daemon", "tests/cli"),
                ),
                (
                    "live",
                    "access observer order_desk orders picture web_app",
                    ("tests/live/test_web_app.py", "tests/live/test_picture.py"),
                ),
                (
                    "peer_link",
                    "channel listener protocol permissions jobs server client",
                    ("tests/peer_link", "tests/fuzz/test_parsers.py"),
                ),
            )
        ),
        Room(
            "links",
            _in(
                "links",
                "slot_link disk_channel disk_process disk_watch disk_io disk_requests udp arrival"
                " unicast net monitor_file row",
            ),
            ("tests/links",),
        ),
        Room(
            "fence_devices",
            _in(
                "fence_devices",
                "power_readings power_device fence_agent ipmi callout programs secret_files"
                " device_answers agent_metadata power_program run"
                " scsi_disk shared_disk block_devices reservations arbiter_disk"
                " reservation_program held_disks disk_requests multipath_keys"
                " etcd etcd_connection etcd_arbiter witness claim_program",
            ),
            ("tests/fence_devices",),
        ),
        Room(
            "watchdog",
            _in("watchdog", "keeper keeper_client device starter"),
            ("tests/watchdog",),
        ),
        Room(
            "formats",
            _in(
                "formats",
                "beat_frame frame_seal disk_slot state_file key_file legacy_frame"
                " nodes_file services_file device_signs netlink name_book state_list"
                " fence_plan_config lease_config facts_block scsi_pr reservation_key",
            ),
            (
                "tests/formats",
                "tests/fuzz/test_parsers.py",
                "tests/heartbeat/test_interface_monitor.py",
            ),
        ),
        Room(
            "agent",
            _in(
                "agent",
                "actions/dispatch actions/service_actions actions/cluster_actions"
                " actions/embedded_actions actions/peer_fencing"
                " service/runner service/ordering"
                " service/action_lock service/selection service/caller_location host/signals"
                " host/commands host/system_paths resources/fence_plan resources/fence_status"
                " resources/scsireserv host/reservation_key"
                " resources/power_sections"
                " config/value_types config/checks",
            ),
            ("tests/agent", "tests/plugin/test_agent_actions.py"),
        ),
        Room(
            "plugin",
            _in("plugin", "agent_actions peer_orders"),
            ("tests/plugin/test_agent_actions.py", "tests/plugin/test_peer_orders.py"),
        ),
    )
}


def files_of(asked: list[str]) -> list[str]:
    """Return the files of a room, or the one named as in ``system/atomic_files``; or ValueError."""
    found: list[str] = []
    for word in asked:
        name, _, file = word.removesuffix(".py").partition("/")
        room = ROOMS.get(name)
        if room is None:
            raise ValueError(f"no room {name!r}: expected one of {', '.join(ROOMS)}")
        names = [one for one in room.files if not file or one.rpartition("/")[2] == f"{file}.py"]
        if not names:
            raise ValueError(
                f"no file {file!r} in room {name}: expected one of {', '.join(room.files)}"
            )
        found += [one for one in names if one not in found]
    return found


def room_of(file: str) -> Room:
    """Return the room of a listed file."""
    return next(room for room in ROOMS.values() if file in room.files)


def path_of(file: str) -> Path:
    """Return the path of a listed file."""
    return PACKAGE / (file if "/" in file else f"{CORE}/{file}")


def module_of(file: str) -> str:
    """Return its module name."""
    parts = path_of(file).relative_to(PACKAGE).with_suffix("").parts
    return ".".join((PACKAGE.name, *parts))


ALL_FILES = tuple(file for room in ROOMS.values() for file in room.files)
