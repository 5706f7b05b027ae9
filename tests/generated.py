"""Write the files of the repository that are generated from the code (``make generated``).

``test_generated.py`` fails as long as one of them is not what is generated.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from manual.defaults import option_default
from opensvc_openha.cli.json_status import View
from opensvc_openha.cli.json_views import VIEWS
from opensvc_openha.formats.conf_sections import Option
from opensvc_openha.formats.options_schema import SECTIONS
from opensvc_openha.links.registry import LINK_TYPES
from tests.generated_schemas import json_tables, schema_path, schema_text
from tests.generated_services import editor_schema, keyword_tables

ROOT = Path(__file__).parents[1]
_WIDTH = 118
_MARKS = "<!-- {} of the table that `make generated` writes -->"


def options_page(text: str) -> str:
    """Return docs/options.md with the table of all options of openha.conf."""
    rows = ["| section | option | default | values | meaning |", "|---|---|---|---|---|"]
    for schema in SECTIONS:
        heading = f"`[{schema.name}]`"
        for option in schema.options:
            rows.append(_row(heading, option))
            heading = ""
        if schema.inner:
            shared = [option for option in schema.inner_options if option in schema.options]
            names = ", ".join(f"`{option.name}`" for option in shared)
            rows.append(f"| `[[{schema.inner}]]` in it | {names} | | | {schema.inner_text} |")
            rows += [_row("", option) for option in schema.inner_options if option not in shared]
        for part in schema.parts:
            about = f"{part.text} See [{part.see}]({part.see}.md)."
            rows.append(f"| `[[{part.name}]]` in it | | | | {about} |")
            rows += [_row("", option) for option in part.options]
    return _between_marks(text, "\n".join(rows))


def _row(heading: str, option: Option[Any]) -> str:
    default = option_default(option)
    see = f" See [{option.see}]({option.see}.md)." if option.see else ""
    cells = (
        *(heading, f"`{option.name}`", f"`{default}`" if default else "none"),
        *(option.type.values, f"{option.text}{see}"),
    )
    return "|".join(("", *(f" {cell} " if cell else " " for cell in cells), ""))


def _between_marks(text: str, table: str) -> str:
    begin, end = (_MARKS.format(word) for word in ("Begin", "End"))
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    assert found_begin and found_end, "the page has lost the marks of its generated table"
    return f"{before}{begin}\n\n{table}\n\n{end}{after}"


def link_types_page(text: str) -> str:
    """Return docs/heartbeats.md with the table of the types of the monitor file."""
    rows = ["| type | columns after it | beats go |", "|---|---|---|"]
    rows += [
        f"| `{each.word}` | {' '.join(f'`{name}`' for name in (*each.columns, 'timeout'))} |"
        f" {each.meaning} |"
        for each in LINK_TYPES.values()
    ]
    return _between_marks(text, "\n".join(rows))


def metrics_page(text: str) -> str:
    """Return docs/metrics.md with the table of all metrics."""
    # Needs the extra `metrics`.
    from tests.metric_names import metrics_table

    return _between_marks(text, metrics_table())


def options_sample(_: str) -> str:
    """Return openha.conf.sample: every option with its default, or an example where it has none."""
    lines = [
        "# Options of the node daemon: copy to openha.conf in the conf directory. A running daemon"
        " applies changes.",
        "# Each option is shown with its default, or an example if it has none.",
    ]
    for schema in SECTIONS:
        lines.append(f"[{schema.name}]")
        for option in schema.options:
            lines += _sample_lines(option)
        if schema.inner:
            lines += [*_comment(schema.inner_text), f"#[[{schema.inner_example}]]"]
            for option in schema.inner_options:
                if option in schema.options:
                    lines.append(f"#{option.name} = {_sample_value(option)}")
                else:
                    lines += _sample_lines(option)
        for part in schema.parts:
            lines += [*_comment(part.text), f"#[[{part.name}]]"]
            for option in part.options:
                lines += _sample_lines(option)
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def _sample_lines(option: Option[Any]) -> list[str]:
    note = "" if option_default(option) else " An example:"
    unit = " In seconds." if option.type.values.startswith("seconds") else ""
    return [*_comment(f"{option.text}{unit}{note}"), f"#{option.name} = {_sample_value(option)}"]


def _sample_value(option: Option[Any]) -> str:
    return option_default(option) or option.example


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")


def _schema_text(view: type[View], _: str) -> str:
    return schema_text(view)


GENERATED: Mapping[str, Callable[[str], str]] = {
    "docs/heartbeats.md": link_types_page,
    "docs/options.md": options_page,
    "docs/services.md": lambda text: _between_marks(text, keyword_tables()),
    "templates/openha.conf.sample": options_sample,
    "templates/service-file.schema.json": lambda _: editor_schema(),
    "docs/metrics.md": metrics_page,
    "docs/json.md": lambda text: _between_marks(text, json_tables()),
    **{schema_path(view): partial(_schema_text, view) for view in VIEWS},
}
"""Each generated file, and the function that makes its text of the present one."""


def main() -> None:
    """Write all of them."""
    for name, generate in GENERATED.items():
        path = ROOT / name
        path.write_text(generate(path.read_text() if path.exists() else ""))


if __name__ == "__main__":
    main()
