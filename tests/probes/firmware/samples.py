"""Firmware tables written byte by byte, after the tables of the specifications and without our own layouts."""

from __future__ import annotations

from collections.abc import Sequence


def u16(value: int) -> bytes:
    return value.to_bytes(2, "little")


def u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


def u64(value: int) -> bytes:
    return value.to_bytes(8, "little")


def acpi(signature: str, body: bytes, checksum: bool = True) -> bytes:
    """An ACPI table around ``body``, its sum zero, or one off."""
    head = signature.encode() + u32(36 + len(body)) + b"\x01\0" + b"VPROOF" + b"SAMPLE  " + u32(1) + b"TEST" + u32(1)
    table = bytearray(head + body)
    table[9] = (-sum(table) + (not checksum)) & 0xFF
    return bytes(table)


def scope(kind: int, bus: int, *path: tuple[int, int], enumeration: int = 0) -> bytes:
    steps = b"".join(bytes(step) for step in path)
    return bytes((kind, 6 + len(steps), 0, 0, enumeration, bus)) + steps


def remapping(kind: int, body: bytes) -> bytes:
    return u16(kind) + u16(4 + len(body)) + body


def drhd(base: int, flags: int = 0, segment: int = 0, scopes: bytes = b"", size: int = 0) -> bytes:
    return remapping(0, bytes((flags, size)) + u16(segment) + u64(base) + scopes)


def rmrr(base: int, limit: int, scopes: bytes = b"", segment: int = 0) -> bytes:
    return remapping(1, bytes(2) + u16(segment) + u64(base) + u64(limit) + scopes)


def dmar(*parts: bytes, width: int = 46, flags: int = 1, checksum: bool = True) -> bytes:
    return acpi("DMAR", bytes((width - 1, flags)) + bytes(10) + b"".join(parts), checksum)


DMAR = dmar(
    drhd(0xD000_0000, scopes=scope(1, 0, (2, 0))),
    drhd(0xD100_0000, flags=1, size=1, scopes=scope(3, 0xF0, (0x1F, 0), enumeration=2) + scope(4, 0, (0x1F, 0))),
    rmrr(0x7B80_0000, 0x7FFF_FFFF, scope(1, 0, (2, 0)) + scope(1, 0, (0x1C, 4), (0, 2))),
    remapping(2, bytes((1, 0)) + u16(0)),
    remapping(3, bytes(4) + u64(0xD100_0000) + u32(1)),
    remapping(4, bytes(3) + b"\x01" + b"\\_SB.PC00.UA00\0"),
    remapping(5, bytes((1, 0)) + u16(0) + scope(1, 0x6A, (1, 0))),
    remapping(6, bytes(2) + u16(0) + scope(1, 0xE7, (0, 0))),
    remapping(99, b"later"),
    width=52,
    flags=7,
)

EFR = 0x8000_0000_0020_0084 | 1 << 52  # SNPSup, GAM, GASup, XTSup, HDSup


def ivhd(kind: int, entries: bytes, *, device: int = 2, efr: int = EFR, base: int = 0xFEB8_0000) -> bytes:
    extended = b"" if kind == 0x10 else u64(efr) + u64(0)
    body = u16(device) + u16(0x40) + u64(base) + u16(0) + u16(0) + u32(0x8000_0000) + extended + entries
    return bytes((kind, 0xB0)) + u16(4 + len(body)) + body


def ivmd(kind: int, start: int, length: int, device: int = 0) -> bytes:
    return bytes((kind, 7)) + u16(32) + u16(device) + u16(0) + bytes(8) + u64(start) + u64(length)


ENTRIES = (
    bytes((3, 8, 0, 0))  # from 00:01.0
    + bytes((4, 0xFF, 0xFF, 0))
    + bytes((72, 0, 0, 0xD7, 33, 0xA0, 0, 1))  # I/O APIC 33
    + bytes((0, 0, 0, 0))
)
HID = bytes((240, 0, 0x60, 0)) + b"AMDI0040" + bytes(8) + bytes((2, 4)) + b"UID1"
IVRS = acpi(
    "IVRS",
    u32(0x0020_3043)
    + bytes(8)
    + ivhd(0x10, ENTRIES)
    + ivhd(0x11, ENTRIES)
    + ivhd(0x40, ENTRIES + HID)
    + ivmd(0x22, 0x6000_0000, 0x10_0000, 0x0300)
    + bytes((0x51, 0, 8, 0, 1, 2, 3, 4)),
)

MADT = acpi(
    "APIC",
    u32(0xFEE0_0000)
    + u32(1)
    + bytes((0, 8, 0, 0)) + u32(1)
    + bytes((0, 8, 1, 2)) + u32(1)
    + bytes((0, 8, 2, 4)) + u32(0)  # disabled
    + bytes((0, 8, 3, 255)) + u32(1)  # broadcast: none
    + bytes((1, 12)) + bytes(10)  # an I/O APIC
    + bytes((9, 16, 0, 0)) + u32(300) + u32(1) + u32(300)
    + bytes((9, 16, 0, 0)) + u32(2) + u32(1) + u32(1),  # the processor with APIC id 2 again
)  # fmt: skip
SRAT = acpi(
    "SRAT",
    u32(1)
    + bytes(8)
    + bytes((0, 16, 1, 0)) + u32(1) + bytes((0, 0, 0, 0)) + u32(0)
    + bytes((1, 40)) + u32(1) + bytes(2) + u64(0) + u64(1 << 30) + bytes(4) + u32(1) + bytes(8)
    + bytes((1, 40)) + u32(2) + bytes(2) + u64(1 << 30) + u64(1 << 30) + bytes(4) + u32(0) + bytes(8)  # disabled
    + bytes((2, 24, 0, 0)) + u32(5) + u32(300) + u32(1) + u32(0) + bytes(4),
)  # fmt: skip
WSMT = acpi("WSMT", u32(5))
FADT = acpi("FACP", bytes(109 - 36) + u16(0x08) + bytes(1) + u32(1 << 19) + bytes(268 - 116) + b"KVMKVMKV")
TABLES = {"DMAR": DMAR, "IVRS": IVRS, "APIC": MADT, "SRAT": SRAT, "WSMT": WSMT, "FACP": FADT}


def structure(kind: int, handle: int, formatted: bytes, strings: Sequence[str] = ()) -> bytes:
    text = b"".join(one.encode() + b"\0" for one in strings)
    return bytes((kind, 4 + len(formatted))) + u16(handle) + formatted + (text or b"\0") + b"\0"


UUID = bytes(range(16))
SYSTEM = structure(1, 1, bytes((1, 2, 3, 4)) + UUID + bytes((6, 5, 0)), ("Contoso", "R1", "rev", "SN-4711", "SKU"))
BOARD = structure(2, 2, bytes((1, 2, 3, 4, 5, 9, 0)), ("Contoso", "Board", "1", "BS-99", "ASSET-7"))
CHASSIS = structure(3, 3, bytes((1, 0x17, 2, 3, 4)), ("Contoso", "1", "To be filled by O.E.M.", "CH-55"))


def processor(handle: int, status: int, characteristics: int, cores: int = 0x20, enabled: int = 0x1C) -> bytes:
    body = bytearray(0x30 - 4)
    body[0x04 - 4], body[0x05 - 4], body[0x18 - 4] = 1, 3, status
    body[0x20 - 4], body[0x23 - 4], body[0x24 - 4], body[0x25 - 4] = 2, cores, enabled, 64
    body[0x26 - 4 : 0x28 - 4] = u16(characteristics)
    body[0x2A - 4 : 0x2C - 4], body[0x2C - 4 : 0x2E - 4] = u16(300), u16(256)
    return structure(4, handle, bytes(body), (f"CPU{handle}", "CPUSERIAL"))


def module(handle: int, size: int, extended: int = 0) -> bytes:
    body = bytearray(0x28 - 4)
    body[0x0C - 4 : 0x0E - 4], body[0x1C - 4 : 0x20 - 4] = u16(size), u32(extended)
    body[0x18 - 4] = 1
    return structure(17, handle, bytes(body), ("DIMMSERIAL",))


BIOS = structure(
    0, 0, bytes((1, 2)) + u16(0xE000) + bytes((3, 15)) + u64(0) + bytes((3, 0x0D)), ("Maker", "1.2", "01/02/2026")
)
ARRAY = structure(16, 16, bytes((3, 3, 6)) + u32(0x8000_0000) + bytes(6))
END = structure(127, 127, b"")
SMBIOS = b"".join(
    (
        BIOS, SYSTEM, BOARD, CHASSIS, processor(40, 0x41, 0x00FC), processor(41, 0x43, 0x00FC, 0xFF, 0xFF),
        processor(42, 0x00, 0x0002), ARRAY, module(50, 0x7FFF, 65536), module(51, 0), module(52, 16384),
        structure(11, 11, b"\x01", ("OEM-SECRET",)), END,
    )
)  # fmt: skip


def entry_3(length: int = len(SMBIOS)) -> bytes:
    raw = bytearray(b"_SM3_\0\x18\x03\x04\0\x01\0" + u32(length) + u64(0x20))
    raw[5] = -sum(raw) & 0xFF
    return bytes(raw)
