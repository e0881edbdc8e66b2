"""Coalesced MMIO: stores to a zone wait in a ring of the VM, and come out when something else does.

The ring is a page, with room for so many entries as fit behind its two indices, less one.  What is written while it is
full comes out as ever, and so do reads.  Linux include/uapi/linux/kvm.h, struct kvm_coalesced_mmio_ring.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from ctypes import sizeof

from virtproof.conformance.case import Case, HostScript, Insn, completes, family, mmio_read, mmio_write
from virtproof.conformance.guest import HOST_PORT, Inapplicable, check
from virtproof.conformance.of_kvm import kvm_vcpu, kvm_vm
from virtproof.guest_payloads.trampoline import Mode
from virtproof.kvm import ioctl
from virtproof.results import Check
from virtproof.spec.cite import linux
from virtproof.spec.kvm import Cap, Ioctl
from virtproof.spec.kvm.exits import PageOffset
from virtproof.spec.kvm.structures import CoalescedMmio, CoalescedMmioRing, CoalescedMmioZone
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine

CITE = (linux("virt/kvm/api.rst", "KVM_(UN)REGISTER_COALESCED_MMIO"),)
row = family("second_level", *CITE)

PAGE, ZONE = mmap.PAGESIZE, 0x3000_0000
ROOM = (PAGE - sizeof(CoalescedMmioRing)) // sizeof(CoalescedMmio) - 1
OVER = 5  # stores for which there is no room
ALL_ONES = 0xFFFF_FFFF
VALUE = 0x1122_3344_5566_7788

# fmt: off
CODE = (
    Insn("88 03",       "mov byte ptr [rbx], al"),
    Insn("66 89 43 02", "mov word ptr [rbx + 2], ax"),
    Insn("48 89 43 08", "mov qword ptr [rbx + 8], rax"),
    Insn("89 0f",       "mov dword ptr [rdi], ecx"),
    Insn("ff c9",       "dec ecx"),
    Insn("75 fa",       "jne 0xa"),
    Insn("8b 33",       "mov esi, dword ptr [rbx]"),
    Insn("b0 01",       "mov al, 1"),
    Insn("ee",          "out dx, al"),
)
# fmt: on
LOOPED = ROOM - 3 + OVER
FIRST = ((ZONE, 1, 0x88), (ZONE + 2, 2, 0x7788), (ZONE + 8, 8, VALUE))
WANTED = (*FIRST, *((ZONE + 0x10, 4, n) for n in range(LOOPED, OVER, -1)))
GUEST = row(
    "slat.coalesced_zone",
    "",
    Mode.LONG64,
    CODE,
    completes(
        keeps=False,
        regs={"rcx": 0, "rsi": ALL_ONES},
        accesses=(*(mmio_write(ZONE + 0x10, 4, n) for n in range(OVER, 0, -1)), mmio_read(ZONE, 4, ALL_ONES)),
    ),
    regs={"rax": VALUE, "rbx": ZONE, "rcx": LOOPED, "rdi": ZONE + 0x10, "rdx": HOST_PORT},
)


def _zone(engine: Engine) -> Iterable[Check]:
    seen: list[tuple[int, int, int]] = []

    def register(machine: Machine) -> None:
        if not kvm_vm(machine).check_extension(Cap.COALESCED_MMIO):
            raise Inapplicable("this kernel does not offer KVM_CAP_COALESCED_MMIO")
        ioctl(kvm_vm(machine).fd, Ioctl.REGISTER_COALESCED_MMIO, bytes(CoalescedMmioZone(addr=ZONE, size=0x14)))

    def read_ring(machine: Machine) -> None:
        at = PageOffset.COALESCED_MMIO.value * PAGE
        with mmap.mmap(kvm_vcpu(machine).fd, PAGE, flags=mmap.MAP_SHARED, offset=at) as ring:
            data = bytes(ring)
        head = CoalescedMmioRing.from_buffer_copy(data)
        for n in range(head.first, head.last):  # never collected: the ring has not wrapped
            entry = CoalescedMmio.from_buffer_copy(data, sizeof(CoalescedMmioRing) + n * sizeof(CoalescedMmio))
            seen.append((entry.phys_addr, entry.len, int.from_bytes(bytes(entry.data)[: entry.len], "little")))

    yield from check(GUEST, engine, furnish=register, calls={1: read_ring})
    yield Check("entries", str(ROOM), str(len(seen)), len(seen) == ROOM)
    wrong = next((n for n, pair in enumerate(zip(WANTED, seen, strict=False)) if pair[0] != pair[1]), None)
    shown = "none" if wrong is None else f"{wrong}: {' '.join(map(hex, seen[wrong]))}"
    yield Check("first entry that is not the store", "none", shown, wrong is None)


# fmt: off
CASES: tuple[Case, ...] = (
    HostScript(id="slat.coalesced_zone", title="Stores to a coalesced zone wait in the ring, in their order, until it is full", area="second_level", mode=Mode.LONG64, cite=CITE, script=_zone, priority=2),
)
# fmt: on
