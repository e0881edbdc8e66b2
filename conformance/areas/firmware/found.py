"""What a guest finds in its machine's tables, and whether the machine is so.

The tables of direct boot are below 1 MiB; those for a BIOS are files of fw_cfg.  The program walks from the anchors to
each table, adds up their bytes, and uses what they name: ports, the I/O APIC, the ids of processors.
"""

from dataclasses import fields
from datetime import datetime
from functools import partial
from typing import Any

from virtproof.conformance.case import Case, HostScript, programs_of
from virtproof.conformance.guest import check_program
from virtproof.spec.cite import Cite
from virtproof.vmm.board import Board
from virtproof.vmm.firmware import post, tables
from virtproof.vmm.firmware.tables import Description
from virtproof.vmm.machine import Machine
from virtproof.vmm.platform import Platform

MEMORY = 4 << 20
EVENT, CONTROL, TIMER, SCI = 0x600, 0x604, 0x608, 9
IOAPIC, LINES = 0xFEC0_0000, 24
LEVEL_HIGH = 0b1101  # active high, level-triggered
BIOS, SYSTEM, CHASSIS, PROCESSOR, ARRAY, DEVICE, MAPPED, BOOT, END = (1 << n for n in (0, 1, 3, 4, 16, 17, 19, 32, 63))


def furnish(machine: Machine) -> None:
    """A board as its firmware leaves it."""
    board, of = Board(machine), Description(MEMORY, tuple(range(len(machine.vcpus))))
    platform = Platform(
        board, ram=MEMORY, start=datetime(2026, 11, 22), reset_machine=lambda: None, after=machine.after, files=tables.files(of)
    )  # fmt: skip
    post.configure(board, platform, MEMORY)
    laid = tables.laid_out(of)
    machine.memory.load(laid.address, laid.data)


def found(id: str, title: str, where: Cite, test: str, *observations: int, vcpus: int = 1, **more: Any) -> HostScript:  # noqa: A002
    made = programs_of("firmware", "tables", where, memory=MEMORY, seconds=20.0)(
        id, title, test, observations, vcpus, vcpus=vcpus, **more
    )
    script = partial(check_program, made, furnish=furnish)
    return HostScript(script=script, **{field.name: getattr(made, field.name) for field in fields(Case)})


def spec(where: str) -> Cite:
    return Cite("ACPI Specification 6.5", where)


SMBIOS = Cite("DMTF DSP0134 (SMBIOS) 3.x", "'Accessing SMBIOS information'")
MADT = spec("'Multiple APIC Description Table (MADT)'")
# fmt: off
CASES: tuple[Case, ...] = (
    found("acpi.rsdp",        "RSDP, XSDT and its tables are found, and add up to 0", spec("'Root System Description Pointer (RSDP)'"), "root", 0, 0, 2, 1, 1, 2, 2, 1),
    found("acpi.fadt_ports",  "The FADT's ports answer: ACPI is switched on, and the timer runs", spec("'Fixed ACPI Description Table (FADT)'"), "fixed",
          EVENT, 4, CONTROL, 2, TIMER, 4, SCI, 0, 1, 1),
    found("acpi.madt_cpus",   "The MADT has the APIC id of the processor, and an I/O APIC that is there", MADT, "processors", 1, 1, 0, IOAPIC, LINES, 2, SCI << 16 | LEVEL_HIGH),
    found("acpi.madt_cpus.two", "... of both processors", MADT, "processors", 3, 3, 0, IOAPIC, LINES, 2, SCI << 16 | LEVEL_HIGH, vcpus=2),
    found("acpi.facs_align",  "The FACS lies on 64 bytes", spec("'Firmware ACPI Control Structure (FACS)'"), "waking", 1, 64, 0, priority=2),
    found("smbios.v21_checksums", "The entry point for a BIOS: both sums, and the table that it tells of", SMBIOS, "anchor_2", 1, 0, 0, 1, 1, priority=2),
    found("smbios.v21_checksums.entry_3", "SMBIOS 3: every structure that a system has, and how much memory", SMBIOS, "inventory",
          0, BIOS | SYSTEM | CHASSIS | PROCESSOR | ARRAY | DEVICE | MAPPED | BOOT | END, 1, MEMORY >> 20, priority=2),
)
# fmt: on
