"""``struct kvm_run``, the page that a vCPU shares with its monitor.

Linux Documentation/virt/kvm/api.rst, "The kvm_run structure".
"""

from __future__ import annotations

from virtproof.spec.kvm.layout import Struct, Union, each, u8, u16, u32, u64
from virtproof.spec.kvm.structures import DebugExitArch, Regs, Sregs, VcpuEvents

SYNC_REGS_SIZE_BYTES = 2048
INTERNAL_ERROR_DATA = 16  # words of ``internal.data``
INSN_BYTES = 15  # of ``emulation_failure.insn_bytes``


class HypervExit(Struct):
    class U(Union):
        class Synic(Struct):
            _fields_ = (("msr", u32), ("pad2", u32), ("control", u64), ("evt_page", u64), ("msg_page", u64))

        class Hcall(Struct):
            _fields_ = (("input", u64), ("result", u64), ("params", u64 * 2))

        class Syndbg(Struct):
            _fields_ = (
                ("msr", u32),
                ("pad2", u32),
                *each(u64, "control status send_page recv_page pending_page"),
            )

        _fields_ = (("synic", Synic), ("hcall", Hcall), ("syndbg", Syndbg))

    _fields_ = (("type", u32), ("pad1", u32), ("u", U))


class XenExit(Struct):
    class U(Union):
        class Hcall(Struct):
            _fields_ = (
                ("longmode", u32),
                ("cpl", u32),
                ("input", u64),
                ("result", u64),
                ("params", u64 * 6),
            )

        _fields_ = (("hcall", Hcall),)

    _fields_ = (("type", u32), ("u", U))


class SyncRegs(Struct):
    _fields_ = (("regs", Regs), ("sregs", Sregs), ("events", VcpuEvents))


class Hw(Struct):
    _fields_ = (("hardware_exit_reason", u64),)


class FailEntry(Struct):
    _fields_ = (("hardware_entry_failure_reason", u64), ("cpu", u32))


class Ex(Struct):
    _fields_ = (("exception", u32), ("error_code", u32))


class Io(Struct):
    _fields_ = (("direction", u8), ("size", u8), ("port", u16), ("count", u32), ("data_offset", u64))


class Debug(Struct):
    _fields_ = (("arch", DebugExitArch),)


class Mmio(Struct):
    _fields_ = (("phys_addr", u64), ("data", u8 * 8), ("len", u32), ("is_write", u8))


class Hypercall(Struct):
    _fields_ = (("nr", u64), ("args", u64 * 6), ("ret", u64), ("longmode", u32), ("pad", u32))


class TprAccess(Struct):
    _fields_ = (("rip", u64), ("is_write", u32), ("pad", u32))


class Internal(Struct):
    _fields_ = (("suberror", u32), ("ndata", u32), ("data", u64 * INTERNAL_ERROR_DATA))


class EmulationFailure(Struct):
    """What ``Internal`` holds when the suberror is EMULATION; ``flags`` says which fields are valid."""

    _fields_ = (
        ("suberror", u32),
        ("ndata", u32),
        ("flags", u64),
        ("insn_size", u8),
        ("insn_bytes", u8 * INSN_BYTES),
    )


class SystemEvent(Struct):
    _fields_ = (("type", u32), ("ndata", u32), ("data", u64 * 16))


class Eoi(Struct):
    _fields_ = (("vector", u8),)


class Msr(Struct):
    _fields_ = (("error", u8), ("pad", u8 * 7), ("reason", u32), ("index", u32), ("data", u64))


class Notify(Struct):
    _fields_ = (("flags", u32),)


class Exit(Union):
    """What comes with an exit; ``Run.exit_reason`` says which member."""

    _fields_ = (
        ("hw", Hw),
        ("fail_entry", FailEntry),
        ("ex", Ex),
        ("io", Io),
        ("debug", Debug),
        ("mmio", Mmio),
        ("hypercall", Hypercall),
        ("tpr_access", TprAccess),
        ("internal", Internal),
        ("emulation_failure", EmulationFailure),
        ("system_event", SystemEvent),
        ("eoi", Eoi),
        ("hyperv", HypervExit),
        ("msr", Msr),
        ("xen", XenExit),
        ("notify", Notify),
        ("padding", u8 * 256),
    )


class S(Union):
    _fields_ = (("regs", SyncRegs), ("padding", u8 * SYNC_REGS_SIZE_BYTES))


class Run(Struct):
    _anonymous_ = ("exit",)
    _fields_ = (
        ("request_interrupt_window", u8),
        ("immediate_exit", u8),
        ("padding1", u8 * 6),
        ("exit_reason", u32),
        ("ready_for_interrupt_injection", u8),
        ("if_flag", u8),
        ("flags", u16),
        ("cr8", u64),
        ("apic_base", u64),
        ("exit", Exit),
        ("kvm_valid_regs", u64),
        ("kvm_dirty_regs", u64),
        ("s", S),
    )
