"""What the bench works out of other programs' output; what it measures depends on the machine."""

from __future__ import annotations

import sys

import pytest

from bench import comparison
from bench.node_cost import KernelCalls

COUNTED = """\
120,,syscalls:sys_enter_fsync,1000000,100.00,,
3,,syscalls:sys_enter_fdatasync,1000000,100.00,,
4500,,syscalls:sys_enter_openat,1000000,100.00,,
<not counted>,,syscalls:sys_enter_mkdir,0,100.00,,
7,,syscalls:sys_enter_mkdirat,1000000,100.00,,
"""


def test_calls_of_a_kind_are_added() -> None:
    """One kind has several system calls; one that was not counted counts nothing."""
    calls = KernelCalls()
    calls.read(COUNTED)
    assert str(calls) == "123 fsync, 4,500 open, 7 mkdir, 0 rename"


def test_perf_without_rights_leaves_its_reason() -> None:
    """No figure is printed that is none."""
    calls = KernelCalls()
    calls.read("Error:\nAccess to performance monitoring is limited.\n")
    assert str(calls).startswith("not counted: Error:")


def test_table_has_the_announced_order_and_a_dash_for_what_was_not_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pairs are measured at once, so that the slowest one comes last otherwise."""
    monkeypatch.setattr(comparison, "_table", comparison.new_table())
    comparison.announce("gap", comparison.TUTORIAL)
    comparison.note("gap", comparison.HERE, "T=1", "3.1")
    comparison.note("gap", comparison.HERE, "T=10", "10.1")
    comparison.print_table()
    assert (
        capsys.readouterr().out.splitlines()[-1]
        == "| gap | T=10 10.1; T=2 -; T=1 3.1 | - | - | - |"
    )


def test_part_that_does_not_exist_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is measured."""
    monkeypatch.setattr(sys, "argv", ["comparison", "kils"])
    with pytest.raises(SystemExit):
        comparison.main()
    assert "no part kils" in capsys.readouterr().err
