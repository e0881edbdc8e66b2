"""Guests with interrupt handlers: 32-bit protected mode, hand-assembled.

The host and its guest meet at a few ports: RAISE and HANDLED are calls of the guest to the host, RESULT carries a
number and ends the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tests.vmm.guests import CODE, STACK, machine
from virtproof.spec.x86.descriptor import Gate32
from virtproof.vmm import modes
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine
from virtproof.vmm.registers import Registers, SpecialRegisters, Table

RAISE, HANDLED, RESULT = 0x510, 0x514, 0x518
GDT, IDT, HANDLERS, COUNT = 0xA000, 0xB000, 0x9000, 0xC000
APIC, IOAPIC = 0xFEE0_0000, 0xFEC0_0000
APIC_EOI, APIC_SVR = 0xB0, 0xF0

STI, CLI, HLT, NOP, SPIN = b"\xfb", b"\xfa", b"\xf4", b"\x90", b"\xeb\xfe"


def outb(port: int, value: int) -> bytes:
    """mov $value, %al; mov $port, %dx; out %al, %dx"""
    return b"\xb0" + bytes([value]) + b"\x66\xba" + port.to_bytes(2, "little") + b"\xee"


def inb(port: int) -> bytes:
    """mov $port, %dx; in %dx, %al"""
    return b"\x66\xba" + port.to_bytes(2, "little") + b"\xec"


def store(address: int, value: int) -> bytes:
    """movl $value, address"""
    return b"\xc7\x05" + address.to_bytes(4, "little") + value.to_bytes(4, "little")


def load(address: int) -> bytes:
    """movl address, %eax"""
    return b"\xa1" + address.to_bytes(4, "little")


REPORT = b"\x66\xba" + RESULT.to_bytes(2, "little") + b"\xef"  # out %eax, %dx
REPORT_COUNT = load(COUNT) + REPORT
COUNT_ONE = b"\xff\x05" + COUNT.to_bytes(4, "little")  # incl COUNT

ENABLE_APIC = store(APIC + APIC_SVR, 0x1FF)
EOI_APIC = store(APIC + APIC_EOI, 0)


def pic_setup(*, level: int = 0) -> bytes:
    """Both PICs at vectors 20H and 28H, the master's lines open; the lines in ``level`` are level-triggered (ELCR)."""
    words = ((0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0xA0, 0x11), (0xA1, 0x28), (0xA1, 2), (0xA1, 1))
    return b"".join(outb(*word) for word in (*words, (0x21, 0), (0xA1, 0xFF), (0x4D0, level)))


EOI_PIC = outb(0x20, 0x20)


def ioapic_setup(pin: int, vector: int, *, level: bool) -> bytes:
    """One pin, fixed delivery to APIC 0."""
    low = vector | (1 << 15 if level else 0)
    return b"".join(
        store(IOAPIC, register) + store(IOAPIC + 0x10, value)
        for register, value in ((0x10 + 2 * pin + 1, 0), (0x10 + 2 * pin, low))
    )


def handler(*body: bytes) -> bytes:
    """pusha; body; popa; pushl 8(%esp); popf; lret $4

    In place of IRET, which KVM's emulator does not know in protected mode, where kvm_pvm needs it.
    """
    return b"\x60" + b"".join(body) + b"\x61" + b"\xff\x74\x24\x08\x9d\xca\x04\x00"


class Calls:
    """The host's end of the three ports."""

    def __init__(self, guest: Machine, on_call: Mapping[int, Callable[[], None]]) -> None:
        self.guest, self.on_call = guest, on_call
        self.results: list[int] = []

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        if RAISE + offset == RESULT:
            self.results.append(value)
            self.guest.stop()
        elif call := self.on_call.get(RAISE + offset):
            call()


def tables(reset: SpecialRegisters) -> SpecialRegisters:
    return replace(modes.prot32(reset), gdt=Table(GDT, 0x17), idt=Table(IDT, 0x7FF))


def interruptible(engine: Engine, code: bytes, handlers: Mapping[int, bytes], **asked: Any) -> Machine:
    """Return a machine about to execute ``code``, with ``handlers`` by vector."""
    made = machine(engine, tables, code, registers=Registers(rsp=STACK), **asked)
    made.memory.load(GDT, bytes(8) + bytes.fromhex("ffff0000009bcf00") + bytes.fromhex("ffff00000093cf00"))
    for number, (vector, body) in enumerate(handlers.items()):
        at = HANDLERS + 0x100 * number
        made.memory.load(at, body)
        gate = Gate32.to(modes.CODE, at, type=14, p=1)
        made.memory.load(IDT + 8 * vector, int(gate).to_bytes(8, "little"))
    assert len(code) < 0x1000 - 0x10
    assert CODE + len(code) < 0x2000
    return made


def park(guest: Machine) -> None:
    """Have every vCPU but the first halt at once."""
    guest.memory.load(0xE000, CLI + HLT)
    for vcpu in guest.vcpus[1:]:
        vcpu.set_special_registers(tables(vcpu.special_registers()))
        vcpu.set_registers(Registers(rip=0xE000))


def calls(guest: Machine, on_call: Mapping[int, Callable[[], None]] | None = None) -> Calls:
    device = Calls(guest, on_call or {})
    guest.bus.add_ports(RAISE, 12, device, "calls", width=4)
    return device
