"""Which processors have which model-specific registers: the "if" column of Intel SDM vol. 4, "Architectural MSRs"; vol.
3D, appendix "VMX Capability Reporting Facility"; AMD APM vol. 2, "MSR Cross-Reference".

All conditions of a register must hold, and registers that a condition names come before.  One that is not listed here,
or has no condition, may be there or not: only reading it tells.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

from virtproof.spec.bits import Field
from virtproof.spec.x86.cpuid import Leaf1Ecx, Leaf1Edx, Leaf7Ecx, Leaf7Edx
from virtproof.spec.x86.cpuid_extended import Leaf8000000AEdx, Leaf8000001FEax
from virtproof.spec.x86.msr import Msr, MtrrCap
from virtproof.spec.x86.msr_amd import AmdMsr
from virtproof.spec.x86.msr_vmx import ExitControls, PrimaryControls, SecondaryControls, VmxBasic, VmxMsr


@dataclass(frozen=True, slots=True)
class Maker:
    """The processor is of one of these makers, as leaf 0 spells them."""

    vendors: tuple[str, ...]
    otherwise: str  # what to tell people where the condition does not hold; so below


@dataclass(frozen=True, slots=True)
class CpuidFlag:
    """A CPUID flag is set."""

    leaf: int
    register: str
    field: Field[Any]
    otherwise: str


@dataclass(frozen=True, slots=True)
class MsrAtLeast:
    """A field of another MSR, looked for ``shift`` bits higher, is not less than ``least``."""

    index: int
    field: Field[Any]
    otherwise: str
    least: int = 1
    shift: int = 0


Condition: TypeAlias = "Maker | CpuidFlag | MsrAtLeast"

MAY = 32  # in the capability of 32 controls, the half that says which may be 1

INTEL = Maker(("GenuineIntel",), "only Intel's processors have it")
NOT_AMD = Maker(("GenuineIntel", "CentaurHauls", "  Shanghai  "), "AMD's processors do not have it")
AMD = Maker(("AuthenticAMD", "HygonGenuine"), "only AMD's processors have it")
BASIC, CTLS, EXIT = VmxMsr.IA32_VMX_BASIC, VmxMsr.IA32_VMX_PROCBASED_CTLS, VmxMsr.IA32_VMX_EXIT_CTLS
CTLS2 = VmxMsr.IA32_VMX_PROCBASED_CTLS2

# fmt: off
MSRS         = CpuidFlag(0x1, "edx", Leaf1Edx.msr,                "the processor has no MSRs")
MTRR         = CpuidFlag(0x1, "edx", Leaf1Edx.mtrr,               "the processor has no MTRRs")
SDBG         = CpuidFlag(0x1, "ecx", Leaf1Ecx.sdbg,               "CPUID lists no silicon debug")
VMX          = CpuidFlag(0x1, "ecx", Leaf1Ecx.vmx,                "CPUID lists no VMX")
TME          = CpuidFlag(0x7, "ecx", Leaf7Ecx.tme_en,             "CPUID lists no total memory encryption")
ARCH_CAPS    = CpuidFlag(0x7, "edx", Leaf7Edx.arch_capabilities,  "CPUID does not list the register")
CORE_CAPS    = CpuidFlag(0x7, "edx", Leaf7Edx.core_capabilities,  "CPUID does not list the register")
TSC_RATE     = CpuidFlag(0x8000_000A, "edx", Leaf8000000AEdx.tsc_rate_msr, "CPUID does not list the register")
SNP          = CpuidFlag(0x8000_001F, "eax", Leaf8000001FEax.sev_snp, "CPUID lists no SEV-SNP")
SMRR         = MsrAtLeast(Msr.IA32_MTRRCAP, MtrrCap.smrr,         "IA32_MTRRCAP lists no SMRR")
DUAL_MONITOR = MsrAtLeast(BASIC, VmxBasic.dual_monitor,           "IA32_VMX_BASIC lists no dual-monitor treatment")
TRUE         = MsrAtLeast(BASIC, VmxBasic.true_controls,          "IA32_VMX_BASIC lists no TRUE capabilities")
SECONDARY    = MsrAtLeast(CTLS, PrimaryControls.secondary_controls, "there are no secondary controls", shift=MAY)
TERTIARY     = MsrAtLeast(CTLS, PrimaryControls.tertiary_controls, "there are no tertiary controls", shift=MAY)
EXIT_2       = MsrAtLeast(EXIT, ExitControls.secondary_controls,  "there are no secondary VM-exit controls", shift=MAY)
VM_FUNCTIONS = MsrAtLeast(CTLS2, SecondaryControls.enable_vm_functions, "VM functions cannot be enabled", shift=MAY)
EPT_OR_VPID  = MsrAtLeast(CTLS2, Field(5, 1, lambda n: n & 0b10001, ""), "EPT and VPID cannot be enabled", shift=MAY)
# fmt: on
VARIABLE_RANGES = 10  # of memory types, that current processors have; the architecture allows more


def ranges(n: int) -> MsrAtLeast:
    """There are more than ``n`` variable-range MTRRs."""
    return MsrAtLeast(Msr.IA32_MTRRCAP, MtrrCap.vcnt, f"there are not more than {n} variable-range MTRRs", n + 1)


# fmt: off
PRESENCE: dict[int, tuple[Condition, ...]] = {
    Msr.IA32_APIC_BASE:                  (MSRS,),
    Msr.MSR_TEST_CTRL:                   (INTEL,),
    Msr.IA32_FEATURE_CONTROL:            (NOT_AMD,),
    Msr.IA32_MKTME_KEYID_PARTITIONING:   (INTEL, TME),
    Msr.IA32_BIOS_SIGN_ID:               (),
    Msr.IA32_CORE_CAPABILITIES:          (INTEL, CORE_CAPS),
    Msr.IA32_MTRRCAP:                    (MTRR,),
    Msr.IA32_ARCH_CAPABILITIES:          (ARCH_CAPS,),
    Msr.IA32_MISC_ENABLE:                (INTEL,),
    Msr.IA32_SMRR_PHYSBASE:              (INTEL, MTRR, SMRR),
    Msr.IA32_SMRR_PHYSMASK:              (INTEL, MTRR, SMRR),
    **{Msr.IA32_MTRR_PHYSBASE0 + n: (MTRR, ranges(n // 2)) for n in range(2 * VARIABLE_RANGES)},
    Msr.MSR_LT_LOCK_MEMORY:              (INTEL,),
    Msr.IA32_MTRR_DEF_TYPE:              (MTRR,),
    VmxMsr.IA32_VMX_BASIC:               (VMX,),
    VmxMsr.IA32_VMX_PINBASED_CTLS:       (VMX,),
    VmxMsr.IA32_VMX_PROCBASED_CTLS:      (VMX,),
    VmxMsr.IA32_VMX_EXIT_CTLS:           (VMX,),
    VmxMsr.IA32_VMX_ENTRY_CTLS:          (VMX,),
    VmxMsr.IA32_VMX_MISC:                (VMX,),
    VmxMsr.IA32_VMX_CR0_FIXED0:          (VMX,),
    VmxMsr.IA32_VMX_CR0_FIXED1:          (VMX,),
    VmxMsr.IA32_VMX_CR4_FIXED0:          (VMX,),
    VmxMsr.IA32_VMX_CR4_FIXED1:          (VMX,),
    VmxMsr.IA32_VMX_VMCS_ENUM:           (VMX,),
    VmxMsr.IA32_VMX_PROCBASED_CTLS2:     (VMX, SECONDARY),
    VmxMsr.IA32_VMX_EPT_VPID_CAP:        (VMX, SECONDARY, EPT_OR_VPID),
    VmxMsr.IA32_VMX_TRUE_PINBASED_CTLS:  (VMX, TRUE),
    VmxMsr.IA32_VMX_TRUE_PROCBASED_CTLS: (VMX, TRUE),
    VmxMsr.IA32_VMX_TRUE_EXIT_CTLS:      (VMX, TRUE),
    VmxMsr.IA32_VMX_TRUE_ENTRY_CTLS:     (VMX, TRUE),
    VmxMsr.IA32_VMX_VMFUNC:              (VMX, SECONDARY, VM_FUNCTIONS),
    VmxMsr.IA32_VMX_PROCBASED_CTLS3:     (VMX, TERTIARY),
    VmxMsr.IA32_VMX_EXIT_CTLS2:          (VMX, EXIT_2),
    Msr.IA32_SMM_MONITOR_CTL:            (INTEL, VMX, DUAL_MONITOR),
    Msr.IA32_TME_ACTIVATE:               (INTEL, TME),
    Msr.IA32_DEBUG_INTERFACE:            (INTEL, SDBG),
    Msr.IA32_EFER:                       (),
    AmdMsr.TSC_RATIO:                    (AMD, TSC_RATE),
    AmdMsr.SYSCFG:                       (AMD,),
    AmdMsr.HWCR:                         (AMD,),
    AmdMsr.SMM_ADDR:                     (AMD,),
    AmdMsr.SMM_MASK:                     (AMD,),
    AmdMsr.VM_CR:                        (AMD,),
    AmdMsr.VM_HSAVE_PA:                  (AMD,),
    AmdMsr.RMP_BASE:                     (AMD, SNP),
    AmdMsr.RMP_END:                      (AMD, SNP),
}
# fmt: on
