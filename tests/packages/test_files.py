"""What packages are made from: complete, in agreement with each other, and readable by their tools.

`make packages` builds them, `make package-test` tries them.
"""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from opensvc_openha.cli.main import parser_of

TOP = Path(__file__).resolve().parents[2]
PACKAGING = TOP / "packaging"
SCRIPTS = [PACKAGING / "debian" / name for name in ("preinst", "postinst", "prerm", "postrm")]


@pytest.fixture(name="metadata", scope="module")
def read_metadata() -> configparser.ConfigParser:
    """What setup.cfg says of the package."""
    parser = configparser.ConfigParser()
    parser.read(TOP / "setup.cfg")
    return parser


def _needed(metadata: configparser.ConfigParser) -> dict[str, str]:
    lines = metadata["options"]["install_requires"].split()
    return dict(line.split(">=") for line in lines)


def test_license_is_an_expression_and_no_classifier(metadata: configparser.ConfigParser) -> None:
    """As PEP 639 wants it; an index refuses both together. setuptools knows it from 77 on."""
    assert metadata["metadata"]["license_expression"] == "MIT"
    assert "License ::" not in metadata["metadata"]["classifiers"]
    assert (TOP / metadata["metadata"]["license_files"]).read_text().startswith("MIT License")
    assert '"setuptools>=77"' in (TOP / "pyproject.toml").read_text()
    for name in ("keywords", "project_urls", "description"):
        assert metadata["metadata"][name]


def test_source_distribution_has_every_file_of_the_repository() -> None:
    """Tests, docs and packaging included; what is left out is named here."""
    tracked = subprocess.run(["git", "ls-files"], cwd=TOP, capture_output=True, text=True)
    if tracked.returncode != 0:
        pytest.skip("not a repository")
    lines = [line.split() for line in (TOP / "MANIFEST.in").read_text().splitlines()]
    folders = tuple(f"{words[1]}/" for words in lines if words[:1] == ["graft"])
    files = {name for words in lines if words[:1] == ["include"] for name in words[1:]}
    of_the_repository = {".editorconfig", ".git-blame-ignore-revs", ".gitignore", "MANIFEST.in"}
    of_the_repository |= {".pre-commit-config.yaml", ".ci/run"}
    missing = [
        name
        for name in tracked.stdout.splitlines()
        if not name.startswith(folders) and name not in files | of_the_repository
    ]
    assert missing == []


def test_packages_need_what_the_wheel_needs(metadata: configparser.ConfigParser) -> None:
    """The same modules in the same versions, under the names of the distributions."""
    control = (PACKAGING / "debian/control").read_text()
    spec = (PACKAGING / "rpm/opensvc-openha.spec").read_text()
    for module, version in _needed(metadata).items():
        assert f"python3-{module} (>= {version})" in control
        assert re.search(rf"^Requires: +python3-{module} >= {version}$", spec, re.MULTILINE)
    oldest = metadata["options"]["python_requires"].removeprefix(">=")
    assert re.search(rf"^Requires: +python3 >= {oldest}$", spec, re.MULTILINE)


@pytest.mark.parametrize("script", [*SCRIPTS, PACKAGING / "build"], ids=lambda path: path.name)
def test_scripts_can_be_read_by_the_shell(script: Path) -> None:
    """Executable, and without a mistake in their syntax."""
    shell = "bash" if "bash" in script.read_text().splitlines()[0] else "sh"
    assert script.stat().st_mode & 0o111
    subprocess.run([shell, "-n", str(script)], check=True)


def test_scripts_of_packages_call_commands_that_exist() -> None:
    """Their words are parsed as they will be; a renamed option would break an upgrade."""
    texts = [path.read_text() for path in (*SCRIPTS, PACKAGING / "rpm/opensvc-openha.spec")]
    calls = {
        match.group(1).strip()
        for text in texts
        for match in re.finditer(
            r"^(?!#)[^#\n']*?\bopenha ((?:install|uninstall|ezha|stop)\b[a-z -]*)", text, re.M
        )
    }
    assert calls >= {"install --no-key --enable", "ezha try-restart", "stop", "uninstall"}
    for call in calls:
        name, *words = call.split()
        parser_of(name).read(words)


def test_spec_is_read_by_rpm() -> None:
    """All macros expand, and the names agree."""
    if shutil.which("rpmspec") is None:
        pytest.skip("rpmspec is not installed")
    command = ["rpmspec", "-q", "--define", "openha_version 9.9", "--qf", "%{name} %{version}"]
    done = subprocess.run(
        [*command, str(PACKAGING / "rpm/opensvc-openha.spec")], capture_output=True, text=True
    )
    assert done.stdout == "opensvc-openha 9.9", done.stderr


def test_container_starts_a_command_of_the_package() -> None:
    """Its entry point is the demo, and it installs what `make packages` builds."""
    text = (PACKAGING / "container/Containerfile").read_text()
    words = re.search(r"^ENTRYPOINT .*exec openha ([a-z]+) ", text, re.MULTILINE)
    assert words is not None and parser_of(words.group(1)).read([])
    assert "COPY opensvc-openha_*_all.deb" in text
