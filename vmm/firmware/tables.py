"""All tables of a machine, in two forms: laid into guest memory, and as files from which SeaBIOS lays them out.

Laid out, they are in the area below 1 MiB that systems search: RSDP, SMBIOS entry point and MP pointer on 16 bytes.
The files are those of QEMU's docs/specs/fw_cfg.rst and SeaBIOS's src/fw/romfile_loader.h.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from virtproof.vmm.firmware import acpi, mp, smbios
from virtproof.vmm.firmware.blob import Blob
from virtproof.vmm.loaders.layout import HOLE, HOLE_END

START = 0xF_0000

_ALLOCATE, _ADD_POINTER, _ADD_CHECKSUM = 1, 2, 3
_HIGH, _F_SEGMENT = 1, 2
_ENTRY_BYTES = 128


class Description(NamedTuple):
    """What the tables tell of.  ``signature`` and ``features`` are EAX and EDX of CPUID.1."""

    ram: int  # bytes
    apic_ids: tuple[int, ...]
    signature: int = 0
    features: int = 0
    interrupts: tuple[tuple[int, int], ...] = ()  # slots and pins (from 0) of PCI functions

    @property
    def acpi(self) -> acpi.Machine:
        above = HOLE_END + self.ram - HOLE if self.ram > HOLE else 0
        return acpi.Machine(self.apic_ids, min(self.ram, HOLE), above)


class Laid(NamedTuple):
    """Bytes to put at an address, and where the RSDP is among them."""

    address: int
    data: bytes
    rsdp: int


def laid_out(of: Description) -> Laid:
    """Everything, from START on, below 1 MiB.  Raises ValueError for an APIC id that is more than a byte."""
    tables, xsdt = acpi.tables(of.acpi)
    structures = smbios.structures(len(of.apic_ids), of.ram)
    config = mp.table(of.apic_ids, of.signature, of.features, of.interrupts)
    area = Blob()
    acpi_at = area.add(tables.at(0), 64)
    base = START + acpi_at
    area.data[acpi_at:] = tables.at(base)
    rsdp = area.add(acpi.rsdp(base + xsdt))
    smbios_at = area.add(structures)
    area.add(smbios.entry_3(START + smbios_at, len(structures)))
    config_at = area.add(config)
    area.add(mp.floating_pointer(START + config_at))
    return Laid(START, bytes(area.data), START + rsdp)


def files(of: Description) -> dict[str, bytes]:
    """What fw_cfg gives to SeaBIOS: ACPI tables with the script that places them, and SMBIOS."""
    tables, xsdt = acpi.tables(of.acpi)
    structures = smbios.structures(len(of.apic_ids), of.ram)
    name, root = b"etc/acpi/tables", b"etc/acpi/rsdp"
    script = [
        struct.pack("<I56sIB", _ALLOCATE, name, 64, _HIGH),
        struct.pack("<I56sIB", _ALLOCATE, root, 16, _F_SEGMENT),
        *(
            struct.pack("<I56s56sIB", _ADD_POINTER, name, name, pointer.offset, pointer.size)
            for pointer in tables.pointers
        ),
        *(struct.pack("<I56sIII", _ADD_CHECKSUM, name, *checksum) for checksum in tables.sums),
        struct.pack("<I56s56sIB", _ADD_POINTER, root, name, 24, 8),
        struct.pack("<I56sIII", _ADD_CHECKSUM, root, 8, 0, 20),
        struct.pack("<I56sIII", _ADD_CHECKSUM, root, 32, 0, 36),
    ]
    pointer = bytearray(acpi.rsdp(xsdt))
    pointer[8] = pointer[32] = 0
    return {
        "etc/acpi/tables": bytes(tables.data),
        "etc/acpi/rsdp": bytes(pointer),
        "etc/table-loader": b"".join(entry.ljust(_ENTRY_BYTES, b"\0") for entry in script),
        "etc/smbios/smbios-anchor": smbios.entry_2(0, structures),
        "etc/smbios/smbios-tables": structures,
    }
