"""The x86 KVM ABI: ioctl numbers, structures, capabilities, exit reasons.  Linux Documentation/virt/kvm/api.rst."""

from virtproof.spec.kvm.capabilities import Cap, VmType
from virtproof.spec.kvm.exits import CpuidFlag, ExitReason, InternalError, IoDirection, MemoryFlag, SystemEventType
from virtproof.spec.kvm.ioctls import API_VERSION, Ioctl

__all__ = [
    "API_VERSION",
    "Cap",
    "CpuidFlag",
    "ExitReason",
    "InternalError",
    "IoDirection",
    "Ioctl",
    "MemoryFlag",
    "SystemEventType",
    "VmType",
]
