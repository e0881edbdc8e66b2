"""CPUID and MSRs as sources of facts: a field of a register, as each CPU gave it, or why that is not known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from virtproof.probes.cpus import parse, render
from virtproof.probes.fact import Seen, Source, Unknown
from virtproof.probes.snapshot import Snapshot
from virtproof.spec.bits import Field

REGISTERS = ("eax", "ebx", "ecx", "edx")
ALLOWED_1 = 32  # in a VMX control MSR, bit n + 32: "control n may be 1" (Intel SDM vol. 3D, App. A.3)

Read = tuple[Seen, ...] | Unknown


def cpuid(leaf: int, register: str, field: Field[Any], sub: int = 0) -> Source:
    """A field of a CPUID register.  A flag in a leaf beyond the highest one is off; a number there is unknown."""
    column = REGISTERS.index(register)
    flag = field.kind is bool

    def read(snapshot: Snapshot) -> Read:
        found = snapshot.once((leaf, sub, column), lambda: _leaf(snapshot, leaf, sub, column))
        if found.reason:
            return Unknown(found.reason)
        if found.without and not flag:
            return Unknown(found.without[0][0])
        seen = tuple(Seen(field.of(value), raw, cpus) for value, raw, cpus in found.values)
        return seen + tuple(Seen(False, raw, cpus) for raw, cpus in found.without) if found.without else seen

    return Source(f"CPUID {leaf:#x}" + (f".{sub}" if sub else "") + f" {register.upper()}", read)


def msr(index: int, field: Field[Any]) -> Source:
    """A field of an MSR; unknown where the processor does not have the register."""
    return Source(f"MSR {index:#x}", lambda snapshot: _msr(snapshot, index, field))


def msr_capability(index: int, field: Field[Any]) -> Source:
    """A field of an MSR that lists capabilities: where the processor does not have the register, a flag is off."""
    return Source(f"MSR {index:#x}", lambda snapshot: _msr(snapshot, index, field, off=True))


def control(index: int, field: Field[Any]) -> Source:
    """May a VMX control be set?  ``field`` is its place in the 32 controls that the capability MSR describes."""
    return Source(f"MSR {index:#x} allowed-1", lambda snapshot: _msr(snapshot, index, field, ALLOWED_1, off=True))


@dataclass(frozen=True, slots=True)
class _Register:
    """What the CPUs gave for a register: value, raw text and CPUs; those without it, and why; why it is not known."""

    values: tuple[tuple[int, str, str], ...] = ()
    without: tuple[tuple[str, str], ...] = ()
    reason: str = ""


def _leaf(snapshot: Snapshot, leaf: int, sub: int, column: int) -> _Register:
    values = tuple((value, f"{value:#010x}", cpus) for value, cpus in snapshot.register(leaf, sub, column))
    if len(values) == 1 and values[0][2] == snapshot["cpus"]:
        return _Register(values)
    name = f"CPUID {leaf:#x}" + (f".{sub}" if sub else "")
    base = leaf & 0xFFFF_0000 if leaf >= 0x4000_0000 else 0
    asked = {cpu for _, cpus in snapshot.register(base, 0, 0) for cpu in parse(cpus)}
    unread = sorted(set(parse(snapshot["cpus"])) - asked)
    if unread:
        reason = snapshot.obstacle("cpuid", f"{base:08x}", unread[0])
        if reason is None and base and snapshot.cpuid(0):  # a processor without this range of leaves
            return _Register(without=((f"the processor has no CPUID range {base:#x}", snapshot["cpus"]),))
        return _Register(reason=f"{name}, CPU {render(unread)}: {reason or 'not read'}")
    without = asked - {cpu for _, _, cpus in values for cpu in parse(cpus)}
    if not without:
        return _Register(values)
    for what in (f"{leaf:08x}", f"{leaf:08x}.{sub:02x}"):
        if reason := snapshot.obstacle("cpuid", what, min(without)):
            return _Register(reason=f"{name}, CPU {render(without)}: {reason}")
    subleaf = f" subleaf {sub}" if sub else ""
    return _Register(values, ((f"the processor has no CPUID leaf {leaf:#x}{subleaf}", render(without)),))


def _msr(snapshot: Snapshot, index: int, field: Field[Any], shift: int = 0, *, off: bool = False) -> Read:
    found = snapshot.once(index, lambda: _whole_msr(snapshot, index))
    if found.reason:
        return Unknown(found.reason)
    if found.without and not (off and field.kind is bool):
        return Unknown(f"there is no MSR {index:#x}: {found.without[0][0]}")
    seen = tuple(Seen(field.of(value >> shift), raw, cpus) for value, raw, cpus in found.values)
    return seen + tuple(Seen(False, raw, cpus) for raw, cpus in found.without) if found.without else seen


def _whole_msr(snapshot: Snapshot, index: int) -> _Register:
    values = tuple((value, f"{value:#x}", cpus) for value, cpus in snapshot.msr(index))
    if len(values) == 1 and values[0][2] == snapshot["cpus"]:
        return _Register(values)
    absent = tuple(snapshot.msr_absent(index))
    have = {cpu for _, _, cpus in values for cpu in parse(cpus)} | {cpu for _, cpus in absent for cpu in parse(cpus)}
    unread = [cpu for cpu in parse(snapshot["cpus"]) if cpu not in have]
    if unread:
        reason = snapshot.obstacle("msr", f"{index:#x}", unread[0]) or "not read"
        return _Register(reason=f"MSR {index:#x}, CPU {render(unread)}: {reason}")
    return _Register(values, absent)
