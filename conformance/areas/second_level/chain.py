"""The whole way of an address, shown: guest virtual, guest physical, host virtual, and the frame of the machine's memory.

The guest stores through two addresses of one place, a page of 4 KiB and one of 2 MiB.  For both the walk of the guest's
tables (by a model) and KVM_TRANSLATE lead to one guest-physical address; its slot leads to host memory, which holds
what the guest stored; the host's own tables lead to a frame.  With each step goes the size of its page: the guest's by
the walk, the host's by /proc, that of KVM's own tables (the second level, or shadow tables) by what KVM's counters
pages_4k, pages_2m and pages_1g grew by.  What one is not told is unknown, with the reason.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

from virtproof.conformance import host_pages
from virtproof.conformance.case import Case, HostScript, Insn, completes, family
from virtproof.conformance.guest import HOST_PORT, Inapplicable, check
from virtproof.conformance.host_memory import Mapping as Pages
from virtproof.conformance.host_memory import Region
from virtproof.conformance.host_pages import LARGE_PAGE, PAGE
from virtproof.conformance.window import FRAME, NEW, OLD, VA, maps, page
from virtproof.guest_payloads.trampoline import Mode
from virtproof.probes.fact import Unknown
from virtproof.results import Check
from virtproof.spec.cite import linux
from virtproof.spec.x86.walk import Page, walk
from virtproof.vmm.engine import Engine, Memory
from virtproof.vmm.engines.kvm import KvmVm
from virtproof.vmm.machine import Machine

CITE = (
    linux("virt/kvm/api.rst", "KVM_TRANSLATE"),
    linux("virt/kvm/api.rst", "KVM_SET_USER_MEMORY_REGION"),
    linux("admin-guide/mm/pagemap.rst", "Examining Process Page Tables"),
)
AT, SLOT = 0x3000_0000, 9
PLACE = AT + PAGE + VA % PAGE  # in the slot's second page
COUNTERS = {PAGE: "pages_4k", LARGE_PAGE: "pages_2m", 1 << 30: "pages_1g"}

# fmt: off
GUEST = family("second_level", *CITE)("slat.translate.chain", "", Mode.LONG64, (
    Insn("49 89 31", "mov qword ptr [r9], rsi"),  # beside it: the guest's tables are mapped before it is counted
    Insn("ee",       "out dx, al"),
    Insn("48 89 33", "mov qword ptr [rbx], rsi"),
    Insn("8d 40 01", "lea eax, [rax + 1]"),
    Insn("ee",       "out dx, al"),
    Insn("49 89 38", "mov qword ptr [r8], rdi"),
    Insn("8d 40 01", "lea eax, [rax + 1]"),
    Insn("ee",       "out dx, al"),
), completes(regs={"rax": 3}, accesses=()),
    regs={"rax": 1, "rdx": HOST_PORT, "rbx": VA, "rsi": NEW, "r8": PLACE + 8, "rdi": OLD, "r9": VA + PAGE},
    sets=(maps(page(AT + PAGE)), maps(page(FRAME), 1)))
# fmt: on


def in_words(size: int | Unknown) -> str:
    """The size of a page."""
    if isinstance(size, Unknown):
        return f"unknown: {size.reason}"
    return f"{size >> 10} KiB" if size < 1 << 20 else f"{size >> 20} MiB" if size < 1 << 30 else f"{size >> 30} GiB"


def mapped_by(before: Mapping[str, object], after: Mapping[str, object]) -> int | Unknown:
    """The size of the page that KVM has put into its own tables between two readings of its counters."""
    grown = {}
    for size, name in COUNTERS.items():
        old, new = before.get(name), after.get(name)
        if not isinstance(old, int) or not isinstance(new, int):
            return Unknown(f"KVM has no counter {name}")
        if new > old:
            grown[size] = new - old
    if len(grown) == 1:
        return next(iter(grown))
    several = " and ".join(f"{count} of {in_words(size)}" for size, count in grown.items())
    return Unknown(
        f"meanwhile KVM mapped {several}" if grown else "KVM mapped nothing for it that was not there before"
    )


class Seen(NamedTuple):
    """KVM's counters at the three acts, and what the third one found."""

    counters: list[Mapping[str, object] | None]
    checks: list[Check]

    def second_level(self, act: int) -> int | Unknown:
        """The size of KVM's page for what the guest did before an act."""
        before, after = self.counters[act - 1 : act + 1]
        if before is None or after is None:
            return Unknown("the engine is not KVM")
        return mapped_by(before, after)


def _count(seen: Seen, machine: Machine) -> None:
    seen.counters.append(machine.vm.statistics() if isinstance(machine.vm, KvmVm) else None)


def _way(machine: Machine, address: int, size: int, physical: int) -> Iterator[Check]:
    """From guest virtual to guest physical, twice."""
    cr3 = machine.vcpu.special_registers().cr3
    found = walk(lambda at: int.from_bytes(machine.memory.read(at, 8), "little"), cr3, address)
    want = f"{physical:#x} by a page of {in_words(size)}"
    saw = f"{found.physical:#x} by a page of {in_words(found.size)}" if isinstance(found, Page) else "no page"
    yield Check(f"guest virtual {address:#x}, by the tables", want, saw, want == saw)
    said = machine.vcpu.translate(address)
    saw = f"{said.physical:#x}" if said.valid else "no page"
    yield Check(f"guest virtual {address:#x}, by KVM_TRANSLATE", f"{physical:#x}", saw, saw == f"{physical:#x}")


def _in_host(host: int, size: int) -> Iterator[Check]:
    """What the guest stored, in host memory, and the page that it is in."""
    words = (ctypes.c_uint64 * 2).from_address(host)
    want, saw = f"{NEW:#x} {OLD:#x}", " ".join(f"{word:#x}" for word in words)
    where = f"at host virtual {host:#x}"
    yield Check(f"guest physical {PLACE:#x}, in the slot's memory", f"{want} {where}", f"{saw} {where}", want == saw)
    found = host_pages.size(host)
    yield Check(
        f"host virtual {host:#x}, page of the host", in_words(size), in_words(found), found in (size, _unknown(found))
    )


def _unknown(found: int | Unknown) -> Unknown | None:
    """Itself, where it is not known: that speaks neither for the host nor against it."""
    return found if isinstance(found, Unknown) else None


def _follow(
    engine: Engine, memory: Memory, host: int, size: int, frame: Callable[[], Iterable[Check]]
) -> Iterator[Check]:
    """Run the guest on ``memory``, made of pages of ``size`` bytes, whose place is at ``host``; show the chain."""
    seen = Seen([], [])

    def furnish(machine: Machine) -> None:
        machine.vm.set_slot(SLOT, AT, memory)

    def follow(machine: Machine) -> None:
        _count(seen, machine)
        seen.checks.extend(_way(machine, VA, PAGE, PLACE))
        seen.checks.extend(_way(machine, PLACE + 8, LARGE_PAGE, PLACE + 8))
        seen.checks.extend(_in_host(host, size))
        seen.checks.extend(frame())

    count = partial(_count, seen)
    yield from check(GUEST, engine, furnish=furnish, calls={1: count, 2: count, 3: follow})
    yield from seen.checks
    for act, address in ((1, VA), (2, PLACE + 8)):
        found = seen.second_level(act) if len(seen.counters) > act else Unknown("the guest did not come so far")
        fits = isinstance(found, Unknown) or found <= size
        yield Check(
            f"guest virtual {address:#x}, page of KVM's tables", f"{in_words(size)} at most", in_words(found), fits
        )


def _frame_check(host: int, want: Callable[[int], int | Unknown]) -> Iterator[Check]:
    """The machine's frame, where it is shown; ``want`` says by another way what it must be."""
    frame = host_pages.frame(host)
    if isinstance(frame, Unknown):
        yield Check("host virtual, the machine's frame", "any", f"unknown: {frame.reason}", True)
        return
    same = want(frame)
    text = "none" if isinstance(same, Unknown) else f"{same:#x}"
    yield Check("host virtual, the machine's frame", text, f"{frame:#x}", frame == same)


def _small(engine: Engine) -> Iterator[Check]:
    """Pages of 4 KiB, of a file that is mapped twice: both mappings lead to one frame."""
    with ExitStack() as stack:
        fd = os.memfd_create("virtproof", os.MFD_CLOEXEC)
        stack.callback(os.close, fd)
        os.ftruncate(fd, 2 * PAGE)
        mapping, second = (stack.enter_context(Pages(2 * PAGE, fd)) for _ in range(2))
        host, other = (one.address + PLACE - AT for one in (mapping, second))

        def frame() -> Iterator[Check]:
            ctypes.string_at(other, 1)  # a mapping has a page from its first use on
            return _frame_check(host, lambda _: host_pages.frame(other))

        yield from _follow(engine, mapping, host, PAGE, frame)


def _large(engine: Engine) -> Iterator[Check]:
    """A page of 2 MiB: a frame has the place in it that the address has."""
    with Pages(2 * LARGE_PAGE) as mapping:
        mapping.pages.madvise(mmap.MADV_HUGEPAGE)
        start = -(-mapping.address // LARGE_PAGE) * LARGE_PAGE
        ctypes.memset(start, 0, 1)
        given = host_pages.size(start)
        if given != LARGE_PAGE:
            raise Inapplicable(
                f"the host gave a page of {in_words(given)}: /sys/kernel/mm/transparent_hugepage, or memory is short"
            )
        host = start + PLACE - AT
        inside = host % LARGE_PAGE // PAGE

        def frame() -> Iterator[Check]:
            return _frame_check(host, lambda found: found - found % host_pages.FRAMES + inside)

        yield from _follow(engine, Region(start, LARGE_PAGE), host, LARGE_PAGE, frame)


# fmt: off
CASES: tuple[Case, ...] = (
    HostScript(
        id="slat.translate.chain", title="An address leads from the guest's tables to a frame of the machine, each step confirmed by another",
        area="second_level", mode=Mode.LONG64, cite=CITE, script=_small, refs=("slat.translate",), priority=2),
    HostScript(
        id="slat.translate.chain_2m", title="... and to a frame of a large page of the host",
        area="second_level", mode=Mode.LONG64, cite=CITE, script=_large, refs=("slat.translate",), priority=2),
)
# fmt: on
