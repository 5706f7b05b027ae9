"""[fencing], [timing] fence_time and [policy] priority, defend: each mistake is reported with its
line, and loses nothing.
"""

from __future__ import annotations

import json

import pytest

from tests.cluster_dir import ClusterDir
from tests.waiting import until

MISTAKES = (
    (
        "[fencing]\ncheck = sometimes\n",
        2,
        "check: expected one of silence, always; found 'sometimes'",
    ),
    (
        "[fencing]\nboot_alone = soon\n",
        2,
        "boot_alone: expected never, or a number of seconds above 0; found 'soon'",
    ),
    (
        "[fencing]\n\nboot_alone = 0\n",
        3,
        "boot_alone: expected never, or a number of seconds above 0; found '0'",
    ),
    (
        "[fencing]\nboot_alone = -5\n",
        2,
        "boot_alone: expected never, or a number of seconds above 0; found '-5'",
    ),
    ("[fencing]\nretry = 0\n", 2, "retry: expected seconds, above 0 and at most 86400; found '0'"),
    ("[fencing]\nretry = 51\n", 2, "retry: at most 50 seconds; found 51"),
    (
        "[fencing]\nretry = quickly\n",
        2,
        "retry: expected seconds, above 0 and at most 86400; found 'quickly'",
    ),
    ("[fencing]\nscope = cluster\n", 2, "scope: expected one of node, service; found 'cluster'"),
    ("# notes\n[fencing]\nretries = 3\n", 3, "unknown option 'retries'"),
    (
        "[fencing]\n[[web]]\ncheck = always\n",
        2,
        "[[web]]: expected the name of a path and that of a node",
    ),
    (
        "[timing]\nfence_time = 0\n",
        2,
        "fence_time: expected seconds, above 0 and at most 86400; found '0'",
    ),
    (
        "[timing]\nfence_time = 3 s\n",
        2,
        "fence_time: expected seconds, above 0 and at most 86400; found '3 s'",
    ),
    (
        "[timing]\nprofile = fast\nfence_time = 2.5\n",
        3,
        "profile = fast needs a check-up script that fences within 2 s",
    ),
    (
        "[policy]\npriority = 0\n",
        2,
        "priority: expected a whole number from 1 to 1000000; found '0'",
    ),
    (
        "[policy]\npriority = high\n",
        2,
        "priority: expected a whole number from 1 to 1000000; found 'high'",
    ),
    (
        "[policy]\npriority = 1000001\n",
        2,
        "priority: expected a whole number from 1 to 1000000; found '1000001'",
    ),
    (
        "[policy]\n[[web]]\npriority = 1.5\n",
        3,
        "priority: expected a whole number from 1 to 1000000; found '1.5'",
    ),
    ("[policy]\ndefend = maybe\n", 2, "defend: expected one of yes, no; found 'maybe'"),
    ("[policy]\n[[web]]\ndefend = 2\n", 3, "defend: expected one of yes, no; found '2'"),
    ("[policy]\n[[wbe]]\ndefend = yes\n", 2, "[[wbe]] is no service of the services file (web)"),
)
GOOD = (
    "[timing]\nfence_time = 2.5\n[fencing]\ncheck = always\nboot_alone = 300\nretry = 50\nscope ="
    " service\n[policy]\npriority = 1000000\n[[web]]\ndefend = yes\n"
)


@pytest.mark.parametrize("text, line, words", MISTAKES)
def test_daemon_does_not_start_with_a_mistake(
    cluster_dir: ClusterDir, text: str, line: int, words: str
) -> None:
    """`ezha start`: exit code 3, file and line, what was found and what is expected.

    The file stays as it is.
    """
    cluster_dir.add("web")
    options = cluster_dir.path("conf/openha.conf")
    options.write_text(text)
    done = cluster_dir.run("ezha start")
    assert done.returncode == 3 and f"{options}:{line}: " in done.stderr and words in done.stderr, (
        done
    )
    assert options.read_text() == text and cluster_dir.pid() == 0


def test_running_daemon_keeps_what_it_has_with_each_mistake(cluster_dir: ClusterDir) -> None:
    """The mistake is shown until it is corrected.

    What was configured before stays in force, and the service where it is.
    """
    cluster_dir.add("web", check=cluster_dir.script("fence", "exit 0"))
    options = cluster_dir.path("conf/openha.conf")
    options.write_text(GOOD)
    cluster_dir.ok("ezha start")
    for text, line, words in MISTAKES[:6:2] + MISTAKES[13:18:2]:
        options.write_text(text)
        until(
            lambda: cluster_dir.ok("service -s -v"),
            lambda shown, words=words, line=line: (  # type: ignore[misc]
                f"not taken over: {options}:{line}: " in shown and words in shown
            ),
            words,
        )
        shown = json.loads(cluster_dir.quick("openha fence status --json").stdout)
        assert (shown["boot_alone_s"], [group["name"] for group in shown["groups"]]) == (
            300.0,
            ["web"],
        )
    options.write_text(GOOD.replace("300", "200"))
    until(
        lambda: json.loads(cluster_dir.quick("openha fence status --json").stdout)["boot_alone_s"],
        lambda seconds: seconds == 200.0,
        "the correction is in force",
    )
    assert "not taken over" not in cluster_dir.ok("service -s -v")
    assert cluster_dir.state("web") == "FROZEN_STOP"
