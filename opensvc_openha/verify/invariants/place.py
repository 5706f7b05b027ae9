"""What is known of one service on one node."""

from __future__ import annotations

from opensvc_openha.core.states import ServiceState


class ServicePlace:
    """One service on one node; the promises read it, and the checker keeps it."""

    def __init__(self) -> None:
        self.state: ServiceState | None = None
        self.kept: ServiceState | None = None
        self.logged: ServiceState | None = None
        """What the log of states has, and the STATE file not yet: after a power cut it counts."""
        self.is_lost = False
        """Nothing was written since the file was damaged.

        A daemon may add the service by an earlier reading.
        """
        self.is_guess = False
        """The daemon had to begin with a file that did not hold what its predecessor tried to
        write.
        """
        self.is_running = False
        self.is_forced = False
        self.is_hidden = False
        """It runs, and the daemon cannot know.

        Started outside the cluster, or the wrapper does not report it.
        """
        self.is_by_hand = False
        """Started outside the cluster, and the peer heard nothing but "out" since."""
        self.is_reserved = False
        """Its disks carry a reservation of the node that runs it."""
        self.is_barred = False
        """The peer has taken its disks: what runs here cannot write any more."""
        self.has_barrier = False
        """This node relies on it that nothing of the peer lands on the disks any more."""
        self.is_ordered = False
        self.is_trying = False
        """It has become START_READY, and no script of it has begun since."""
        self.ready_seq: int | None = None
        self.check_began: float | None = None
        self.is_check_silent = False
        self.is_check_ok = False
        self.is_check_lie = False
