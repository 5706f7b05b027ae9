"""What a proof covers, and which services of a fence plan have a script of their own beside it."""

from __future__ import annotations

import pytest

from opensvc_openha.core.model import FencePath, FencingPolicy, PathKind, ServiceSpec
from opensvc_openha.core.proof import Proof, ProofKind, Scope


def test_proof_covers_all_services_or_those_it_names() -> None:
    """A power switch covers everything, a reservation the services whose disks it holds."""
    off = Proof(ProofKind.POWER, Scope.NODE, None, 1.0, "ipmi: off")
    held = Proof(ProofKind.RESERVATION, Scope.DATA, frozenset({"registry"}), 1.0, "2 disks")
    assert off.covers_service("registry") and off.covers_service("files")
    assert held.covers_service("registry") and not held.covers_service("files")


@pytest.mark.parametrize(
    ("check", "is_own"),
    [
        ("/bin/true", False),
        ("/usr/bin/true", False),
        ("/usr/local/cluster/bin/fence", False),
        ("/usr/lib/openha/bin/fence", False),
        ("openha fence", False),
        ("/usr/local/bin/fence", True),
        ("/etc/openha/fence", True),
        ("/opt/openha/registry.stonith", True),
    ],
)
def test_check_up_column_that_means_the_plan_alone(check: str, is_own: bool) -> None:
    """Every other script is run as well, after the proof of the node."""
    svc = ServiceSpec("registry", "/etc/registry", "deb1", "deb2", check)
    assert svc.runs_check_too is is_own


def test_paths_of_a_plan_in_their_order() -> None:
    """Levels are alternatives; the paths of one level belong together."""
    ipmi, pdu, disks = (FencePath(name, PathKind.POWER, 10.0) for name in ("ipmi", "pdu", "disks"))
    assert FencingPolicy(levels=((ipmi, pdu), (disks,))).paths == (ipmi, pdu, disks)
    assert FencingPolicy().paths == ()
