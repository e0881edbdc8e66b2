"""Leaf 0DH describes the state that XSAVE keeps, and XSETBV and XSAVE keep to it.

Subleaf 0: EDX:EAX are the bits that XCR0 takes, EBX the size of the area for the present XCR0, ECX that for all of them.
Subleaf 1: EBX is the size of the compacted area for XCR0 | IA32_XSS.  Subleaf n: EAX is the size of component n, EBX its
offset in the standard format; bit 1 of ECX aligns it to 64 bytes in the compacted one.  The legacy region and the header
take 576 bytes.

XCR0 takes a value where each bit is offered, x87 is set, AVX comes with SSE, the two components of MPX come together, the
three of AVX-512 together and with AVX, the two of AMX together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from virtproof.conformance.case import Case, HostScript, Script, programs_of
from virtproof.conformance.cpuid_dump import Answer, Leaf, dump, run, write_requests
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import apm, sdm
from virtproof.vmm.engine import Engine

CITE = (
    sdm("1", "Managing State Using the XSAVE Feature Set, 'Enumeration of CPU Support for XSAVE Instructions'"),
    apm(3, "Obtaining Processor Information Via the CPUID Instruction, 'Processor Extended State Enumeration'"),
)
LEGACY = 576  # bytes
X87, SSE, AVX = 1, 2, 4
MPX, AVX512, PKRU, AMX = 3 << 3, 7 << 5, 1 << 9, 3 << 17
COMPONENTS = range(2, 63)
ALIGNED = 1 << 1  # of ECX of subleaf n

# fmt: off
VALUES = {                               # of XCR0, and the bits that must be offered for it; None: never taken
    0: None, X87: X87, SSE: None, X87 | SSE: X87 | SSE,
    X87 | AVX: None, X87 | SSE | AVX: X87 | SSE | AVX,
    X87 | 1 << 3: None, X87 | 1 << 4: None, X87 | MPX: X87 | MPX,
    X87 | SSE | AVX | 1 << 5: None, X87 | SSE | AVX | 1 << 6: None, X87 | SSE | AVX | 1 << 7: None,
    X87 | SSE | AVX512: None, X87 | SSE | AVX | AVX512: X87 | SSE | AVX | AVX512,
    X87 | PKRU: X87 | PKRU,
    X87 | 1 << 17: None, X87 | 1 << 18: None, X87 | AMX: X87 | AMX,
    X87 | 1 << 62: None, X87 | 1 << 63: None,
}
# fmt: on


def _leaves(engine: Engine) -> dict[Leaf, Answer]:
    return dump(engine, [(0xD, n) for n in (0, 1, *COMPONENTS)]).answers


def _offered(leaves: dict[Leaf, Answer]) -> int:
    return leaves[0xD, 0].edx << 32 | leaves[0xD, 0].eax


def _with_xcr0(engine: Engine, test: str, values: Sequence[int]) -> tuple[int, ...]:
    return run(engine, test, len(values), calls={0: lambda machine: write_requests(machine, values)})


def _accepted(engine: Engine) -> Iterable[Check]:
    offered = _offered(_leaves(engine))
    for (value, needs), took in zip(VALUES.items(), _with_xcr0(engine, "xcr0", tuple(VALUES)), strict=True):
        want = needs is not None and not needs & ~offered
        yield Check(f"XSETBV of {value:#x}", "taken" if want else "#GP", "taken" if took else "#GP", want == bool(took))


def _taken(offered: int) -> list[int]:
    """Values of XCR0 from the smallest on."""
    return [value for value, needs in VALUES.items() if needs is not None and not needs & ~offered]


def _size(leaves: dict[Leaf, Answer], enabled: int) -> int:
    """The standard format: where the last component ends."""
    ends = (leaves[0xD, n].ebx + leaves[0xD, n].eax for n in COMPONENTS if enabled >> n & 1)
    return max(ends, default=LEGACY)


def _compact(leaves: dict[Leaf, Answer], enabled: int) -> int:
    size = LEGACY
    for n in COMPONENTS:
        if enabled >> n & 1:
            size = (-(-size // 64) * 64 if leaves[0xD, n].ecx & ALIGNED else size) + leaves[0xD, n].eax
    return size


def _sizes(engine: Engine) -> Iterable[Check]:
    leaves = _leaves(engine)
    offered = _offered(leaves)
    values = _taken(offered)
    seen = _with_xcr0(engine, "sizes", values)
    for n, value in enumerate(values):
        took, present, most, _ = seen[4 * n : 4 * n + 4]
        want = _size(leaves, value)
        yield Check(f"XCR0 = {value:#x}", "taken", "taken" if took else "#GP", bool(took))
        yield Check(f"EBX with XCR0 = {value:#x}", f"{want}", f"{present}", want == present)
        want = _size(leaves, offered)
        yield Check(f"ECX with XCR0 = {value:#x}", f"{want}", f"{most}", want == most)


def _compact_sizes(engine: Engine) -> Iterable[Check]:
    leaves = _leaves(engine)
    values = _taken(_offered(leaves))
    seen = _with_xcr0(engine, "sizes", values)
    for n, value in enumerate(values):
        want, saw = _compact(leaves, value), seen[4 * n + 3]
        yield Check(f"subleaf 1 EBX with XCR0 = {value:#x}", f"{want}", f"{saw}", want == saw)


def _inside(engine: Engine) -> Iterable[Check]:
    leaves = _leaves(engine)
    offered, most = _offered(leaves), leaves[0xD, 0].ecx
    used: list[tuple[int, int, int]] = []
    for n in COMPONENTS:
        size, offset = leaves[0xD, n].eax, leaves[0xD, n].ebx
        if not offered >> n & 1:
            continue
        yield Check(
            f"component {n}",
            f"from {LEGACY} to {most}",
            f"{offset} to {offset + size}",
            offset >= LEGACY and size > 0 and offset + size <= most,
        )
        others = [other for start, end, other in used if start < offset + size and offset < end]
        yield Check(f"component {n} overlaps", "none", " ".join(map(str, others)) or "none", not others)
        used.append((offset, offset + size, n))
    yield Check("ECX", f"at least {LEGACY}", f"{most}", most >= LEGACY)


def script(id: str, title: str, run: Script, priority: int, *requires: str) -> HostScript:  # noqa: A002
    return HostScript(
        id=id, title=title, area="cpuid", mode=Mode.LONG64, cite=CITE, script=run, priority=priority,
        requires=("xsave", *requires), proves=("xsave",), seconds=10.0,
    )  # fmt: skip


of = programs_of("cpuid", "cpuid", *CITE, sdm("1", "Managing State Using the XSAVE Feature Set, 'Operation of XSAVE'"))

# fmt: off
CASES: tuple[Case, ...] = (
    script("cpuid.xd0_mask", "XCR0 takes what leaf 0DH offers, and nothing else",       _accepted,      1),
    script("cpuid.xd0_size", "Leaf 0DH EBX is the size for the present XCR0",           _sizes,         1),
    script("cpuid.xd1_size", "Leaf 0DH.1 EBX is the compacted size for XCR0 | IA32_XSS", _compact_sizes, 2, "xsaves"),
    script("cpuid.xdn",      "Components lie inside the area and do not overlap",       _inside,        2),
    of("cpuid.xsave_header", "XSAVE writes no component that XCR0 leaves out",          "xsave", (1, 0, 0), requires=("xsave",), proves=("xsave",), discriminates=True, refs=("claim.xsave",), priority=2),
)
# fmt: on
