"""What second-level translation spares the host: the guest's page tables are the guest's own affair.

With EPT or NPT a guest's page fault, MOV to CR3 and INVLPG never leave the guest, and a page of memory costs the host one
fault: when it is touched first, by whatever address.  Shadow page tables show guests the same, and cost an exit each,
and a fault for each address.  So these cases tell the two apart, by KVM's counters; they are about hardware with
second-level translation switched on, and say nothing anywhere else.

The host's own interrupts are exits too: what must not grow may grow a little.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable, Iterable, Mapping
from ctypes import sizeof
from itertools import pairwise

from virtproof.conformance import host_pages
from virtproof.conformance.case import At, Case, HostScript, Insn, Program, completes, family
from virtproof.conformance.counters import Counted, needs_second_level, within
from virtproof.conformance.guest import HOST_PORT, Inapplicable, check, check_program
from virtproof.conformance.host_memory import Mapping as Pages
from virtproof.conformance.host_memory import Region
from virtproof.conformance.of_kvm import kvm_vcpu, kvm_vm
from virtproof.guest_payloads.trampoline import Mode
from virtproof.kvm import ioctl
from virtproof.results import Check
from virtproof.spec.cite import apm, linux, sdm
from virtproof.spec.kvm import Cap, Ioctl
from virtproof.spec.kvm.devices import StatsHeader
from virtproof.spec.kvm.structures import PreFaultMemory
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine
from virtproof.vmm.stats import Stats

CITE = (
    sdm("3C", "VMX Support for Address Translation, 'The Extended Page Table Mechanism (EPT)'"),
    apm(2, "Secure Virtual Machine, 'Nested Paging'"),
    linux("virt/kvm/api.rst", "KVM_GET_STATS_FD"),
)
ROUNDS, PAGES, PAGE = 1000, 256, 4096
FRESH, SLOT = 0x3000_0000, 9
ALIAS = 0x80_0000_0000
LARGE, LARGE_PAGE = 4, 1 << 21
NOISE = ROUNDS // 2  # exits of a thousand rounds that may be the host's own


TWO_READS = family("second_level", *CITE)(
    "slat.mmio_spte",
    "",
    Mode.LONG64,
    (
        Insn("ee", "out dx, al"),
        Insn("8b 33", "mov esi, dword ptr [rbx]"),
        Insn("8b 33", "mov esi, dword ptr [rbx]"),
        Insn("ee", "out dx, al"),
    ),
    completes(regs={"rsi": 0xFFFF_FFFF}),
    regs={"rax": 1, "rbx": FRESH, "rdx": HOST_PORT},
)


def program(id: str, test: str, observations: tuple[int, ...], rounds: int) -> Program:  # noqa: A002
    return Program(
        id=id, title=id, area="second_level", mode=Mode.LONG64, cite=CITE, image="exits", irqchip=True,
        arguments=(At(test), rounds), observations=observations, seconds=20.0,
    )  # fmt: skip


Limits = Mapping[str, tuple[int, int]]  # by how much a counter may grow


def costs(
    id: str,  # noqa: A002
    title: str,
    test: str,
    observations: tuple[int, ...],
    limits: Limits,
    refs: tuple[str, ...] = (),
) -> Case:
    def script(engine: Engine) -> Iterable[Check]:
        needs_second_level(engine)
        counted = Counted()
        yield from counted.run(program(id, test, observations, ROUNDS), engine)
        for name, (least, most) in limits.items():
            yield within(f"{ROUNDS} times", counted.first, name, least, most)

    return proof(id, title, script, refs)


def proof(
    id: str,  # noqa: A002
    title: str,
    script: Callable[[Engine], Iterable[Check]],
    refs: tuple[str, ...] = (),
    priority: int = 1,
) -> Case:
    return HostScript(
        id=id, title=title, area="second_level", mode=Mode.LONG64, cite=CITE, script=script,
        proves=("ept", "npt"), discriminates=True, refs=refs, seconds=20.0, priority=priority,
    )  # fmt: skip


def _fresh_pages(engine: Engine) -> Iterable[Check]:
    """A slot of small pages that nobody has touched: each costs one fault, and none by its second address."""
    needs_second_level(engine)
    counted = Counted()
    case = program("slat.ept_count", "fresh_pages", (PAGES * (PAGES - 1) // 2,), PAGES)
    with Pages(PAGES * PAGE) as pages:
        pages.pages.madvise(mmap.MADV_NOHUGEPAGE)

        def furnish(machine: Machine) -> None:
            machine.vm.set_slot(SLOT, FRESH, pages)

        yield from counted.run(case, engine, furnish=furnish)
    yield within(f"{PAGES} pages, first touch", counted.first, "pf_taken", PAGES, PAGES + PAGES // 4)
    yield within(f"{PAGES} pages, second address", counted.second, "pf_taken", 0, PAGES // 4)


def _prefaulted(engine: Engine) -> Iterable[Check]:
    """A slot of small pages that KVM_PRE_FAULT_MEMORY has mapped: the guest's first touch costs nothing."""
    needs_second_level(engine)
    counted = Counted()
    case = program("slat.prefault", "fresh_pages", (PAGES * (PAGES - 1) // 2,), PAGES)
    with Pages(PAGES * PAGE) as pages:
        pages.pages.madvise(mmap.MADV_NOHUGEPAGE)

        def furnish(machine: Machine) -> None:
            if not kvm_vm(machine).check_extension(Cap.PRE_FAULT_MEMORY):
                raise Inapplicable("this kernel does not offer KVM_CAP_PRE_FAULT_MEMORY")
            machine.vm.set_slot(SLOT, FRESH, pages)
            kvm_vcpu(machine).set(Ioctl.PRE_FAULT_MEMORY, bytes(PreFaultMemory(gpa=FRESH, size=PAGES * PAGE)))

        yield from counted.run(case, engine, furnish=furnish)
    yield within(f"{PAGES} pages, first touch", counted.first, "pf_taken", 0, PAGES // 4)


def _large_pages(engine: Engine) -> Iterable[Check]:
    """Host pages of 2 MiB: one fault each, however many small pages of the guest lie in it."""
    needs_second_level(engine)
    counted = Counted()
    small = LARGE * LARGE_PAGE // PAGE
    case = program("slat.ept_count_2m", "fresh_pages", (small * (small - 1) // 2,), small)
    with Pages((LARGE + 1) * LARGE_PAGE) as pages:
        pages.pages.madvise(mmap.MADV_HUGEPAGE)
        region = Region(-(-pages.address // LARGE_PAGE) * LARGE_PAGE, LARGE * LARGE_PAGE)
        ctypes.memset(region.address, 0, region.size)
        if any(host_pages.size(region.address + n * LARGE_PAGE) != LARGE_PAGE for n in range(LARGE)):
            raise Inapplicable("the host gave no large pages: /sys/kernel/mm/transparent_hugepage, or memory is short")

        def furnish(machine: Machine) -> None:
            machine.vm.set_slot(SLOT, FRESH, region)

        yield from counted.run(case, engine, furnish=furnish)
    yield within(f"{LARGE} large pages, first touch", counted.first, "pf_taken", LARGE, 8 * LARGE)
    yield within(f"{LARGE} large pages, second address", counted.second, "pf_taken", 0, 4 * LARGE)


def _holes(engine: Engine) -> Iterable[Check]:
    """KVM remembers a hole: its second access is an exit, and no walk of the slots."""
    needs_second_level(engine)
    readings: list[dict[str, int | list[int]]] = []

    def read_counters(machine: Machine) -> None:
        readings.append(kvm_vcpu(machine).statistics())

    yield from check(TWO_READS, engine, calls={1: read_counters})
    before, after = readings if len(readings) == 2 else ({}, {})
    grown = {
        name: value - before[name]  # type: ignore[operator]
        for name, value in after.items()
        if name in ("pf_mmio_spte_created", "mmio_exits")
    }
    yield within("two reads of a hole", grown, "pf_mmio_spte_created", 1, 1)
    yield within("two reads of a hole", grown, "mmio_exits", 2, 2)


def _descriptor(engine: Engine) -> Iterable[Check]:
    """The table of counters is consistent, and the descriptor says whose it is."""
    seen: list[Check] = []

    def look(machine: Machine) -> None:
        with Stats(ioctl(kvm_vcpu(machine).fd, Ioctl.GET_STATS_FD)) as stats:
            names = [counter.name for counter in stats.counters]
            header = StatsHeader.from_buffer_copy(os.pread(stats.fd, sizeof(StatsHeader), 0))
            whose = (
                os.pread(stats.fd, header.name_size, header.id_offset).partition(b"\0")[0].decode("ascii", "replace")
            )
            places = sorted((counter.offset, counter.length) for counter in stats.counters)
            apart = all(at + 8 * length <= after for (at, length), (after, _) in pairwise(places))
        twice = sorted({name for name in names if names.count(name) > 1})
        want = f"kvm-{os.getpid()}/vcpu-0"
        seen.append(Check("names that come twice", "none", " ".join(twice) or "none", not twice))
        seen.append(Check("the counter exits", "there", "there" if "exits" in names else "absent", "exits" in names))
        seen.append(Check("values", "do not overlap", "do not overlap" if apart else "overlap", apart))
        seen.append(Check("whose", want, whose, whose == want))

    case = program("slat.stats_fd", "cr3_loads", (), 1)
    yield from check_program(case, engine, calls={1: look})
    yield from seen


# fmt: off
CASES: tuple[Case, ...] = (
    costs("slat.pf_noexit",     "A guest's page fault is the guest's own",      "faults",        (ALIAS,), {"pf_guest": (0, 0), "exits": (0, NOISE)}, ("claim.ept", "claim.npt")),
    costs("slat.cr3_noexit",    "MOV to CR3 does not leave the guest",          "cr3_loads",     (),       {"exits": (0, NOISE)}),
    costs("slat.invlpg_noexit", "INVLPG does not leave the guest",              "invalidations", (),       {"invlpg": (0, 0), "exits": (0, NOISE)}),
    proof("slat.ept_count",     "A page costs one fault, whatever its address", _fresh_pages),
    proof("slat.ept_count_2m",  "A host page of 2 MiB costs one fault",         _large_pages, priority=2),
    proof("slat.prefault",      "Memory that KVM_PRE_FAULT_MEMORY has mapped costs no fault", _prefaulted, priority=2),
    HostScript(id="slat.mmio_spte", title="KVM remembers a hole that was read", area="second_level", mode=Mode.LONG64, cite=CITE, script=_holes, priority=2),
    HostScript(id="slat.stats_fd", title="KVM's counters have names and places of their own", area="second_level", mode=Mode.LONG64,
               cite=(linux("virt/kvm/api.rst", "KVM_GET_STATS_FD"),), script=_descriptor),
)
# fmt: on
