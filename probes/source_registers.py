"""CPUID and MSRs as sources of facts: a field of a register, as each CPU gave it, or why that is not known."""

from __future__ import annotations

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
    name = f"CPUID {leaf:#x}" + (f".{sub}" if sub else "") + f" {register.upper()}"
    base = leaf & 0xFFFF_0000 if leaf >= 0x4000_0000 else 0

    def read(snapshot: Snapshot) -> Read:
        seen = [Seen(field.of(value), f"{value:#010x}", cpus) for value, cpus in snapshot.register(leaf, sub, column)]
        if len(seen) == 1 and seen[0].cpus == snapshot["cpus"]:
            return tuple(seen)
        have = {cpu for one in seen for cpu in parse(one.cpus)}
        asked = {cpu for _, cpus in snapshot.register(base, 0, 0) for cpu in parse(cpus)}
        unread = sorted(set(parse(snapshot["cpus"])) - asked)
        if unread:
            reason = snapshot.obstacle("cpuid", f"{base:08x}", unread[0])
            if reason is None and base and snapshot.cpuid(0):
                if field.kind is bool:  # a processor without this range of leaves
                    return (Seen(False, f"no CPUID range {base:#x}", snapshot["cpus"]),)
                reason = f"the processor has no CPUID range {base:#x}"
            return Unknown(f"{name}, CPU {render(unread)}: {reason or 'not read'}")
        without = asked - have
        if without and (reason := _left_out(snapshot, leaf, sub, min(without))):
            return Unknown(f"{name}, CPU {render(without)}: {reason}")
        if without and field.kind is not bool:
            return Unknown(f"the processor has no CPUID leaf {leaf:#x}" + (f" subleaf {sub}" if sub else ""))
        if without:
            seen.append(Seen(False, f"no leaf {leaf:#x}", render(without)))
        return tuple(seen)

    return Source(name, read)


def msr(index: int, field: Field[Any]) -> Source:
    """A field of an MSR; unknown where the processor does not have the register."""
    return Source(f"MSR {index:#x}", lambda snapshot: _msr(snapshot, index, field))


def msr_capability(index: int, field: Field[Any]) -> Source:
    """A field of an MSR that lists capabilities: where the processor does not have the register, a flag is off."""
    return Source(f"MSR {index:#x}", lambda snapshot: _msr(snapshot, index, field, off=True))


def control(index: int, field: Field[Any]) -> Source:
    """May a VMX control be set?  ``field`` is its place in the 32 controls that the capability MSR describes."""
    return Source(f"MSR {index:#x} allowed-1", lambda snapshot: _msr(snapshot, index, field, ALLOWED_1, off=True))


def _left_out(snapshot: Snapshot, leaf: int, sub: int, cpu: int) -> str | None:
    """Why a leaf of a CPU that was asked is missing; ``None`` where the processor does not have it."""
    for what in (f"{leaf:08x}", f"{leaf:08x}.{sub:02x}"):
        if reason := snapshot.obstacle("cpuid", what, cpu):
            return reason
    return None


def _msr(snapshot: Snapshot, index: int, field: Field[Any], shift: int = 0, *, off: bool = False) -> Read:
    seen = [Seen(field.of(value >> shift), f"{value:#x}", cpus) for value, cpus in snapshot.msr(index)]
    if len(seen) == 1 and seen[0].cpus == snapshot["cpus"]:
        return tuple(seen)
    absent = snapshot.msr_absent(index)
    have = {cpu for one in seen for cpu in parse(one.cpus)} | {cpu for _, cpus in absent for cpu in parse(cpus)}
    unread = [cpu for cpu in parse(snapshot["cpus"]) if cpu not in have]
    if unread:
        reason = snapshot.obstacle("msr", f"{index:#x}", unread[0]) or "not read"
        return Unknown(f"MSR {index:#x}, CPU {render(unread)}: {reason}")
    if absent and not (off and field.kind is bool):
        return Unknown(f"there is no MSR {index:#x}: {absent[0][0]}")
    return (*seen, *(Seen(False, reason, cpus) for reason, cpus in absent))
