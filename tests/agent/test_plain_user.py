"""What a user without rights finds: nothing that is false, and no action that ends with 0 without
being done.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.agent.embedded import Agent, Outcome

NOBODY = 65534
ONLY_ROOT = "# only root can check"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")


@contextmanager
def plain_user() -> Iterator[None]:
    """This process, as nobody."""
    os.setresgid(NOBODY, NOBODY, 0)
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)


def as_nobody(agent: Agent, *words: str, called_as: str = "svcmgr") -> Outcome:
    """The command as nobody.

    As root before, since this interpreter's modules may not be readable to nobody.
    """
    if words[-1] not in ("start", "stop"):
        agent.svcmgr(*words, called_as=called_as)
    with plain_user():
        return agent.svcmgr(*words, called_as=called_as)


@pytest.fixture
def shared_agent(agent: Agent) -> Agent:
    """An agent below a directory that anybody may enter, as /etc/opensvc and /var/lib/opensvc
    are.
    """
    agent.root.chmod(0o755)
    return agent


def test_a_check_for_root_is_not_shown_as_down(shared_agent: Agent) -> None:
    """An application runs, and its check fails for anybody but root: down would be false, and so
    would the availability.
    """
    check = shared_agent.script("app", '[ "$(id -u)" = 0 ] || exit 1')
    shared_agent.write("a", f"[app#1]\nscript = {check}\nstart = 1\nstop = 1\ncheck = 1\n")
    assert shared_agent.svcmgr("-s", "a", "start").exit_code == 0
    assert shared_agent.svcmgr("-s", "a", "status").out == "up\n"
    shown = as_nobody(shared_agent, "-s", "a", "print", "status").out
    assert ONLY_ROOT in shown and "down" not in shown and " up " not in shown
    outcome = as_nobody(shared_agent, "-s", "a", "status")
    assert (outcome.out, outcome.exit_code) == ("n/a\n", 3)


def test_a_check_that_succeeds_for_anybody_is_believed(shared_agent: Agent) -> None:
    """What a monitoring user sees of an application whose check needs no rights."""
    shared_agent.write("a", "[app#1]\ncheck = exit 0\n")
    assert as_nobody(shared_agent, "-s", "a", "status").out == "up\n"


def test_a_script_that_only_root_may_execute_is_not_called_broken(shared_agent: Agent) -> None:
    """`chmod 700` on a script: no advice to chmod +x it."""
    check = shared_agent.script("app")
    check.chmod(0o700)
    shared_agent.write("a", f"[app#1]\nscript = {check}\ncheck = 1\n")
    shown = as_nobody(shared_agent, "-s", "a", "print", "status").out
    assert ONLY_ROOT in shown and "executable" not in shown


def test_a_docker_daemon_out_of_reach_is_not_called_stopped(shared_agent: Agent) -> None:
    """The socket of the private daemon is not for users: nothing is reported of its containers."""
    shared_agent.write(
        "a",
        f"[DEFAULT]\ndocker_data_dir = {shared_agent.root}/data\n[container#1]\ntype ="
        " docker\nrun_image = busybox\n",
    )
    shown = json.loads(as_nobody(shared_agent, "-s", "a", "json", "status").out)
    assert shown["resources"]["container#1"]["status"] == "n/a"
    assert shown["resources"]["container#1"]["log"] == f"{ONLY_ROOT}\n"
    assert (shown["avail"], shown["overall"], shown["sync"]) == ("n/a", "n/a", "n/a")


def test_what_lies_below_a_closed_directory_is_not_called_missing(shared_agent: Agent) -> None:
    """A directory and an image file that exist, below a directory of root's alone."""
    closed = shared_agent.root / "closed"
    (closed / "dir").mkdir(parents=True)
    (closed / "image").write_bytes(b"")
    closed.chmod(0o700)
    shared_agent.write(
        "a",
        f"""\
        [fs#1]
        type = directory
        path = {closed}/dir
        [fs#2]
        type = ext4
        dev = {closed}/image
        mnt = {shared_agent.root}/mnt
        """,
    )
    shown = as_nobody(shared_agent, "-s", "a", "print", "status").out
    assert shown.count(ONLY_ROOT) == 2 and "does not exist" not in shown


def test_a_plain_file_system_that_is_down_is_down_for_anybody(shared_agent: Agent) -> None:
    """Mounts and devices can be seen by all users: what needs no rights is reported."""
    shared_agent.write(
        "a", f"[fs#1]\ntype = ext4\ndev = /dev/none\nmnt = {shared_agent.root}/mnt\n"
    )
    assert as_nobody(shared_agent, "-s", "a", "status").out == "down\n"


@pytest.mark.parametrize(
    "action", ["start", "stop", "restart", "freeze", "syncall", "startip", "boot"]
)
@pytest.mark.parametrize("called_as", ["allservices", "allupservices", "alldownservices", "a"])
def test_a_change_by_a_user_ends_with_7(shared_agent: Agent, called_as: str, action: str) -> None:
    """`allupservices stop` as a user: not 0, whatever the services of this node look like to that
    user.
    """
    shared_agent.write("a", "[app#1]\ncheck = exit 1\n")
    with plain_user():
        outcome = shared_agent.svcmgr(action, called_as=called_as)
    assert outcome.exit_code == 7
    assert f"{action} is for root" in outcome.err and "nothing was done" in outcome.err


def test_services_chosen_by_an_unknown_status_end_with_7(shared_agent: Agent) -> None:
    """`allupservices print status` as a user whose look at the application fails: reported, not
    left out.
    """
    check = shared_agent.script("app", '[ "$(id -u)" = 0 ] || exit 1')
    shared_agent.write("a", f"[app#1]\nscript = {check}\ncheck = 1\n")
    outcome = as_nobody(shared_agent, "print", "status", called_as="allupservices")
    assert (outcome.exit_code, "only root can check whether a is up" in outcome.err) == (7, True)


def test_the_owner_of_an_agent_is_believed(shared_agent: Agent) -> None:
    """An installation of a user's own, as in a demo without root: its owner's checks count."""
    shared_agent.write("a", "[app#1]\ncheck = exit 1\n")
    (shared_agent.root / "bin" / "svcmgr").touch(0o755)
    agent_dirs = [shared_agent.root, *shared_agent.root.rglob("*")]
    for path in agent_dirs:
        os.chown(path, NOBODY, NOBODY)
    outcome = as_nobody(shared_agent, "-s", "a", "status")
    assert (outcome.out, outcome.exit_code) == ("down\n", 1)
