"""MONITOR and MWAIT at CPL 0 where CPUID does not offer them: #UD, or nothing at all by KVM's own choice.

KVM does not offer them to guests, and by default lets them run as NOP all the same.  A monitor may take this quirk away.
"""

from virtproof.conformance.case import At, Case, Insn, completes, family, faults
from virtproof.conformance.guest import Inapplicable, hosted
from virtproof.conformance.of_kvm import kvm_vm
from virtproof.guest_payloads.trampoline import Mode
from virtproof.kvm import enable_cap
from virtproof.spec.cite import linux, sdm
from virtproof.spec.kvm import Cap
from virtproof.spec.kvm.exits import Quirk
from virtproof.spec.x86.exception import Vector
from virtproof.vmm.machine import Machine

row = family(
    "privileged",
    linux("virt/kvm/api.rst", "KVM_CAP_DISABLE_QUIRKS2, KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS"),
    sdm("2B", "Instruction Set Reference, 'MONITOR-Set Up Monitor Address'"),
    regs={"rax": At("kernel_data"), "rcx": 0, "rdx": 0},
    priority=2,
)

MONITOR, MWAIT, NOP = Insn("0f 01 c8", "monitor"), Insn("0f 01 c9", "mwait"), Insn("90", "nop")
LONG64 = Mode.LONG64
QUIRK = Quirk.MWAIT_NEVER_UD_FAULTS


def with_quirk(machine: Machine) -> None:
    """The default.  Raises ``Inapplicable`` where it is not KVM's, or older than the quirk."""
    if not kvm_vm(machine).check_extension(Cap.DISABLE_QUIRKS2) & QUIRK:
        raise Inapplicable("this kernel does not know KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS (Linux 5.19)")


def without_quirk(machine: Machine) -> None:
    with_quirk(machine)
    enable_cap(kvm_vm(machine).fd, Cap.DISABLE_QUIRKS2, "take a quirk away", QUIRK)


# fmt: off
CASES: tuple[Case, ...] = (
    hosted(row("priv.monitor_hidden.cpl0.long64",       "MONITOR without its CPUID bit raises #UD", LONG64, (MONITOR, NOP), faults(Vector.UD, at=0)), furnish=without_quirk),
    hosted(row("priv.monitor_hidden.cpl0.long64.mwait", "MWAIT without its CPUID bit raises #UD",   LONG64, (MWAIT, NOP),   faults(Vector.UD, at=0)), furnish=without_quirk),
    hosted(row("priv.monitor_hidden.cpl0.long64.quirk", "... unless by KVM's quirk: then neither does anything", LONG64, (MONITOR, MWAIT), completes()), furnish=with_quirk),
)
# fmt: on
