"""SMBIOS 3 tables of the machine: DMTF DSP0134, "Structure definitions", those that every system must have."""

from __future__ import annotations

import struct

from virtproof.spec import smbios
from virtproof.spec.smbios import BiosCharacteristics2, CpuStatus, ProcessorStatus, Type

_VENDOR, _PRODUCT, _VERSION = "virtproof", "virtproof virtual machine", "1"
_MAJOR, _MINOR = 3, 0
_MIB = 1 << 20


def structures(vcpus: int, ram: int) -> bytes:
    """The table: ``ram`` bytes and so many processors."""
    return b"".join(
        (
            _bios(), _system(), _chassis(),
            *(_processor(number) for number in range(vcpus)),
            _memory_array(ram), _memory_device(ram), _mapped(ram), _boot(),
            _structure(smbios.END_OF_TABLE, 0x7F00, b""),
        )
    )  # fmt: skip


def entry_3(table: int, length: int) -> bytes:
    """ "SMBIOS 3.0 (64-bit) Entry Point" for a table at this address."""
    data = bytearray(
        smbios.ENTRY_3.pack(smbios.ANCHOR_3, 0, smbios.ENTRY_3.size, _MAJOR, _MINOR, 0, 1, 0, length, table)
    )
    data[5] = -sum(data) & 0xFF
    return bytes(data)


def entry_2(table: int, structures: bytes) -> bytes:
    """ "SMBIOS 2.1 (32-bit) Entry Point", for firmware that takes no other."""
    sizes = list(_sizes(structures))
    data = bytearray(
        smbios.ENTRY_2.pack(
            smbios.ANCHOR_2, 0, smbios.ENTRY_2.size, 2, 8, max(sizes), 0, bytes(5),
            b"_DMI_", 0, len(structures), table, len(sizes), 0x28,
        )
    )  # fmt: skip
    data[0x15] = -sum(data[0x10:]) & 0xFF
    data[4] = -sum(data) & 0xFF
    return bytes(data)


def _sizes(structures: bytes) -> list[int]:
    found, at = [], 0
    while at < len(structures):
        end = structures.index(b"\0\0", at + structures[at + 1]) + 2
        found.append(end - at)
        at = end
    return found


def _structure(kind: int, handle: int, body: bytes, *strings: str) -> bytes:
    texts = b"".join(text.encode("ascii") + b"\0" for text in strings) or b"\0"
    return smbios.HEADER.pack(kind, smbios.HEADER.size + len(body), handle) + body + texts + b"\0"


def _bios() -> bytes:
    """Strings 1 to 3: vendor, version, date."""
    extension = BiosCharacteristics2(0).but(virtual_machine=1)
    not_supported = 1 << 3  # "BIOS Characteristics"
    body = struct.pack("<BBHBBQBBBBBB", 1, 2, 0xE800, 3, 0, not_supported, 0, extension, 1, 0, 0xFF, 0xFF)
    return _structure(Type.BIOS, 0x0000, body, _VENDOR, _VERSION, "01/01/2026")


def _system() -> bytes:
    """Strings 1 to 3: manufacturer, product, version; no serial number, no UUID."""
    body = struct.pack("<BBBB16sBBB", 1, 2, 3, 0, bytes(16), 6, 0, 0)  # woken by the power switch
    return _structure(Type.SYSTEM, 0x0100, body, _VENDOR, _PRODUCT, _VERSION)


def _chassis() -> bytes:
    safe, none = 3, 3
    body = struct.pack("<BBBBBBBBBIBBBBB", 1, 1, 0, 0, 0, safe, safe, safe, none, 0, 0, 0, 0, 0, 0)
    return _structure(Type.CHASSIS, 0x0300, body, _VENDOR)


def _processor(number: int) -> bytes:
    central, unknown, other = 3, 2, 1
    status = ProcessorStatus(0).but(populated=1, cpu_status=CpuStatus.ENABLED)
    body = struct.pack(
        "<BBBBQBBHHHBBHHHBBBBBBHHHHH",
        1, central, unknown, 2, 0, 0, 0, 0, 0, 0, status, other, 0xFFFF, 0xFFFF, 0xFFFF, 0, 0, 0, 1, 1, 1, 1 << 2,
        unknown, 1, 1, 1,
    )  # fmt: skip
    return _structure(Type.PROCESSOR, 0x0400 + number, body, f"CPU {number}", _VENDOR)


def _memory_array(ram: int) -> bytes:
    other, none = 1, 3
    kib = ram // 1024
    wide = kib >= 1 << 31
    body = struct.pack(
        "<BBBIHHQ", other, smbios.USE_SYSTEM_MEMORY, none, 1 << 31 if wide else kib, 0xFFFE, 1, ram if wide else 0
    )
    return _structure(Type.MEMORY_ARRAY, 0x1000, body)


def _memory_device(ram: int) -> bytes:
    mib = ram // _MIB
    size, extended = (mib, 0) if mib < smbios.SIZE_EXTENDED else (smbios.SIZE_EXTENDED, mib)
    dimm, ram_type, other = 9, 7, 2
    body = struct.pack(
        "<HHHHHBBBBBHHBBBBBIHHHH",
        0x1000, 0xFFFE, 0xFFFF, 0xFFFF, size, dimm, 0, 1, 0, ram_type, other, 0, 2, 0, 0, 0, 0, extended, 0, 0, 0, 0,
    )  # fmt: skip
    return _structure(Type.MEMORY_DEVICE, 0x1100, body, "DIMM 0", _VENDOR)


def _mapped(ram: int) -> bytes:
    """ "Memory Array Mapped Address", as if there were no hole."""
    body = struct.pack("<IIHBQQ", 0xFFFF_FFFF, 0xFFFF_FFFF, 0x1000, 1, 0, ram - 1)
    return _structure(19, 0x1300, body)


def _boot() -> bytes:
    return _structure(32, 0x2000, bytes(7))  # no errors detected
