"""Power devices in service files: `[stonith#N] type = fence_*`, and `type = ilo` of older agents.

    type = fence_redfish     a fence agent; all other keywords of the section are its options
    type = ilo               the management processor `target`, by ssh; its login stands in the
                             section, or in auth.conf, in the section that is named as the target

Agents made a power reset of an iLO and did not look: here it is off, and off read twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.service_file import Section
from opensvc_openha.agent.resources.fence_plan import FenceStep
from opensvc_openha.errors import ConfigError, SystemFault
from opensvc_openha.fence_devices.agent_metadata import (
    FILE_SUFFIX,
    is_secret,
    mistakes_in,
)
from opensvc_openha.fence_devices.power_device import description_of, device_of, why_unusable
from opensvc_openha.fence_devices.secret_files import check_secret_file

ILO = "ilo"
AGENT_PREFIX = "fence_"
_ILO_AGENT = "fence_ilo_ssh"
_ILO_FILE = "auth.conf"
_OURS = frozenset(
    name
    for keyword in (schema.TYPE, schema.FENCE_LEVEL, schema.FENCE_TIMEOUT, *schema.COMMON)
    for name in keyword.names
)


def is_power_device(section: Section) -> bool:
    """Return whether a section describes a power device, and not a command."""
    kind = section.text(schema.TYPE.name).lower()
    return kind == ILO or kind.startswith(AGENT_PREFIX)


def device_step(section: Section, svcname: str, node: str, etc_dir: str) -> FenceStep:
    """Return the step of a section of a power device; what it lacks is why it cannot be run."""
    level, timeout_s = section.value(schema.FENCE_LEVEL), section.value(schema.FENCE_TIMEOUT)
    agent = agent_of(section)
    why_not = why_unusable(agent)
    options: dict[str, str] = {}
    if not why_not:
        try:
            options = options_of(section, etc_dir)
        except (ConfigError, SystemFault) as error:
            why_not = str(error)
    if why_not:
        return FenceStep(section.name, level, timeout_s, shown=agent, why_not=why_not)
    device = device_of(section.name, agent, options, node)
    return FenceStep(section.name, level, timeout_s, shown=agent, device=device)


def wrong_options(
    section: Section, etc_dir: str, sees_secrets: bool = True
) -> Iterator[ConfigError]:
    """Yield what is wrong with the options of a power device, by its agent's own metadata.

    ``sees_secrets``: this user may read files of secrets, which are checked then. Raises
    SystemFault if the agent cannot be asked for it, such as one that is not installed.
    """
    metadata = description_of(agent_of(section))
    if _is_ilo(section):
        try:
            options_of(section, etc_dir)
        except ConfigError as error:
            yield error
        except SystemFault as error:
            if not sees_secrets:
                return
            yield section.error(schema.ILO_TARGET.name, f"has no login: {error}")
    else:
        for mistake in mistakes_in(metadata, options_of(section, etc_dir)):
            yield section.error(mistake.option, mistake.text)
    for name in sorted(section.own) if sees_secrets else ():
        if name.endswith(FILE_SUFFIX) and is_secret(name.removesuffix(FILE_SUFFIX)):
            try:
                check_secret_file(section.text(name))
            except SystemFault as error:
                yield section.error(name, f"is of no use: {error}")
    ca_file = section.value(schema.FENCE_CA_FILE)
    if ca_file and not os.path.exists(ca_file):
        yield section.error(schema.FENCE_CA_FILE.name, f"is {ca_file}, and there is no such file")


def agent_of(section: Section) -> str:
    """Return the fence agent of a section of a power device."""
    return _ILO_AGENT if _is_ilo(section) else section.text(schema.TYPE.name).lower()


def options_of(section: Section, etc_dir: str) -> dict[str, str]:
    """Return the options for the agent; ConfigError or SystemFault for an iLO without a login."""
    if _is_ilo(section):
        return _ilo_options(section, etc_dir)
    # [DEFAULT] holds no options of agents: its keywords would only be taken for some.
    names = sorted(section.own - _OURS, key=lambda name: (section.lines.get(name, 0), name))
    return {name: section.text(name) for name in names if section.text(name)}


def _is_ilo(section: Section) -> bool:
    return section.text(schema.TYPE.name).lower() == ILO


def _ilo_options(section: Section, etc_dir: str) -> dict[str, str]:
    target = section.value(schema.ILO_TARGET)
    username = section.value(schema.ILO_USERNAME)
    password_file = section.value(schema.FENCE_PASSWORD_FILE)
    key = section.value(schema.ILO_KEY)
    options = {"ip": target, "username": username, "ssh": "1"}
    if password_file:
        return {**options, "password_file": password_file} if username else _no_user(section)
    if key:
        return {**options, "identity_file": key} if username else _no_user(section)
    return _from_auth_conf(os.path.join(etc_dir, _ILO_FILE), target, options)


def _no_user(section: Section) -> dict[str, str]:
    raise section.missing(schema.ILO_USERNAME)


def _from_auth_conf(path: str, target: str, options: dict[str, str]) -> dict[str, str]:
    """Return the options with the login that an agent would take from its auth.conf."""
    from configparser import Error, RawConfigParser

    # It holds passwords: the same rule as for a file of one.
    check_secret_file(path)
    parser = RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (Error, UnicodeDecodeError) as error:
        raise SystemFault(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    if not parser.has_section(target):
        raise SystemFault(f"{path} has no section [{target}] with username, and password or key")
    known = parser[target]
    username = options["username"] or known.get("username", "")
    key, password = known.get("key", ""), known.get("password", "")
    if not username or not (key or password):
        raise SystemFault(f"{path}: [{target}] needs username, and password or key")
    secret = {"identity_file": key} if key else {"password": password}
    return {**options, "username": username, **secret}
