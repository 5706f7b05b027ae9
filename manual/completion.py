"""Completion of ``openha`` in bash, zsh and fish, by shtab, with names that are read at run time.

Names of services and nodes come from the files of the cluster, read by the shell itself: no process
of this package is started for a key press.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import Any

import shtab

from manual.parsers import whole_tree
from opensvc_openha.agent.actions.dispatch import all_actions
from opensvc_openha.cli.service import ACTIONS
from opensvc_openha.formats.layout import TREE_ROOT, AgentLayout, fhs_layout
from opensvc_openha.links.registry import LINK_TYPES

_FHS_CONF = fhs_layout().conf_dir

_POSIX_NAMES = f"""\
# services, nodes: the first words of a file of the cluster; agents, interfaces: names of files.
_openha_names() {{
  local conf file name rest
  conf=${{EZ_CONF:-${{EZ:-{TREE_ROOT}}}/conf}}
  [ -d "$conf" ] || conf={_FHS_CONF}
  case $1 in
    services) file=${{EZ_SERVICES:-$conf/services}} ;;
    nodes) file=${{EZ_NODES:-$conf/nodes}} ;;
    agents)
      for file in "${{OSVC_ETC:-{AgentLayout().etc_dir}}}"/*.env; do
        name=${{file##*/}}
        [ -e "$file" ] && printf '%s\\n' "${{name%.env}}"
      done
      return ;;
    interfaces)
      for file in /sys/class/net/*; do printf '%s\\n' "${{file##*/}}"; done
      return ;;
  esac
  [ -n "$file" ] && [ -r "$file" ] || return 0
  while read -r name rest; do
    case $name in ''|\\#*) ;; *) printf '%s\\n' "$name" ;; esac
  done < "$file"
}}
"""
_ZSH_NAMES = f"""\
{_POSIX_NAMES}
# The kind of names, if any, and words.
_openha_add() {{
  local kind=$1
  shift
  local -a found
  found=($@ ${{(f)"$(emulate sh; _openha_names $kind)"}})
  compadd -a found
}}
"""
_FISH_NAMES = f"""\
# services, nodes: the first words of a file of the cluster; agents, interfaces: names of files.
function _openha_names
    set -l root {TREE_ROOT}
    set -q EZ; and set root $EZ
    set -l conf $root/conf
    set -q EZ_CONF; and set conf $EZ_CONF
    test -d $conf; or set conf {_FHS_CONF}
    set -l file $conf/$argv[1]
    switch $argv[1]
        case services
            set -q EZ_SERVICES; and set file $EZ_SERVICES
        case nodes
            set -q EZ_NODES; and set file $EZ_NODES
        case agents
            set -l etc {AgentLayout().etc_dir}
            set -q OSVC_ETC; and set etc $OSVC_ETC
            for each in $etc/*.env
                string replace -r '.*/(.*)\\.env$' '$1' $each
            end
            return
        case interfaces
            for each in /sys/class/net/*
                string replace -r '.*/' '' $each
            end
            return
    end
    test -r $file; and string match -r '^[^#\\s]\\S*' < $file
end
"""
_SHELLS = {
    "bash": ("bash/openha", _POSIX_NAMES),
    "zsh": ("zsh/_openha", _ZSH_NAMES),
    "fish": ("fish/openha.fish", _FISH_NAMES),
}
"""File of each shell, and what its functions need."""


def completion_files() -> Mapping[str, str]:
    """Return the text of each file by its path below ``completion``."""
    tree = whole_tree()
    _add_completers(tree)
    return {
        path: shtab.complete(tree, shell, root_prefix="openha", preamble=names)
        for shell, (path, names) in _SHELLS.items()
    }


def _add_completers(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:
        completer = _completer_of(parser.prog, action)
        if completer:
            # This is how shtab is told.
            action.complete = completer  # type: ignore[attr-defined]
        elif isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _add_completers(inner)


def _completer_of(command: str, action: argparse.Action) -> Any:
    """Return the completer of what an option or a word takes, by its name in the help."""
    match action.metavar:
        case "LIST" if action.dest == "service":
            return _names("agents")
        case "NAME" | "SERVICE" | "NAME SCRIPT PRIMARY SECONDARY CHECK":
            return _names("services")
        case "[NAME] ACTION":
            return _names("services", *ACTIONS)
        case "NODE" | "node":
            return _names("nodes")
        case "interface":
            return _names("interfaces", "/dev/")
        case "INTERFACE":
            return _names("interfaces")
        case "type":
            return _names("", *LINK_TYPES)
        case "ACTION" if command.endswith("svcmgr"):
            return _names("", *sorted({word for each in all_actions() for word in each.split()}))
        case "DIR":
            return shtab.DIRECTORY
        case "FILE" | "FILE.env" | "DEVICE":
            return shtab.FILE
    return {}


def _names(kind: str, *words: str) -> Mapping[str, Any]:
    """Return the completer of names that are read at run time, and of fixed words."""
    listed = f"_openha_names {kind}; " if kind else ""
    fixed = " ".join(words)
    function = re.sub(r"\W+", "_", f"_openha_complete_{kind}_{fixed}").rstrip("_")
    return {
        "bash": function,
        # The blank keeps compadd's own options away from it.
        "zsh": f" _openha_add {kind or '-'} {fixed}".rstrip(),
        "fish": f"({listed}printf '%s\\n' {fixed})",
        "preamble": {"bash": f'{function}() {{ compgen -W "$({listed}echo {fixed})" -- "$1"; }}'},
    }
