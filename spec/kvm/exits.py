"""Why KVM_RUN returned, and the flags of the other structures: <linux/kvm.h>, x86 <asm/kvm.h>."""

from __future__ import annotations

from enum import IntEnum, IntFlag


# fmt: off
class ExitReason(IntEnum):
    """``KVM_EXIT_<name>``: ``kvm_run.exit_reason``."""

    UNKNOWN         = 0
    EXCEPTION       = 1
    IO              = 2
    HYPERCALL       = 3
    DEBUG           = 4
    HLT             = 5
    MMIO            = 6
    IRQ_WINDOW_OPEN = 7
    SHUTDOWN        = 8
    FAIL_ENTRY      = 9
    INTR            = 10
    SET_TPR         = 11
    TPR_ACCESS      = 12
    NMI             = 16
    INTERNAL_ERROR  = 17
    WATCHDOG        = 21
    SYSTEM_EVENT    = 24
    IOAPIC_EOI      = 26
    HYPERV          = 27
    X86_RDMSR       = 29
    X86_WRMSR       = 30
    DIRTY_RING_FULL = 31
    AP_RESET_HOLD   = 32
    X86_BUS_LOCK    = 33
    XEN             = 34
    NOTIFY          = 37
    MEMORY_FAULT    = 39  # Linux 6.8
    TDX             = 40  # Linux 6.16


class IoDirection(IntEnum):
    """``KVM_EXIT_IO_<name>``: ``kvm_run.io.direction``."""

    IN  = 0
    OUT = 1


class InternalError(IntEnum):
    """``KVM_INTERNAL_ERROR_<name>``: ``kvm_run.internal.suberror``."""

    EMULATION              = 1
    SIMUL_EX               = 2
    DELIVERY_EV            = 3
    UNEXPECTED_EXIT_REASON = 4


class EmulationFlag(IntFlag):
    """``KVM_INTERNAL_ERROR_EMULATION_FLAG_<name>``."""

    INSTRUCTION_BYTES = 1 << 0


class SystemEventType(IntEnum):
    """``KVM_SYSTEM_EVENT_<name>``."""

    SHUTDOWN = 1
    RESET    = 2
    CRASH    = 3
    WAKEUP   = 4
    SUSPEND  = 5
    SEV_TERM = 6
    TDX_FATAL = 7  # Linux 6.16


class HypervExitType(IntEnum):
    """``KVM_EXIT_HYPERV_<name>``."""

    SYNIC  = 1
    HCALL  = 2
    SYNDBG = 3


class MsrExitReason(IntFlag):
    """``KVM_MSR_EXIT_REASON_<name>``."""

    INVAL   = 1 << 0
    UNKNOWN = 1 << 1
    FILTER  = 1 << 2


class RunFlag(IntFlag):
    """``KVM_RUN_X86_<name>``: ``kvm_run.flags``."""

    SMM        = 1 << 0
    BUS_LOCK   = 1 << 1
    GUEST_MODE = 1 << 2  # Linux 6.12


class MemoryFlag(IntFlag):
    """``KVM_MEM_<name>``: flags of a memory slot."""

    LOG_DIRTY_PAGES = 1 << 0
    READONLY        = 1 << 1
    GUEST_MEMFD     = 1 << 2  # Linux 6.8


class MpStateValue(IntEnum):
    """``KVM_MP_STATE_<name>``."""

    RUNNABLE      = 0
    UNINITIALIZED = 1
    INIT_RECEIVED = 2
    HALTED        = 3
    SIPI_RECEIVED = 4
    AP_RESET_HOLD = 9


class IrqchipId(IntEnum):
    """``KVM_IRQCHIP_<name>``: ``kvm_irqchip.chip_id``."""

    PIC_MASTER = 0
    PIC_SLAVE  = 1
    IOAPIC     = 2


class IrqRoutingType(IntEnum):
    """``KVM_IRQ_ROUTING_<name>``."""

    IRQCHIP    = 1
    MSI        = 2
    HV_SINT    = 4
    XEN_EVTCHN = 5


class CpuidFlag(IntFlag):
    """``KVM_CPUID_FLAG_<name>``: ``kvm_cpuid_entry2.flags``."""

    SIGNIFCANT_INDEX = 1 << 0  # the header's spelling
    STATEFUL_FUNC    = 1 << 1
    STATE_READ_NEXT  = 1 << 2


class GuestDebugFlag(IntFlag):
    """``KVM_GUESTDBG_<name>``: ``kvm_guest_debug.control``."""

    ENABLE     = 0x00000001
    SINGLESTEP = 0x00000002
    USE_SW_BP  = 0x00010000
    USE_HW_BP  = 0x00020000
    INJECT_DB  = 0x00040000
    INJECT_BP  = 0x00080000
    BLOCKIRQ   = 0x00100000


class VcpuEventFlag(IntFlag):
    """``KVM_VCPUEVENT_VALID_<name>``: ``kvm_vcpu_events.flags``."""

    NMI_PENDING  = 0x01
    SIPI_VECTOR  = 0x02
    SHADOW       = 0x04
    SMM          = 0x08
    PAYLOAD      = 0x10
    TRIPLE_FAULT = 0x20


class InterruptShadow(IntFlag):
    """``KVM_X86_SHADOW_INT_<name>``."""

    MOV_SS = 0x01
    STI    = 0x02


class IoeventfdFlag(IntFlag):
    """``KVM_IOEVENTFD_FLAG_<name>``."""

    DATAMATCH = 1 << 0
    PIO       = 1 << 1
    DEASSIGN  = 1 << 2


class IrqfdFlag(IntFlag):
    """``KVM_IRQFD_FLAG_<name>``."""

    DEASSIGN = 1 << 0
    RESAMPLE = 1 << 1


class ClockFlag(IntFlag):
    """``KVM_CLOCK_<name>``."""

    TSC_STABLE = 1 << 1
    REALTIME   = 1 << 2
    HOST_TSC   = 1 << 3


class SyncFlag(IntFlag):
    """``KVM_SYNC_X86_<name>``: ``kvm_run.kvm_valid_regs`` and ``kvm_dirty_regs``."""

    REGS   = 1 << 0
    SREGS  = 1 << 1
    EVENTS = 1 << 2


class Quirk(IntFlag):
    """``KVM_X86_QUIRK_<name>``: argument of KVM_CAP_DISABLE_QUIRKS2."""

    LINT0_REENABLED        = 1 << 0
    CD_NW_CLEARED          = 1 << 1
    LAPIC_MMIO_HOLE        = 1 << 2
    OUT_7E_INC_RIP         = 1 << 3
    MISC_ENABLE_NO_MWAIT   = 1 << 4
    FIX_HYPERCALL_INSN     = 1 << 5
    MWAIT_NEVER_UD_FAULTS  = 1 << 6
    SLOT_ZAP_ALL           = 1 << 7  # Linux 6.12
    STUFF_FEATURE_MSRS     = 1 << 8  # Linux 6.14
    IGNORE_GUEST_PAT       = 1 << 9  # Linux 6.16


class DisabledExit(IntFlag):
    """``KVM_X86_DISABLE_EXITS_<name>``: argument of KVM_CAP_X86_DISABLE_EXITS."""

    MWAIT  = 1 << 0
    HLT    = 1 << 1
    PAUSE  = 1 << 2
    CSTATE = 1 << 3


class X2apicApi(IntFlag):
    """``KVM_X2APIC_API_<name>``: argument of KVM_CAP_X2APIC_API."""

    USE_32BIT_IDS           = 1 << 0
    DISABLE_BROADCAST_QUIRK = 1 << 1


class NestedStateFlag(IntFlag):
    """``KVM_STATE_NESTED_<name>``."""

    GUEST_MODE  = 0x001
    RUN_PENDING = 0x002
    EVMCS       = 0x004
    MTF_PENDING = 0x008
    GIF_SET     = 0x100


class MsrFilterFlag(IntFlag):
    """``KVM_MSR_FILTER_<name>``: ``kvm_msr_filter_range.flags``."""

    READ  = 1 << 0
    WRITE = 1 << 1


class MsrFilterDefault(IntFlag):
    """``KVM_MSR_FILTER_DEFAULT_<name>``: ``kvm_msr_filter.flags``."""

    ALLOW = 0
    DENY  = 1 << 0


class PitFlag(IntFlag):
    """``KVM_PIT_<name>``: ``kvm_pit_config.flags``."""

    SPEAKER_DUMMY = 1 << 0


class StatsType(IntEnum):
    """``KVM_STATS_TYPE_<name>``: ``kvm_stats_desc.flags``, bits 3:0."""

    CUMULATIVE  = 0
    INSTANT     = 1
    PEAK        = 2
    LINEAR_HIST = 3
    LOG_HIST    = 4


class DirtyLogFlag(IntFlag):
    """``KVM_DIRTY_LOG_<name>``: argument of KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2."""

    MANUAL_PROTECT_ENABLE = 1 << 0
    INITIALLY_SET         = 1 << 1


class DirtyGfnFlag(IntFlag):
    """``KVM_DIRTY_GFN_F_<name>``."""

    DIRTY = 1 << 0
    RESET = 1 << 1


class PageOffset(IntEnum):
    """``KVM_<name>_PAGE_OFFSET``: pages from the start of a vCPU's mapping."""

    PIO            = 1
    COALESCED_MMIO = 2
    DIRTY_LOG      = 64
# fmt: on
