"""Read the sections [[lease]] and [[etcd]] of [fencing]: this node's watchdog, and the witness.

Both stand beside the devices of the fence plan, under a fixed name, since they are no device that
cuts one node.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field

from opensvc_openha.core.model import OnLost, Profile
from opensvc_openha.core.promise import least_timeout_s
from opensvc_openha.core.timing import PACES
from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.conf_sections import (
    ConfSection,
    ConfValueType,
    Option,
    SectionSchema,
    choice,
    seconds,
    whole,
)
from opensvc_openha.hints import Any, TypeVar
from opensvc_openha.records import dataclass

LEASE = "lease"
"""A level, and the section of the watchdog."""
ETCD = "etcd"
"""An arbiter, and the section of the witness."""

_TIMEOUT_MAX_S = 300
_ANSWER_MAX_S = 60
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,126}\Z")
_T = TypeVar("_T")


@dataclass(frozen=True)
class SectionPlace:
    """Where a section and its options are written; only for messages."""

    file: str = ""
    line: int | None = None
    lines: Mapping[str, int] = field(default_factory=dict)

    def error(self, message: str, option: str = "") -> ConfigError:
        """Return an error about an option of the section, or about the whole section."""
        return ConfigError(message, self.file, self.lines.get(option, self.line))


@dataclass(frozen=True)
class LeaseConfig:
    """The section [[lease]]: the watchdog of this node.

    ``stop_s`` is how long its services take to be stopped, with ``on_lost = stop``.
    """

    device: str
    timeout_s: float
    answer_s: float
    on_lost: OnLost = OnLost.RESET
    stop_s: float | None = None
    is_pause_excluded: bool = False
    place: SectionPlace = field(default=SectionPlace(), compare=False, repr=False)

    def error(self, message: str, option: str = "") -> ConfigError:
        """Return an error about an option, or about the whole section."""
        return self.place.error(f"[[{LEASE}]] {message}", option)


@dataclass(frozen=True)
class EtcdConfig:
    """The section [[etcd]]: how the members of the witness are reached.

    ``limit_s`` is for one question with all its tries. Files are only named here.
    """

    urls: tuple[str, ...]
    username: str = ""
    password_file: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    prefix: str = "openha"
    limit_s: float = 2.0
    place: SectionPlace = field(default=SectionPlace(), compare=False, repr=False)

    def error(self, message: str, option: str = "") -> ConfigError:
        """Return an error about an option, or about the whole section."""
        return self.place.error(f"[[{ETCD}]] {message}", option)

    @property
    def address(self) -> str:
        """Where it is, for display."""
        from urllib.parse import urlsplit  # Most nodes have no witness.

        return f"{ETCD} {','.join(urlsplit(url).netloc for url in self.urls)}"

    def as_options(self) -> dict[str, object]:
        """Return the fields as they stand in a request to the fence program."""
        return {
            "urls": list(self.urls),
            "username": self.username,
            "password_file": self.password_file,
            "ca_file": self.ca_file,
            "cert_file": self.cert_file,
            "key_file": self.key_file,
            "prefix": self.prefix,
            "limit_s": self.limit_s,
        }


def _file(text: str) -> str:
    if not text.startswith("/") or text.endswith("/"):
        raise ValueError(f"expected the absolute path of a file; found {text!r}")
    return text


def _urls(text: str) -> tuple[str, ...]:
    from urllib.parse import urlsplit

    urls = tuple(url.strip().rstrip("/") for url in text.split(","))
    for url in urls:
        try:
            parts = urlsplit(url)
            is_valid = (
                parts.scheme in ("http", "https")
                and bool(parts.hostname)
                and parts.port is not None
                and not (parts.path or parts.query or parts.fragment or parts.username)
            )
        except ValueError:
            is_valid = False
        if not is_valid:
            raise ValueError(
                "expected addresses as http://10.10.0.21:2379, separated by commas; found"
                f" {url or text!r}"
            )
        if urls.count(url) > 1:
            raise ValueError(f"{url} stands in it twice")
    if len({urlsplit(url).scheme for url in urls}) > 1:
        raise ValueError("http and https are mixed: write all of one kind")
    return urls


def _prefix(text: str) -> str:
    if not _PREFIX.match(text):
        raise ValueError(
            f"expected letters, digits, dots, hyphens, underscores and slashes; found {text!r}"
        )
    return text.rstrip("/")


_PATH = ConfValueType(_file, "an absolute path")
WATCHDOG = Option(
    "watchdog",
    _PATH,
    "/dev/watchdog",
    "The watchdog of this node, which nothing else may use.",
)
TIMEOUT = Option[float | None](
    "timeout",
    whole(_TIMEOUT_MAX_S),
    None,
    "Whole seconds after the last sign from which the watchdog resets this node; with `profile ="
    " balanced` 2 and with `fast` 1 by default. At least twice the sum of the beat interval and"
    " `answer`, so that one lost beat resets nobody; with `on_lost = stop`, `stop_time` and 1 s"
    " more, the default then.",
    default_text="4",
)
ANSWER = Option[float | None](
    "answer",
    seconds(_ANSWER_MAX_S),
    None,
    "Time within which a beat must be confirmed, by the peer, a disk or the witness; with `profile"
    " = balanced` 0.5 and with `fast` 0.3 by default.",
    default_text="1",
)
ON_LOST = Option(
    "on_lost",
    choice({each.value: each for each in OnLost}),
    OnLost.RESET,
    "What becomes of a node whose beats nothing confirms any more: `reset`, by its watchdog, with"
    " all that runs on it; `stop`: it stops its services before that, and is reset only if they"
    " are not stopped in time. It needs a longer `timeout`.",
)
STOP_TIME = Option(
    "stop_time",
    seconds(_TIMEOUT_MAX_S),
    20.0,
    "With `on_lost = stop`: time in which all services of this node together are stopped.",
)
VIRTUAL_PAUSE = Option(
    "virtual_pause",
    choice({"possible": False, "never": True}),
    False,
    "`never` if no hypervisor ever pauses, migrates or restores either node: only then the"
    " watchdog of a virtual machine is a proof. Both nodes must say so.",
)
LEASE_SECTION = SectionSchema(
    LEASE,
    (WATCHDOG, TIMEOUT, ANSWER, ON_LOST, STOP_TIME, VIRTUAL_PAUSE),
    text="The watchdog by which this node is dead soon after its last sign, and promises that to"
    " its peer.",
    see="lease",
)
URLS = Option[tuple[str, ...]](
    "urls",
    ConfValueType(_urls, "`http://HOST:PORT` or `https://HOST:PORT`, with commas", is_list=True),
    (),
    "Members of an etcd (3.4 or newer): one, or all of a cluster. Any of them is asked.",
    example="https://10.10.0.21:2379",
)
USERNAME = Option(
    "username",
    ConfValueType(str, "a name"),
    "",
    "Name for its authentication, with `password_file`.",
    example="openha",
)
PASSWORD_FILE = Option(
    "password_file",
    _PATH,
    "",
    "File with the password of `username`. Its mode must be 0600.",
    example="/etc/openha/etcd.secret",
)
CA_FILE = Option(
    "ca_file",
    _PATH,
    "",
    "Certificates that are trusted for `https`, in place of those of the system.",
    example="/etc/openha/etcd-ca.pem",
)
CERT_FILE = Option(
    "cert_file",
    _PATH,
    "",
    "Certificate by which this node identifies itself, with `key_file`.",
    example="/etc/openha/etcd-client.pem",
)
KEY_FILE = Option(
    "key_file",
    _PATH,
    "",
    "The key of `cert_file`. Its mode must be 0600.",
    example="/etc/openha/etcd-client.key",
)
PREFIX = Option(
    "prefix",
    ConfValueType(_prefix, "a name, with slashes if you like"),
    "openha",
    "Begin of the names of all keys: clusters that share an etcd need different ones.",
)
LIMIT = Option(
    "limit",
    seconds(30),
    2.0,
    "Limit of one question with all its tries.",
)
ETCD_SECTION = SectionSchema(
    ETCD,
    (URLS, USERNAME, PASSWORD_FILE, CA_FILE, CERT_FILE, KEY_FILE, PREFIX, LIMIT),
    text="A witness, as arbiter (`arbiter = etcd`) and for the lease.",
    see="witness",
)
PARTS = (LEASE_SECTION, ETCD_SECTION)


@dataclass(frozen=True)
class _Defaults:
    """Seconds that hold where none are set, for one profile."""

    timeout_s: float
    answer_s: float


_DEFAULTS = {
    Profile.TUTORIAL: _Defaults(4.0, 1.0),
    Profile.BALANCED: _Defaults(2.0, 0.5),
    Profile.FAST: _Defaults(1.0, 0.3),
}


def read_lease(fencing: ConfSection, profile: Profile) -> LeaseConfig | None:
    """Return the section [[lease]]; None without one.

    Raises ConfigError for times that a node in good health could not keep.
    """
    section = _part(fencing, LEASE)
    if section is None:
        return None
    defaults, interval_s = _DEFAULTS[profile], PACES[profile].beat_interval_s
    on_lost, answer_s = section.value(ON_LOST), _given(section.value(ANSWER), defaults.answer_s)
    stop_s = section.value(STOP_TIME) if on_lost is OnLost.STOP else None
    default_s = (
        defaults.timeout_s if stop_s is None else least_timeout_s(interval_s, answer_s, stop_s)
    )
    lease = LeaseConfig(
        section.value(WATCHDOG),
        float(_given(section.value(TIMEOUT), default_s)),
        answer_s,
        on_lost,
        stop_s,
        section.value(VIRTUAL_PAUSE),
        _place(section),
    )
    _expect_slack(lease, interval_s, "timeout" if section.value(TIMEOUT) is not None else "answer")
    if lease.is_pause_excluded and profile is not Profile.TUTORIAL:
        raise lease.error(
            f"virtual_pause = never is not offered with profile = {profile.value}: a pause of a"
            " second is too easily missed. Write profile = tutorial, or use the power switch of"
            " the hypervisor",
            "virtual_pause",
        )
    return lease


def _expect_slack(lease: LeaseConfig, interval_s: float, option: str) -> None:
    """Raise ConfigError for a watchdog that does not wait for what a healthy node needs."""
    least_s = least_timeout_s(interval_s, lease.answer_s)
    times = f"With a beat each {interval_s:g} s and answer = {lease.answer_s:g}"
    if lease.timeout_s < least_s:
        raise lease.error(
            f"timeout: {lease.timeout_s:g} s are too short: one lost beat would reset this node."
            f" {times}, write timeout = {least_s} or more",
            option,
        )
    least_s = least_timeout_s(interval_s, lease.answer_s, lease.stop_s)
    if least_s > _TIMEOUT_MAX_S:
        raise lease.error(
            f"stop_time: {lease.stop_s:g} s would need timeout = {least_s}, and {_TIMEOUT_MAX_S} is"
            " the longest: a node must not be believed in for so long. Write on_lost = reset",
            "stop_time",
        )
    if lease.timeout_s < least_s:
        raise lease.error(
            f"timeout: {lease.timeout_s:g} s are too short for on_lost = stop: this node would"
            f" be reset while its services are being stopped. {times} and stop_time ="
            f" {lease.stop_s:g}, write timeout = {least_s} or more, or on_lost = reset",
            "timeout",
        )


def read_etcd(fencing: ConfSection) -> EtcdConfig | None:
    """Return the section [[etcd]]; None without one. Raises ConfigError for what does not fit."""
    section = _part(fencing, ETCD)
    if section is None:
        return None
    etcd = EtcdConfig(
        section.value(URLS),
        section.value(USERNAME),
        section.value(PASSWORD_FILE),
        section.value(CA_FILE),
        section.value(CERT_FILE),
        section.value(KEY_FILE),
        section.value(PREFIX),
        section.value(LIMIT),
        _place(section),
    )
    if not etcd.urls:
        raise etcd.error("urls is missing: write urls = http://HOST:2379")
    is_secure = etcd.urls[0].startswith("https:")
    for option, needs, value, other in (
        (USERNAME, PASSWORD_FILE, etcd.username, etcd.password_file),
        (PASSWORD_FILE, USERNAME, etcd.password_file, etcd.username),
        (CERT_FILE, KEY_FILE, etcd.cert_file, etcd.key_file),
        (KEY_FILE, CERT_FILE, etcd.key_file, etcd.cert_file),
    ):
        if value and not other:
            raise etcd.error(f"{option.name} needs {needs.name}", option.name)
    for option, value in ((CA_FILE, etcd.ca_file), (CERT_FILE, etcd.cert_file)):
        if value and not is_secure:
            raise etcd.error(f"{option.name} is for urls that begin with https", option.name)
    return etcd


def _part(fencing: ConfSection, name: str) -> ConfSection | None:
    return fencing.inner(name) if name in fencing.inner_names else None


def _given(value: _T | None, default: _T) -> _T:
    return default if value is None else value


def _place(section: ConfSection) -> SectionPlace:
    lines: dict[str, Any] = {
        name: line for name in section.names if (line := section.line_of(name)) is not None
    }
    return SectionPlace(section.path, section.line_of(), lines)
