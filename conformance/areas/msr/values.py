"""A legal value is kept, an illegal one refused with #GP(0) and nothing changed.

Reserved bits and types: MTRRs hold the types 0, 1, 4, 5 and 6; a base and a mask have no bits above MAXPHYADDR.
IA32_MTRRCAP is read-only, IA32_PRED_CMD write-only.  Bits of IA32_SPEC_CTRL and IA32_XSS that no feature brings are
reserved.  IA32_MCi_CTL takes zeros or ones, IA32_MCi_STATUS zero (Intel).  Bits 63:32 of IA32_TSC_AUX are reserved on Intel; AMD
ignores them.  IA32_SYSENTER_ESP and EIP hold canonical addresses on Intel.

IA32_FEATURE_CONTROL is open until its lock is set, and nothing but a reset opens it: its cases have a guest each.

A row writes, and reads back; that the monitor reads the same is a case of its own (monitor.py).
"""

from __future__ import annotations

from typing import Any

from virtproof.conformance.areas.msr.refused import RDMSR, WRMSR, X2APIC, wr
from virtproof.conformance.case import Expect, Insn, completes, family, faults, msr
from virtproof.conformance.guest import hosted
from virtproof.guest_payloads.trampoline import INITIAL, Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Efer
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.msr import Msr
from virtproof.spec.x86.msr_vmx import VmxMsr

row = family(
    "msr",
    sdm("4", "Model-Specific Registers, 'Architectural MSRs'"),
    sdm("2B", "Instruction Set Reference, 'WRMSR-Write to Model Specific Register'"),
    apm(2, "System Resources, 'Model-Specific Registers (MSRs)'"),
)

LONG64 = Mode.LONG64
GP = faults(Vector.GP, 0)
CLEAR = (Insn("31 c0", "xor eax, eax"), Insn("31 d2", "xor edx, edx"))
KEPT = (WRMSR, *CLEAR, RDMSR)  # ECX stays
DEADLINE = (                             # x2APIC mode; LVT timer: TSC-deadline mode, masked; 2^62
    WRMSR, Insn("b9 32 08 00 00", "mov ecx, 0x832"), Insn("b8 40 00 05 00", "mov eax, 0x50040"), CLEAR[1], WRMSR,
    Insn("b9 e0 06 00 00", "mov ecx, 0x6e0"), CLEAR[0], Insn("ba 00 00 00 40", "mov edx, 0x40000000"), WRMSR, *CLEAR, RDMSR,
)  # fmt: skip
SWITCHED = (                             # bit 0 off, seen in RDI, and on, seen in RAX
    RDMSR, Insn("83 e0 fe", "and eax, 0xfffffffe"), WRMSR, RDMSR, Insn("89 c7", "mov edi, eax"), Insn("83 e7 01", "and edi, 1"),
    Insn("83 c8 01", "or eax, 1"), WRMSR, RDMSR, Insn("83 e0 01", "and eax, 1"),
)  # fmt: skip
OFFERED_XSS = (                          # CPUID 0DH.1 EDX:ECX written to IA32_XSS; the difference when it is read
    Insn("b8 0d 00 00 00", "mov eax, 0xd"), Insn("b9 01 00 00 00", "mov ecx, 1"), Insn("0f a2", "cpuid"),
    Insn("89 ce", "mov esi, ecx"), Insn("89 d7", "mov edi, edx"), Insn("b9 a0 0d 00 00", "mov ecx, 0xda0"),
    Insn("89 f0", "mov eax, esi"), WRMSR, *CLEAR, RDMSR, Insn("29 f0", "sub eax, esi"), Insn("29 fa", "sub edx, edi"),
)  # fmt: skip
LOCKED, VMX_ALLOWED = 1 << 0, 1 << 2  # of IA32_FEATURE_CONTROL
LOCKED_GUEST: dict[str, Any] = {
    "regs": wr(Msr.IA32_FEATURE_CONTROL, LOCKED | VMX_ALLOWED),
    "requires": ("vmx",),
    "priority": 2,
}
EFER = int(INITIAL[LONG64].efer)
ADDRESS, NOT_CANONICAL = 0x7FED_CBA9_8765, 1 << 47
HIGH = 1 << 63 | 0x5EED
MTRR_DEF_TYPE, MTRR_PHYSMASK0, MTRR_FIX64K, MC0_CTL, MC0_STATUS = 0x2FF, 0x201, 0x250, 0x400, 0x401
E_FE = 3 << 10  # of MTRR_DEF_TYPE
WRITE_BACK, TYPE_2, TYPE_7 = 6, 2, 7
XAPIC = 0xFEE0_0000 | 1 << 11 | 1 << 8  # after reset, of the bootstrap processor
VALID = 1 << 11  # of a physical mask
ALL_ONES = (1 << 64) - 1
BTF = 1 << 1
INTEL = ("Intel vendor",)


def keeps(register: int, value: int, **more: Any) -> dict[str, Any]:
    """Write ``value`` and read it; afterwards the register holds what it held before."""
    read = {"rax": value & 0xFFFF_FFFF, "rdx": value >> 32}
    restored = more.pop("restored", True)
    sets = (msr(register, more.pop("before", 0)),) if restored else ()
    return {"code": KEPT, "expect": completes(regs=read), "regs": wr(register, value), "sets": sets} | more


def refuses(register: int, value: int | None, **more: Any) -> dict[str, Any]:
    """A write of ``value`` is refused, or with None the read."""
    if value is None:
        return {"code": RDMSR, "expect": GP, "regs": {"rcx": register}} | more
    return {"code": WRMSR, "expect": GP, "regs": wr(register, value)} | more


def rule(id: str, title: str, code: Any, expect: Expect, priority: int = 1, **more: Any) -> Any:  # noqa: A002
    return row(id, title, LONG64, code, expect, priority=priority, **more)


# fmt: off
CASES = (
    rule("msr.rw.efer",            "EFER keeps SCE",                        **keeps(Msr.IA32_EFER, EFER | Efer(0).but(sce=1), before=EFER)),
    rule("msr.rw.star",            "STAR keeps any value",                  **keeps(Msr.IA32_STAR, HIGH)),
    rule("msr.rw.lstar",           "LSTAR keeps a canonical address",       **keeps(Msr.IA32_LSTAR, ADDRESS)),
    rule("msr.rw.cstar",           "CSTAR keeps a canonical address",       **keeps(Msr.IA32_CSTAR, ADDRESS)),
    rule("msr.rw.sfmask",          "FMASK keeps 32 bits",                   **keeps(Msr.IA32_FMASK, 0xDEAD_BEEF)),
    rule("msr.rw.fs_base",         "FS_BASE keeps a canonical address",     **keeps(Msr.IA32_FS_BASE, ADDRESS)),
    rule("msr.rw.gs_base",         "GS_BASE keeps a canonical address",     **keeps(Msr.IA32_GS_BASE, ADDRESS)),
    rule("msr.rw.kernel_gs_base",  "KERNEL_GS_BASE keeps a canonical address", **keeps(Msr.IA32_KERNEL_GS_BASE, ADDRESS)),
    rule("msr.rw.tsc_aux",         "TSC_AUX keeps 32 bits",                 **keeps(Msr.IA32_TSC_AUX, 0xDEAD_BEEF), requires=("rdtscp",)),
    rule("msr.rw.sysenter_cs",     "SYSENTER_CS keeps a selector",          **keeps(Msr.IA32_SYSENTER_CS, 0x1234)),
    rule("msr.rw.sysenter_esp",    "SYSENTER_ESP keeps a canonical address", **keeps(Msr.IA32_SYSENTER_ESP, ADDRESS), requires=INTEL),
    rule("msr.rw.sysenter_eip",    "SYSENTER_EIP keeps a canonical address", **keeps(Msr.IA32_SYSENTER_EIP, ADDRESS), requires=INTEL),
    rule("msr.rw.sysenter_esp.32", "SYSENTER_ESP keeps 32 bits",            **keeps(Msr.IA32_SYSENTER_ESP, 0x7654_3210)),
    rule("msr.rw.sysenter_eip.32", "SYSENTER_EIP keeps 32 bits",            **keeps(Msr.IA32_SYSENTER_EIP, 0x7654_3210)),
    rule("msr.rw.pat",             "PAT keeps legal types",                 **keeps(Msr.IA32_PAT, 0x0601_0504_0007_0106, before=0x0007_0406_0007_0406)),
    rule("msr.rw.mtrr_def_type",   "MTRR_DEF_TYPE keeps E, FE and a type",  **keeps(MTRR_DEF_TYPE, E_FE | WRITE_BACK), requires=("mtrr",), priority=2),
    rule("msr.rw.mtrr_physbase0",  "MTRR_PHYSBASE0 keeps a base and a type", **keeps(Msr.IA32_MTRR_PHYSBASE0, 0x8000_0000 | WRITE_BACK), requires=("mtrr",), priority=2),
    rule("msr.rw.mtrr_physmask0",  "MTRR_PHYSMASK0 keeps a mask and V",     **keeps(MTRR_PHYSMASK0, 0xF_8000_0000 | VALID), requires=("mtrr",), priority=2),
    rule("msr.rw.mtrr_fix64k",     "MTRR_FIX64K keeps eight types",         **keeps(MTRR_FIX64K, 0x0605_0401_0001_0405), requires=("mtrr",), priority=2),
    rule("msr.rw.apic_base",       "APIC_BASE keeps what it holds",         **keeps(Msr.IA32_APIC_BASE, XAPIC, restored=False), irqchip=True),
    rule("msr.rw.misc_enable",     "MISC_ENABLE keeps the fast-string bit, off and on", SWITCHED, completes(regs={"rax": 1, "rdi": 0}, keeps=False), regs={"rcx": Msr.IA32_MISC_ENABLE}, requires=INTEL, priority=2),
    rule("msr.rw.debugctl",        "DEBUGCTL keeps BTF",                    **keeps(Msr.IA32_DEBUGCTL, BTF), requires=INTEL, priority=2),
    rule("msr.rw.tsc_adjust",      "TSC_ADJUST keeps any value",            **keeps(Msr.IA32_TSC_ADJUST, 1 << 40), requires=("tsc_adjust",)),
    rule("msr.rw.tsc_deadline",    "TSC_DEADLINE keeps a deadline in its mode", DEADLINE, completes(regs={"rax": 0, "rdx": 1 << 30}, keeps=False), regs=wr(Msr.IA32_APIC_BASE, X2APIC), requires=("tsc_deadline", "x2apic"), irqchip=True),
    rule("msr.rw.tsc_deadline.other", "TSC_DEADLINE reads 0 in other modes", DEADLINE[:1] + DEADLINE[5:], completes(regs={"rax": 0, "rdx": 0}, keeps=False), regs=wr(Msr.IA32_APIC_BASE, X2APIC), requires=("tsc_deadline", "x2apic"), irqchip=True),
    rule("msr.rw.spec_ctrl",       "SPEC_CTRL keeps IBRS",                  **keeps(Msr.IA32_SPEC_CTRL, 1), requires=("spec_ctrl",), priority=2),
    rule("msr.rw.xss",             "XSS keeps every bit that CPUID 0DH.1 offers", OFFERED_XSS, completes(regs={"rax": 0, "rdx": 0}, keeps=False), sets=(msr(Msr.IA32_XSS, 0),), requires=("xsaves",), priority=2),
    hosted(rule("msr.rw.feature_control",   "FEATURE_CONTROL keeps VMX and its lock",   KEPT, completes(regs={"rax": LOCKED | VMX_ALLOWED, "rdx": 0}), **LOCKED_GUEST)),
    hosted(rule("msr.rsvd.feature_control", "FEATURE_CONTROL refuses a write once it is locked", (WRMSR, CLEAR[0], WRMSR), faults(Vector.GP, 0, regs={"rax": 0}), **LOCKED_GUEST)),
    rule("msr.rw.mc0_ctl",         "MC0_CTL keeps ones",                    **keeps(MC0_CTL, ALL_ONES), requires=("mca",), priority=2),
    rule("msr.rw.mc0_ctl.zero",    "MC0_CTL keeps zeros",                   **keeps(MC0_CTL, 0), requires=("mca",), priority=2),
    rule("msr.rw.mc0_status",      "MC0_STATUS keeps zero",                 **keeps(MC0_STATUS, 0), requires=("mca",), priority=2),
    rule("msr.rw.pred_cmd",        "PRED_CMD takes IBPB",                   WRMSR, completes(), regs=wr(Msr.IA32_PRED_CMD, 1), requires=("spec_ctrl",), priority=2),

    rule("msr.rsvd.tsc_aux",       "TSC_AUX: bit 32 is reserved on Intel",  **refuses(Msr.IA32_TSC_AUX, 1 << 32), requires=("rdtscp", *INTEL), priority=2),
    rule("msr.rsvd.sysenter_esp",  "SYSENTER_ESP: not canonical",           **refuses(Msr.IA32_SYSENTER_ESP, NOT_CANONICAL), requires=INTEL, priority=2),
    rule("msr.rsvd.sysenter_eip",  "SYSENTER_EIP: not canonical",           **refuses(Msr.IA32_SYSENTER_EIP, NOT_CANONICAL), requires=INTEL),
    rule("msr.rsvd.mtrr_def_type", "MTRR_DEF_TYPE: type 2 is reserved",     **refuses(MTRR_DEF_TYPE, TYPE_2), requires=("mtrr",), priority=2),
    rule("msr.rsvd.mtrr_def_type.bits", "MTRR_DEF_TYPE: bit 12 is reserved", **refuses(MTRR_DEF_TYPE, 1 << 12), requires=("mtrr",), priority=2),
    rule("msr.rsvd.mtrr_physbase0", "MTRR_PHYSBASE0: type 2 is reserved",   **refuses(Msr.IA32_MTRR_PHYSBASE0, TYPE_2), requires=("mtrr",), priority=2),
    rule("msr.rsvd.mtrr_physbase0.width", "MTRR_PHYSBASE0: bit 63 is no address", **refuses(Msr.IA32_MTRR_PHYSBASE0, 1 << 63), requires=("mtrr",), priority=2),
    rule("msr.rsvd.mtrr_physmask0", "MTRR_PHYSMASK0: bit 0 is reserved",    **refuses(MTRR_PHYSMASK0, 1), requires=("mtrr",), priority=2),
    rule("msr.rsvd.mtrr_physmask0.width", "MTRR_PHYSMASK0: bit 63 is no address", **refuses(MTRR_PHYSMASK0, 1 << 63), requires=("mtrr",), priority=2),
    rule("msr.rsvd.mtrr_fix64k",   "MTRR_FIX64K: type 7 is reserved",       **refuses(MTRR_FIX64K, TYPE_7 << 56), requires=("mtrr",), priority=2),
    rule("msr.rsvd.mtrrcap",       "MTRRCAP cannot be written",             **refuses(Msr.IA32_MTRRCAP, 0), requires=("mtrr",), priority=2),
    rule("msr.rsvd.apic_base",     "APIC_BASE: bit 0 is reserved",          **refuses(Msr.IA32_APIC_BASE, XAPIC | 1), irqchip=True),
    rule("msr.rsvd.apic_base.width", "APIC_BASE: bit 63 is no address",     **refuses(Msr.IA32_APIC_BASE, XAPIC | 1 << 63), irqchip=True),
    rule("msr.rsvd.debugctl",      "DEBUGCTL: bit 63 is reserved",          **refuses(Msr.IA32_DEBUGCTL, 1 << 63), requires=INTEL, priority=2),
    rule("msr.rsvd.spec_ctrl",     "SPEC_CTRL: bit 63 is reserved",         **refuses(Msr.IA32_SPEC_CTRL, 1 << 63), requires=("spec_ctrl",), priority=2),
    rule("msr.rsvd.pred_cmd",      "PRED_CMD cannot be read",               **refuses(Msr.IA32_PRED_CMD, None), requires=("spec_ctrl",), priority=2),
    rule("msr.rsvd.pred_cmd.bits", "PRED_CMD: bit 63 is reserved",          **refuses(Msr.IA32_PRED_CMD, 1 << 63), requires=("spec_ctrl",), priority=2),
    rule("msr.rsvd.arch_capabilities", "ARCH_CAPABILITIES cannot be written", **refuses(Msr.IA32_ARCH_CAPABILITIES, 0), requires=("arch_capabilities", *INTEL), priority=2),
    rule("msr.rsvd.mc0_ctl",       "MC0_CTL takes zeros or ones only",      **refuses(MC0_CTL, 1), requires=("mca", *INTEL), priority=2),
    rule("msr.rsvd.mc0_status",    "MC0_STATUS takes zero only",            **refuses(MC0_STATUS, 1), requires=("mca", *INTEL), priority=2),
    rule("msr.rsvd.xss",           "XSS: bit 63 is reserved",               **refuses(Msr.IA32_XSS, 1 << 63), requires=("xsaves",), priority=2),
    rule("msr.rsvd.vmx_basic",     "VMX_BASIC cannot be written",           **refuses(VmxMsr.IA32_VMX_BASIC, 0), requires=("vmx",), priority=2),
    rule("msr.rw.vmx_basic",       "VMX_BASIC can be read where VMX is offered; bit 31 is 0", (RDMSR, Insn("c1 e8 1f", "shr eax, 0x1f")), completes(regs={"rax": 0}, keeps=False), regs={"rcx": VmxMsr.IA32_VMX_BASIC}, requires=("vmx",), priority=2),
)
# fmt: on
