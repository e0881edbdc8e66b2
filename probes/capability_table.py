"""What ``virtproof probe --vmx`` and ``--svm`` show: each field of each register, as the processor and as KVM give it.

A control of VMX is ``no``, ``yes``, ``yes, default 1`` (1 unless software knows the TRUE capabilities) or ``forced``
(it must be 1); a field whose register could not be read is ``unknown``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from virtproof.probes.cpus import parse, render
from virtproof.probes.register import ControlsPlace, CpuidPlace, MsrPlace, Place, Register, Row
from virtproof.probes.snapshot import Snapshot, registers
from virtproof.probes.source_registers import ALLOWED_1, REGISTERS
from virtproof.spec.bits import Field

LOW = (1 << ALLOWED_1) - 1


@dataclass(frozen=True, slots=True)
class Line:
    """A field: its bits as the manual writes them, its name, and its word for the processor and for KVM's guests."""

    bits: str
    term: str
    processor: str
    kvm: str


@dataclass(frozen=True, slots=True)
class Table:
    """A register: title, where it is, and one remark each on the processor's and on KVM's value (raw, or why not)."""

    title: str
    where: str
    processor: str
    kvm: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class _Value:
    """What some CPUs hold; ``true`` is the TRUE capability.  ``raw`` ``None``: they have no such register, or it is
    not known.
    """

    cpus: str
    raw: int | None = None
    true: int | None = None
    known: bool = True


@dataclass(frozen=True, slots=True)
class _View:
    """The values of all CPUs, or of KVM, and in words what they are or why they are not known."""

    values: tuple[_Value, ...]
    remark: str


def tables(snapshot: Snapshot, wanted: Iterable[Register]) -> tuple[Table, ...]:
    """The registers as a host gives them."""
    return tuple(_table(snapshot, register) for register in wanted)


def _table(snapshot: Snapshot, register: Register) -> Table:
    processor, kvm = _processor(snapshot, register.place), _kvm(snapshot, register.place)
    rows = [*register.rows, *_nameless(register, (*processor.values, *kvm.values))]
    return Table(
        title=register.name,
        where=str(register.place),
        processor=processor.remark,
        kvm=kvm.remark,
        lines=tuple(
            Line(_bits(row.field), row.term, _word(register.place, row, processor), _word(register.place, row, kvm))
            for row in rows
        ),
    )


def _processor(snapshot: Snapshot, place: Place) -> _View:
    online = snapshot["cpus"]
    true: dict[int, int] = {}
    absent: list[tuple[str, str]] = []
    match place:
        case CpuidPlace(leaf, name):
            pairs = snapshot.register(leaf, 0, REGISTERS.index(name))
            base = leaf & 0xFFFF_0000
            asked = {cpu for _, cpus in snapshot.register(base, 0, 0) for cpu in parse(cpus)}
            without = asked - {cpu for _, cpus in pairs for cpu in parse(cpus)}
            obstacle = snapshot.obstacle("cpuid", f"{base:08x}")
            left_out = snapshot.obstacle("cpuid", f"{leaf:08x}.00", min(without)) if without else None
            if without and left_out is None:
                absent = [(f"there is no CPUID leaf {leaf:08X}H", render(without))]
            obstacle = left_out or obstacle or "CPUID was not read"
        case MsrPlace(index) | ControlsPlace(index):
            pairs = snapshot.msr(index)
            absent = snapshot.msr_absent(index)
            obstacle = snapshot.obstacle("msr", f"{index:#x}") or "the MSR was not read"
            if isinstance(place, ControlsPlace) and place.true:
                true = {cpu: value for value, cpus in snapshot.msr(place.true) for cpu in parse(cpus)}
    values = [*_with_true(pairs, true), *(_Value(cpus) for _, cpus in absent)]
    unread = set(parse(online)) - {cpu for value in values for cpu in parse(value.cpus)}
    remarks = [(_raw(value), value.cpus) for value in values if value.raw is not None] + absent
    if unread:
        values.append(_Value(render(unread), known=False))
        remarks.append((f"unknown: {obstacle}", render(unread)))
    said = (remark + (f" on CPUs {cpus}" if cpus != online else "") for remark, cpus in remarks)
    return _View(tuple(values), "; ".join(said))


def _with_true(pairs: Iterable[tuple[int, str]], true: dict[int, int]) -> Iterator[_Value]:
    for value, cpus in pairs:
        groups: dict[int | None, list[int]] = {}
        for cpu in parse(cpus):
            groups.setdefault(true.get(cpu), []).append(cpu)
        for other, on in groups.items():
            yield _Value(render(on), value, other)


def _kvm(snapshot: Snapshot, place: Place) -> _View:
    match place:
        case CpuidPlace(leaf, name):
            leaves = snapshot.kvm("supported_cpuid")
            if leaves is None:
                return _unknown(snapshot, "supported_cpuid")
            text = leaves.get(f"{leaf:08x}.00")
            if text is None:
                return _View((_Value(""),), "KVM offers no such leaf")
            value = _Value("", registers(text)[REGISTERS.index(name)])
            return _View((value,), _raw(value))
        case MsrPlace(index) | ControlsPlace(index):
            shown = snapshot.kvm("feature_msrs")
            if shown is None:
                return _unknown(snapshot, "feature_msrs")
            if (text := shown.get(f"{index:#x}")) is None:
                return _View((), "KVM does not show it")
            true = shown.get(f"{place.true:#x}") if isinstance(place, ControlsPlace) and place.true else None
            value = _Value("", int(text, 16), None if true is None else int(true, 16))
            return _View((value,), _raw(value))


def _unknown(snapshot: Snapshot, what: str) -> _View:
    reason = snapshot.obstacle("kvm", what) or "KVM was not asked"
    return _View((_Value("", known=False),), f"unknown: {reason}")


def _nameless(register: Register, values: tuple[_Value, ...]) -> list[Row]:
    """The bits that are set, or may be set, and that the manual does not name.

    Of 32 controls those that must be 1 are reserved: software sets them and knows nothing of them.
    """
    if not register.whole:
        return []
    known = 0
    for row in register.rows:
        known |= row.field.mask
    controls = isinstance(register.place, ControlsPlace)
    found = 0
    for value in values:
        if value.raw is not None:
            found |= (value.raw >> ALLOWED_1) & ~value.raw & LOW if controls else value.raw
    return [Row("", Field(n, n, bool, ""), "no name in the manual") for n in range(64) if found & ~known & 1 << n]


def _word(place: Place, row: Row, view: _View) -> str:
    words: dict[str, list[str]] = {}
    for value in view.values:
        words.setdefault(_one(place, row, value), []).append(value.cpus)
    if len(words) <= 1:
        return next(iter(words), "-")
    return ", ".join(f"{word} (CPUs {','.join(cpus)})" for word, cpus in words.items())


def _one(place: Place, row: Row, value: _Value) -> str:
    field = row.field
    if not value.known:
        return "unknown"
    if value.raw is None:
        lists = not isinstance(place, MsrPlace) or place.capabilities
        return "no" if lists and field.kind is bool else "-"
    if isinstance(place, ControlsPlace):
        must, may = bool(field.of(value.raw & LOW)), bool(field.of(value.raw >> ALLOWED_1))
        if not may:
            return "neither 0 nor 1" if must else "no"
        if not must:
            return "yes"
        return "yes, default 1" if value.true is not None and not field.of(value.true & LOW) else "forced"
    if field.kind is bool:
        return "yes" if field.of(value.raw) else "no"
    number = field.of(value.raw)
    if row.layout:
        return " ".join(one.name.upper() for one in row.layout(number).shown() if one.kind is bool) or "none"
    return f"{number:#x}" if number > 0xFFFF_FFFF else str(number)


def _bits(field: Field[object]) -> str:
    return str(field.lo) if field.hi == field.lo else f"{field.hi}:{field.lo}"


def _raw(value: _Value) -> str:
    return f"{value.raw:#x}" + (f", TRUE {value.true:#x}" if value.true is not None else "")
