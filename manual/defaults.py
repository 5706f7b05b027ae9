"""Write the default of an option or a keyword as a file would have it."""

from __future__ import annotations

from typing import Any

from opensvc_openha.agent.config.keywords import REQUIRED, AnyKeyword
from opensvc_openha.formats.conf_sections import Option


def option_default(option: Option[Any]) -> str:
    """Return the default of an option as it would be written; empty if there is none."""
    if option.default_text:
        return option.default_text
    for word, value in option.type.words.items():
        if value is option.default:
            return word
    default = option.default
    return f"{default:g}" if isinstance(default, (int, float)) else str(default or "")


def keyword_default(keyword: AnyKeyword) -> str:
    """Return the default of a keyword as it would be written; empty if there is none."""
    default = "" if keyword.default is REQUIRED else keyword.default
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return " ".join(default)
    return f"{default:g}" if isinstance(default, (int, float)) else str(default or "")
