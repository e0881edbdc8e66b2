"""A guest reaches its slots and nothing beside them, and finds in them nothing of anybody else.

A store at the edge of a slot writes the bytes inside and sends the others to the monitor; the host's memory next to what
backs the slot is untouched.  Memory that no guest has written reads as zero, even when it was another guest's before.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from virtproof.conformance.case import Case, Expect, HostScript, Insn, Program, completes, family
from virtproof.conformance.guest import HOST_PORT, GuestStopped, check
from virtproof.conformance.host_memory import Mapping, Region
from virtproof.conformance.window import NEW
from virtproof.guest_payloads import program
from virtproof.guest_payloads.trampoline import Access, Mode
from virtproof.results import Check
from virtproof.spec.cite import linux
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine

CITE = (linux("virt/kvm/api.rst", "KVM_SET_USER_MEMORY_REGION"),)
row = family("isolation", *CITE)

LONG64 = Mode.LONG64
PAGE, AT, SLOT = 0x1000, 0x3000_0000, 9  # by the trampoline's own map, which is one to one
MIB = 1 << 20
GUARD = b"\xa5" * PAGE
LOW, HIGH = NEW & 0xFFFF_FFFF, NEW >> 32

STORES = (Insn("48 89 03", "mov qword ptr [rbx], rax"), Insn("48 89 06", "mov qword ptr [rsi], rax"))
CALL_HOST = (Insn("b0 01", "mov al, 1"), Insn("ee", "out dx, al"))


def _written(size: int, address: int, value: int) -> Access:
    return Access("mmio", address, size, True, value)


def _guarded(
    addresses: tuple[int, ...], first: int, last: int, accesses: tuple[Access, ...], engine: Engine
) -> Iterable[Check]:
    """Store 8 bytes at each address; the slot's first and last 8 bytes must be ``first`` and ``last`` afterwards."""
    expect: Expect = completes(keeps=False, accesses=accesses)
    code = (*STORES[: len(addresses)], *CALL_HOST)
    regs = {"rax": NEW, "rdx": HOST_PORT} | dict(zip(("rbx", "rsi"), addresses, strict=False))
    guest = row("edge", "", LONG64, code, expect, regs=regs)
    with Mapping(3 * PAGE) as mapping:
        mapping.pages[:PAGE] = mapping.pages[2 * PAGE :] = GUARD
        seen: list[bytes] = []

        def furnish(machine: Machine) -> None:
            machine.vm.set_slot(SLOT, AT, Region(mapping.address + PAGE, PAGE))

        def look(machine: Machine) -> None:
            seen.append(mapping.pages[:])

        yield from check(guest, engine, furnish=furnish, calls={1: look})
        pages = seen[0] if seen else bytes(3 * PAGE)
        for what, at, want in (("first", PAGE, first), ("last", 2 * PAGE - 8, last)):
            saw = int.from_bytes(pages[at : at + 8], "little")
            yield Check(f"the slot's {what} 8 bytes", f"{want:#x}", f"{saw:#x}", saw == want)
        intact = pages[:PAGE] == GUARD and pages[2 * PAGE :] == GUARD
        yield Check("host memory beside the slot", "untouched", "untouched" if intact else "written", intact)


def _edge(id: str, title: str, addresses: tuple[int, ...], first: int, last: int, *accesses: Access) -> Case:  # noqa: A002
    script = partial(_guarded, addresses, first, last, accesses)
    return HostScript(id=id, title=title, area="isolation", mode=LONG64, cite=CITE, script=script)


CHECKED = (2 * MIB - 0x7000) // 8  # all but the image, in words; then the first word that was not zero, and its address
FRESH: tuple[int, ...] = (CHECKED, 0, 0)


def _recycled(engine: Engine) -> Iterable[Check]:
    """Guests one after the other; each fills its memory before it goes."""
    for n in range(1, 4):
        ran = program.run(engine, "fresh_zero", memory=2 * MIB, seconds=10.0)
        if not ran.done:
            raise GuestStopped(f"guest {n}: {ran.end}")
        want, saw = (" ".join(map(hex, words)) for words in (FRESH, ran.observations))
        yield Check(f"observations of guest {n}", want, saw, want == saw)


# fmt: off
CASES: tuple[Case, ...] = (
    _edge("iso.cross_end",    "A store over the end of a slot writes only inside", (AT + PAGE - 4,), 0,    LOW << 32, _written(4, AT + PAGE, HIGH)),
    _edge("iso.past_end",     "A store behind a slot does not reach memory",       (AT + PAGE,),     0,    0,         _written(8, AT + PAGE, NEW)),
    _edge("iso.before_start", "A store before a slot does not reach memory, one over its start writes only inside",
          (AT - 8, AT - 4), HIGH, 0, _written(8, AT - 8, NEW), _written(4, AT - 4, LOW)),
    Program(id="iso.fresh_zero", title="Fresh guest memory is zero", area="isolation", mode=LONG64, cite=CITE,
            image="fresh_zero", observations=FRESH, memory=2 * MIB, seconds=10.0),
    HostScript(id="iso.fresh_zero_recycled", title="Memory that another guest has filled is zero for the next", area="isolation", mode=LONG64, cite=CITE,
               script=_recycled, seconds=30.0),
)
# fmt: on
