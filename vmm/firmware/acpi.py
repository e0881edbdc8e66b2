"""ACPI tables of the board: RSDP, XSDT, FADT with FACS and DSDT, MADT.

ACPI Specification 6.5, "ACPI Software Programming Model".

The DSDT names the PCI host bridge with its windows and the routing of interrupt pins, what lies on the ISA bus, and the
state in which the machine is off.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from virtproof.spec import acpi, i8042, ioapic, mc146818, piix4, uart16550
from virtproof.spec.acpi import FadtBootFlags, FadtFlags
from virtproof.spec.x86 import apic
from virtproof.vmm.firmware import aml
from virtproof.vmm.firmware.blob import Blob
from virtproof.vmm.routing import TIMER_PIN

PM_BASE = 0x600
PM_EVENT_BYTES, PM_CONTROL_BYTES, PM_TIMER_BYTES = 4, 2, 4
RESET_VALUE = 0x06  # to port CF9H: RST_CPU and SYS_RST
LINES = (10, 10, 11, 11)  # where the PIRQs A to D lead
SLOTS, PINS = 32, 4
ALL_APICS = 0xFF

PCI_IO = (0xC000, 0xFFFF)  # ports for BARs
PCI_TOP = 0xFEC0_0000  # addresses for BARs end below

_OEM, _OEM_TABLE, _CREATOR = b"VPROOF", b"VIRTPROF", b"VPRF"
_GAS = struct.Struct("<BBBBQ")  # "Generic Address Structure": space, bits, offset, access size, address
_SYSTEM_IO = 1
_FACS = struct.Struct("<4sII52x")
_RSDP = struct.Struct("<8sB6sBIIQB3x")
_FADT = struct.Struct("<II x B H I BBBB 8I 8B 4H 5B H x I 12s B H B Q Q 12s 12s 12s 12s 12s 12s 12s 12s")
_FADT_REVISION = 3


class Machine(NamedTuple):
    """What the tables tell of: APIC ids, where RAM below 4 GiB ends, where that above ends (0: there is none)."""

    apic_ids: tuple[int, ...]
    low_end: int
    high_end: int


def tables(machine: Machine) -> tuple[Blob, int]:
    """All tables but the RSDP, and the offset of the XSDT."""
    blob = Blob()
    facs = blob.add(_FACS.pack(b"FACS", _FACS.size, 0), 64)
    dsdt = _add(blob, b"DSDT", 2, _dsdt(machine))
    fadt = _add(blob, b"FACP", _FADT_REVISION, _fadt())
    for offset, size, target in ((36, 4, facs), (40, 4, dsdt), (140, 8, dsdt)):
        blob.point(fadt + offset, size, target)
    madt = _add(blob, b"APIC", 3, _madt(machine.apic_ids))
    xsdt = _add(blob, b"XSDT", 1, bytes(16))
    for number, table in enumerate((fadt, madt)):
        blob.point(xsdt + acpi.HEADER.size + 8 * number, 8, table)
    return blob, xsdt


def rsdp(xsdt: int) -> bytes:
    """ "Root System Description Pointer" for an XSDT at this address; both checksums are right for it."""
    data = bytearray(_RSDP.pack(b"RSD PTR ", 0, _OEM, 2, 0, _RSDP.size, xsdt, 0))
    data[8] = -sum(data[:20]) & 0xFF
    data[32] = -sum(data) & 0xFF
    return bytes(data)


def _add(blob: Blob, signature: bytes, revision: int, body: bytes) -> int:
    length = acpi.HEADER.size + len(body)
    header = acpi.HEADER.pack(signature, length, revision, 0, _OEM, _OEM_TABLE, 1, _CREATOR, 1)
    at = blob.add(header + body)
    blob.checksum(at + acpi.CHECKSUM, at, length)
    return at


def _port(address: int, size: int) -> bytes:
    return _GAS.pack(_SYSTEM_IO, 8 * size, 0, size if size < 4 else 3, address)


def _fadt() -> bytes:
    """The pointers to FACS and DSDT are put in later."""
    event, control, timer = (PM_BASE + at for at in (piix4.PM1_STS, piix4.PM1_CNT, piix4.PM_TMR))
    boot = FadtBootFlags(0).but(legacy_devices=1, i8042=1, no_vga=1)
    flags = FadtFlags(0).but(wbinvd=1, proc_c1=1, slp_button=1, fix_rtc=1, reset_reg=1)
    none = _GAS.pack(0, 0, 0, 0, 0)
    # fmt: off
    return _FADT.pack(
        0, 0, 1,                                                  # FACS, DSDT; a desktop
        piix4.SCI_IRQ, piix4.APM_CONTROL, piix4.ACPI_ENABLE, piix4.ACPI_DISABLE, 0, 0,
        event, 0, control, 0, 0, timer, 0, 0,
        PM_EVENT_BYTES, PM_CONTROL_BYTES, 0, PM_TIMER_BYTES, 0, 0, 0, 0,
        0xFFF, 0xFFF, 0, 0,                                       # no C2, no C3
        0, 0, 0, 0, mc146818.Cell.CENTURY,
        boot, flags, _port(piix4.RESET_CONTROL, 1), RESET_VALUE, 0, 0, 0, 0,
        _GAS.pack(_SYSTEM_IO, 32, 0, 2, event), none, _port(control, 2), none, none, _port(timer, 4), none, none,
    )
    # fmt: on


def _madt(apic_ids: tuple[int, ...]) -> bytes:
    """ "Multiple APIC Description Table"."""
    if max(apic_ids) >= ALL_APICS:
        raise ValueError(f"APIC id {max(apic_ids)}: more than a local APIC has")
    level_high = 0b1101
    body = struct.pack("<II", apic.BASE, 1)  # PCAT_COMPAT: there are 8259s too
    for number, apic_id in enumerate(apic_ids):
        body += struct.pack("<BBBBI", 0, 8, number, apic_id, 1)
    body += struct.pack("<BBBxII", 1, 12, 0, ioapic.BASE, 0)
    body += struct.pack("<BBBBIH", 2, 10, 0, 0, TIMER_PIN, 0)
    body += struct.pack("<BBBBIH", 2, 10, 0, piix4.SCI_IRQ, piix4.SCI_IRQ, level_high)
    return body + struct.pack("<BBBHB", 4, 6, ALL_APICS, 0, 1)  # NMI at LINT1 of all


def _dsdt(machine: Machine) -> bytes:
    windows = [aml.memory(machine.low_end, PCI_TOP - 1)]
    if machine.high_end:
        windows.append(aml.memory64(machine.high_end, machine.high_end + (1 << 36) - 1))
    routing = (
        aml.package(
            aml.integer(slot << 16 | 0xFFFF),
            aml.integer(pin),
            aml.integer(0),
            aml.integer(LINES[(slot - 1 + pin) % len(LINES)]),
        )
        for slot in range(1, SLOTS)
        for pin in range(PINS)
    )
    bridge = aml.device(
        "PCI0",
        aml.name("_HID", aml.eisa_id("PNP0A03")),
        aml.name("_UID", aml.integer(0)),
        aml.name(
            "_CRS",
            aml.resources(
                aml.bus_numbers(0, 0xFF), aml.io(0xCF8, 8), aml.ports(0, 0xCF7), aml.ports(0xD00, 0xFFFF), *windows
            ),
        ),
        aml.name("_PRT", aml.package(*routing)),
        aml.device("ISA", aml.name("_ADR", aml.integer(0x1_0000)), *_isa_devices()),
    )
    off = aml.integer(piix4.SLEEP_OFF)
    return aml.scope("\\_SB", bridge) + aml.name("_S5", aml.package(off, off, aml.integer(0), aml.integer(0)))


def _isa_devices() -> tuple[bytes, ...]:
    def of(name: str, hid: str, *descriptors: bytes) -> bytes:
        said = aml.name("_HID", aml.eisa_id(hid)), aml.name("_CRS", aml.resources(*descriptors))
        return aml.device(name, *said)

    return (
        of("RTC", "PNP0B00", aml.io(mc146818.INDEX, mc146818.PORTS), aml.irq(mc146818.IRQ)),
        of("KBD", "PNP0303", aml.io(i8042.DATA, 1), aml.io(i8042.COMMAND, 1), aml.irq(i8042.KEYBOARD_IRQ)),
        of("COM1", "PNP0501", aml.io(uart16550.COM1, uart16550.PORTS), aml.irq(uart16550.COM1_IRQ)),
        of("TIMR", "PNP0100", aml.io(0x40, 4), aml.irq(0)),
    )
