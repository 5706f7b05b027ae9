"""Answer the requests `look` and `cut` of the node daemon: see ``run``."""

from __future__ import annotations

from collections.abc import Mapping

from opensvc_openha.core.timing import POWER_CUT_LIMIT_S, POWER_LOOK_LIMIT_S
from opensvc_openha.errors import UsageError
from opensvc_openha.fence_devices.power_device import device_of

_REPORT_S, _REPORT_PART = 0.5, 10
"""Part of the limit kept back, to report before the daemon kills this program."""


def answer(request: Mapping[str, object]) -> dict[str, object]:
    """Look at a device, or cut by it."""
    options = _options(request)
    agent = options.pop("agent", "")
    if not agent:
        raise UsageError("the request names no agent")
    path, peer = str(request.get("path", "")), str(request.get("peer", ""))
    device = device_of(path, agent, options, peer)
    if request.get("do") == "look":
        look = device.look(_limit(request, POWER_LOOK_LIMIT_S))
        return {
            "power": look.power.value,
            "text": look.text,
            "took_s": round(look.took_s, 3),
            "is_refused": look.is_refused,
        }
    report = device.cut(_limit(request, POWER_CUT_LIMIT_S))
    return {
        "is_proved": report.is_proved,
        "readings": [power.value for power in report.readings],
        "text": report.text,
        "hints": list(report.hints),
        "took_s": round(report.took_s, 3),
        "covers": None,
    }


def _options(request: Mapping[str, object]) -> dict[str, str]:
    options = request.get("options")
    if not isinstance(options, Mapping):
        raise UsageError("the request has no options")
    return {str(name): str(value) for name, value in options.items()}


def _limit(request: Mapping[str, object], default_s: float) -> float:
    limit_s = request.get("limit_s", default_s)
    if not isinstance(limit_s, (int, float)) or isinstance(limit_s, bool) or limit_s <= 0:
        raise UsageError(f"limit_s: expected seconds above 0; found {limit_s!r}")
    return limit_s - min(_REPORT_S, limit_s / _REPORT_PART)
