"""Each guest has a time stamp counter of its own: an offset of its own always, a rate of its own with TSC scaling.

Two machines at once keep to what their counters were set to.  Where KVM says that it scales (KVM_CAP_TSC_CONTROL), RDTSC
counts at half and at twice the rate when it is told to: without the feature KVM refuses a slower rate, and makes up for a
faster one in jumps at exits.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from functools import partial
from itertools import pairwise
from statistics import median
from time import perf_counter_ns

from virtproof.conformance.case import At, Case, HostScript, Program
from virtproof.conformance.counters import needs_hardware
from virtproof.conformance.guest import Inapplicable, check_program
from virtproof.conformance.of_kvm import kvm_vcpu
from virtproof.guest_payloads import images
from virtproof.guest_payloads.trampoline import Mode
from virtproof.kvm import KvmError
from virtproof.results import Check
from virtproof.spec.cite import apm, linux, sdm
from virtproof.spec.kvm import Cap
from virtproof.spec.x86.msr import Msr
from virtproof.vmm.engine import Engine
from virtproof.vmm.engines.kvm import KvmVm
from virtproof.vmm.machine import Machine

FIRST, SECOND = 5, 9  # of bits 63:40
SPIN = 5_000_000  # rounds: milliseconds, which a look at the clock is short against


def program(test: str, observations: tuple[int, ...], *arguments: int) -> Program:
    return Program(
        id=test, title=test, area="claims", mode=Mode.LONG64, cite=(), image="exits",
        arguments=(At(test), *arguments), observations=observations, seconds=20.0,
    )  # fmt: skip


def _set(machine: Machine, bits: int) -> None:
    kvm_vcpu(machine).set_msrs({Msr.IA32_TIME_STAMP_COUNTER: bits << 40})


def _offsets(engine: Engine) -> Iterable[Check]:
    checks: list[Check] = []

    def another(machine: Machine) -> None:
        case = program("offset", (SECOND, SECOND))
        checks.extend(check_program(case, engine, furnish=partial(_set, bits=SECOND)))

    case = program("offset", (FIRST, FIRST))
    yield from check_program(case, engine, furnish=partial(_set, bits=FIRST), calls={1: another})
    yield from checks


def _rate(engine: Engine, factor: float) -> float:
    """Ticks of the guest's counter a nanosecond, where KVM is told ``factor`` times the rate it would choose."""
    at = images.load("exits")["counter"]
    looks: list[tuple[int, int]] = []

    def furnish(machine: Machine) -> None:
        vcpu = kvm_vcpu(machine)
        vcpu.set_tsc_khz(int(factor * vcpu.tsc_khz()))

    def look(machine: Machine) -> None:
        looks.append((int.from_bytes(machine.memory.read(at, 8), "little"), perf_counter_ns()))

    list(check_program(program("clock", (), SPIN), engine, furnish=furnish, calls={1: look}))
    return median((ticks - before) / (now - then) for (before, then), (ticks, now) in pairwise(looks))


def _scaling(engine: Engine) -> Iterable[Check]:
    needs_hardware(engine)
    with closing(engine.create_vm()) as vm:
        if not isinstance(vm, KvmVm) or not vm.check_extension(Cap.TSC_CONTROL):
            raise Inapplicable("KVM_CAP_TSC_CONTROL is 0: KVM does not claim TSC scaling")
    usual = _rate(engine, 1)
    for factor in (0.5, 2.0):
        try:
            found = _rate(engine, factor) / usual
        except KvmError as err:
            yield Check(f"{factor} times the rate", "accepted", str(err), False)
            continue
        yield Check(f"{factor} times the rate", f"{factor}, to 5 %", f"{found:.3f}", abs(found / factor - 1) < 0.05)


# fmt: off
TSC = (sdm("3C", "VMX Non-Root Operation, 'Changes to Instruction Behavior in VMX Non-Root Operation' (RDTSC)"),
       apm(2, "Secure Virtual Machine, 'TSC Ratio MSR (C000_0104h)'"))

CASES: tuple[Case, ...] = (
    HostScript(id="claim.tsc_offset",  title="Two machines have counters of their own",  area="claims", mode=Mode.LONG64, cite=TSC, script=_offsets, priority=2, seconds=20.0),
    HostScript(id="claim.tsc_scaling", title="RDTSC counts at half and at twice the rate", area="claims", mode=Mode.LONG64, script=_scaling, seconds=60.0,
               cite=(*TSC, linux("virt/kvm/api.rst", "KVM_SET_TSC_KHZ")), proves=("tsc_scaling",), discriminates=True),
)
# fmt: on
