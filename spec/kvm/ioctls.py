"""ioctl numbers of /dev/kvm, VM and vCPU descriptors on x86: <linux/kvm.h> of Linux 6.1, a few newer ones marked."""

from __future__ import annotations

from ctypes import sizeof
from enum import IntEnum

from virtproof.spec.kvm import devices as d
from virtproof.spec.kvm import other
from virtproof.spec.kvm import structures as s
from virtproof.spec.kvm.layout import u64

API_VERSION = 12
KVMIO = 0xAE

_NONE, _WRITE, _READ = 0, 1, 2  # as user space sees it: <asm-generic/ioctl.h>


def _ioc(direction: int, nr: int, size: int) -> int:
    return direction << 30 | size << 16 | KVMIO << 8 | nr


def io(nr: int) -> int:
    return _ioc(_NONE, nr, 0)


def ior(nr: int, kind: type) -> int:
    return _ioc(_READ, nr, sizeof(kind))


def iow(nr: int, kind: type) -> int:
    return _ioc(_WRITE, nr, sizeof(kind))


def iowr(nr: int, kind: type) -> int:
    return _ioc(_READ | _WRITE, nr, sizeof(kind))


# fmt: off
class Ioctl(IntEnum):
    """``KVM_<name>``."""

    # /dev/kvm
    GET_API_VERSION            = io(0x00)
    CREATE_VM                  = io(0x01)
    GET_MSR_INDEX_LIST         = iowr(0x02, s.MsrList)
    CHECK_EXTENSION            = io(0x03)
    GET_VCPU_MMAP_SIZE         = io(0x04)
    GET_SUPPORTED_CPUID        = iowr(0x05, s.Cpuid2)
    GET_EMULATED_CPUID         = iowr(0x09, s.Cpuid2)
    GET_MSR_FEATURE_INDEX_LIST = iowr(0x0A, s.MsrList)

    # VM
    SET_MEMORY_REGION          = iow(0x40, s.MemoryRegion)
    CREATE_VCPU                = io(0x41)
    GET_DIRTY_LOG              = iow(0x42, s.DirtyLog)
    SET_MEMORY_ALIAS           = iow(0x43, s.MemoryAlias)
    SET_NR_MMU_PAGES           = io(0x44)
    GET_NR_MMU_PAGES           = io(0x45)
    SET_USER_MEMORY_REGION     = iow(0x46, s.UserspaceMemoryRegion)
    SET_TSS_ADDR               = io(0x47)
    SET_IDENTITY_MAP_ADDR      = iow(0x48, u64)
    SET_USER_MEMORY_REGION2    = iow(0x49, s.UserspaceMemoryRegion2)  # 6.8
    CREATE_IRQCHIP             = io(0x60)
    IRQ_LINE                   = iow(0x61, d.IrqLevel)
    GET_IRQCHIP                = iowr(0x62, d.Irqchip)
    SET_IRQCHIP                = ior(0x63, d.Irqchip)
    CREATE_PIT                 = io(0x64)
    GET_PIT                    = iowr(0x65, d.PitState)
    SET_PIT                    = ior(0x66, d.PitState)
    IRQ_LINE_STATUS            = iowr(0x67, d.IrqLevel)
    REGISTER_COALESCED_MMIO    = iow(0x67, s.CoalescedMmioZone)
    UNREGISTER_COALESCED_MMIO  = iow(0x68, s.CoalescedMmioZone)
    SET_GSI_ROUTING            = iow(0x6A, d.IrqRouting)
    REINJECT_CONTROL           = io(0x71)
    IRQFD                      = iow(0x76, d.Irqfd)
    CREATE_PIT2                = iow(0x77, d.PitConfig)
    SET_BOOT_CPU_ID            = io(0x78)
    IOEVENTFD                  = iow(0x79, d.Ioeventfd)
    XEN_HVM_CONFIG             = iow(0x7A, other.XenHvmConfig)
    SET_CLOCK                  = iow(0x7B, d.ClockData)
    GET_CLOCK                  = ior(0x7C, d.ClockData)
    GET_PIT2                   = ior(0x9F, d.PitState2)
    SET_PIT2                   = iow(0xA0, d.PitState2)
    SIGNAL_MSI                 = iow(0xA5, d.Msi)
    SET_PMU_EVENT_FILTER       = iow(0xB2, d.PmuEventFilter)
    MEMORY_ENCRYPT_OP          = iowr(0xBA, u64)
    MEMORY_ENCRYPT_REG_REGION  = ior(0xBB, s.EncRegion)
    MEMORY_ENCRYPT_UNREG_REGION = ior(0xBC, s.EncRegion)
    HYPERV_EVENTFD             = iow(0xBD, other.HypervEventfd)
    CLEAR_DIRTY_LOG            = iowr(0xC0, s.ClearDirtyLog)
    X86_SET_MSR_FILTER         = iow(0xC6, s.MsrFilter)
    RESET_DIRTY_RINGS          = io(0xC7)
    XEN_HVM_GET_ATTR           = iowr(0xC8, other.XenHvmAttr)
    XEN_HVM_SET_ATTR           = iow(0xC9, other.XenHvmAttr)
    XEN_HVM_EVTCHN_SEND        = iow(0xD0, d.IrqRoutingXenEvtchn)
    SET_MEMORY_ATTRIBUTES      = iow(0xD2, s.MemoryAttributes)  # 6.8
    CREATE_GUEST_MEMFD         = iowr(0xD4, s.CreateGuestMemfd)  # 6.8
    CREATE_DEVICE              = iowr(0xE0, d.CreateDevice)

    # a device made by CREATE_DEVICE
    SET_DEVICE_ATTR            = iow(0xE1, d.DeviceAttr)
    GET_DEVICE_ATTR            = iow(0xE2, d.DeviceAttr)
    HAS_DEVICE_ATTR            = iow(0xE3, d.DeviceAttr)

    # vCPU
    RUN                        = io(0x80)
    GET_REGS                   = ior(0x81, s.Regs)
    SET_REGS                   = iow(0x82, s.Regs)
    GET_SREGS                  = ior(0x83, s.Sregs)
    SET_SREGS                  = iow(0x84, s.Sregs)
    TRANSLATE                  = iowr(0x85, s.Translation)
    INTERRUPT                  = iow(0x86, s.Interrupt)
    GET_MSRS                   = iowr(0x88, s.Msrs)  # also /dev/kvm, for feature MSRs
    SET_MSRS                   = iow(0x89, s.Msrs)
    SET_CPUID                  = iow(0x8A, s.Cpuid)
    SET_SIGNAL_MASK            = iow(0x8B, s.SignalMask)
    GET_FPU                    = ior(0x8C, s.Fpu)
    SET_FPU                    = iow(0x8D, s.Fpu)
    GET_LAPIC                  = ior(0x8E, d.LapicState)
    SET_LAPIC                  = iow(0x8F, d.LapicState)
    SET_CPUID2                 = iow(0x90, s.Cpuid2)
    GET_CPUID2                 = iowr(0x91, s.Cpuid2)
    TPR_ACCESS_REPORTING       = iowr(0x92, s.TprAccessCtl)
    SET_VAPIC_ADDR             = iow(0x93, s.VapicAddr)
    GET_MP_STATE               = ior(0x98, s.MpState)
    SET_MP_STATE               = iow(0x99, s.MpState)
    NMI                        = io(0x9A)
    SET_GUEST_DEBUG            = iow(0x9B, s.GuestDebug)
    X86_SETUP_MCE              = iow(0x9C, u64)
    X86_GET_MCE_CAP_SUPPORTED  = ior(0x9D, u64)
    X86_SET_MCE                = iow(0x9E, s.X86Mce)
    GET_VCPU_EVENTS            = ior(0x9F, s.VcpuEvents)
    SET_VCPU_EVENTS            = iow(0xA0, s.VcpuEvents)
    GET_DEBUGREGS              = ior(0xA1, s.Debugregs)
    SET_DEBUGREGS              = iow(0xA2, s.Debugregs)
    SET_TSC_KHZ                = io(0xA2)
    GET_TSC_KHZ                = io(0xA3)
    ENABLE_CAP                 = iow(0xA3, d.EnableCap)  # also VM
    GET_XSAVE                  = ior(0xA4, s.Xsave)
    SET_XSAVE                  = iow(0xA5, s.Xsave)
    GET_XCRS                   = ior(0xA6, s.Xcrs)
    SET_XCRS                   = iow(0xA7, s.Xcrs)
    DIRTY_TLB                  = iow(0xAA, s.DirtyTlb)
    GET_ONE_REG                = iow(0xAB, s.OneReg)
    SET_ONE_REG                = iow(0xAC, s.OneReg)
    KVMCLOCK_CTRL              = io(0xAD)
    GET_REG_LIST               = iowr(0xB0, s.RegList)
    SMI                        = io(0xB7)
    GET_NESTED_STATE           = iowr(0xBE, s.NestedState)
    SET_NESTED_STATE           = iow(0xBF, s.NestedState)
    GET_SUPPORTED_HV_CPUID     = iowr(0xC1, s.Cpuid2)  # also /dev/kvm
    XEN_VCPU_GET_ATTR          = iowr(0xCA, other.XenVcpuAttr)
    XEN_VCPU_SET_ATTR          = iow(0xCB, other.XenVcpuAttr)
    GET_SREGS2                 = ior(0xCC, s.Sregs2)
    SET_SREGS2                 = iow(0xCD, s.Sregs2)
    GET_STATS_FD               = io(0xCE)  # also VM
    GET_XSAVE2                 = ior(0xCF, s.Xsave)
    PRE_FAULT_MEMORY           = iowr(0xD5, s.PreFaultMemory)  # 6.11

    # numbered, but no longer served
    TRACE_ENABLE               = iow(0x06, other.UserTraceSetup)
    TRACE_PAUSE                = io(0x07)
    TRACE_DISABLE              = io(0x08)
    ASSIGN_PCI_DEVICE          = ior(0x69, other.AssignedPciDev)
    ASSIGN_IRQ                 = ior(0x70, other.AssignedIrq)
    ASSIGN_DEV_IRQ             = iow(0x70, other.AssignedIrq)
    DEASSIGN_PCI_DEVICE        = iow(0x72, other.AssignedPciDev)
    ASSIGN_SET_MSIX_NR         = iow(0x73, other.AssignedMsixNr)
    ASSIGN_SET_MSIX_ENTRY      = iow(0x74, other.AssignedMsixEntry)
    DEASSIGN_DEV_IRQ           = iow(0x75, other.AssignedIrq)
    DEBUG_GUEST                = iow(0x87, other.DebugGuest)
    ASSIGN_SET_INTX_MASK       = iow(0xA4, other.AssignedPciDev)
# fmt: on
