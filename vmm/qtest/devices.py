"""Devices by the names that QEMU has for them: what a test may put on the PCI bus."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from virtproof.spec.fault import Fault
from virtproof.spec.scsi import POWER_ON
from virtproof.vmm.disks.disk import Disk
from virtproof.vmm.events import After
from virtproof.vmm.network.port import Port, Receive
from virtproof.vmm.pci.bus import PciDevice
from virtproof.vmm.scsi.target import LogicalUnit

MACS = 0x52_54_00_12_34_56  # QEMU's first address; each further adapter has the next


@dataclass
class Backends:
    """What the command line named: adapters' other ends and disks, by id; ``after`` is that of the machine."""

    after: After
    ports: dict[str, Port] = field(default_factory=dict)
    disks: dict[str, Disk] = field(default_factory=dict)
    targets: dict[int, dict[int, LogicalUnit]] = field(default_factory=dict)
    adapters: int = 0

    def mac(self, given: str | None) -> bytes:
        """The address that was asked for, or the next."""
        self.adapters += 1
        return bytes.fromhex(given.replace(":", "")) if given else (MACS + self.adapters - 1).to_bytes(6, "big")

    def port(self, options: Mapping[str, str]) -> Port:
        return self.ports.get(options.get("netdev", ""), Unplugged())

    def disk(self, options: Mapping[str, str]) -> Disk:
        """The drive that ``options`` name.  Raises Fault where there is none."""
        name = options.get("drive", "")
        if name not in self.disks:
            raise Fault(
                f"find the drive '{name}'", f"there are: {', '.join(self.disks) or 'none'}", "add -drive id=..."
            )
        return self.disks[name]

    def plug(self, kind: str, options: Mapping[str, str]) -> None:
        """Make a unit behind the SCSI hosts."""
        from virtproof.vmm.scsi.block import DiskUnit  # noqa: PLC0415
        from virtproof.vmm.scsi.cdrom import CdRomUnit  # noqa: PLC0415

        target, lun = number(options, "scsi-id", len(self.targets)), number(options, "lun", 0)
        unit = (CdRomUnit if kind == "scsi-cd" else DiskUnit)(self.disk(options))
        unit.attention = POWER_ON  # the tests wait for it
        self.targets.setdefault(target, {})[lun] = unit


def number(options: Mapping[str, str], name: str, default: int) -> int:
    """An option that is a number.  Raises Fault where it is not."""
    text = options.get(name, str(default))
    if not text.isdecimal():
        raise Fault(f"read the option {name}={text}", "it is not a number", "write it in decimal digits")
    return int(text)


class Unplugged:
    """A port without a cable."""

    def send(self, frame: bytes) -> None: ...
    def connect(self, receive: Receive) -> None: ...
    def ready(self) -> None: ...


Maker = Callable[[Mapping[str, str], Backends], PciDevice]


def _e1000(options: Mapping[str, str], backends: Backends) -> PciDevice:
    from virtproof.vmm.devices.e1000.nic import E1000  # noqa: PLC0415

    return E1000(backends.mac(options.get("mac")), backends.port(options), backends.after)


def _e1000_82545em(options: Mapping[str, str], backends: Backends) -> PciDevice:
    from virtproof.vmm.devices.e1000.nic import E1000  # noqa: PLC0415

    return E1000(backends.mac(options.get("mac")), backends.port(options), backends.after, model="82545em")


def _vmxnet3(options: Mapping[str, str], backends: Backends) -> PciDevice:
    from virtproof.vmm.devices.vmxnet3.adapter import Vmxnet3  # noqa: PLC0415

    return Vmxnet3(backends.mac(options.get("mac")), backends.port(options), backends.after)


def _pvscsi(options: Mapping[str, str], backends: Backends) -> PciDevice:
    from virtproof.vmm.devices.pvscsi import PvScsi  # noqa: PLC0415

    return PvScsi(backends.targets, backends.after)


def _lsi_parallel(options: Mapping[str, str], backends: Backends) -> PciDevice:
    from virtproof.vmm.devices.lsi_mpt.adapter import LsiMpt  # noqa: PLC0415

    return LsiMpt(backends.targets, backends.after, model="53c1030")


def _lsi_sas(options: Mapping[str, str], backends: Backends) -> PciDevice:
    from virtproof.vmm.devices.lsi_mpt.adapter import LsiMpt  # noqa: PLC0415

    return LsiMpt(backends.targets, backends.after, model="sas1068")


def _virtio_net(options: Mapping[str, str], backends: Backends) -> PciDevice:
    from virtproof.vmm.devices.virtio.net import VirtioNet  # noqa: PLC0415

    port = backends.port(options)
    return VirtioNet(backends.mac(options.get("mac")), port, backends.after, legacy=_legacy(options))


def _virtio_rng(options: Mapping[str, str], backends: Backends) -> PciDevice:
    from virtproof.vmm.devices.virtio.rng import VirtioRng  # noqa: PLC0415

    return VirtioRng(backends.after, legacy=_legacy(options))


def _virtio_blk(options: Mapping[str, str], backends: Backends) -> PciDevice:
    from virtproof.vmm.devices.virtio.blk import VirtioBlk  # noqa: PLC0415

    return VirtioBlk(backends.disk(options), backends.after, legacy=_legacy(options))


def _virtio_scsi(options: Mapping[str, str], backends: Backends) -> PciDevice:
    from virtproof.vmm.devices.virtio.scsi import VirtioScsi  # noqa: PLC0415

    return VirtioScsi(backends.targets, backends.after, legacy=_legacy(options))


def _virtio_console(options: Mapping[str, str], backends: Backends) -> PciDevice:
    from virtproof.vmm.devices.virtio.console import VirtioConsole  # noqa: PLC0415

    return VirtioConsole(lambda data: None, backends.after, legacy=_legacy(options))


def _legacy(options: Mapping[str, str]) -> bool:
    return options.get("disable-legacy", "off") not in ("on", "true")


MAKERS: Mapping[str, Maker] = {
    "e1000": _e1000,
    "e1000-82540em": _e1000,
    "e1000-82545em": _e1000_82545em,
    "lsi53c1030": _lsi_parallel,  # QEMU has no model of it; named as its others are
    "mptsas1068": _lsi_sas,
    "pvscsi": _pvscsi,
    "virtio-blk-pci": _virtio_blk,
    "virtio-net-pci": _virtio_net,
    "virtio-rng-pci": _virtio_rng,
    "virtio-scsi-pci": _virtio_scsi,
    "virtio-serial-pci": _virtio_console,
    "vmxnet3": _vmxnet3,
}
# What lives on one of these, and is made with it: disks of a SCSI host, the port of a console.
INNER = frozenset(("scsi-hd", "scsi-cd", "virtconsole"))
