"""Disks and network adapters by name: what can be plugged into a ``Computer``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from virtproof.vmm.disks.disk import Disk
from virtproof.vmm.events import After
from virtproof.vmm.network.port import Port
from virtproof.vmm.pci.bus import PciDevice
from virtproof.vmm.scsi.block import DiskUnit
from virtproof.vmm.scsi.cdrom import CdRomUnit
from virtproof.vmm.scsi.target import LogicalUnit

MAC = bytes.fromhex("525400000000")  # of the first adapter; locally administered, as QEMU's

Targets = Mapping[int, Mapping[int, LogicalUnit]]


def _lsi(targets: Targets, after: After) -> PciDevice:
    from virtproof.vmm.devices.lsi_mpt.adapter import LsiMpt  # noqa: PLC0415

    return LsiMpt(targets, after, model="53c1030")


def _lsi_sas(targets: Targets, after: After) -> PciDevice:
    from virtproof.vmm.devices.lsi_mpt.adapter import LsiMpt  # noqa: PLC0415

    return LsiMpt(targets, after, model="sas1068")


def _pvscsi(targets: Targets, after: After) -> PciDevice:
    from virtproof.vmm.devices.pvscsi import PvScsi  # noqa: PLC0415

    return PvScsi(targets, after)


def _virtio_scsi(targets: Targets, after: After) -> PciDevice:
    from virtproof.vmm.devices.virtio.scsi import VirtioScsi  # noqa: PLC0415

    return VirtioScsi(targets, after)


SCSI: dict[str, Callable[[Targets, After], PciDevice]] = {
    "lsi": _lsi,
    "lsi-sas": _lsi_sas,
    "pvscsi": _pvscsi,
    "virtio-scsi": _virtio_scsi,
}
BUSES = ("virtio", *SCSI)
LUNS = 8  # of a target: parallel SCSI names no more by its IDENTIFY message, and drivers look for no more on it


class Drive(NamedTuple):
    """A disk on a bus (one of BUSES); on SCSI with a LUN other than 0 on the target of the drive before it there."""

    bus: str
    disk: Disk
    lun: int = 0
    cdrom: bool = False  # on SCSI


def controllers(drives: Sequence[Drive], after: After) -> list[PciDevice]:
    """Controllers for drives, in their order.

    A SCSI controller takes all drives of its bus, as targets from 0 on; every virtio disk is a function of its own.
    """
    from virtproof.vmm.devices.virtio.blk import VirtioBlk  # noqa: PLC0415

    units: dict[str, dict[int, dict[int, LogicalUnit]]] = {}
    plugged: list[str | VirtioBlk] = []
    for number, drive in enumerate(drives):
        serial = f"virtproof-{number}"
        if drive.bus == "virtio":
            plugged.append(VirtioBlk(drive.disk, after, serial=serial))
            continue
        if drive.bus not in units:
            units[drive.bus] = {}
            plugged.append(drive.bus)
        targets = units[drive.bus]
        target = len(targets) - bool(drive.lun)
        unit = (CdRomUnit if drive.cdrom else DiskUnit)(drive.disk, serial)
        targets.setdefault(target, {})[drive.lun] = unit
    return [SCSI[each](units[each], after) if isinstance(each, str) else each for each in plugged]


class Nic(NamedTuple):
    """A model of adapter: how it is made, and its option ROM's file among iPXE's and in fw_cfg ("": in its own BAR)."""

    make: Callable[[bytes, Port, After, bytes], PciDevice]
    rom: str
    rom_name: str


def _e1000(mac: bytes, port: Port, after: After, rom: bytes) -> PciDevice:
    from virtproof.vmm.devices.e1000.nic import E1000  # noqa: PLC0415

    return E1000(mac, port, after, rom=rom)


def _82545em(mac: bytes, port: Port, after: After, rom: bytes) -> PciDevice:
    from virtproof.vmm.devices.e1000.nic import E1000  # noqa: PLC0415

    return E1000(mac, port, after, model="82545em")


def _vmxnet3(mac: bytes, port: Port, after: After, rom: bytes) -> PciDevice:
    from virtproof.vmm.devices.vmxnet3.adapter import Vmxnet3  # noqa: PLC0415

    return Vmxnet3(mac, port, after)


def _virtio_net(mac: bytes, port: Port, after: After, rom: bytes) -> PciDevice:
    from virtproof.vmm.devices.virtio.net import VirtioNet  # noqa: PLC0415

    return VirtioNet(mac, port, after)


# The ROM of the e1000 names the 82540EM only, and virtio's the modern function only: by a file's name they run.
NICS = {
    "e1000": Nic(_e1000, "pxe-e1000.rom", ""),
    "82545em": Nic(_82545em, "pxe-e1000.rom", "pci8086,100f.rom"),
    "vmxnet3": Nic(_vmxnet3, "pxe-vmxnet3.rom", "pci15ad,07b0.rom"),
    "virtio": Nic(_virtio_net, "pxe-virtio.rom", "pci1af4,1000.rom"),
}


def mac(number: int) -> bytes:
    """The address of an adapter for which nobody chose one."""
    return (int.from_bytes(MAC) + number).to_bytes(6)
