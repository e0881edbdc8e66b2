"""Configuration pages: what the controller says about itself, its ports and its devices.

LSI Fusion-MPT MPI 1.5 interface, "Configuration pages".  All of it is constant but the parameters that a driver asks a
parallel SCSI device to negotiate, which are taken at their word.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from virtproof.spec import fusion_mpt as mpt
from virtproof.spec.fusion_mpt import IocStatus, PageType
from virtproof.vmm.devices.lsi_mpt.buffers import Refused
from virtproof.vmm.devices.lsi_mpt.models import Model

# SCSI Port page 0: information units, double transition, QAS, sync offset 127 at 6.25 ns, wide; the bus is LVD.
PORT_CAPABILITIES, LVD = 0x2000_0007 | 127 << 16 | 8 << 8, 3
NEGOTIABLE = 0x20FF_FF07  # of a device's requested parameters
PORT_FLAGS = 0  # of SCSI Port page 2
TIMEOUT = 10  # seconds that a device has to answer
DISCONNECT, SCAN_ID, SCAN_LUN = 0x01, 0x02, 0x04  # DeviceSettings

END_DEVICE, SSP_TARGET = 0x0001, 0x0400  # SAS device info
RATE_3_0, RATE_FAILED, RATES = 0x09, 0x02, 0x98
PRESENT_MAPPED_PERSISTENT = 0x0007
BY_NEXT_HANDLE, BY_TARGET, BY_HANDLE = 0, 1, 2  # how SAS device pages are addressed, in bits 31:28
SAS_ADDRESS = 0x5000_0000_0000_0000


@dataclass(frozen=True, slots=True)
class Page:
    """``build`` gives what follows the header; an address without a page gives None."""

    version: int
    build: Callable[[int], bytes | None]
    attributes: int = 0


class ConfigPages:
    """``targets`` are those that have a device."""

    def __init__(self, model: Model, targets: Collection[int]) -> None:
        self._model, self._targets = model, targets
        self.requested: dict[
            int, tuple[int, int]
        ] = {}  # by target: parameters and configuration, of SCSI Device page 1
        self._pages = self._common() | (self._sas() if model.phys else self._parallel())

    def reset(self) -> None:
        self.requested.clear()

    def state(self) -> list[list[int]]:
        return [[target, *values] for target, values in self.requested.items()]

    def restore(self, state: list[Any]) -> None:
        """Raises ValueError or TypeError for what no state is."""
        requested = {int(target): (int(parameters), int(config)) for target, parameters, config in state}
        if any(not 0 <= value < 1 << 32 for values in requested.values() for value in values):
            raise ValueError("parameters of a SCSI device that do not fit")
        if not requested.keys() <= set(range(self._model.max_devices)):
            raise ValueError("parameters of a SCSI device that cannot be")
        self.requested = requested

    def read(self, kind: int, number: int, address: int) -> bytes:
        """Return a page with its header.  Raises Refused."""
        page = self._find(kind, number)
        body = page.build(address)
        if body is None:
            raise Refused(IocStatus.CONFIG_INVALID_PAGE)
        if kind < PageType.SAS_IO_UNIT:
            length = (mpt.PAGE_HEADER.size + len(body)) // 4
            return mpt.PAGE_HEADER.pack(page.version, length, number, kind | page.attributes) + body
        length = (mpt.EXTENDED_HEADER.size + len(body)) // 4
        return mpt.EXTENDED_HEADER.pack(page.version, number, PageType.EXTENDED, length, kind) + body

    def write(self, kind: int, number: int, address: int, data: bytes) -> None:
        """Take what a driver wrote.  Raises Refused for what cannot be changed."""
        page = self.read(kind, number, address)
        if not page[3] & mpt.CHANGEABLE:
            raise Refused(IocStatus.CONFIG_CANT_COMMIT)
        if len(data) < len(page):
            raise Refused(IocStatus.CONFIG_INVALID_DATA)
        _, parameters, _, configuration = struct.unpack_from("<IIII", data)
        self.requested[address & 0xFF] = parameters & NEGOTIABLE, configuration

    def _find(self, kind: int, number: int) -> Page:
        page = self._pages.get((kind, number))
        if page is None:
            known = any(of == kind for of, _ in self._pages)
            raise Refused(IocStatus.CONFIG_INVALID_PAGE if known else IocStatus.CONFIG_INVALID_TYPE)
        return page

    def _common(self) -> dict[tuple[int, int], Page]:
        def fixed(version: int, body: bytes) -> Page:
            return Page(version, lambda address: body)

        identity = self._model.identity
        chip = struct.pack("<HBxI", identity.device, identity.revision, 0)
        name = self._model.name
        # fmt: off
        return {
            (PageType.MANUFACTURING, 0): fixed(0, struct.pack("16s8s16s16s16s", name, b"1.0", name, b"", b"")),
            (PageType.MANUFACTURING, 1): fixed(0, bytes(256)),
            (PageType.MANUFACTURING, 2): fixed(0, chip),
            (PageType.MANUFACTURING, 3): fixed(0, chip),
            (PageType.IO_UNIT, 0):       fixed(0, bytes(8)),
            (PageType.IO_UNIT, 1):       fixed(2, struct.pack("<I", 0x41)),  # one function, no RAID
            (PageType.IO_UNIT, 2):       fixed(2, bytes(28)),
            (PageType.IO_UNIT, 3):       fixed(1, bytes(8)),
            (PageType.IOC, 0):           fixed(1, struct.pack(
                "<IIHHBxxxIHH", 0, 0, identity.vendor, identity.device, identity.revision, identity.class_code,
                identity.subsystem_vendor, identity.subsystem)),
            (PageType.IOC, 1):           fixed(3, bytes(12)),
            (PageType.IOC, 2):           fixed(4, bytes(8)),
            (PageType.IOC, 3):           fixed(0, bytes(4)),
            (PageType.IOC, 4):           fixed(0, bytes(4)),
        }
        # fmt: on

    # Parallel SCSI

    def _parallel(self) -> dict[tuple[int, int], Page]:
        device = struct.pack("<BBH", TIMEOUT, 8, DISCONNECT | SCAN_ID | SCAN_LUN)
        nvram = struct.pack("<II", PORT_FLAGS, self._model.scsi_id) + device * self._model.max_devices
        port0 = struct.pack("<II", PORT_CAPABILITIES, LVD)
        port1 = struct.pack("<III", self._model.scsi_id | 1 << self._model.scsi_id + 16, 0, 0)
        return {
            (PageType.SCSI_PORT, 0): Page(2, lambda address: port0),
            (PageType.SCSI_PORT, 1): Page(3, lambda address: port1),
            (PageType.SCSI_PORT, 2): Page(2, lambda address: nvram),
            (PageType.SCSI_DEVICE, 0): Page(4, self._negotiated),
            (PageType.SCSI_DEVICE, 1): Page(5, self._requested, mpt.CHANGEABLE),
        }

    def _negotiated(self, address: int) -> bytes | None:
        if address & 0xFF >= self._model.max_devices:
            return None
        return struct.pack("<II", self.requested.get(address & 0xFF, (0, 0))[0], 0)

    def _requested(self, address: int) -> bytes | None:
        if address & 0xFF >= self._model.max_devices:
            return None
        parameters, configuration = self.requested.get(address & 0xFF, (0, 0))
        return struct.pack("<III", parameters, 0, configuration)

    # SAS: phy n has handle n + 1, and the device behind it follows all phys

    def _sas(self) -> dict[tuple[int, int], Page]:
        return {
            (PageType.SAS_IO_UNIT, 0): Page(4, self._io_unit_0),
            (PageType.SAS_IO_UNIT, 1): Page(7, self._io_unit_1),
            (PageType.SAS_IO_UNIT, 2): Page(6, lambda address: bytes(16)),
            (PageType.SAS_IO_UNIT, 3): Page(6, lambda address: bytes(36)),
            (PageType.SAS_PHY, 0): Page(1, self._phy_0),
            (PageType.SAS_PHY, 1): Page(1, lambda address: None if self._phy(address) is None else bytes(20)),
            (PageType.SAS_DEVICE, 0): Page(5, self._device_0),
            (PageType.SAS_DEVICE, 1): Page(0, self._device_1),
        }

    def _handle(self, phy: int) -> int:
        return phy + 1 + self._model.phys if phy in self._targets else 0

    def _info(self, phy: int) -> int:
        return END_DEVICE | SSP_TARGET if phy in self._targets else 0

    def _io_unit_0(self, address: int) -> bytes:
        head = struct.pack("<HHBxxx", 0, 0, self._model.phys)
        return head + b"".join(
            struct.pack(
                "<BBBBIHHI", phy, 0, 0, RATE_3_0 if phy in self._targets else RATE_FAILED, self._info(phy),
                self._handle(phy), self._handle(phy), 0,
            )
            for phy in range(self._model.phys)
        )  # fmt: skip

    def _io_unit_1(self, address: int) -> bytes:
        head = struct.pack("<HHHHBBBB", 0, 0, 0, 0, self._model.phys, 0, 0, 0)
        return head + b"".join(
            struct.pack("<BBBBIHH", phy, 0, 0, RATES, self._info(phy), 0, 0) for phy in range(self._model.phys)
        )

    def _phy(self, address: int) -> int | None:
        form, phy = address >> 28, address & 0xFF
        return phy if form in (0, 1) and phy < self._model.phys else None

    def _phy_0(self, address: int) -> bytes | None:
        phy = self._phy(address)
        if phy is None:
            return None
        handle = self._handle(phy)
        return struct.pack(
            "<HxxQHBxIBBBBI", handle, SAS_ADDRESS, handle, phy, self._info(phy) & END_DEVICE, RATES, RATES, 0, 0, 0
        )

    def _device(self, address: int) -> int | None:
        """The phy of a device."""
        form, handle = address >> 28, address & 0xFFFF
        phys = range(self._model.phys)
        if form == BY_NEXT_HANDLE:
            after = -1 if handle == 0xFFFF else handle
            return next((phy for phy in phys if self._handle(phy) > max(after, 0)), None)
        if form == BY_TARGET:
            return handle if handle in phys and handle in self._targets else None
        if form == BY_HANDLE:
            return next((phy for phy in phys if handle and self._handle(phy) == handle), None)
        return None

    def _device_0(self, address: int) -> bytes | None:
        phy = self._device(address)
        if phy is None:
            return None
        return struct.pack(
            "<HHQHBBHBBIHBx", 0, 0, SAS_ADDRESS + 1 + phy, phy + 1, phy, 0, self._handle(phy), phy, 0,
            self._info(phy), PRESENT_MAPPED_PERSISTENT, phy,
        )  # fmt: skip

    def _device_1(self, address: int) -> bytes | None:
        phy = self._device(address)
        if phy is None:
            return None
        return struct.pack("<IQIHBB20x", 0, SAS_ADDRESS + 1 + phy, 0, self._handle(phy), phy, 0)
