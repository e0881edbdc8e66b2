"""What backs a slot is the host's memory itself: changes by the host under a slot are the guest's at once.

Pages that the host gives back (madvise, MADV_DONTNEED) read as zero from then on, in the guest too.  A shared file that
backs a slot holds what the guest wrote, and the guest sees what others write to it.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable

from virtproof.conformance.case import Case, HostScript, Insn, completes, family, mem64
from virtproof.conformance.guest import HOST_PORT, check
from virtproof.conformance.host_memory import Mapping
from virtproof.conformance.window import CELL, NEW, OLD, VA, pde, table
from virtproof.guest_payloads import images
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import linux
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine

CITE = (linux("virt/kvm/api.rst", "KVM_SET_USER_MEMORY_REGION"),)
row = family("second_level", *CITE)

LONG64 = Mode.LONG64
PAGE, AT, SLOT = 0x1000, 0x3000_0000, 9
OFFSET = 0x128
REGS = {"rax": 1, "rdx": HOST_PORT, "rbx": AT + OFFSET, "rsi": NEW}

LOAD_RCX, LOAD_RBP = Insn("48 8b 0b", "mov rcx, qword ptr [rbx]"), Insn("48 8b 2b", "mov rbp, qword ptr [rbx]")
STORE = Insn("48 89 33", "mov qword ptr [rbx], rsi")
INVLPG = Insn("0f 01 3b", "invlpg byte ptr [rbx]")
CALL_HOST = Insn("ee", "out dx, al")


def _dontneed(engine: Engine) -> Iterable[Check]:
    with Mapping(PAGE) as mapping:
        expect = completes(regs={"rcx": NEW, "rbp": 0}, accesses=())
        guest = row("slat.madvise", "", LONG64, (STORE, LOAD_RCX, CALL_HOST, LOAD_RBP), expect, regs=REGS)

        def furnish(machine: Machine) -> None:
            machine.vm.set_slot(SLOT, AT, mapping)

        def give_back(machine: Machine) -> None:
            mapping.pages.madvise(mmap.MADV_DONTNEED)

        yield from check(guest, engine, furnish=furnish, calls={1: give_back})


def _shared_file(engine: Engine) -> Iterable[Check]:
    fd = os.memfd_create("virtproof")
    try:
        os.ftruncate(fd, PAGE)
        with Mapping(PAGE, fd) as mapping:
            expect = completes(regs={"rcx": NEW, "rbp": OLD}, accesses=())
            guest = row("slat.shared_file", "", LONG64, (STORE, LOAD_RCX, CALL_HOST, LOAD_RBP), expect, regs=REGS)
            read: list[int] = []

            def furnish(machine: Machine) -> None:
                machine.vm.set_slot(SLOT, AT, mapping)

            def exchange(machine: Machine) -> None:
                read.append(int.from_bytes(os.pread(fd, 8, OFFSET), "little"))
                os.pwrite(fd, OLD.to_bytes(8, "little"), OFFSET)

            yield from check(guest, engine, furnish=furnish, calls={1: exchange})
            yield Check("in the file", f"{NEW:#x}", " ".join(f"{value:#x}" for value in read), read == [NEW])
    finally:
        os.close(fd)


def _private_file(engine: Engine) -> Iterable[Check]:
    """A file that is mapped for this process alone: the guest reads it, and writes to a copy."""
    fd = os.memfd_create("virtproof")
    try:
        os.pwrite(fd, OLD.to_bytes(8, "little").rjust(OFFSET + 8, b"\0").ljust(PAGE, b"\0"), 0)
        with Mapping(PAGE, fd, private=True) as mapping:
            expect = completes(regs={"rcx": OLD, "rbp": NEW}, accesses=())
            guest = row("slat.cow", "", LONG64, (LOAD_RCX, STORE, LOAD_RBP), expect, regs=REGS)

            def furnish(machine: Machine) -> None:
                machine.vm.set_slot(SLOT, AT, mapping)

            yield from check(guest, engine, furnish=furnish)
        saw = int.from_bytes(os.pread(fd, 8, OFFSET), "little")
        yield Check("in the file", f"{OLD:#x}", f"{saw:#x}", saw == OLD)
    finally:
        os.close(fd)


def _table_taken_away(engine: Engine) -> Iterable[Check]:
    """The host's mapping of the page that holds a guest's page table is dropped; the file keeps what is in it."""
    fd = os.memfd_create("virtproof")
    try:
        os.ftruncate(fd, PAGE)
        image = images.load(LONG64.value)
        os.pwrite(fd, (image["frame"] + 0x03).to_bytes(8, "little"), 0)
        with Mapping(PAGE, fd) as mapping:
            expect = completes(regs={"rcx": OLD, "rbp": OLD}, accesses=())
            guest = row(
                "slat.exit_qual", "", LONG64, (LOAD_RCX, CALL_HOST, INVLPG, LOAD_RBP), expect,
                regs=REGS | {"rbx": VA}, sets=(mem64(pde(), table(AT)),), fill={CELL: OLD},
            )  # fmt: skip

            def furnish(machine: Machine) -> None:
                machine.vm.set_slot(SLOT, AT, mapping)

            def drop(machine: Machine) -> None:
                mapping.pages.madvise(mmap.MADV_DONTNEED)

            yield from check(guest, engine, furnish=furnish, calls={1: drop})
    finally:
        os.close(fd)


# fmt: off
CASES: tuple[Case, ...] = (
    HostScript(id="slat.madvise",     title="Pages that the host gave back read as zero",             area="second_level", mode=LONG64, cite=CITE, script=_dontneed),
    HostScript(id="slat.cow",         title="What the guest writes to a private mapping of a file stays out of the file", area="second_level", mode=LONG64, cite=CITE, script=_private_file, priority=2),
    HostScript(id="slat.exit_qual",   title="A page table that the host has to fetch anew is walked as before", area="second_level", mode=LONG64, cite=CITE, script=_table_taken_away, priority=2),
    HostScript(id="slat.shared_file", title="A shared file under a slot is the same file to everybody", area="second_level", mode=LONG64, cite=CITE, script=_shared_file),
)
# fmt: on
