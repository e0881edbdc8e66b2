"""How guests run here, in the words of the literature, judged by what they cost and not by what the host says.

Adams and Agesen, "A Comparison of Software and Hardware Techniques for x86 Virtualization" (2006), tell apart
hardware-assisted virtualization, direct execution, binary translation and interpretation.  Second-level translation is
EPT with Intel, nested paging (NPT) or RVI with AMD.  What is observed is the verdict of a case that reads KVM's
counters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from virtproof.results import Backend, CaseResult, Technique, Verdict

KERNEL, USER, REAL = "kernel code (ring 0)", "user code (ring 3)", "real mode"
TABLES, USER_TABLES, APIC = "guest page tables", "guest page tables (ring 3)", "local APIC"
PASS, FAIL = Verdict.PASS, Verdict.FAIL

HARDWARE, INTERPRETED, DIRECT = "hardware-assisted virtualization", "interpretation", "direct execution"
SHADOW, EMULATED, IN_KERNEL = "shadow page tables", "emulation: an interpreter walks them", "emulation in the kernel"
SECOND_LEVEL, VIRTUAL_APIC = "second-level translation", f"{HARDWARE} (virtual APIC)"
INSNS = "insn_emulation"


@dataclass(frozen=True, slots=True)
class Sign:
    """An observation and what it means.

    ``backend`` is a pattern of names.  A failure counts where the check of ``counter`` is among what failed: a case
    that fails for another reason says nothing here.  ``against`` is what the observation contradicts.
    """

    subject: str
    backend: str
    case: str
    verdict: Verdict
    name: str
    counter: str = ""
    against: str = ""


# The first sign that a run has decides, for each subject.
# fmt: off
SIGNS = (
    Sign(KERNEL, "kvm_intel", "claim.vmx", PASS, f"{HARDWARE} (VT-x)"),
    Sign(KERNEL, "kvm_amd",   "claim.svm", PASS, f"{HARDWARE} (AMD-V)"),
    Sign(KERNEL, "kvm_intel", "claim.backend", FAIL, INTERPRETED, INSNS, "kvm_intel drives VT-x"),
    Sign(KERNEL, "kvm_amd",   "claim.backend", FAIL, INTERPRETED, INSNS, "kvm_amd drives AMD-V"),
    Sign(KERNEL, "*",         "claim.backend", FAIL, INTERPRETED, INSNS),
    Sign(KERNEL, "*",         "claim.backend", PASS, DIRECT),
    Sign(USER,   "kvm_intel", "claim.backend.ring3", PASS, f"{HARDWARE} (VT-x)"),
    Sign(USER,   "kvm_amd",   "claim.backend.ring3", PASS, f"{HARDWARE} (AMD-V)"),
    Sign(USER,   "*",         "claim.backend.ring3", PASS, DIRECT),
    Sign(USER,   "*",         "claim.backend.ring3", FAIL, INTERPRETED, INSNS),
    Sign(REAL,   "kvm_intel", "claim.unrestricted", PASS, f"{HARDWARE} (unrestricted guest)"),
    Sign(REAL,   "kvm_intel", "claim.unrestricted", FAIL, INTERPRETED, INSNS, "kvm_intel.unrestricted_guest is on"),
    Sign(REAL,   "kvm_amd",   "claim.unrestricted.amd", PASS, f"{HARDWARE} (AMD-V)"),
    Sign(REAL,   "kvm_amd",   "claim.unrestricted.amd", FAIL, INTERPRETED, INSNS, "kvm_amd drives AMD-V"),
    Sign(REAL,   "kvm_intel", "claim.backend.real", PASS, f"{HARDWARE} (unrestricted guest)"),
    Sign(REAL,   "kvm_amd",   "claim.backend.real", PASS, f"{HARDWARE} (AMD-V)"),
    Sign(REAL,   "*",         "claim.backend.real", PASS, DIRECT),
    Sign(REAL,   "*",         "claim.backend.real", FAIL, INTERPRETED, INSNS),
    Sign(TABLES, "kvm_intel", "slat.pf_noexit", PASS, "EPT"),
    Sign(TABLES, "kvm_amd",   "slat.pf_noexit", PASS, "RVI (NPT)"),
    Sign(TABLES, "kvm_intel", "slat.pf_noexit", FAIL, SHADOW, "pf_guest", "kvm_intel.ept is on"),
    Sign(TABLES, "kvm_amd",   "slat.pf_noexit", FAIL, SHADOW, "pf_guest", "kvm_amd.npt is on"),
    Sign(TABLES, "*",         "claim.no_tdp", PASS, SHADOW),
    Sign(TABLES, "kvm_intel", "claim.no_tdp", FAIL, "EPT", "pf_guest", "kvm_intel.ept is off"),
    Sign(TABLES, "kvm_amd",   "claim.no_tdp", FAIL, "RVI (NPT)", "pf_guest", "kvm_amd.npt is off"),
    Sign(TABLES, "kvm_intel", "claim.backend.tables", PASS, "EPT"),
    Sign(TABLES, "kvm_amd",   "claim.backend.tables", PASS, "RVI (NPT)"),
    Sign(TABLES, "*",         "claim.backend.tables", PASS, SECOND_LEVEL),
    Sign(TABLES, "*",         "claim.backend.tables", FAIL, EMULATED, INSNS),
    Sign(TABLES, "*",         "claim.backend.tables", FAIL, SHADOW, "pf_guest"),
    Sign(USER_TABLES, "kvm_intel", "claim.backend.tables.ring3", PASS, "EPT"),
    Sign(USER_TABLES, "kvm_amd",   "claim.backend.tables.ring3", PASS, "RVI (NPT)"),
    Sign(USER_TABLES, "*",    "claim.backend.tables.ring3", PASS, SECOND_LEVEL),
    Sign(USER_TABLES, "*",    "claim.backend.tables.ring3", FAIL, EMULATED, INSNS),
    Sign(USER_TABLES, "*",    "claim.backend.tables.ring3", FAIL, SHADOW, "pf_guest"),
    Sign(APIC,   "kvm_intel", "claim.apicv", PASS, f"{HARDWARE} (APICv)"),
    Sign(APIC,   "kvm_intel", "claim.apicv", FAIL, IN_KERNEL, "exits", "kvm_intel.enable_apicv is on"),
    Sign(APIC,   "kvm_amd",   "claim.apicv.avic", PASS, f"{HARDWARE} (AVIC)"),
    Sign(APIC,   "kvm_amd",   "claim.apicv.avic", FAIL, IN_KERNEL, "exits", "kvm_amd.avic is on"),
    Sign(APIC,   "kvm_intel", "claim.backend.apic", PASS, f"{HARDWARE} (APICv)"),
    Sign(APIC,   "kvm_amd",   "claim.backend.apic", PASS, f"{HARDWARE} (AVIC)"),
    Sign(APIC,   "kvm_amd",   "claim.backend.apic.memory", PASS, f"{HARDWARE} (AVIC)"),
    Sign(APIC,   "*",         "claim.backend.apic", PASS, VIRTUAL_APIC),
    Sign(APIC,   "*",         "claim.backend.apic.memory", PASS, VIRTUAL_APIC),
    Sign(APIC,   "*",         "claim.backend.apic", FAIL, IN_KERNEL, "exits"),
    Sign(APIC,   "*",         "claim.backend.apic", FAIL, IN_KERNEL, INSNS),
)
# fmt: on

# Cases in which KVM says itself what it does: a failure contradicts whatever was observed, or the module.
WITNESSES = {TABLES: "claim.no_tdp.capability"}


def techniques(results: Sequence[CaseResult], backend: Backend) -> tuple[Technique, ...]:
    """One for each subject that a case was run about; ``name`` is "unknown" where none could tell, and ``how`` why."""
    if not backend.speaks_of_host:
        how = f"the software engine ({backend.name}) runs them all"
        subjects = (KERNEL, USER, REAL) if results else ()
        return tuple(Technique(subject, "binary translation", how) for subject in subjects)
    found = (_one(subject, results, backend) for subject in dict.fromkeys(sign.subject for sign in SIGNS))
    return tuple(technique for technique in found if technique is not None)


def _one(subject: str, results: Sequence[CaseResult], backend: Backend) -> Technique | None:
    signs = [sign for sign in SIGNS if sign.subject == subject and fnmatchcase(backend.name, sign.backend)]
    about = {result.id: result for result in results if result.id in {s.case for s in SIGNS if s.subject == subject}}
    for sign in signs:
        result = about.get(sign.case)
        if result is not None and result.verdict is sign.verdict and (not sign.counter or _counted(result, sign)):
            against = [f"{sign.against}, and yet: {sign.name}"] if sign.against else []
            return Technique(subject, sign.name, _how(result), "; ".join(against + _objections(subject, results)))
    wanted = {sign.case for sign in signs}
    silent = next((r for r in about.values() if r.id in wanted), None) or next(iter(about.values()), None)
    if silent is None:
        return None
    return Technique(
        subject, "unknown", f"{silent.id}: {silent.verdict}" + (f", {silent.reason}" * bool(silent.reason))
    )


def _objections(subject: str, results: Iterable[CaseResult]) -> list[str]:
    """What KVM says of itself that does not fit."""
    witness = [result for result in results if result.id == WITNESSES.get(subject) and result.verdict is FAIL]
    return [f"{check.field}: {check.observed}" for result in witness for check in result.checks if not check.ok]


def _counted(result: CaseResult, sign: Sign) -> bool:
    """Did the counter say so?  A kernel without it observes no number."""
    return any(
        check.field.endswith(f": {sign.counter}") and not check.ok and check.observed.isdecimal()
        for check in result.checks
    )


def _how(result: CaseResult) -> str:
    counts = [f"{check.field} {check.observed}" for check in result.checks if check.observed.isdecimal()]
    return f"{result.id}: {result.verdict}" + (f" ({'; '.join(counts)})" if counts else "")
