"""A machine is physical only if nothing at all shows a hypervisor."""

from __future__ import annotations

from pathlib import Path

import pytest

from opensvc_openha.system.hypervisor import hypervisor_sign, is_virtual_machine

PHYSICAL = {
    "proc/cpuinfo": "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu vme sse2 vmx ept\n",
    "sys/class/dmi/id/sys_vendor": "Dell Inc.\n",
    "sys/class/dmi/id/product_name": "PowerEdge R640\n",
    "sys/class/dmi/id/bios_vendor": "Dell Inc.\n",
}


def _machine(root: Path, changes: dict[str, str]) -> str:
    for path, text in (PHYSICAL | changes).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return str(root)


def test_a_server_with_nothing_of_a_hypervisor_is_physical(tmp_path: Path) -> None:
    assert hypervisor_sign(_machine(tmp_path, {})) == ""
    assert not is_virtual_machine(str(tmp_path))


def test_the_domain_that_commands_xen_is_the_machine_itself(tmp_path: Path) -> None:
    changes = {"proc/xen/capabilities": "control_d\n", "sys/hypervisor/type": "xen\n"}
    assert not is_virtual_machine(_machine(tmp_path, changes))


@pytest.mark.parametrize(
    ("changes", "sign"),
    [
        ({"proc/cpuinfo": "flags : fpu hypervisor lahf_lm\n"}, "flag 'hypervisor'"),
        ({"proc/cpuinfo": "vendor_id\t: User Mode Linux\n"}, "User Mode Linux"),
        ({"proc/cpuinfo": "cpu : POWER9\nplatform : pSeries qemu\n"}, "pSeries qemu"),
        ({"sys/hypervisor/type": "xen\n"}, "hypervisor xen"),
        ({"sys/class/dmi/id/sys_vendor": "VMware, Inc.\n"}, "'VMware, Inc.'"),
        ({"sys/class/dmi/id/product_name": "Virtual Machine\n"}, "'Virtual Machine'"),
        ({"sys/class/dmi/id/bios_vendor": "SeaBIOS\n"}, "'SeaBIOS'"),
        ({"proc/device-tree/hypervisor/compatible": "linux,kvm\0"}, "linux,kvm"),
        ({"proc/device-tree/ibm,partition-name": "lpar7\0"}, "lpar7"),
        ({"proc/sysinfo": "Manufacturer: IBM\nVM00 Name: LINUX1\n"}, "VM00 Name: LINUX1"),
        ({"proc/cpuinfo": ""}, "cannot be read"),
    ],
)
def test_each_sign_of_a_hypervisor_is_found_and_named(
    tmp_path: Path, changes: dict[str, str], sign: str
) -> None:
    assert sign in hypervisor_sign(_machine(tmp_path, changes))


def test_nothing_readable_counts_as_virtual(tmp_path: Path) -> None:
    """A doubt is no proof: the node then offers none by its own clock."""
    assert is_virtual_machine(str(tmp_path))
