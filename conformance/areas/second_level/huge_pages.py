"""Host pages of 2 MiB under a slot, and none: the guest sees the same memory, and the host spares table entries.

KVM maps 2 MiB at once where the host has a large page there, the slot covers it, and guest-physical and host-virtual
addresses agree in their low 21 bits; KVM's counter pages_2m tells.  Guest pages may be larger or smaller than host
pages.  Where the host did not give large pages the counter says nothing, and is left out.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterable

from virtproof.conformance import host_pages
from virtproof.conformance.case import Case, HostScript, Insn, Row, completes, family, mem64
from virtproof.conformance.counters import needs_second_level
from virtproof.conformance.guest import HOST_PORT, Inapplicable, check
from virtproof.conformance.host_memory import Mapping, Region
from virtproof.conformance.window import WINDOW, page_2m, pde, table
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import apm, linux, sdm
from virtproof.vmm.engine import Engine
from virtproof.vmm.engines.kvm import KvmVm
from virtproof.vmm.machine import Machine

CITE = (
    sdm("3C", "VMX Support for Address Translation, 'The Extended Page Table Mechanism (EPT)'"),
    apm(2, "Secure Virtual Machine, 'Nested Paging'"),
    linux("virt/kvm/api.rst", "KVM_SET_USER_MEMORY_REGION"),
)
row = family("second_level", *CITE, priority=2)

LONG64 = Mode.LONG64
PAGE, MIB2, PAGES = 0x1000, 1 << 21, 512
AT, SLOT, BESIDE = 0x3000_0000, 9, 10
TABLE = AT + 8 * MIB2

# fmt: off
TOUCH_ALL = (  # number each page downwards, and add up what the host has put into them
    Insn("89 0b",       "mov dword ptr [rbx], ecx"),
    Insn("48 03 73 08", "add rsi, qword ptr [rbx + 8]"),
    Insn("48 01 fb",    "add rbx, rdi"),
    Insn("ff c9",       "dec ecx"),
    Insn("75 f3",       "jne 0"),
)
CALL = Insn("ee", "out dx, al")
LOAD_RSI, LOAD_R8 = Insn("49 8b 31", "mov rsi, qword ptr [r9]"), Insn("4d 8b 01", "mov r8, qword ptr [r9]")
CLEAR_RSI = Insn("31 f6", "xor esi, esi")
AGAIN = (*TOUCH_ALL[:-1], Insn("75 f3", "jne 9"))
# fmt: on
TOTAL = sum(3 * n + 1 for n in range(PAGES))


def _guest(at: int, **more: object) -> Row:
    expect = completes(keeps=False, regs={"rcx": 0, "rsi": TOTAL}, accesses=())
    regs = {"rax": 1, "rdx": HOST_PORT, "rbx": at, "rcx": PAGES, "rsi": 0, "rdi": PAGE}
    return row("huge", "", LONG64, (*TOUCH_ALL, CALL), expect, regs=regs, seconds=10.0, **more)


class _Backing:
    """2 MiB of host memory at a multiple of 2 MiB plus ``offset``, of large pages or not, numbered page by page."""

    def __init__(self, mapping: Mapping, *, large: bool, offset: int = 0) -> None:
        mapping.pages.madvise(mmap.MADV_HUGEPAGE if large else mmap.MADV_NOHUGEPAGE)
        self.region = Region(-(-mapping.address // MIB2) * MIB2 + offset, MIB2)
        for n in reversed(range(PAGES)):
            ctypes.c_uint64.from_address(self.region.address + n * PAGE + 8).value = 3 * n + 1

    def numbered(self) -> Check:
        """Has the guest written each page's number to it?"""
        wrong = [n for n in range(PAGES) if self._word(n) != PAGES - n]
        return Check("pages with another number", "0", str(len(wrong)), not wrong)

    def _word(self, n: int) -> int:
        return ctypes.c_uint32.from_address(self.region.address + n * PAGE).value

    @property
    def is_large(self) -> bool:
        """Has the host made large pages of it?"""
        return host_pages.size(self.region.address) == MIB2


def _large_pages(machine: Machine) -> int | None:
    """KVM's counter pages_2m, None where it has none."""
    if not isinstance(machine.vm, KvmVm):
        return None
    value = machine.vm.statistics().get("pages_2m")
    return value if isinstance(value, int) else None


def _run(engine: Engine, guest: Row, backing: _Backing, tables: dict[int, int]) -> Iterable[Check | int]:
    """The checks of the guest's run, then KVM's counter while the guest is there."""
    counted: list[int] = []

    def furnish(machine: Machine) -> None:
        machine.vm.set_slot(SLOT, AT, backing.region)
        if tables:
            machine.memory.add(TABLE, PAGE)
        for at, entry in tables.items():
            machine.memory.load(at, entry.to_bytes(8, "little"))

    def count(machine: Machine) -> None:
        value = _large_pages(machine)
        if value is not None:
            counted.append(value)

    yield from check(guest, engine, furnish=furnish, calls={1: count})
    yield backing.numbered()
    yield from counted


def _many_small(engine: Engine) -> Iterable[Check]:
    """A guest page of 2 MiB over host pages of 4 KiB."""
    with Mapping(2 * MIB2) as mapping:
        backing = _Backing(mapping, large=False)
        guest = _guest(WINDOW, sets=(mem64(pde(), page_2m(AT)),))
        for seen in _run(engine, guest, backing, {}):
            yield _none(seen) if isinstance(seen, int) else seen


def _small_in_large(engine: Engine) -> Iterable[Check]:
    """Guest pages of 4 KiB over a host page of 2 MiB."""
    with Mapping(2 * MIB2) as mapping:
        backing = _Backing(mapping, large=True)
        tables = {TABLE + 8 * n: AT + n * PAGE + 0x03 for n in range(PAGES)}
        for seen in _run(engine, _guest(WINDOW, sets=(mem64(pde(), table(TABLE)),)), backing, tables):
            if not isinstance(seen, int):
                yield seen
            elif _tells(engine, backing):
                yield _some(seen)


def _large(engine: Engine) -> Iterable[Check]:
    """A large page of the host is one of the second level."""
    needs_second_level(engine)
    with Mapping(2 * MIB2) as mapping:
        backing = _Backing(mapping, large=True)
        if not backing.is_large:
            raise Inapplicable("the host gave no large page: /sys/kernel/mm/transparent_hugepage, or memory is short")
        for seen in _run(engine, _guest(AT), backing, {}):
            yield _some(seen) if isinstance(seen, int) else seen


def _misaligned(engine: Engine) -> Iterable[Check]:
    """Large pages of the host, 4 KiB apart from those of the guest."""
    with Mapping(4 * MIB2) as mapping:
        backing = _Backing(mapping, large=True, offset=PAGE)
        for seen in _run(engine, _guest(AT), backing, {}):
            yield _none(seen) if isinstance(seen, int) else seen


def _neighbour(engine: Engine) -> Iterable[Check]:
    """Two slots share a large page of the host; the one that the guest has used is deleted, the other keeps its data."""
    with Mapping(2 * MIB2) as mapping:
        backing = _Backing(mapping, large=True)
        half = MIB2 // 2
        lower, upper = Region(backing.region.address, half), Region(backing.region.address + half, half)

        def furnish(machine: Machine) -> None:
            machine.vm.set_slot(SLOT, AT, lower)
            machine.vm.set_slot(BESIDE, AT + half, upper)

        def delete(machine: Machine) -> None:
            machine.vm.delete_slot(BESIDE)

        expect = completes(
            keeps=False,
            regs={"rcx": 0, "rsi": sum(3 * n + 1 for n in range(PAGES // 2)), "r8": 0xFFFF_FFFF_FFFF_FFFF},
        )
        code = (LOAD_RSI, CALL, LOAD_R8, CLEAR_RSI, *AGAIN)
        regs = {"rax": 1, "rdx": HOST_PORT, "rbx": AT, "rcx": PAGES // 2, "rdi": PAGE, "rsi": AT + half}
        guest = row("slat.huge_split_delete", "", LONG64, code, expect, regs=regs | {"r9": AT + half}, seconds=10.0)
        yield from check(guest, engine, furnish=furnish, calls={1: delete})


def _tells(engine: Engine, backing: _Backing) -> bool:
    """Does the counter say anything here?"""
    try:
        needs_second_level(engine)
    except Inapplicable:
        return False
    return backing.is_large


def _none(count: int) -> Check:
    return Check("pages_2m", "0", str(count), count == 0)


def _some(count: int) -> Check:
    return Check("pages_2m", "1 or more", str(count), count >= 1)


# fmt: off
CASES: tuple[Case, ...] = (
    HostScript(id="slat.huge_2m",           title="A host page of 2 MiB is mapped as one",                   area="second_level", mode=LONG64, cite=CITE, script=_large, priority=2, seconds=10.0),
    HostScript(id="slat.huge_misaligned",   title="Host pages of 2 MiB that lie across the guest's are mapped in small ones", area="second_level", mode=LONG64, cite=CITE, script=_misaligned, priority=2, seconds=10.0),
    HostScript(id="slat.huge_split_delete", title="A slot deleted beside another in one host page leaves that alone", area="second_level", mode=LONG64, cite=CITE, script=_neighbour, priority=2, seconds=10.0),
    HostScript(id="pg.misc.hugepage_split", title="A guest page of 2 MiB over small host pages",             area="paging", mode=LONG64, cite=CITE, script=_many_small, priority=2, seconds=10.0),
    HostScript(id="pg.misc.guest4k_hosthuge", title="Guest pages of 4 KiB over a host page of 2 MiB",        area="paging", mode=LONG64, cite=CITE, script=_small_in_large, priority=2, seconds=10.0),
)
# fmt: on
