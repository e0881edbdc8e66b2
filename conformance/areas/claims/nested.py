"""A hypervisor in a guest: VMX and SVM are there where the module offers them to guests, and run a guest of their own.

VMXON takes an aligned region with the processor's revision, and IA32_FEATURE_CONTROL locked with VMX allowed; else it
fails (CF) or raises #GP.  VMLAUNCH and VMRUN enter the second-level guest, and CPUID, HLT and VMMCALL come out of it with
their reasons.  A VMCB without EFER.SVME, or for ASID 0, is refused with VMEXIT_INVALID.  Where a guest is offered neither,
CR4.VMXE and EFER.SVME are reserved bits.

KVM emulates the instructions for guests.  The claim is KVM's nesting and not the processor's: once a second-level guest has
run and come back, it is proven.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from virtproof.conformance.case import Case, HostScript, Insn, Row, family, faults, programs_of
from virtproof.conformance.features import FEATURES
from virtproof.conformance.guest import Inapplicable, check
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector
from virtproof.vmm.engine import Engine

VMX = sdm("3C", "VMX Instruction Reference, 'VMXON'"), sdm("3C", "VM Entries, 'Basic VM-Entry Checks'")
SVM = apm(2, "Secure Virtual Machine, 'VMRUN Instruction'"), apm(2, "Secure Virtual Machine, 'Canonicalization and Consistency Checks'")  # fmt: skip

vmx = programs_of("claims", "nested", *VMX, requires=("vmx",), proves=("nested",))
svm = programs_of("claims", "nested", *SVM, requires=("svm",), proves=("nested",))
row = family("claims", sdm("3C", "Introduction to Virtual Machine Extensions, 'Enabling and Entering VMX Operation'"), apm(2, "Secure Virtual Machine, 'Enabling SVM'"))  # fmt: skip

LOCKED = 1 << 0
UD, GP = (0x100 | vector for vector in (Vector.UD, Vector.GP))
INVALID = 1  # CF: VMfailInvalid
CPUID, HLT = 10, 12  # basic exit reasons
CODE_CPUID, CODE_HLT, CODE_VMMCALL, CODE_INVALID = 0x72, 0x78, 0x81, (1 << 64) - 1


def _hidden(guest: Row, feature: str, engine: Engine) -> Iterable[Check]:
    if not FEATURES[feature].absent(engine.supported_cpuid()):
        raise Inapplicable(f"the engine offers {feature} to guests")
    yield from check(guest, engine)


def hidden(guest: Row, feature: str) -> Case:
    return HostScript(
        id=guest.id, title=guest.title, area=guest.area, mode=guest.mode, cite=guest.cite,
        script=partial(_hidden, guest, feature),
    )  # fmt: skip


# fmt: off
CPUID_1   = (Insn("b8 01 00 00 00", "mov eax, 1"), Insn("0f a2", "cpuid"), Insn("83 e1 20", "and ecx, 0x20"))
SET_VMXE  = (Insn("0f 20 e0", "mov rax, cr4"), Insn("0d 00 20 00 00", "or eax, 0x2000"), Insn("0f 22 e0", "mov cr4, rax"))
CPUID_EXT = (Insn("b8 01 00 00 80", "mov eax, 0x80000001"), Insn("0f a2", "cpuid"), Insn("83 e1 04", "and ecx, 4"), Insn("89 ce", "mov esi, ecx"))
SET_SVME  = (Insn("b9 80 00 00 c0", "mov ecx, 0xc0000080"), Insn("0f 32", "rdmsr"), Insn("0d 00 10 00 00", "or eax, 0x1000"), Insn("0f 30", "wrmsr"))

CASES: tuple[Case, ...] = (
    vmx("claim.nested_vmx",             "VMXON and VMXOFF work once each",                 "vmx_on",      (0, INVALID, 0, UD)),
    vmx("claim.nested_vmx_run",         "VMLAUNCH and VMRESUME; CPUID and HLT come out",   "vmx_run",     (0, 0, 0, CPUID, HLT, 0), priority=2, discriminates=True),
    vmx("claim.nested_vmxon_locked",    "VMXON needs IA32_FEATURE_CONTROL: here unlocked", "vmx_locked",  (GP,), 0, priority=2),
    vmx("claim.nested_vmxon_locked.no", "VMXON needs IA32_FEATURE_CONTROL: locked at no",  "vmx_locked",  (GP,), LOCKED, priority=2, refs=("claim.nested_vmxon_locked",)),
    vmx("claim.nested_vmxon_ptr",       "VMXON fails at a wrong address or revision",      "vmx_pointer", (INVALID, INVALID, 0), priority=2),
    svm("claim.nested_svm",             "VMRUN; CPUID, HLT and VMMCALL come out",          "svm_run",     (CODE_CPUID, CODE_HLT, CODE_VMMCALL), discriminates=True),
    svm("claim.nested_vmrun_bad",       "VMRUN refuses a VMCB without SVME, or for ASID 0", "svm_refused", (CODE_INVALID, CODE_INVALID, CODE_CPUID), priority=2),
    hidden(row("claim.nested_vmx_off",  "Where VMX is not offered CR4.VMXE is reserved",   Mode.LONG64, (*CPUID_1, *SET_VMXE), faults(Vector.GP, 0, regs={"rcx": 0}, keeps=False)), "vmx"),
    hidden(row("claim.nested_svm_off",  "Where SVM is not offered EFER.SVME is reserved",  Mode.LONG64, (*CPUID_EXT, *SET_SVME), faults(Vector.GP, 0, regs={"rsi": 0}, keeps=False)), "svm"),
)
# fmt: on
