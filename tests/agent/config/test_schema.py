"""The schema of service files: it is complete, and its products agree with what the agent does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import opensvc_openha
from manual.defaults import keyword_default
from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.ini_reader import read_sections
from opensvc_openha.agent.config.keywords import REQUIRED, AnyKeyword, Keyword
from opensvc_openha.agent.config.service_file import parse_service_text
from opensvc_openha.demo.tutorial_files import BUSYBOX_ENV, REGISTRY_ENV
from opensvc_openha.errors import ConfigError

PACKAGE = Path(opensvc_openha.__file__).parent
TEMPLATES = PACKAGE.parent / "templates"
EDITORS = Draft202012Validator(json.loads((TEMPLATES / "service-file.schema.json").read_text()))
SAMPLE = (TEMPLATES / "service.env.sample").read_text()
GROUPS = {
    "DEFAULT": (*schema.DEFAULT_SECTION, *schema.COMMON),
    "subset": schema.SUBSET_SECTION,
    **{
        f"{kind.group} {type_}": (*keywords, schema.TYPE, *schema.COMMON)
        for kind in schema.KINDS.values()
        for type_, keywords in kind.types.items()
    },
}


def declared() -> Iterator[AnyKeyword]:
    for keywords in GROUPS.values():
        yield from keywords


def wrong_for_editors(text: str) -> list[str]:
    """Return the places that the schema for editors refuses."""
    sections, _ = read_sections(text, "F")
    return ["/".join(map(str, error.path)) for error in EDITORS.iter_errors(sections)]


@pytest.mark.parametrize("group", GROUPS)
def test_no_name_has_two_meanings_in_a_section(group: str) -> None:
    """Not even as an alias; [DEFAULT] repeats a keyword that is also one of every resource."""
    names = [name for keyword in dict.fromkeys(GROUPS[group]) for name in keyword.names]
    assert sorted(names) == sorted(set(names))


def test_each_keyword_with_an_effect_is_documented() -> None:
    """In sentences."""
    assert [each.name for each in declared() if not each.is_ignored and each.text[-1:] != "."] == []


def test_default_is_a_value_that_the_file_could_have() -> None:
    """Written into the file it changes nothing."""
    for keyword in declared():
        written = keyword_default(keyword)
        if written and keyword.default is not REQUIRED:
            assert keyword.type.read(written) == keyword.default, keyword.name


def test_each_keyword_with_an_effect_is_read_somewhere() -> None:
    """A keyword that no code reads must be declared as one without effect."""
    code = "".join(
        path.read_text() for path in PACKAGE.rglob("*.py") if path.name not in ("schema.py",)
    )
    names = [
        name
        for name, value in vars(schema).items()
        if isinstance(value, Keyword) and not value.is_ignored
    ]
    assert [name for name in names if not re.search(rf"\b{name}\b", code)] == []
    constants = {id(value) for value in vars(schema).values()}
    nameless = {
        keyword.name
        for keyword in declared()
        if id(keyword) not in constants
        and not keyword.is_ignored
        and keyword not in schema.TRIGGERS
        and keyword.name != "dev"
    }
    assert nameless == {"docker_service"}


def test_value_is_typed_and_its_error_names_the_place() -> None:
    """An alias counts; the error names the spelling in the file."""
    text = "[DEFAULT]\nenv = PRD\n[app#1]\nstart = 5\ntimeout@a = 2m\ncheck_timeout = soon\n"
    file = parse_service_text(text, "F", "svc", "a")
    section = file.sections[0]
    assert file.default.value(schema.SERVICE_TYPE) == "PRD"
    assert section.value(schema.APP_START) == 5 and section.value(schema.APP_TIMEOUT) == 120
    assert section.value(schema.APP_STOP) is None
    with pytest.raises(
        ConfigError, match=r"F:6: \[app#1\] check_timeout is 'soon', expected a num"
    ):
        section.value(schema.APP_CHECK_TIMEOUT)
    with pytest.raises(ConfigError, match=r"F:3: \[app#1\] ipname is missing, expected a text"):
        section.value(schema.IPNAME)


@pytest.mark.parametrize("text", [SAMPLE, REGISTRY_ENV, BUSYBOX_ENV])
def test_editors_find_nothing_wrong_with_the_samples(text: str) -> None:
    """Nor with the sample's sections that are commented out."""
    assert wrong_for_editors(text) == []
    assert wrong_for_editors(re.sub(r"(?m)^#(?=\[|\w+ = )", "", text)) == []


@pytest.mark.parametrize(
    "text, place",
    [
        ("[ip#1]\nipname = a\nipdev@deb1 = lo\nmonitor_on = a\nsync_schedule = @1\n", None),
        ("[DEFAULT]\nbase = /x\n[fs#1]\ntype = EXT4\ndev = {base}\nmnt = {base}/m\n", None),
        ("[container#1]\ntype = lxc\nanything = x\n", None),
        ("[fs#1]\ntype = nfs\ndev = srv:/x\nmnt =\n", None),
        ("[ip#1]\nipnam = x\n", "ip#1"),
        ("[ip#1]\noptional = maybe\n", "ip#1/optional"),
        ("[ip#1]\noptional@deb1 = maybe\n", "ip#1/optional@deb1"),
        ("[fs#1]\ntype = ext5\n", "fs#1/type"),
        ("[fs#1]\ntype = ext4\nmnt = relative\n", "fs#1/mnt"),
        ("[container#1]\ntype = docker\nanything = x\n", "container#1"),
        ("[DEFAULT]\nmonitor_action = explode\n", "DEFAULT/monitor_action"),
        ("[fss#1]\ntype = ext4\n", ""),
        ("[subset#ip:a]\nparalel = true\n", "subset#ip:a"),
    ],
)
def test_editors_find_what_validation_finds(text: str, place: str | None) -> None:
    """Names, formats, types and kinds; with references and scopes as they may be written."""
    assert wrong_for_editors(text)[:1] == ([] if place is None else [place])


def test_schema_for_editors_is_valid() -> None:
    """By the definition of Draft 2020-12."""
    Draft202012Validator.check_schema(EDITORS.schema)


def test_every_kind_of_resource_has_a_driver() -> None:
    """The registry finds it by the name of the kind."""
    from importlib import import_module

    from opensvc_openha.agent.resources.registry import module_of

    for kind in schema.KINDS.values():
        if kind.types:
            driver: Any = import_module(module_of(kind.group))
            assert callable(driver.build)
