"""What /dev/kvm answered, as sources of facts."""

from __future__ import annotations

from typing import Any

from virtproof.probes.fact import Seen, Source, Unknown
from virtproof.probes.snapshot import Snapshot, registers
from virtproof.probes.source_registers import REGISTERS, Read
from virtproof.spec.bits import Field
from virtproof.spec.kvm import Cap, VmType


def kvm(name: str) -> Source:
    """One answer of /dev/kvm."""

    def read(snapshot: Snapshot) -> Read:
        value = snapshot.kvm(name)
        if value is None:
            return Unknown(snapshot.obstacle("kvm", name) or f"/dev/kvm was not asked for {name}")
        return (Seen(value, str(value)),)

    return Source(f"/dev/kvm {name}", read)


def capability(cap: Cap) -> Source:
    """What KVM_CHECK_EXTENSION returns for a capability: 0 is no."""

    def read(snapshot: Snapshot) -> Read:
        extensions = snapshot.kvm("extensions")
        if extensions is None or cap.name not in extensions:
            return Unknown(snapshot.obstacle("kvm", "extensions") or f"{cap.name} was not asked for")
        return (Seen(extensions[cap.name], str(extensions[cap.name])),)

    return Source(f"KVM_CHECK_EXTENSION {cap.name}", read)


def vm_type(kind: VmType) -> Source:
    """Does KVM_CREATE_VM take a kind of VM?  A kernel that lists no kinds at all (before Linux 6.8) does not say."""

    def read(snapshot: Snapshot) -> Read:
        found = capability(Cap.VM_TYPES).read(snapshot)
        if isinstance(found, Unknown):
            return found
        kinds = int(found[0].value)
        return (
            (Seen(bool(kinds >> kind & 1), f"{kinds:#x}"),) if kinds > 0 else Unknown("this kernel does not list kinds")
        )

    return Source(f"KVM_CHECK_EXTENSION {Cap.VM_TYPES.name}, bit {kind}", read)


def feature_msrs(first: int, last: int) -> Source:
    """How many of the MSRs ``first`` to ``last`` KVM shows: those that it offers to guests, not the processor's own."""

    def read(snapshot: Snapshot) -> Read:
        values = snapshot.kvm("feature_msrs")
        if values is None:
            return Unknown(snapshot.obstacle("kvm", "feature_msrs") or "/dev/kvm was not asked")
        found = [text for text in values if first <= int(text, 16) <= last]
        return (Seen(len(found), " ".join(found)),)

    return Source("KVM_GET_MSRS of /dev/kvm", read)


def offered(leaf: int, register: str, field: Field[Any], sub: int = 0) -> Source:
    """Does KVM offer a CPUID flag to guests?  A leaf that KVM does not list has no flags."""
    column = REGISTERS.index(register)

    def read(snapshot: Snapshot) -> Read:
        leaves = snapshot.kvm("supported_cpuid")
        if leaves is None:
            return Unknown(snapshot.obstacle("kvm", "supported_cpuid") or "/dev/kvm was not asked")
        text = leaves.get(f"{leaf:08x}.{sub:02x}")
        if text is None:
            return (Seen(False, f"KVM offers no leaf {leaf:#x}"),)
        value = registers(text)[column]
        return (Seen(field.of(value), f"{value:#010x}"),)

    return Source(f"KVM_GET_SUPPORTED_CPUID {leaf:#x} {register.upper()}", read)
