"""Read what is known of the cluster at present, rehearse the events, and print what follows.

It reads configuration, history and the daemon's status. It writes nothing, runs no script, and
sends nothing to the peer.
"""

from __future__ import annotations

import sys

from opensvc_openha.cli import installation, whatif
from opensvc_openha.control import client
from opensvc_openha.errors import OpenhaError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.storage import configuration
from opensvc_openha.verify.invariants import InvariantBroken
from opensvc_openha.verify.rehearsal.happenings import read_happenings
from opensvc_openha.verify.rehearsal.present import Present
from opensvc_openha.verify.rehearsal.rehearsal import Rehearsal
from opensvc_openha.whatif.measured import measured_scripts
from opensvc_openha.whatif.text import as_json, as_text


def main(args: list[str]) -> int:
    """Run ``openha whatif``; return the exit code."""
    options = whatif.read_words(args)
    planned = read_happenings(options.event)
    present = read_present(installation.layout())
    try:
        result = Rehearsal(present, options.boot_time).play(planned, options.limit)
    except InvariantBroken as error:
        raise OpenhaError(f"the rehearsal failed: {error}") from error
    sys.stdout.write((as_json if options.is_json else as_text)(present, planned, result))
    return 0


def read_present(layout: Layout) -> Present:
    """Return what this node knows of the cluster now; raises what a status raises."""
    status = client.fetch_status(layout)
    options = configuration.read_options(layout)
    spec = configuration.read_cluster(layout, options)
    return Present(spec, status, measured_scripts(layout, status), options.fence_plan.arbiter_disk)
