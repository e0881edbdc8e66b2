"""Register values against the ABI tables, exits as text, modes as VM entry wants them."""

from __future__ import annotations

import ctypes
import dataclasses
import struct

import pytest

from virtproof.kvm import CpuidEntry
from virtproof.spec.kvm import Ioctl, structures
from virtproof.vmm import exits, modes
from virtproof.vmm.engines import kvm_registers
from virtproof.vmm.registers import Registers, Segment, SpecialRegisters, Table

NAMES = [field.name for field in dataclasses.fields(Registers)]


def test_registers_lie_where_the_abi_has_them() -> None:
    values = {name: n for n, name in enumerate(NAMES, 1)}
    packed = structures.Regs.from_buffer_copy(Registers(**values).pack())
    assert {name: getattr(packed, name) for name in NAMES} == values
    assert Registers.unpack(bytes(packed)) == Registers(**values)


def test_special_registers_lie_where_the_abi_has_them() -> None:
    segments = {name: Segment(base=n, limit=n + 1, selector=n + 2) for n, name in enumerate(["cs", "ds", "tr", "ldt"])}
    special = SpecialRegisters(
        **segments,
        gdt=Table(1, 2), idt=Table(3, 4),
        cr0=5, cr2=6, cr3=7, cr4=8, cr8=9, efer=10, apic_base=11, interrupt_bitmap=(12, 13, 14, 15),
    )  # fmt: skip
    data = special.pack()
    assert len(data) == ctypes.sizeof(structures.Sregs)
    packed = structures.Sregs.from_buffer_copy(data)
    for name, segment in segments.items():
        there = getattr(packed, name)
        assert {field: getattr(there, field) for field in Segment._fields} == segment._asdict()
    assert (packed.gdt.base, packed.gdt.limit, packed.idt.base, packed.idt.limit) == (1, 2, 3, 4)
    assert [packed.cr0, packed.cr2, packed.cr3, packed.cr4, packed.cr8, packed.efer, packed.apic_base] == list(
        range(5, 12)
    )
    assert list(packed.interrupt_bitmap) == [12, 13, 14, 15]
    assert SpecialRegisters.unpack(data) == special


@pytest.mark.parametrize(
    "special",
    [
        modes.real16(SpecialRegisters(), segment=0x1000),
        modes.prot32(SpecialRegisters()),
        modes.pae32(SpecialRegisters(), 0x1000),
        modes.long64(SpecialRegisters(), 0x1000),
    ],
    ids=["real16", "prot32", "pae32", "long64"],
)
def test_every_mode_passes_the_checks_on_segments_at_vm_entry(special: SpecialRegisters) -> None:
    """Intel SDM vol. 3C, "Checks on Guest Segment Registers", for CPL 0 outside virtual-8086 mode."""
    assert special.cs.type & 9 == 9
    assert special.cs.s == special.cs.present == 1
    assert special.cs.dpl == special.ss.dpl == 0
    assert not (special.cs.l and special.cs.db)
    for segment in (special.ds, special.es, special.fs, special.gs, special.ss):
        assert segment.type & 1, "accessed"
        assert segment.s == segment.present == 1
        assert segment.g or segment.limit < 1 << 20
        assert not segment.g or segment.limit & 0xFFF == 0xFFF
    assert (special.tr.type, special.tr.s, special.tr.present, special.tr.unusable) == (11, 0, 1, 0)
    assert not special.tr.selector & 4
    assert special.ldt.unusable


def test_a_mode_keeps_what_it_does_not_define() -> None:
    reset = SpecialRegisters(apic_base=0xFEE0_0900, cr8=3)
    assert modes.long64(reset, 0x1000).apic_base == 0xFEE0_0900
    assert modes.real16(reset).cr8 == 3


def test_extra_bits_reach_the_control_registers() -> None:
    special = modes.long64(SpecialRegisters(), 0x1000, cr4=1 << 20, efer=1 << 11)
    assert special.cr4 == modes.CR4_PAE | 1 << 20
    assert special.efer == modes.EFER_LME | modes.EFER_LMA | 1 << 11


@pytest.mark.parametrize(
    ("stopped", "text"),
    [
        (exits.InternalError(1, (1, 2, 3), b"\xd9\xe8", 0x1000, 32), "EMULATION (1) at RIP 0x1000: d9 e8  fld1"),
        (exits.InternalError(1, (1,), b"\x0f\x04", 0x1000, 64), "0f 04  (not an instruction)"),
        (exits.InternalError(3, (0x80000B0E,)), "DELIVERY_EV (3) at RIP 0x0: data 0x80000b0e"),
        (exits.InternalError(99), "99 at RIP 0x0: data none"),
        (exits.FailEntry(0x80000021, 1), "CPU 1: hardware reason 0x80000021"),
        (exits.SystemEvent(2), "RESET (2)"),
        (exits.SystemEvent(77, (1,)), "77: 0x1"),
        (exits.Unhandled(28), "exit 28"),
        (exits.Unhandled(34), "exit XEN (34)"),
        (exits.Debug(1, 0x10, 0x4000, 0x400), "debug exception 1 at 0x10"),
        (exits.Timeout(2.5), "no answer within 2.5 s"),
        (exits.Halt(), "HLT"),
        (exits.Shutdown(), "triple fault"),
        (exits.Interrupted(), "interrupted"),
    ],
)
def test_an_exit_reads_as_a_sentence(stopped: exits.Exit | exits.Timeout, text: str) -> None:
    assert text in str(stopped)


def test_a_cpuid_table_ends_where_a_kernel_left_the_count_as_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux 6.1's KVM_GET_CPUID2 fills the entries in and does not tell how many."""
    row = struct.pack("<7I12x", 0, 0, 0, 0x16, 1, 2, 3)

    def answer(fd: int, number: Ioctl, table: bytearray) -> int:
        table[8 : 8 + len(row)] = row
        return 0

    monkeypatch.setattr(kvm_registers, "ioctl", answer)
    vcpu = kvm_registers.VcpuRegisters.__new__(kvm_registers.VcpuRegisters)
    vcpu.fd = -1
    assert vcpu.cpuid() == (CpuidEntry(0, 0, 0, 0x16, 1, 2, 3),)
