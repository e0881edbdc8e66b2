"""The MP configuration table: Intel MultiProcessor Specification 1.4, "MP Configuration Table"."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from virtproof.spec import ioapic, piix4
from virtproof.spec.x86 import apic
from virtproof.vmm.firmware.acpi import LINES
from virtproof.vmm.routing import TIMER_PIN

_FLOATING = struct.Struct("<4sIBBB5B")
_HEADER = struct.Struct("<4sHBB8s12sIHHIHBB")
_PROCESSOR, _BUS, _IO_APIC, _INTERRUPT, _LOCAL_INTERRUPT = range(5)
_INT, _NMI, _EXTINT = 0, 1, 3
_LEVEL_HIGH = 0b1101
_PCI, _ISA = 0, 1  # bus ids


def floating_pointer(table: int) -> bytes:
    """ "MP Floating Pointer Structure" for a table at this address."""
    data = bytearray(_FLOATING.pack(b"_MP_", table, 1, 4, 0, 0, 0, 0, 0, 0))
    data[10] = -sum(data) & 0xFF
    return bytes(data)


def table(apic_ids: Sequence[int], signature: int, features: int, interrupts: Iterable[tuple[int, int]] = ()) -> bytes:
    """The table.  ``signature`` and ``features`` are CPUID.1's EAX and EDX.

    ``interrupts`` are the slots and pins (from 0) of PCI functions that interrupt.
    """
    io_apic_id = max(apic_ids) + 1
    entries = [
        struct.pack("<BBBBIIQ", _PROCESSOR, apic_id, 0x14, 3 if n == 0 else 1, signature, features, 0)
        for n, apic_id in enumerate(apic_ids)
    ]
    entries += [
        struct.pack("<BB6s", _BUS, _PCI, b"PCI   "),
        struct.pack("<BB6s", _BUS, _ISA, b"ISA   "),
        struct.pack("<BBBBI", _IO_APIC, io_apic_id, ioapic.VERSION_NUMBER, 1, ioapic.BASE),
    ]
    entries += [
        struct.pack(
            "<BBHBBBB", _INTERRUPT, _INT, _LEVEL_HIGH, _PCI, slot << 2 | pin, io_apic_id, LINES[(slot - 1 + pin) % 4]
        )
        for slot, pin in sorted(set(interrupts))
    ]
    for line in range(16):
        if line == TIMER_PIN or line in LINES:
            continue
        trigger = _LEVEL_HIGH if line == piix4.SCI_IRQ else 0
        pin = TIMER_PIN if line == 0 else line
        entries.append(struct.pack("<BBHBBBB", _INTERRUPT, _INT, trigger, _ISA, line, io_apic_id, pin))
    for kind, pin in ((_EXTINT, 0), (_NMI, 1)):
        entries.append(struct.pack("<BBHBBBB", _LOCAL_INTERRUPT, kind, 0, _ISA, 0, 0xFF, pin))
    body = b"".join(entries)
    length = _HEADER.size + len(body)
    data = bytearray(
        _HEADER.pack(b"PCMP", length, 4, 0, b"VPROOF  ", b"VIRTPROOF   ", 0, 0, len(entries), apic.BASE, 0, 0, 0) + body
    )
    data[7] = -sum(data) & 0xFF
    return bytes(data)
