"""The monitor's table is what the guest reads.

KVM_SET_CPUID2 gives the answers, byte for byte; only the bits in ``LIVE`` are the processor's own.  A leaf above the
highest one of its range brings, on Intel, the data of the highest basic leaf, on AMD zeros: Linux goes by the vendor in
the table.  A subleaf of leaf 7 above the highest one brings zeros.  The ranges: leaf 0 EAX, leaf 80000000H EAX.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from virtproof.conformance.case import Case, HostScript, Script
from virtproof.conformance.cpuid_dump import Answer, Leaf, answer_of, dump
from virtproof.guest_payloads.trampoline import Mode
from virtproof.kvm import CpuidEntry
from virtproof.results import Check
from virtproof.spec.cite import Cite, apm, linux, sdm
from virtproof.vmm.cpuid import Override, for_vcpu, overridden
from virtproof.vmm.engine import Engine

CITE = (
    linux("virt/kvm/api.rst", "KVM_SET_CPUID2"),
    sdm("2A", "Instruction Set Reference, 'CPUID-CPU Identification'"),
    apm(3, "Obtaining Processor Information Via the CPUID Instruction, 'Standard Feature Function Numbers'"),
)
HYPERVISOR = (linux("virt/kvm/x86/cpuid.rst", "KVM CPUID bits"), *CITE[1:])
AMD = (b"AuthenticAMD", b"HygonGenuine")

# fmt: off
LIVE: dict[Leaf, Answer] = {             # bits that are not the table's
    (0x1, 0): Answer(0, 0, 1 << 27 | 1 << 3, 1 << 9),    # OSXSAVE; MONITOR, which follows IA32_MISC_ENABLE; APIC
    (0x7, 0): Answer(0, 0, 1 << 4, 0),                   # OSPKE
    (0xD, 0): Answer(0, 0xFFFF_FFFF, 0, 0),              # the size for XCR0
    (0xD, 1): Answer(0, 0xFFFF_FFFF, 0, 0),              # the size for XCR0 | IA32_XSS
    (0x8000_0001, 0): Answer(0, 0, 0, 1 << 9 | 1 << 11), # AMD's copy of APIC; Intel's SYSCALL is that of 64-bit mode
}
# fmt: on
NONE = Answer(0, 0, 0, 0)
MARKER = Answer(0x6B72_616D, 0x0123_4567, 0x89AB_CDEF, 0x5A5A_A5A5)
SIGNATURE = b"virtproofVMM"
HYPERVISOR_BIT = 1 << 31  # of leaf 1 ECX


def _signed(table: tuple[CpuidEntry, ...]) -> tuple[CpuidEntry, ...]:
    """The table with our own name in the hypervisor's range, and a leaf that nobody else has."""
    rest = tuple(entry for entry in table if entry.function >> 8 != 0x40_0000)
    words = [int.from_bytes(SIGNATURE[n : n + 4], "little") for n in (0, 4, 8)]
    return (
        *rest,
        CpuidEntry(0x4000_0000, 0, 0, 0x4000_0010, *words),
        CpuidEntry(0x4000_0010, 0, 0, *MARKER),
    )


def _without(answer: Answer, bits: Answer) -> Answer:
    return Answer(*(value & ~bit for value, bit in zip(answer, bits, strict=True)))


def _equal(leaf: Leaf, want: Answer, saw: Answer) -> Check:
    live = LIVE.get(leaf, NONE)
    want, saw = _without(want, live), _without(saw, live)
    return Check(f"leaf {leaf[0]:#x}.{leaf[1]}", str(want), str(saw), want == saw)


def _given(engine: Engine) -> tuple[CpuidEntry, ...]:
    return _signed(for_vcpu(engine.supported_cpuid(), 0, 1))


def _as_set(engine: Engine) -> Iterable[Check]:
    given = _given(engine)
    leaves = [(entry.function, entry.index) for entry in given]
    answers = dump(engine, leaves, lambda table: given).answers
    for leaf, entry in zip(leaves, given, strict=True):
        yield _equal(leaf, answer_of(entry), answers[leaf])


def _returned(engine: Engine) -> Iterable[Check]:
    given = _given(engine)
    table = dump(engine, [(0, 0)], lambda table: given).table
    returned = {(entry.function, entry.index): answer_of(entry) for entry in table}
    for entry in given:
        leaf = entry.function, entry.index
        yield _equal(leaf, answer_of(entry), returned.get(leaf, NONE))


def _vendor(answer: Answer) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in (answer.ebx, answer.edx, answer.ecx))


def _beyond(base: int, engine: Engine) -> Iterable[Check]:
    """The first leaf above a range."""
    first = dump(engine, [(0, 0), (base, 0)]).answers
    most = first[base, 0].eax
    yield Check("the highest leaf", f"{base + 1:#x} or more", f"{most:#x}", base < most < base + 0x1_0000)
    highest = first[0, 0].eax
    answers = dump(engine, [(highest, 0), (most + 1, 0)]).answers
    want = NONE if _vendor(first[0, 0]) in AMD else answers[highest, 0]
    saw = answers[most + 1, 0]
    yield Check(f"leaf {most + 1:#x}", str(want), str(saw), want == saw)


def _vendors(engine: Engine) -> Iterable[Check]:
    answers = dump(engine, [(0, 0), (0x8000_0000, 0)]).answers
    vendor, again = (_vendor(answers[leaf, 0]) for leaf in (0, 0x8000_0000))
    want = vendor if vendor in AMD else bytes(12)
    yield Check("vendor in leaf 0", "12 letters", repr(vendor), vendor.isalpha())
    yield Check("the same of leaf 0x80000000", repr(want), repr(again), want == again)


def _hypervisor_bit(engine: Engine) -> Iterable[Check]:
    for value in (HYPERVISOR_BIT, 0):
        override = Override(1, 0, "ecx", value, HYPERVISOR_BIT)
        saw = dump(engine, [(1, 0)], partial(overridden, overrides=[override])).answers[1, 0].ecx & HYPERVISOR_BIT
        yield Check("leaf 1 ECX bit 31", f"{value >> 31}", f"{saw >> 31}", value == saw)


def _signature(engine: Engine) -> Iterable[Check]:
    answer = dump(engine, [(0x4000_0000, 0)], _signed).answers[0x4000_0000, 0]
    name = b"".join(value.to_bytes(4, "little") for value in answer[1:])
    yield Check("highest leaf", "0x40000010", f"{answer.eax:#x}", answer.eax == 0x4000_0010)
    yield Check("signature", repr(SIGNATURE), repr(name), name == SIGNATURE)


def _leaf7(engine: Engine) -> Iterable[Check]:
    most = dump(engine, [(7, 0)]).answers[7, 0].eax
    saw = dump(engine, [(7, most + 1)]).answers[7, most + 1]
    yield Check(f"leaf 0x7.{most + 1}", str(NONE), str(saw), saw == NONE)


def _no_subleaf(engine: Engine) -> Iterable[Check]:
    answers = dump(engine, [(1, 0), (1, 5)]).answers
    yield Check("leaf 1 with ECX = 5", str(answers[1, 0]), str(answers[1, 5]), answers[1, 0] == answers[1, 5])


def _in_any_order(engine: Engine) -> Iterable[Check]:
    def backwards(table: tuple[CpuidEntry, ...]) -> tuple[CpuidEntry, ...]:
        return table[::-1]

    forward = dump(engine).answers
    reverse = dump(engine, forward, backwards).answers
    for leaf, answer in forward.items():
        yield _equal(leaf, answer, reverse[leaf])


def _not_more(engine: Engine) -> Iterable[Check]:
    """Of the leaves whose registers are features, one bit each."""
    offered = {(entry.function, entry.index): answer_of(entry) for entry in engine.supported_cpuid()}
    seen = dump(engine).answers
    for leaf, registers in FEATURE_LEAVES.items():
        for register in registers.split():
            value, allowed = (getattr(of.get(leaf, NONE), register) for of in (seen, offered))
            extra = value & ~allowed & ~getattr(LIVE.get(leaf, NONE), register)
            where = f"leaf {leaf[0]:#x}.{leaf[1]} {register.upper()}"
            yield Check(f"{where}: bits that KVM does not offer", "0x0", f"{extra:#x}", not extra)


FEATURE_LEAVES: dict[Leaf, str] = {
    (0x1, 0): "ecx edx", (0x7, 0): "ebx ecx edx", (0x7, 1): "eax edx", (0xD, 0): "eax edx", (0xD, 1): "eax ecx",
    (0x8000_0001, 0): "ecx edx", (0x8000_0008, 0): "ebx",
}  # fmt: skip


def script(id: str, title: str, run: Script, priority: int, cite: tuple[Cite, ...] = CITE) -> HostScript:  # noqa: A002
    return HostScript(
        id=id, title=title, area="cpuid", mode=Mode.LONG64, cite=cite, script=run, priority=priority, seconds=10.0
    )


# fmt: off
CASES: tuple[Case, ...] = (
    script("cpuid.set_equals_seen", "The guest reads every leaf as the monitor set it",         _as_set,                     1),
    script("cpuid.get_cpuid2",      "KVM_GET_CPUID2 returns what was set",                      _returned,                   2),
    script("cpuid.leaf0_max",       "Leaf 0 EAX is the highest basic leaf",                     partial(_beyond, 0),         1),
    script("cpuid.ext_max",         "Leaf 80000000H EAX is the highest extended leaf",          partial(_beyond, 0x8000_0000), 2),
    script("cpuid.vendor",          "Leaves 0 and 80000000H name one vendor",                   _vendors,                    2),
    script("cpuid.hv_bit",          "Leaf 1 ECX bit 31 is as the monitor set it",               _hypervisor_bit,             1, HYPERVISOR),
    script("cpuid.hv_leaf",         "Leaf 40000000H has the monitor's signature",               _signature,                  1, HYPERVISOR),
    script("cpuid.leaf7_max",       "Leaf 7 above its highest subleaf brings zeros",            _leaf7,                      2),
    script("cpuid.max_subleaf_ecx", "A leaf without subleaves ignores ECX",                     _no_subleaf,                 3),
    script("cpuid.order_indep",     "The order of the table does not matter",                   _in_any_order,               3),
    script("cpuid.subset",          "The guest sees no feature that KVM does not offer",        _not_more,                   1),
)
# fmt: on
