"""Counters run at the rate that KVM tells: against the host's clock, and against each other.

Nothing here depends on how fast the host is: a stretch of guest time lies between two looks at the host's clock, and
around a sleep of the host, so it is as long as the sleep at the least, and at the most as long as the time between the
looks.  A twentieth more or less is allowed on either side.

What the monitor does to a time stamp counter, the guest sees: a new frequency, a new offset.  The counters of vCPUs that
are created together, or set to the same value within a second, are the same: none is behind what another read before.

The programs are in guest_payloads/timers.c and pit.c.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from ctypes import addressof, c_uint64
from functools import partial

from virtproof.conformance.case import At, Case, HostScript, Program, Script
from virtproof.conformance.guest import Calls, GuestStopped, Inapplicable, check_program, run_program
from virtproof.conformance.of_kvm import kvm_engine, kvm_vcpu
from virtproof.guest_payloads.trampoline import Mode
from virtproof.kvm import KvmError
from virtproof.results import Check
from virtproof.spec.cite import Cite, linux, sdm
from virtproof.spec.kvm import Cap, Ioctl
from virtproof.spec.kvm.devices import DeviceAttr
from virtproof.spec.x86.msr import Msr
from virtproof.vmm.engine import Engine
from virtproof.vmm.engines.kvm_vcpu import KvmVcpu
from virtproof.vmm.machine import Machine

LONG64 = Mode.LONG64
TSC = (sdm("3B", "Debug, Branch Profile, TSC, and Intel RDT Features, 'Time-Stamp Counter'"), linux("virt/kvm/api.rst", "KVM_GET_TSC_KHZ"))  # fmt: skip
SET_KHZ = (linux("virt/kvm/api.rst", "KVM_SET_TSC_KHZ"),)
OFFSET = (linux("virt/kvm/devices/vcpu.rst", "'ATTRIBUTE: KVM_VCPU_TSC_OFFSET'"),)
BUS = (linux("virt/kvm/api.rst", "KVM_CAP_X86_APIC_BUS_CYCLES_NS"),)
PIT = (Cite("Intel 8254 data sheet", "'Mode Definitions'"), linux("virt/kvm/api.rst", "KVM_CREATE_PIT2"))
SLEEP = 0.03  # seconds
SLACK = 0.05
PIT_HZ = 1_193_182
PIT_ROUND = 0.05  # seconds, a little less than its counter takes to go round
APIC_HZ = 1_000_000_000
TSC_CTRL, TSC_OFFSET = 0, 0  # attribute group and attribute of a vCPU
LOOKS = 50


def guest(test: str, image: str = "timers", *, pit: bool = False) -> Program:
    return Program(
        id=test, title="", area="timers", mode=LONG64, cite=(), image=image, irqchip=True, pit=pit,
        arguments=(At(test),), observations=(2,), seconds=10.0,
    )  # fmt: skip


def observations(
    program: Program,
    engine: Engine,
    *,
    furnish: Callable[[Machine], None] = lambda machine: None,
    calls: Calls | None = None,
) -> tuple[int, ...]:
    """What the program observed.  Raises ``GuestStopped``."""
    ran = run_program(program, engine, furnish=furnish, calls=calls)
    if not ran.done or not ran.observations:
        raise GuestStopped(str(ran.end))
    return ran.observations


def between(what: str, least: float, saw: float, most: float) -> Check:
    return Check(what, f"{least:.4f} to {most:.4f}", f"{saw:.4f}", least <= saw <= most)


def _rate(
    test: str,
    hertz: Callable[[Machine], int],
    engine: Engine,
    *,
    furnish: Callable[[Machine], None] = lambda machine: None,
) -> Iterable[Check]:
    """Seconds by the guest's counter against the host's clock."""
    looks: list[float] = []
    rates: list[int] = []

    def first(machine: Machine) -> None:
        rates.append(hertz(machine))
        looks.append(time.monotonic())

    def sleep(machine: Machine) -> None:
        begin = time.monotonic()
        time.sleep(SLEEP)
        looks.append(time.monotonic() - begin)

    (steps,) = observations(
        guest(test),
        engine,
        furnish=furnish,
        calls={1: first, 3: sleep, 2: lambda machine: looks.append(time.monotonic())},
    )
    begin, slept, end = looks
    if not rates[0]:
        raise Inapplicable("nobody tells the frequency")
    yield between("seconds by the counter", slept * (1 - SLACK), steps / rates[0], (end - begin) * (1 + SLACK))


def tsc_hertz(machine: Machine) -> int:
    return machine.vcpu.tsc_khz() * 1000


def _pit_rate(engine: Engine) -> Iterable[Check]:
    """The first stretch in which the host was not away for so long that the counter may have gone round."""
    hertz: list[int] = []
    program = guest("pit_rate", "pit", pit=True)
    seen = observations(program, engine, furnish=lambda machine: hertz.append(tsc_hertz(machine)))
    if not hertz[0]:
        raise Inapplicable("nobody tells the frequency of the time stamp counter")
    for ticks, least, most in zip(seen[::3], seen[1::3], seen[2::3], strict=True):
        if most < PIT_ROUND * hertz[0]:
            times = (least / hertz[0] * (1 - SLACK), ticks / PIT_HZ, most / hertz[0] * (1 + SLACK))
            yield between("seconds by the 8254", *times)
            return
    raise Inapplicable("the host was away for too long each time")


def _scaled(engine: Engine) -> Iterable[Check]:
    """At half the frequency the guest counts half as fast."""
    if not kvm_engine(engine).kvm.check_extension(Cap.TSC_CONTROL):
        raise Inapplicable("the processor does not scale the time stamp counters of guests")
    asked: list[int] = []

    def slow_down(machine: Machine) -> None:
        vcpu = kvm_vcpu(machine)
        asked.append(vcpu.tsc_khz() // 2)
        vcpu.set_tsc_khz(asked[0])

    yield from _rate("tsc_rate", lambda machine: asked[0] * 1000, engine, furnish=slow_down)


def _moved(engine: Engine) -> Iterable[Check]:
    def move(machine: Machine) -> None:
        vcpu, offset = kvm_vcpu(machine), c_uint64()
        attribute = bytes(DeviceAttr(group=TSC_CTRL, attr=TSC_OFFSET, addr=addressof(offset)))
        try:
            vcpu.set(Ioctl.GET_DEVICE_ATTR, attribute)
        except KvmError as err:
            raise Inapplicable("the kernel has no KVM_VCPU_TSC_OFFSET") from err
        offset.value += 1 << 40
        vcpu.set(Ioctl.SET_DEVICE_ATTR, attribute)

    return check_program(guest("tsc_moved"), engine, calls={0: move})


def _same(prepare: Callable[[KvmVcpu], None], engine: Engine) -> Iterable[Check]:
    """Two vCPUs in turn: none is behind what the other read before."""
    engine = kvm_engine(engine)
    with Machine(engine, vcpus=2, cpuid=engine.supported_cpuid()) as machine:
        vcpus = [vcpu for vcpu in machine.vcpus if isinstance(vcpu, KvmVcpu)]
        for vcpu in vcpus:
            prepare(vcpu)
        seen = [vcpu.tsc() for _ in range(LOOKS) for vcpu in vcpus]
    back = sum(later < earlier for earlier, later in itertools.pairwise(seen))
    yield Check("counters that were behind", "0", str(back), back == 0)


def zero(vcpu: KvmVcpu) -> None:
    vcpu.set_msrs({Msr.IA32_TIME_STAMP_COUNTER: 0})


def script(id: str, title: str, run: Script, priority: int, *cite: Cite) -> Case:  # noqa: A002
    return HostScript(
        id=id, title=title, area="timers", mode=LONG64, cite=cite, script=run, priority=priority, seconds=10.0
    )


# fmt: off
CASES: tuple[Case, ...] = (
    script("time.tsc.rate",            "The time stamp counter has the frequency that KVM tells", partial(_rate, "tsc_rate", tsc_hertz), 1, *TSC),
    script("time.lapic.tick_rate",     "The timer of the local APIC counts nanoseconds",          partial(_rate, "apic_rate", lambda machine: APIC_HZ), 2, *BUS),
    script("time.pit.freq",            "The 8254 counts at 1193182 Hz",                           _pit_rate, 1, *PIT),
    script("time.tsc.khz_set",         "KVM_SET_TSC_KHZ scales the time stamp counter",           _scaled,   2, *SET_KHZ),
    script("time.tsc.offset",          "KVM_VCPU_TSC_OFFSET moves the time stamp counter",        _moved,    2, *OFFSET),
    script("time.tsc.create_sync",     "vCPUs created together have the same time stamp counter", partial(_same, lambda vcpu: None), 2, *TSC),
    script("time.tsc.write_zero_sync", "Set to 0 within a second, they are the same",             partial(_same, zero), 2, *TSC),
)
# fmt: on
