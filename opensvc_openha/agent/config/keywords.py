"""Define the keywords that a section may have and check their values, for all drivers alike.

Each driver declares its keywords; those common to all resources, and those of [DEFAULT], are
declared here. A value that is missing or invalid is an error in every action. An unknown keyword is
an error in validation, but only a warning in actions: a service must not stay down because of a
word that changes nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from opensvc_openha.agent.config.service_file import FALSE_WORDS, TRUE_WORDS, Section, duration_of
from opensvc_openha.errors import ConfigError

INTEGER_MAX = 10**15
_ON_NODES = "_on"


class Form(enum.Enum):
    """Format of a value; ``value`` completes the sentence "expected ..."."""

    TEXT = "a text"
    FLAG = "true or false"
    INTEGER = "a whole number"
    COUNT = "a whole number from 1"
    SECONDS = "a number of seconds above 0"
    PATH = "an absolute path"
    NODES = "names of nodes"
    COMMAND = "a command"


@dataclass(frozen=True)
class Keyword:
    """One keyword of one kind of section.

    ``spellings`` are aliases that agents accept.
    """

    name: str
    form: Form = Form.TEXT
    is_required: bool = False
    default: str = ""
    candidates: tuple[str, ...] = ()
    spellings: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All names of the keyword, the canonical one first."""
        return (self.name, *self.spellings)


TRIGGERS = tuple(
    f"{blocking}{when}_{action}"
    for blocking in ("", "blocking_")
    for when in ("pre", "post")
    for action in (
        "start",
        "stop",
        "syncnodes",
        "syncdrp",
        "sync_nodes",
        "sync_drp",
        "provision",
        "unprovision",
        "run",
    )
)

COMMON = (
    Keyword("disable", Form.FLAG),
    Keyword("optional", Form.FLAG),
    Keyword("monitor", Form.FLAG),
    *(Keyword(f"{word}{_ON_NODES}", Form.NODES) for word in ("disable", "optional", "monitor")),
    Keyword("always_on", Form.NODES),
    Keyword("restart", Form.INTEGER, default="0"),
    Keyword("subset"),
    Keyword("tags"),
    Keyword("comment"),
    *(Keyword(trigger, Form.COMMAND) for trigger in TRIGGERS),
)
"""Keywords of every resource."""

DEFAULT_SECTION = (
    Keyword("nodes", Form.NODES),
    Keyword("drpnodes", Form.NODES, spellings=("drpnode",)),
    Keyword("autostart_node", Form.NODES),
    Keyword("service_type", spellings=("env",)),
    Keyword("mode", default="hosted"),
    Keyword("cluster_type", default="failover", spellings=("topology",)),
    Keyword("rollback", Form.FLAG, default="true"),
    Keyword("monitor_action", candidates=("none", "freezestop", "reboot", "crash")),
    Keyword("pre_monitor_action", Form.COMMAND),
    Keyword("docker_data_dir", Form.PATH),
    Keyword("docker_daemon_args"),
    Keyword("docker_daemon_private", Form.FLAG),
    Keyword("sync_interval", Form.INTEGER),
    Keyword("sync_max_delay", Form.INTEGER),
    Keyword("disable", Form.FLAG),
    *(
        Keyword(name)
        for name in (
            *(
                "app",
                "comment",
                "id",
                "pkg_name",
                "bwlimit",
                "sync_min_delay",
                "sync_period",
                "sync_days",
                "sync_schedule",
            ),
            *(
                "mon_schedule",
                "comp_schedule",
                "push_schedule",
                "status_schedule",
                "resinfo_schedule",
                "constraints",
            ),
            *(
                "presnap_trigger",
                "postsnap_trigger",
                "containerize",
                "create_pg",
                "show_disabled",
                "anti_affinity",
            ),
            *(
                "affinity",
                "scsireserv",
                "scsi_reserve",
                "no_preempt_abort",
                "prkey",
                "placement",
                "orchestrate",
                "encapnodes",
            ),
            *(
                "flex_primary",
                "drp_flex_primary",
                "flex_min_nodes",
                "flex_max_nodes",
                "flex_cpu_min_threshold",
            ),
            *(
                "flex_cpu_max_threshold",
                "docker_exe",
                "dockerd_exe",
                "docker_swarm_args",
                "docker_swarm_managers",
            ),
            *(
                "container_cpus",
                "container_mems",
                "container_cpu_share",
                "container_mem_limit",
                "container_vmem_limit",
            ),
            *(
                "pg_cpus",
                "pg_mems",
                "pg_cpu_shares",
                "pg_cpu_quota",
                "pg_mem_limit",
                "pg_vmem_limit",
                "pg_blkio_weight",
            ),
            *(
                "lock_timeout",
                "monitor_schedule",
                "parents",
                "children",
                "priority",
                "stonith",
                "aws",
            ),
        )
    ),
)
"""Keywords of [DEFAULT] besides those that resources inherit."""

SUBSET_SECTION = (
    Keyword("parallel", Form.FLAG, default="false"),
    *(
        Keyword(name)
        for name in (
            "comment",
            "pg_cpus",
            "pg_mems",
            "pg_cpu_shares",
            "pg_cpu_quota",
            "pg_mem_limit",
        )
    ),
    *(Keyword(name) for name in ("pg_vmem_limit", "pg_blkio_weight")),
)
"""Keywords of [subset#...] sections."""


def check_values(section: Section, keywords: Iterable[Keyword]) -> Iterator[ConfigError]:
    """Yield the errors of these keywords' values in a section, and missing required keywords."""
    for keyword in keywords:
        present = [name for name in keyword.names if section.text(name)]
        if not present and keyword.is_required:
            yield section.error(keyword.name, f"is missing, expected {_expected(keyword)}")
        for name in present:
            if not _is_fitting(section.text(name), keyword):
                problem = (
                    f"is {section.text(name)!r}, expected"
                    f" {_expected(keyword)}{hint(section.text(name))}"
                )
                yield section.error(name, problem)


def check_names(
    section: Section, keywords: Sequence[Keyword], allowed: Iterable[str] = ()
) -> Iterator[ConfigError]:
    """Yield an error for each unknown keyword in this section.

    ``allowed`` names are accepted too, but not offered as a correction.
    """
    known = {name for keyword in keywords for name in keyword.names}
    for name in sorted(section.own - known - set(allowed)):
        import difflib  # Imported here: only a mistake in the file needs it.

        close = difflib.get_close_matches(name, known, 1)
        hint = (
            f"did you mean {close[0]}?"
            if close
            else f"expected one of {', '.join(_proper(keywords))}"
        )
        yield section.error(name, f"is no keyword of [{section.name}], {hint}")


def _proper(keywords: Sequence[Keyword]) -> list[str]:
    """Return the driver's own keywords: a list with the common ones would be too long."""
    common = {keyword.name for keyword in COMMON}
    return [keyword.name for keyword in keywords if keyword.name not in common] or sorted(common)


def _expected(keyword: Keyword) -> str:
    return " or ".join(keyword.candidates) if keyword.candidates else keyword.form.value


def hint(value: str) -> str:
    """Return a correction for the most frequent kinds of invalid values."""
    if value[:1] in "'\"":
        return ", without quotes"
    return ": a comment needs a line of its own" if has_comment(value) else ""


def has_comment(value: str) -> bool:
    """Return whether the value ends in what looks like a comment, which agents take as value."""
    return any(mark in value for mark in (" #", " ;", "\t#", "\t;"))


def _is_fitting(value: str, keyword: Keyword) -> bool:
    if keyword.candidates:
        return value.lower() in keyword.candidates
    if keyword.form is Form.FLAG:
        return value.lower() in TRUE_WORDS | FALSE_WORDS
    if keyword.form in (Form.INTEGER, Form.COUNT):
        least = 1 if keyword.form is Form.COUNT else 0
        return value.isascii() and value.isdigit() and least <= int(value) <= INTEGER_MAX
    if keyword.form is Form.SECONDS:
        return duration_of(value) is not None
    if keyword.form is Form.PATH:
        return value.startswith("/") and "\0" not in value and not has_comment(value)
    if keyword.form is Form.NODES:
        return all(character.isalnum() or character in ".-_, \t" for character in value)
    return "\0" not in value
