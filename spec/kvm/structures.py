"""Structures of vCPUs and memory: <linux/kvm.h>, x86 <asm/kvm.h>, Linux Documentation/virt/kvm/api.rst.

A class is named as the C structure without ``kvm_``, in CapWords: ``PitState2`` is ``struct kvm_pit_state2``.
Structures that the header leaves without a name are named after the member that holds them.  Flexible array
members have no field here: their elements follow directly.
"""

from __future__ import annotations

from virtproof.spec.kvm.layout import Struct, Union, each, u8, u16, u32, u64

NR_INTERRUPTS = 256
MAX_XCRS = 16
MSR_FILTER_MAX_RANGES = 16
STATE_NESTED_VMX_VMCS_SIZE = 0x1000
STATE_NESTED_SVM_VMCB_SIZE = 0x1000

# ---- registers of a vCPU


class Regs(Struct):
    _fields_ = each(u64, "rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags")


class Segment(Struct):
    _fields_ = (
        ("base", u64),
        ("limit", u32),
        ("selector", u16),
        *each(u8, "type present dpl db s l g avl unusable padding"),
    )


class Dtable(Struct):
    _fields_ = (("base", u64), ("limit", u16), ("padding", u16 * 3))


_SPECIAL = (
    *each(Segment, "cs ds es fs gs ss tr ldt"),
    ("gdt", Dtable),
    ("idt", Dtable),
    *each(u64, "cr0 cr2 cr3 cr4 cr8 efer apic_base"),
)


class Sregs(Struct):
    _fields_ = (*_SPECIAL, ("interrupt_bitmap", u64 * (NR_INTERRUPTS // 64)))


class Sregs2(Struct):
    _fields_ = (*_SPECIAL, ("flags", u64), ("pdptrs", u64 * 4))


class Fpu(Struct):
    _fields_ = (
        ("fpr", u8 * 16 * 8),
        ("fcw", u16),
        ("fsw", u16),
        ("ftwx", u8),
        ("pad1", u8),
        ("last_opcode", u16),
        ("last_ip", u64),
        ("last_dp", u64),
        ("xmm", u8 * 16 * 16),
        ("mxcsr", u32),
        ("pad2", u32),
    )


class Xsave(Struct):
    _fields_ = (("region", u32 * 1024),)


class Xcr(Struct):
    _fields_ = (("xcr", u32), ("reserved", u32), ("value", u64))


class Xcrs(Struct):
    _fields_ = (("nr_xcrs", u32), ("flags", u32), ("xcrs", Xcr * MAX_XCRS), ("padding", u64 * 16))


class Debugregs(Struct):
    _fields_ = (("db", u64 * 4), ("dr6", u64), ("dr7", u64), ("flags", u64), ("reserved", u64 * 9))


class MsrEntry(Struct):
    _fields_ = (("index", u32), ("reserved", u32), ("data", u64))


class Msrs(Struct):
    """Header; ``nmsrs`` times MsrEntry follow."""

    _fields_ = (("nmsrs", u32), ("pad", u32))


class MsrList(Struct):
    """Header; ``nmsrs`` times u32 follow."""

    _fields_ = (("nmsrs", u32),)


class MsrFilterRange(Struct):
    _fields_ = (("flags", u32), ("nmsrs", u32), ("base", u32), ("bitmap", u64))


class MsrFilter(Struct):
    _fields_ = (("flags", u32), ("ranges", MsrFilterRange * MSR_FILTER_MAX_RANGES))


class CpuidEntry(Struct):
    _fields_ = each(u32, "function eax ebx ecx edx padding")


class Cpuid(Struct):
    """Header; ``nent`` times CpuidEntry follow."""

    _fields_ = (("nent", u32), ("padding", u32))


class CpuidEntry2(Struct):
    _fields_ = (*each(u32, "function index flags eax ebx ecx edx"), ("padding", u32 * 3))


class Cpuid2(Struct):
    """Header; ``nent`` times CpuidEntry2 follow."""

    _fields_ = (("nent", u32), ("padding", u32))


class RegList(Struct):
    """Header; ``n`` times u64 follow."""

    _fields_ = (("n", u64),)


class OneReg(Struct):
    _fields_ = (("id", u64), ("addr", u64))


# ---- events and state of a vCPU


class VcpuEvents(Struct):
    class Exception(Struct):  # noqa: A001 -- the member's name
        _fields_ = (
            ("injected", u8),
            ("nr", u8),
            ("has_error_code", u8),
            ("pending", u8),
            ("error_code", u32),
        )

    class Interrupt(Struct):
        _fields_ = each(u8, "injected nr soft shadow")

    class Nmi(Struct):
        _fields_ = each(u8, "injected pending masked pad")

    class Smi(Struct):
        _fields_ = each(u8, "smm pending smm_inside_nmi latched_init")

    class TripleFault(Struct):
        _fields_ = (("pending", u8),)

    _fields_ = (
        ("exception", Exception),
        ("interrupt", Interrupt),
        ("nmi", Nmi),
        ("sipi_vector", u32),
        ("flags", u32),
        ("smi", Smi),
        ("triple_fault", TripleFault),
        ("reserved", u8 * 26),
        ("exception_has_payload", u8),
        ("exception_payload", u64),
    )


class MpState(Struct):
    _fields_ = (("mp_state", u32),)


class X86Mce(Struct):
    _fields_ = (
        ("status", u64),
        ("addr", u64),
        ("misc", u64),
        ("mcg_status", u64),
        ("bank", u8),
        ("pad1", u8 * 7),
        ("pad2", u64 * 3),
    )


class Interrupt(Struct):
    _fields_ = (("irq", u32),)


class SignalMask(Struct):
    """Header; ``len`` bytes of signal set follow."""

    _fields_ = (("len", u32),)


class TprAccessCtl(Struct):
    _fields_ = (("enabled", u32), ("flags", u32), ("reserved", u32 * 8))


class VapicAddr(Struct):
    _fields_ = (("vapic_addr", u64),)


class Translation(Struct):
    _fields_ = (
        ("linear_address", u64),
        ("physical_address", u64),
        ("valid", u8),
        ("writeable", u8),
        ("usermode", u8),
        ("pad", u8 * 5),
    )


class DebugExitArch(Struct):
    _fields_ = (("exception", u32), ("pad", u32), ("pc", u64), ("dr6", u64), ("dr7", u64))


class GuestDebugArch(Struct):
    _fields_ = (("debugreg", u64 * 8),)


class GuestDebug(Struct):
    _fields_ = (("control", u32), ("pad", u32), ("arch", GuestDebugArch))


class VmxNestedStateHdr(Struct):
    class Smm(Struct):
        _fields_ = (("flags", u16),)

    _fields_ = (
        ("vmxon_pa", u64),
        ("vmcs12_pa", u64),
        ("smm", Smm),
        ("pad", u16),
        ("flags", u32),
        ("preemption_timer_deadline", u64),
    )


class VmxNestedStateData(Struct):
    _fields_ = (
        ("vmcs12", u8 * STATE_NESTED_VMX_VMCS_SIZE),
        ("shadow_vmcs12", u8 * STATE_NESTED_VMX_VMCS_SIZE),
    )


class SvmNestedStateHdr(Struct):
    _fields_ = (("vmcb_pa", u64),)


class SvmNestedStateData(Struct):
    _fields_ = (("vmcb12", u8 * STATE_NESTED_SVM_VMCB_SIZE),)


class NestedState(Struct):
    """Header; VmxNestedStateData or SvmNestedStateData follows."""

    class Hdr(Union):
        _fields_ = (("vmx", VmxNestedStateHdr), ("svm", SvmNestedStateHdr), ("pad", u8 * 120))

    _fields_ = (("flags", u16), ("format", u16), ("size", u32), ("hdr", Hdr))


# ---- memory


class MemoryRegion(Struct):
    _fields_ = (("slot", u32), ("flags", u32), ("guest_phys_addr", u64), ("memory_size", u64))


class UserspaceMemoryRegion(Struct):
    _fields_ = (*MemoryRegion._fields_, ("userspace_addr", u64))


class UserspaceMemoryRegion2(Struct):
    """Linux 6.8."""

    _fields_ = (
        *UserspaceMemoryRegion._fields_,
        ("guest_memfd_offset", u64),
        ("guest_memfd", u32),
        ("pad1", u32),
        ("pad2", u64 * 14),
    )


class MemoryAlias(Struct):
    _fields_ = (*MemoryRegion._fields_, ("target_phys_addr", u64))


class MemoryAttributes(Struct):
    """Linux 6.8."""

    _fields_ = (("address", u64), ("size", u64), ("attributes", u64), ("flags", u64))


class CreateGuestMemfd(Struct):
    """Linux 6.8."""

    _fields_ = (("size", u64), ("flags", u64), ("reserved", u64 * 6))


class PreFaultMemory(Struct):
    """Linux 6.11."""

    _fields_ = (("gpa", u64), ("size", u64), ("flags", u64), ("padding", u64 * 5))


class DirtyLog(Struct):
    _fields_ = (("slot", u32), ("padding1", u32), ("dirty_bitmap", u64))


class ClearDirtyLog(Struct):
    _fields_ = (("slot", u32), ("num_pages", u32), ("first_page", u64), ("dirty_bitmap", u64))


class DirtyGfn(Struct):
    _fields_ = (("flags", u32), ("slot", u32), ("offset", u64))


class DirtyTlb(Struct):
    _fields_ = (("bitmap", u64), ("num_dirty", u32))


class CoalescedMmioZone(Struct):
    _fields_ = (("addr", u64), ("size", u32), ("pio", u32))


class CoalescedMmio(Struct):
    _fields_ = (("phys_addr", u64), ("len", u32), ("pio", u32), ("data", u8 * 8))


class CoalescedMmioRing(Struct):
    """Header; CoalescedMmio entries follow."""

    _fields_ = (("first", u32), ("last", u32))


class EncRegion(Struct):
    _fields_ = (("addr", u64), ("size", u64))
