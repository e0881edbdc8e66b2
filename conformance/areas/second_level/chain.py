"""The whole way of an address, shown: guest virtual, guest physical, host virtual, and the frame of the machine's memory.

The guest stores through two addresses of one place, a page of 4 KiB and one of 2 MiB.  For both the walk of the guest's
tables (by a model) and KVM_TRANSLATE lead to one guest-physical address; its slot leads to host memory, which holds
what the guest stored; the host's own tables lead to a frame, which a second mapping of that memory leads to as well.
Frames are shown to privileged users only (CAP_SYS_ADMIN).
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable, Iterator

from virtproof.conformance.case import Case, HostScript, Insn, completes, family
from virtproof.conformance.guest import HOST_PORT, check
from virtproof.conformance.host_memory import PAGE, Mapping
from virtproof.conformance.window import NEW, OLD, VA, maps, page
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import linux
from virtproof.spec.x86.walk import Page, walk
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine

CITE = (
    linux("virt/kvm/api.rst", "KVM_TRANSLATE"),
    linux("virt/kvm/api.rst", "KVM_SET_USER_MEMORY_REGION"),
    linux("admin-guide/mm/pagemap.rst", "Examining Process Page Tables"),
)
AT, SLOT = 0x3000_0000, 9
PLACE = AT + PAGE + VA % PAGE  # in the slot's second page

# fmt: off
GUEST = family("second_level", *CITE)("slat.translate.chain", "", Mode.LONG64, (
    Insn("48 89 33", "mov qword ptr [rbx], rsi"),
    Insn("49 89 38", "mov qword ptr [r8], rdi"),
    Insn("ee",       "out dx, al"),
), completes(accesses=()), regs={"rax": 1, "rdx": HOST_PORT, "rbx": VA, "rsi": NEW, "r8": PLACE + 8, "rdi": OLD}, sets=(maps(page(AT + PAGE)),))
# fmt: on


def _frame(address: int) -> int | None:
    """The machine's frame of a page of this process; None where it is not shown, or none is there."""
    with open("/proc/self/pagemap", "rb") as pagemap:
        pagemap.seek(address // PAGE * 8)
        (entry,) = struct.unpack("<Q", pagemap.read(8))
    return (entry & (1 << 55) - 1 or None) if entry >> 63 else None


def _way(machine: Machine, address: int, size: int, physical: int) -> Iterator[Check]:
    """From guest virtual to guest physical, twice."""
    cr3 = machine.vcpu.special_registers().cr3
    found = walk(lambda at: int.from_bytes(machine.memory.read(at, 8), "little"), cr3, address)
    want = f"{physical:#x} by a page of {size >> 10} KiB"
    saw = f"{found.physical:#x} by a page of {found.size >> 10} KiB" if isinstance(found, Page) else "no page"
    yield Check(f"guest virtual {address:#x}, by the tables", want, saw, want == saw)
    said = machine.vcpu.translate(address)
    saw = f"{said.physical:#x}" if said.valid else "no page"
    yield Check(f"guest virtual {address:#x}, by KVM_TRANSLATE", f"{physical:#x}", saw, saw == f"{physical:#x}")


def _chain(engine: Engine) -> Iterable[Check]:
    shown: list[Check] = []
    fd = os.memfd_create("virtproof")
    try:
        os.ftruncate(fd, 2 * PAGE)
        with Mapping(2 * PAGE, fd) as mapping, Mapping(2 * PAGE, fd) as second:

            def furnish(machine: Machine) -> None:
                machine.vm.set_slot(SLOT, AT, mapping)

            def follow(machine: Machine) -> None:
                shown.extend(_way(machine, VA, PAGE, PLACE))
                shown.extend(_way(machine, PLACE + 8, 2 << 20, PLACE + 8))
                host = mapping.address + PLACE - AT
                words = (ctypes.c_uint64 * 2).from_address(host)
                want, saw = f"{NEW:#x} {OLD:#x}", " ".join(f"{word:#x}" for word in words)
                where = f"at host virtual {host:#x}"
                what = f"guest physical {PLACE:#x}, in the slot's memory"
                shown.append(Check(what, f"{want} {where}", f"{saw} {where}", want == saw))
                other = second.address + PLACE - AT
                ctypes.string_at(other, 1)  # a mapping has a page from its first use on
                frame, same = _frame(host), _frame(other)
                if frame is not None:
                    want = f"{same:#x}" if same is not None else "none"
                    shown.append(Check("host virtual, the machine's frame", want, f"{frame:#x}", frame == same))

            yield from check(GUEST, engine, furnish=furnish, calls={1: follow})
            yield from shown
    finally:
        os.close(fd)


CASES: tuple[Case, ...] = (
    HostScript(
        id="slat.translate.chain",
        title="An address leads from the guest's tables to a frame of the machine, each step confirmed by another",
        area="second_level",
        mode=Mode.LONG64,
        cite=CITE,
        script=_chain,
        refs=("slat.translate",),
        priority=2,
    ),
)
