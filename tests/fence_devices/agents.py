"""Fence agents and power devices of our own, for tests: honest ones, and others."""

from __future__ import annotations

import os
import shutil
import textwrap
from pathlib import Path

import pytest

_DUMMY = shutil.which("fence_dummy", path="/usr/sbin:/usr/bin")
needs_agents = pytest.mark.skipif(
    _DUMMY is None and os.environ.get("CI") != "true", reason="needs the package fence-agents"
)

METADATA = """\
<?xml version="1.0" ?>
<resource-agent name="{name}" shortdesc="An agent of the tests" >
<longdesc>For tests.</longdesc>
<parameters>
    <parameter name="action" unique="0" required="1">
        <getopt mixed="-o, --action=[action]" />
        <content type="string" default="reboot"  />
        <shortdesc lang="en">Fencing action</shortdesc>
    </parameter>
    <parameter name="ip" unique="0" required="1" obsoletes="ipaddr">
        <content type="string"  />
    </parameter>
    <parameter name="ipaddr" unique="0" required="1" deprecated="1">
        <content type="string"  />
    </parameter>
    <parameter name="plug" unique="0" required="0"><content type="string"  /></parameter>
    <parameter name="ipport" unique="0" required="0"><content type="integer"  /></parameter>
    <parameter name="method" unique="0" required="0">
        <content type="select" default="onoff"  >
            <option value="onoff" /><option value="cycle" />
        </content>
    </parameter>
    <parameter name="lanplus" unique="0" required="0"><content type="boolean"  /></parameter>
    <parameter name="privlvl" unique="0" required="0">
        <content type="select" ><option value="operator" /><option value="user" /></content>
    </parameter>
    <parameter name="password" unique="0" required="0" obsoletes="passwd">
        <content type="string"  />
    </parameter>
    <parameter name="passwd" unique="0" required="0" deprecated="1">
        <content type="string"  />
    </parameter>
    <parameter name="snmp_priv_passwd" unique="0" required="0">
        <content type="string"  />
    </parameter>
    <parameter name="systems-uri" unique="0" required="0" deprecated="1">
        <content type="string"  />
    </parameter>
    <parameter name="systems_uri" unique="0" required="0" obsoletes="systems-uri">
        <content type="string"  />
    </parameter>
    <parameter name="missing_as_off" unique="0" required="0">
        <content type="boolean"  />
    </parameter>
    <parameter name="delay" unique="0" required="0">
        <content type="second" default="0"  />
    </parameter>
    <parameter name="power_timeout" unique="0" required="0">
        <content type="second" default="20"  />
    </parameter>
</parameters>
<actions>
    <action name="on" automatic="0"/>
    <action name="off" /><action name="reboot" /><action name="status" /><action name="metadata" />
</actions>
</resource-agent>
"""

_HEAD = """\
#!/bin/sh
# Options are lines of standard input, as fence agents read them.
here={folder}
if [ "$1" = -o ]; then cat "$here/metadata"; exit 0; fi
cat > "$here/input"
cat "$here/input" >> "$here/inputs"
action=$(sed -n 's/^action=//p' "$here/input")
echo "$action" >> "$here/actions"
power=$(cat "$here/power")
"""
HONEST = """\
case $action in
status) echo "Status: $power"; [ "$power" = ON ]; exit $(( $? * 2 )) ;;
off)
    [ "$power" = OFF ] && { echo "Success: Already OFF"; exit 0; }
    echo OFF > "$here/power"; echo "Success: Powered OFF" ;;
*) echo REBOOTED > "$here/power" ;;
esac
"""


class OwnAgent:
    """A fence agent whose device is a file; ``body`` is what it does with `$action`."""

    def __init__(self, folder: Path, body: str = HONEST, name: str = "fence_mine") -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.path = str(folder / name)
        (folder / "power").write_text("ON\n")
        (folder / "metadata").write_text(METADATA.format(name=name))
        self.rewrite(body)

    def rewrite(self, body: str) -> None:
        """Replace what it does."""
        script = Path(self.path)
        script.write_text(_HEAD.format(folder=self.folder) + textwrap.dedent(body))
        script.chmod(0o755)

    @property
    def actions(self) -> list[str]:
        """The actions that it was asked for, in order."""
        return self._lines("actions")

    @property
    def input(self) -> list[str]:
        """The lines of its last input."""
        return self._lines("input")

    @property
    def power(self) -> str:
        """What its device is now."""
        return (self.folder / "power").read_text().strip()

    def _lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


def secret_file(folder: Path, text: str = "s3cr3t-word", mode: int = 0o600) -> str:
    """A file with a secret."""
    path = folder / f"secret-{mode:o}"
    path.write_text(f"{text}\n")
    path.chmod(mode)
    return str(path)
