"""Find all problems of one service file, not only the first: the output of ``validate config``.

An error makes actions fail; a warning does not: an unknown keyword, a name that does not fit the
nodes of the service, two resources that conflict.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.checks import (
    has_free_names,
    keywords_of,
    unknown_names,
    wrong_in_resource,
    wrong_values,
)
from opensvc_openha.agent.config.keywords import AnyKeyword
from opensvc_openha.agent.config.service_file import Section, ServiceFile
from opensvc_openha.agent.config.value_types import TRUE_WORDS, has_comment
from opensvc_openha.agent.resources.base import DriverContext, Resource
from opensvc_openha.agent.resources.registry import (
    APP_LAUNCHERS,
    build_resource,
    is_reservation,
    is_resource,
)
from opensvc_openha.agent.resources.sync import Rsync
from opensvc_openha.agent.service.ordering import subset_names
from opensvc_openha.agent.values.resource_status import Group
from opensvc_openha.errors import ConfigError, SystemFault
from opensvc_openha.formats.nodes_file import is_same_node
from opensvc_openha.formats.reservation_key import key_text
from opensvc_openha.named_tuples import NamedTuple

_UNHANDLED = {
    Group.SYNC: "it is never sent",
    Group.HB: "no command drives that cluster",
}
"""Consequence of an error on which no start depends."""
_SUFFIXES = ("cluster", "stonith", "d", "dir")
"""Suffixes of the files beside a service file."""
_SCOPES = frozenset(
    {"nodes", "drpnodes", "drpnode", "encapnodes", "flex_primary", "drp_flex_primary"}
)
_RESERVATIONS = ("scsireserv", "scsi_reserve")
_NODE_LISTS = (
    *(schema.AUTOSTART_NODE, schema.ALWAYS_ON, schema.DISABLE_ON, schema.OPTIONAL_ON),
    schema.MONITOR_ON,
)
_UNIQUE = {"fs": "mnt", "ip": "ipname", "vg": "vgname"}
"""Keywords of which two resources of a service must not have the same value."""


class Problem(NamedTuple):
    """One problem to fix. A warning fails no action."""

    error: ConfigError
    is_warning: bool = False

    def __str__(self) -> str:
        return f"{'warning' if self.is_warning else 'error'}: {self.error}"


def problems_of(
    file: ServiceFile, context: DriverContext, peer: str | None = None
) -> list[Problem]:
    """Return all problems of one service file, in the order of its lines.

    ``peer`` is the other node of the cluster, if known.
    """
    problems = [*_in_name(file, context), *_in_default(file)]
    problems += _in_scopes(file, file.default, (*schema.DEFAULT_SECTION, *schema.COMMON))
    resources: list[Resource] = []
    for section in file.sections:
        if is_reservation(section, file):
            problems += _in_reservation(section)
        elif is_resource(section):
            problems += _in_resource(file, section, context, resources)
        elif section.name == APP_LAUNCHERS:
            problems += _in_keywords(file, section)
    problems += _in_subsets(file, resources)
    is_clustered = any(res.spec.group is Group.HB and not res.spec.is_disabled for res in resources)
    problems += _in_nodes(file, context, is_clustered, peer)
    problems += _in_each_others_way(file, resources)
    problems += _without_effect(file)
    problems += _in_keys(file)
    problems += _in_fence_needs(file)
    problems += [Problem(error) for error in second_heartbeats(file, resources)]
    problems += _on_this_node(file, context, resources)
    if not resources and not problems:
        nothing = "no section of it is a resource: there is nothing to start"
        problems.append(Problem(ConfigError(nothing, file.path, file.default.line), True))
    # A wrong value of [DEFAULT] is found there, and again by the resource that needs it.
    different = {str(problem): problem for problem in problems}.values()
    return sorted(different, key=lambda problem: problem.error.line or 0)


def ignored_keywords(file: ServiceFile) -> list[Problem]:
    """Return the keywords without effect; state-changing actions print them as warnings."""
    found = [*_in_default(file), *_without_effect(file)]
    for section in file.sections:
        if is_reservation(section, file):
            continue
        is_known = section.group in schema.KINDS and is_resource(section)
        keywords = keywords_of(section) if is_known else None
        if keywords is not None:
            found += _unknown(section, keywords)
    return found


def _in_name(file: ServiceFile, context: DriverContext) -> Iterator[Problem]:
    """Yield an error if a service is named NAME.cluster.

    Its command would be the wrapper of a service NAME, which the cluster calls.
    """
    name, _, suffix = file.svcname.rpartition(".")
    if name and suffix in _SUFFIXES and os.path.exists(context.layout.service_file(name)):
        problem = (
            f"{file.svcname} is what belongs to the service {name} in that directory: rename one of"
            " both services"
        )
        yield Problem(ConfigError(problem, file.path))


def second_heartbeats(file: ServiceFile, resources: Iterable[Resource]) -> list[ConfigError]:
    """Return an error for each heartbeat after the first.

    One service cannot be in two clusters, nor appear as two services in one.
    """
    sections = {section.name: section for section in file.sections}
    beats = [
        res.spec.rid for res in resources if res.spec.group is Group.HB and not res.spec.is_disabled
    ]
    return [
        sections[rid].error("", f"is ignored, for [{beats[0]}] decides: expected one heartbeat")
        for rid in beats[1:]
    ]


def _on_this_node(
    file: ServiceFile, context: DriverContext, resources: list[Resource]
) -> Iterator[Problem]:
    from opensvc_openha.agent.host.system_paths import why_not_mounted_over
    from opensvc_openha.agent.service.node_checks import missing_here

    sections = {section.name: section for section in file.sections}
    for resource in resources:
        section = sections.get(resource.spec.rid)
        is_mounted = (
            section is not None
            and section.group == "fs"
            and section.text("type").lower() != "directory"
        )
        if section is not None and is_mounted and not resource.spec.is_disabled:
            point = section.text("mnt")
            problem = why_not_mounted_over(point, context.layout)
            if problem:
                yield _error(section, "mnt", f"is {point}, which {problem}: a start is refused")
    yield from (Problem(error, is_warning=True) for error in missing_here(file, resources))


def _in_default(file: ServiceFile) -> Iterator[Problem]:
    for error in wrong_values(file.default, schema.DEFAULT_SECTION):
        yield Problem(error)
    keywords = (*schema.DEFAULT_SECTION, *schema.COMMON, *schema.OF_ALL_KINDS)
    # A keyword that other values refer to is the operator's own variable.
    text = file.text.lower()
    referred = {
        name for name in file.default.own if f"{{{name}" in text or f"{{default.{name}" in text
    }
    yield from _unknown(file.default, keywords, referred)


def _without_effect(file: ServiceFile) -> Iterator[Problem]:
    """Yield warnings for requested protection that not every agent provides.

    Such a keyword must not be ignored silently.
    """
    for section in (file.default, *file.sections):
        for name in _RESERVATIONS:
            if name not in section.own or section.text(name).lower() not in TRUE_WORDS:
                continue
            if section is not file.default and not _may_reserve(section):
                yield _warning(section, name, "has no effect: this resource is on no disk")
            elif name == schema.SCSI_RESERVE.name:
                problem = "is taken as scsireserv here, but OpenSVC agents ignore it: expected that"
                yield _warning(section, name, problem)


def _may_reserve(section: Section) -> bool:
    from opensvc_openha.agent.resources.scsireserv import is_reservable

    return is_reservable(section)


def _in_reservation(section: Section) -> Iterator[Problem]:
    """Yield the problems of [vg#1pr]."""
    for error in wrong_values(section, schema.RESERVATION_SECTION):
        yield Problem(error)
    yield from _unknown(section, schema.RESERVATION_SECTION)


def _in_keys(file: ServiceFile) -> Iterator[Problem]:
    """Yield warnings for keys that this agent and others would not take for the same."""
    for section in (file.default, *file.sections):
        text = section.text(schema.PRKEY.name) if schema.PRKEY.name in section.own else ""
        try:
            usual = key_text(schema.PRKEY.type.read(text) or 0) if text else ""
        except ValueError:
            continue
        if text != usual:
            problem = f"is {text}, which OpenSVC agents never recognize: expected {usual}"
            yield _warning(section, schema.PRKEY.name, problem)


def _in_fence_needs(file: ServiceFile) -> Iterator[Problem]:
    """Yield what a proof about disks alone would not cover."""
    name = schema.FENCE_NEEDS.name
    if file.default.text(name).lower() != "data":
        return
    from opensvc_openha.agent.service.reserved_data import has_reserved_data, unreserved

    for section in unreserved(file):
        problem = f"is data, but no reservation covers [{section.name}]: expected scsireserv = true"
        yield _error(file.default, name, problem)
    if not has_reserved_data(file) and not any(unreserved(file)):
        yield _error(file.default, name, "is data, but the service has no disk: expected node")
    addresses = [section.name for section in file.sections if section.group == "ip"]
    if addresses:
        problem = (
            f"is data: [{addresses[0]}] may be up on both nodes for some seconds, until the other"
            " one finds that it was ejected"
        )
        yield _warning(file.default, name, problem)


def _in_resource(
    file: ServiceFile, section: Section, context: DriverContext, resources: list[Resource]
) -> Iterator[Problem]:
    """Yield the problems of one section; append its resource to ``resources`` if it is valid."""
    try:
        yield from _in_keywords(file, section)
        resources.append(build_resource(section, context))
    except ConfigError as exc:
        yield Problem(exc)
        return
    if section.group == Group.STONITH.value:
        yield from _in_power_device(section, context)
    if isinstance(resources[-1], Rsync) and resources[-1].schedule_problem:
        yield _warning(section, "", resources[-1].schedule_problem)
    if resources[-1].why_unhandled():
        effect = _UNHANDLED.get(
            resources[-1].spec.group, "a start is refused unless it is disabled or optional"
        )
        yield _warning(section, "", f"{resources[-1].why_unhandled()}: {effect}")


def _in_power_device(section: Section, context: DriverContext) -> Iterator[Problem]:
    """Yield what the agent of a power device does not take; a warning if it is not installed."""
    from opensvc_openha.agent.resources.power_sections import is_power_device, wrong_options

    if not is_power_device(section) or section.value(schema.DISABLE):
        return
    try:
        for error in wrong_options(section, context.layout.etc_dir, context.sees_all):
            yield Problem(error)
    except SystemFault as error:
        yield _warning(section, "type", f"cannot be used on this node: {error}")


def _in_keywords(file: ServiceFile, section: Section) -> Iterator[Problem]:
    """Yield what is wrong with the keywords of a resource, or of all launchers.

    Raises ConfigError for an unknown kind or type.
    """
    keywords = keywords_of(section)
    yield from (Problem(error) for error in wrong_in_resource(section))
    if keywords is not None:
        yield from _with_comments(section, keywords)
        yield from _unknown(section, keywords)
        yield from _in_scopes(file, section, keywords)


def _with_comments(section: Section, keywords: tuple[AnyKeyword, ...]) -> Iterator[Problem]:
    for keyword in keywords:
        for name in section.own.intersection(keyword.names if keyword.type.is_free else ()):
            if has_comment(section.text(name)):
                problem = f"is {section.text(name)!r}, all of it: a comment needs a line of its own"
                yield _warning(section, name, problem)


def _unknown(
    section: Section, keywords: tuple[AnyKeyword, ...], known: Iterable[str] = ()
) -> Iterator[Problem]:
    if section.name != "DEFAULT" and has_free_names(section):
        return
    # Keywords of [DEFAULT] are allowed in a section too: agents read some of them from there.
    allowed = {name for keyword in schema.DEFAULT_SECTION for name in keyword.names}.union(known)
    for error in unknown_names(section, keywords, allowed):
        yield Problem(error, is_warning=True)


def _in_scopes(
    file: ServiceFile, section: Section, keywords: Sequence[AnyKeyword]
) -> Iterator[Problem]:
    """Yield the errors of values that count on other nodes only, and scopes that make no sense."""
    by_name = {name: keyword for keyword in keywords for name in keyword.names}
    for found in file.scoped:
        keyword = by_name.get(found.keyword)
        if found.section != section.name or keyword is None:
            continue
        name = f"[{section.name}] {found.keyword}@{found.word}"
        if not keyword.is_scoped:
            problem = f"{name} differs between the nodes, expected one {found.keyword} for all"
            yield Problem(ConfigError(problem, section.path, found.line), is_warning=True)
        is_here = section.lines.get(found.keyword) == found.line
        # A reference is resolved on the node that the value is for.
        if is_here or not found.text or "{" in found.text:
            continue
        try:
            keyword.type.read(found.text)
        except ValueError as error:
            yield Problem(ConfigError(f"{name} {error}", section.path, found.line))


def _in_subsets(file: ServiceFile, resources: list[Resource]) -> Iterator[Problem]:
    known = {name for resource in resources for name in subset_names(resource)}
    for section in file.sections:
        if section.group != "subset":
            continue
        for error in wrong_values(section, schema.SUBSET_SECTION):
            yield Problem(error)
        for error in unknown_names(section, schema.SUBSET_SECTION):
            yield Problem(error, is_warning=True)
        name = section.name.partition("#")[2]
        if name not in known:
            expected = f"expected one of {', '.join(sorted(known))}"
            reason = expected if known else "for no resource has a subset"
            yield _warning(section, "", f"is the subset of no resource, {reason}")


def _in_nodes(
    file: ServiceFile, context: DriverContext, is_clustered: bool, peer: str | None
) -> Iterator[Problem]:
    default, known = file.default, file.all_nodes
    listed = f"nodes are {', '.join(known)}"
    if not default.text("nodes"):
        if is_clustered:
            problem = "is missing, and a cluster of two nodes decides: expected the names of both"
            yield _error(default, "nodes", problem)
        elif file.sections:
            alone = f"the service is known to this node alone, as if nodes = {context.node}"
            yield _warning(default, "nodes", f"is missing: {alone}")
    elif context.node not in known:
        yield _error(default, "nodes", f"does not name this node, {context.node}: {listed}")
    if default.text("nodes") and is_clustered and peer and not _is_among(peer.lower(), known):
        yield _error(default, "nodes", f"does not name the peer of the cluster, {peer}: {listed}")
    if is_clustered and default.text("autostart_node"):
        problem = "has no effect under a heartbeat: remove it, the cluster decides"
        yield _warning(default, "autostart_node", problem)
    if not default.text("nodes"):
        return
    for section in (default, *file.sections):
        for keyword in _NODE_LISTS:
            for word in section.words(keyword) if keyword.name in section.own else ():
                if word.lower() not in _SCOPES and not _is_among(word.lower(), known):
                    problem = f"names {word}, which is no node of this service: {listed}"
                    yield _warning(section, keyword.name, problem)
    for scoped in file.scoped:
        if scoped.word not in _SCOPES and not _is_among(scoped.word, known):
            message = (
                f"[{scoped.section}] {scoped.keyword}@{scoped.word} is meant for no node of this"
                f" service: {listed}"
            )
            yield Problem(ConfigError(message, file.path, scoped.line), is_warning=True)


def _is_among(name: str, nodes: Iterable[str]) -> bool:
    return any(is_same_node(name, node) for node in nodes)


def _in_each_others_way(file: ServiceFile, resources: list[Resource]) -> Iterator[Problem]:
    sections = {section.name: section for section in file.sections}
    first_with: dict[tuple[str, str], str] = {}
    for resource in resources:
        section = sections[resource.spec.rid]
        keyword = _UNIQUE.get(section.group, "")
        value = section.text(keyword)
        if not value or resource.spec.is_disabled:
            continue
        if keyword == "mnt":
            value = os.path.normpath(value)
        first = first_with.setdefault((keyword, value), section.name)
        if first != section.name:
            problem = f"is {value}, as in [{first}]: expected one of its own"
            yield _warning(section, keyword, problem)


def _error(section: Section, keyword: str, problem: str) -> Problem:
    return Problem(section.error(keyword, problem))


def _warning(section: Section, keyword: str, problem: str) -> Problem:
    return Problem(section.error(keyword, problem), is_warning=True)
