"""Convert what a check finds to plain values and back: for files, the control socket, the peer."""

from __future__ import annotations

from collections.abc import Mapping

from opensvc_openha.core.outlook import Finding, Severity
from opensvc_openha.hints import Any


def finding_to_json(finding: Finding) -> dict[str, Any]:
    """Return a finding as plain values."""
    return {**vars(finding), "severity": finding.severity.value}


def finding_from_json(data: Mapping[str, Any]) -> Finding:
    """Return the finding of plain values, also of a version with more or fewer fields.

    Raises KeyError, TypeError or ValueError if they are none.
    """
    if not isinstance(data, Mapping):
        raise TypeError(f"a finding is an object, not {type(data).__name__}")
    return Finding(
        Severity(data["severity"]),
        str(data.get("node", "")),
        str(data.get("service", "")),
        str(data.get("check", "")),
        str(data["text"]),
        str(data.get("fix", "")),
        data.get("stops_start") is True,
    )


def findings_from_json(data: object) -> tuple[Finding, ...]:
    """Return the findings of a list; what is none of this version is left out."""
    found = []
    for each in data if isinstance(data, list) else []:
        try:
            found.append(finding_from_json(each))
        except (KeyError, TypeError, ValueError):
            continue
    return tuple(found)
