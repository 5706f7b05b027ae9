"""Find out whether this machine is virtual.

A virtual machine that is paused, migrated or restored does not notice it: all its clocks stand
still with it, and so does its watchdog. So what it promised about its own time proves nothing.
Whatever leaves a doubt counts as virtual.
"""

from __future__ import annotations

import os

from opensvc_openha.system.files import text_or_empty

_AT_MOST = 4_000_000
_FIRMWARE_NAMES = ("sys_vendor", "product_name", "bios_vendor", "board_vendor", "chassis_vendor")
_FIRMWARE_WORDS = (
    "qemu",
    "kvm",
    "vmware",
    "virtualbox",
    "innotek",
    "xen",
    "bochs",
    "parallels",
    "bhyve",
    "seabios",
    "openstack",
    "virtual machine",
    "google compute engine",
    "apple virtualization",
    "firecracker",
    "cloud hypervisor",
)
"""As the makers of hypervisors sign the tables of their firmware, in small letters."""


def is_virtual_machine(root: str = "/") -> bool:
    """Return False only for a machine that shows no sign of a hypervisor at all."""
    return bool(hypervisor_sign(root))


def hypervisor_sign(root: str = "/") -> str:
    """Return what shows that this machine is virtual, as a clause; empty for a physical one.

    ``root`` is the directory in which /proc and /sys are looked up.
    """

    def text(path: str) -> str:
        return text_or_empty(os.path.join(root, path), _AT_MOST).strip("\0 \n")

    processors = text("proc/cpuinfo")
    if not processors:
        return "/proc/cpuinfo cannot be read"
    if "control_d" in text("proc/xen/capabilities"):
        # The domain that commands Xen: nothing pauses it but the machine itself.
        return ""
    for line in processors.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if name.strip() in ("flags", "Features") and "hypervisor" in words:
            return "its processor has the flag 'hypervisor'"
        if name.strip() == "vendor_id" and value.strip() == "User Mode Linux":
            return "User Mode Linux"
        if name.strip() == "platform" and "qemu" in value.lower():
            return f"its platform is {value.strip()}"
    if text("sys/hypervisor/type"):
        return f"hypervisor {text('sys/hypervisor/type')}"
    for entry in _FIRMWARE_NAMES:
        value = text(f"sys/class/dmi/id/{entry}")
        if any(word in value.lower() for word in _FIRMWARE_WORDS):
            return f"{entry} of its firmware is '{value}'"
    for path in ("hypervisor/compatible", "ibm,partition-name"):
        value = text(f"proc/device-tree/{path}")
        if value:
            return f"device tree: {path} is '{value}'"
    for line in text("proc/sysinfo").splitlines():
        # IBM Z: a guest of z/VM or KVM, or a logical partition of the machine.
        if line.startswith(("VM00 ", "LPAR ")):
            return f"/proc/sysinfo: {line.strip()}"
    return ""
