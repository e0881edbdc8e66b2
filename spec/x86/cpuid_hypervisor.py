"""CPUID leaves that hypervisors answer, 40000000H to 400000FFH: Linux Documentation/virt/kvm/x86/cpuid.rst.

Only where CPUID.01H:ECX.HYPERVISOR is set.  Leaf 40000000H: EAX is the highest leaf (KVM before 2008: 0), and EBX, ECX,
EDX are twelve characters of signature.  A hypervisor that poses as Hyper-V answers for itself 100H further up.
"""

import struct

from virtproof.spec.bits import Bits, bit

LEAF = 0x4000_0000
POSING = LEAF + 0x100  # where one that poses as another answers for itself

# fmt: off
SIGNATURES = {
    "KVMKVMKVM":    "KVM",
    "Linux KVM Hv": "KVM, posing as Hyper-V",
    "Microsoft Hv": "Hyper-V, or one that poses as it",
    "VMwareVMware": "VMware",
    "XenVMMXenVMM": "Xen",
    "TCGTCGTCGTCG": "QEMU TCG",
    "VBoxVBoxVBox": "VirtualBox",
    "bhyve bhyve ": "bhyve",
    "ACRNACRNACRN": "ACRN",
    "Jailhouse":    "Jailhouse",
    " lrpepyh  vr": "Parallels",
}
# fmt: on


def signature(ebx: int, ecx: int, edx: int) -> str:
    """The twelve characters of leaf 40000000H, without trailing NULs.  Registers are taken modulo 2**32."""
    raw = struct.pack("<3I", *(register & 0xFFFF_FFFF for register in (ebx, ecx, edx)))
    return raw.decode("latin-1").rstrip("\0")


# fmt: off
class KvmFeatures(Bits, width=32):
    """CPUID.40000001H:EAX under KVM -- paravirtual features."""

    clocksource        = bit(0)
    nop_io_delay       = bit(1)
    mmu_op             = bit(2, "deprecated")
    clocksource2       = bit(3)
    async_pf           = bit(4)
    steal_time         = bit(5)
    pv_eoi             = bit(6)
    pv_unhalt          = bit(7)
    pv_tlb_flush       = bit(9)
    async_pf_vmexit    = bit(10)
    pv_send_ipi        = bit(11)
    poll_control       = bit(12)
    pv_sched_yield     = bit(13)
    async_pf_int       = bit(14)
    msi_ext_dest_id    = bit(15)
    hc_map_gpa_range   = bit(16)
    migration_control  = bit(17)
    clocksource_stable = bit(24, "no jumps of the clock between vCPUs")


class KvmHints(Bits, width=32):
    """CPUID.40000001H:EDX under KVM."""

    realtime = bit(0, "vCPUs are never preempted for long")


REGISTERS: dict[tuple[int, int, str], type[Bits]] = {
    (0x4000_0001, 0, "eax"): KvmFeatures, (0x4000_0001, 0, "edx"): KvmHints,
}
# fmt: on
