"""What collecting reads, before it reads it: each section of the snapshot, with the files and registers behind it.

``*`` stands for any part of one name, ``<release>`` for the kernel's release.  A test compares this list with what the
sources really open.
"""

from __future__ import annotations

from dataclasses import dataclass

from virtproof.probes.sources import acpi, cpuinfo, efi, files, kconfig, log, msr, network, nodes, pci, percpu, smbios

ONLINE = "/sys/devices/system/cpu/online"
PCI_FILES = (*pci.IDENTIFIERS, *pci.NUMBERS, "reset_method", "power/runtime_status", "config")
NETWORK_FILES = ("bridge/", "tun_flags", "device")


@dataclass(frozen=True, slots=True)
class Reading:
    """``paths`` end with ``/`` where entries are listed and none is opened; ``note`` says what a list cannot."""

    section: str
    paths: tuple[str, ...]
    note: str = ""


def readings(*, netlink: bool = False, identity: bool = False) -> tuple[Reading, ...]:
    """All that ``collect`` would read with these options, in its order."""
    named = (files.HOST_NAME,) if identity else ()
    addresses = ("address",) if identity else ()
    asked = "; netlink RTM_GETLINK and DEVLINK_CMD_ESWITCH_GET" if netlink else ""
    released = tuple(path.format(release="<release>") for path in kconfig.INSTALLED)
    return (
        Reading("cpus", (ONLINE,)),
        Reading("cpuid", ("/dev/cpu/*/cpuid",), "the instruction CPUID on every CPU"),
        Reading("msr", ("/dev/cpu/*/msr",), f"{len(msr.WANTED)} registers on every CPU, none is written"),
        Reading("cpuinfo", (cpuinfo.PATH,)),
        Reading("percpu", tuple(percpu.FOLDER.format(cpu="*", name=name) for name in percpu.NAMES)),
        Reading(
            "files", (*files.TEXTS, *named, *files.PARTS, *files.MODPROBE, *(f"{path}/" for path in files.DIRECTORIES))
        ),
        Reading("kconfig", (kconfig.RELEASE, kconfig.PROC, *released), "the first that is there"),
        Reading(
            "pci",
            (f"{pci.FOLDER}/", *(f"{pci.FOLDER}/*/{name}" for name in PCI_FILES)),
            "of configuration space the lists of capabilities; devices that sleep are left asleep",
        ),
        Reading(
            "network",
            (f"{network.FOLDER}/", *(f"{network.FOLDER}/*/{name}" for name in (*NETWORK_FILES, *addresses))),
            f"interfaces by name{asked}",
        ),
        Reading("acpi", (f"{acpi.PATH}/", *(f"{acpi.PATH}/{name}*" for name in acpi.WANTED))),
        Reading(
            "smbios",
            (smbios.ENTRY_POINT, smbios.TABLE),
            "serial numbers and UUID are kept" if identity else "without serial numbers and UUID",
        ),
        Reading("efi", (f"{efi.FOLDER}/", *(f"{efi.FOLDER}/{name}-{efi.GLOBAL}" for name in efi.VARIABLES))),
        Reading("kvm", ("/dev/kvm", "/sys/module/"), "ioctls; an empty VM is created and closed at once"),
        Reading("log", (log.PATH,), "kernel lines about virtualization"),
        Reading("nodes", tuple(f"{path}/" for path in nodes.NODES), "existence, mode and owner: none is opened"),
    )
