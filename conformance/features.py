"""CPU features that cases require: what the engine offers to guests, which is what they will see."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from virtproof.kvm import CpuidEntry
from virtproof.spec.x86 import cpuid, cpuid_extended
from virtproof.vmm.engine import Engine

_Extended2 = cpuid_extended.Leaf80000021Eax


@dataclass(frozen=True, slots=True)
class Feature:
    """A bit of a CPUID register, or a condition on it."""

    name: str
    leaf: int
    subleaf: int
    register: str
    test: Callable[[int], bool]

    def absent(self, entries: Iterable[CpuidEntry]) -> str:
        """Empty where the engine offers the feature, else why not."""
        for entry in entries:
            if entry.function == self.leaf and entry.index == self.subleaf:
                value: int = getattr(entry, self.register)
                where = f"CPUID {self.leaf:#x}.{self.subleaf} {self.register.upper()}={value:#010x}"
                return "" if self.test(value) else f"{where}, as the engine offers it to guests, has no {self.name}"
        return f"the engine offers no CPUID leaf {self.leaf:#x}.{self.subleaf}, so no {self.name}"


# fmt: off
FEATURES = {f.name: f for f in (
    Feature("Intel vendor", 0x0,       0, "ebx", lambda v: v == 0x756E_6547),
    Feature("AMD vendor", 0x0,         0, "ebx", lambda v: v == 0x6874_7541),
    Feature("vme",        0x1,         0, "edx", lambda v: cpuid.Leaf1Edx(v).vme),
    Feature("pse",        0x1,         0, "edx", lambda v: cpuid.Leaf1Edx(v).pse),
    Feature("pae",        0x1,         0, "edx", lambda v: cpuid.Leaf1Edx(v).pae),
    Feature("pge",        0x1,         0, "edx", lambda v: cpuid.Leaf1Edx(v).pge),
    Feature("mtrr",       0x1,         0, "edx", lambda v: cpuid.Leaf1Edx(v).mtrr),
    Feature("mca",        0x1,         0, "edx", lambda v: cpuid.Leaf1Edx(v).mca),
    Feature("vmx",        0x1,         0, "ecx", lambda v: cpuid.Leaf1Ecx(v).vmx),
    Feature("x2apic",     0x1,         0, "ecx", lambda v: cpuid.Leaf1Ecx(v).x2apic),
    Feature("tsc_deadline", 0x1,       0, "ecx", lambda v: cpuid.Leaf1Ecx(v).tsc_deadline),
    Feature("pse36",      0x1,         0, "edx", lambda v: cpuid.Leaf1Edx(v).pse36),
    Feature("cmpxchg16b", 0x1,         0, "ecx", lambda v: cpuid.Leaf1Ecx(v).cmpxchg16b),
    Feature("pcid",       0x1,         0, "ecx", lambda v: cpuid.Leaf1Ecx(v).pcid),
    Feature("xsave",      0x1,         0, "ecx", lambda v: cpuid.Leaf1Ecx(v).xsave),
    Feature("avx",        0x1,         0, "ecx", lambda v: cpuid.Leaf1Ecx(v).avx),
    Feature("pmu",        0xA,         0, "eax", lambda v: cpuid.LeafAEax(v).counters > 0),
    Feature("xgetbv1",    0xD,         1, "eax", lambda v: cpuid.LeafDSub1Eax(v).xgetbv_1),
    Feature("xsaves",     0xD,         1, "eax", lambda v: cpuid.LeafDSub1Eax(v).xsaves),
    Feature("smep",       0x7,         0, "ebx", lambda v: cpuid.Leaf7Ebx(v).smep),
    Feature("smap",       0x7,         0, "ebx", lambda v: cpuid.Leaf7Ebx(v).smap),
    Feature("invpcid",    0x7,         0, "ebx", lambda v: cpuid.Leaf7Ebx(v).invpcid),
    Feature("fsgsbase",   0x7,         0, "ebx", lambda v: cpuid.Leaf7Ebx(v).fsgsbase),
    Feature("umip",       0x7,         0, "ecx", lambda v: cpuid.Leaf7Ecx(v).umip),
    Feature("avx512f",    0x7,         0, "ebx", lambda v: cpuid.Leaf7Ebx(v).avx512f),
    Feature("la57",       0x7,         0, "ecx", lambda v: cpuid.Leaf7Ecx(v).la57),
    Feature("pku",        0x7,         0, "ecx", lambda v: cpuid.Leaf7Ecx(v).pku),
    Feature("pks",        0x7,         0, "ecx", lambda v: cpuid.Leaf7Ecx(v).pks),
    Feature("tsc_adjust", 0x7,         0, "ebx", lambda v: cpuid.Leaf7Ebx(v).tsc_adjust),
    Feature("rdpid",      0x7,         0, "ecx", lambda v: cpuid.Leaf7Ecx(v).rdpid),
    Feature("spec_ctrl",  0x7,         0, "edx", lambda v: cpuid.Leaf7Edx(v).ibrs_ibpb),
    Feature("arch_capabilities", 0x7,  0, "edx", lambda v: cpuid.Leaf7Edx(v).arch_capabilities),
    Feature("svm",        0x8000_0001, 0, "ecx", lambda v: cpuid_extended.Leaf80000001Ecx(v).svm),
    Feature("rdtscp",     0x8000_0001, 0, "edx", lambda v: cpuid_extended.Leaf80000001Edx(v).rdtscp),
    Feature("nx",         0x8000_0001, 0, "edx", lambda v: cpuid_extended.Leaf80000001Edx(v).nx),
    Feature("page1gb",    0x8000_0001, 0, "edx", lambda v: cpuid_extended.Leaf80000001Edx(v).page1gb),
    Feature("long mode",  0x8000_0001, 0, "edx", lambda v: cpuid_extended.Leaf80000001Edx(v).lm),
    Feature("null_select_clears_base", 0x8000_0021, 0, "eax", lambda v: _Extended2(v).null_select_clears_base),
    # Bit 51 of a paging entry is reserved only where physical addresses are narrower.
    Feature("MAXPHYADDR below 52", 0x8000_0008, 0, "eax", lambda v: v & 0xFF < 52),
)}
# fmt: on


def physical_bits(engine: Engine) -> int:
    """MAXPHYADDR, as the engine offers it to guests: 36 where it does not say."""
    widths = (entry.eax & 0xFF for entry in engine.supported_cpuid() if entry.function == 0x8000_0008)
    return next(widths, 36)
