"""KVM's own lists: what it offers is what the processor has, and a table is not changed under a guest that has run.

Linux takes a bit that the processor lacks into KVM_GET_SUPPORTED_CPUID only where it carries the feature out itself
(``EMULATED``).  From Linux 5.18 on KVM_SET_CPUID2 after KVM_RUN takes the same table again, and refuses another (EINVAL).
Leaf 15H, where it is offered, gives the frequency that KVM_GET_TSC_KHZ gives.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from fractions import Fraction

from virtproof.conformance.areas.cpuid.table import FEATURE_LEAVES
from virtproof.conformance.case import Case, HostScript, Script
from virtproof.conformance.cpuid_dump import Answer, answer_of
from virtproof.conformance.of_kvm import kvm_engine
from virtproof.guest_payloads.trampoline import Mode
from virtproof.kvm import KvmError
from virtproof.results import Check
from virtproof.spec.cite import linux
from virtproof.vmm import modes
from virtproof.vmm.cpuid import Override, overridden
from virtproof.vmm.engine import Engine
from virtproof.vmm.engines.kvm_vcpu import KvmVcpu
from virtproof.vmm.exits import Halt
from virtproof.vmm.machine import Machine
from virtproof.vmm.registers import Registers

CITE = (linux("virt/kvm/api.rst", "KVM_GET_SUPPORTED_CPUID"), linux("virt/kvm/api.rst", "KVM_SET_CPUID2"))
NONE = Answer(0, 0, 0, 0)
# fmt: off
EMULATED = {                             # arch/x86/kvm/cpuid.c: what KVM adds to the processor's own
    (0x1, 0):         Answer(0, 0, 1 << 31 | 1 << 27 | 1 << 24 | 1 << 21, 0),   # hypervisor, OSXSAVE, TSC deadline, x2APIC
    # TSC_ADJUST; UMIP, OSPKE, RDPID; IBRS, STIBP, ARCH_CAPABILITIES and SSBD, where AMD's processor has its own bits
    (0x7, 0):         Answer(0, 1 << 1, 1 << 2 | 1 << 4 | 1 << 22, 1 << 26 | 1 << 27 | 1 << 29 | 1 << 31),
    # And the reverse: IBPB, IBRS, STIBP, SSBD; VIRT_SSBD, where the kernel can switch SSBD by LS_CFG alone.
    (0x8000_0008, 0): Answer(0, 1 << 12 | 1 << 14 | 1 << 15 | 1 << 24 | 1 << 25, 0, 0),
}
# fmt: on
HLT = b"\xf4"


def _from_the_host(engine: Engine) -> Iterable[Check]:
    """The processor's leaves that KVM offers are all there, so that the reading of them is valid."""
    from cpuid_native import get_cpuid_count  # noqa: PLC0415 -- for this case alone

    offered = {(entry.function, entry.index): answer_of(entry) for entry in kvm_engine(engine).supported_cpuid()}
    for leaf, registers in FEATURE_LEAVES.items():
        own = Answer(*get_cpuid_count(*leaf)[1:]) if leaf in offered else NONE
        for register in registers.split():
            value = getattr(offered.get(leaf, NONE), register)
            extra = value & ~getattr(own, register) & ~getattr(EMULATED.get(leaf, NONE), register)
            where = f"leaf {leaf[0]:#x}.{leaf[1]} {register.upper()}"
            yield Check(f"{where}: neither the processor's nor emulated", "0x0", f"{extra:#x}", not extra)


def _after_run(engine: Engine) -> Iterable[Check]:
    with Machine(kvm_engine(engine), cpuid=engine.supported_cpuid()) as machine:
        machine.memory.load(0x1000, HLT)
        machine.vcpu.set_special_registers(modes.real16(machine.vcpu.special_registers()))
        machine.vcpu.set_registers(Registers(rip=0x1000))
        end = machine.run(2.0)
        yield Check("the guest ends with", "HLT", str(end), isinstance(end, Halt))
        table = machine.vcpu.cpuid()
        for what, wanted, entries in (
            ("the same", "taken", table),
            ("another", "EINVAL", overridden(table, [Override(1, 0, "ecx", 0, 1)])),
        ):
            answer = "taken"
            try:
                machine.vcpu.set_cpuid(entries)
            except KvmError as err:
                answer = errno.errorcode.get(err.errno, str(err.errno))
            yield Check(f"KVM_SET_CPUID2 with {what} table", wanted, answer, answer == wanted)


def _frequency(engine: Engine) -> Iterable[Check]:
    with Machine(kvm_engine(engine), cpuid=engine.supported_cpuid()) as machine:
        vcpu = machine.vcpu
        assert isinstance(vcpu, KvmVcpu)
        own = vcpu.tsc_khz()
        leaf = next((answer_of(entry) for entry in vcpu.cpuid() if entry.function == 0x15), NONE)
    if not (leaf.eax and leaf.ebx and leaf.ecx):
        yield Check("leaf 0x15", "a frequency, or none", "none", True)
        return
    told = Fraction(leaf.ecx * leaf.ebx, leaf.eax * 1000)
    close = abs(told - own) * 1000 <= own
    yield Check("leaf 0x15, kHz", f"within a thousandth of {own}", f"{float(told):.0f}", close)


def script(id: str, title: str, run: Script, priority: int) -> HostScript:  # noqa: A002
    return HostScript(id=id, title=title, area="cpuid", mode=Mode.LONG64, cite=CITE, script=run, priority=priority)


# fmt: off
CASES: tuple[Case, ...] = (
    script("cpuid.supported_subset_host", "KVM offers what the processor has, or what KVM carries out", _from_the_host, 1),
    script("cpuid.after_run",             "KVM_SET_CPUID2 after KVM_RUN takes the same table only",     _after_run,     2),
    script("cpuid.tsc_leaf15",            "Leaf 15H gives the frequency of KVM_GET_TSC_KHZ",            _frequency,     2),
)
# fmt: on
