"""Cases of interrupts, timers and several processors on the monitor's own controllers, and devices on all of them.

They run with KVM, and on the software engine.  On the kernel's controllers they run with all others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from virtproof.conformance.areas.smp import exits
from virtproof.conformance.case import Case, HostScript
from virtproof.conformance.catalogue import all_cases
from virtproof.conformance.device_script import Interrupts, walk
from virtproof.conformance.execute import execute
from virtproof.results import CaseResult, Verdict
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.engines.software.engine import SoftwareEngine
from virtproof.vmm.interrupts import MsiRoute, SplitIrqchip
from virtproof.vmm.machine import Irqchip, Machine

AREAS = ("interrupts", "timers", "smp")
BY_ID = {case.id: case for case in all_cases()}
CASES = [case for case in BY_ID.values() if case.area in AREAS or case in exits.CASES]
# What kvm_pvm breaks whoever has the controllers; lab/references/known.py says why.
PVM = {"int.user.window", "int.lapic.cr8_pending", "int.lapic.cr8_pending.x2", "smp.cmpxchg16b", "time.tsc.offset"}

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


BY_MESSAGE = (
    "bus.msi.program", "bus.msi.replaces_intx", "bus.msix.pending_bit", "bus.msix.function_mask",
    "vmxnet3.irq.driver", "virtio.net.by_interrupt", "virtio.blk.by_interrupt",
)  # fmt: skip
BY_IO_APIC = ("irq.ioapic.intx", "irq.ioapic.intx_shared", "e1000.irq.ioapic")
BY_8259 = (
    "irq.pirq.route", "irq.pirq.disable", "irq.intx.level_resample", "e1000.irq.level_twice", "e1000.rx.interrupts",
    "e1000.drv.interrupts", "vmxnet3.irq.intx_icr", "virtio.isr.read_clear", "rtc.uie", "pm.en.sci", "i8042.irq1",
)  # fmt: skip

LEVEL = 3 << 14  # of a message's data: asserted, level-triggered


@pytest.fixture
def monitors(engine: KvmEngine) -> KvmEngine:
    """KVM without its interrupt controllers."""
    return KvmEngine(engine.kvm, kernel_irqchip=False)


@pytest.mark.kvm
@each_case
def test_with_kvm(monitors: KvmEngine, case: Case) -> None:
    if monitors.backend.name == "kvm_pvm" and case.id in PVM:
        pytest.skip("kvm_pvm breaks the rule")
    passes(execute(case, monitors))


def with_irqchip(name: str, irqchip: Irqchip) -> HostScript:
    """A case of a device whose machine has other interrupt controllers than it usually has."""
    case = BY_ID[name]
    assert isinstance(case, HostScript)
    script = case.script
    assert isinstance(script, partial)
    if script.func is walk:
        return replace(case, script=partial(walk, **script.keywords | {"irqchip": irqchip}))
    (program,) = script.args
    return replace(case, script=partial(script.func, replace(program, irqchip=irqchip), **script.keywords))


def routed(build: Callable[[Machine], object], machine: Machine) -> object:
    """The host is the I/O APIC: IRQ 11 is vector 40H of the first processor, level-triggered."""
    assert isinstance(machine.interrupts, SplitIrqchip)
    machine.interrupts.route([MsiRoute(11, 0xFEE0_0000, 0x40 | LEVEL)])
    return build(machine)


def by_routes(case: HostScript) -> HostScript:
    assert isinstance(case.script, partial)
    build = partial(routed, case.script.keywords["build"])
    return replace(case, script=partial(case.script, build=build))


@pytest.mark.kvm
@pytest.mark.parametrize("name", [*BY_MESSAGE, *BY_IO_APIC, *BY_8259])
def test_devices_with_the_monitors_own(engine: KvmEngine, name: str) -> None:
    passes(execute(with_irqchip(name, "user"), engine))


@pytest.mark.kvm
@pytest.mark.parametrize("name", BY_MESSAGE)
def test_messages_with_local_apics_in_the_kernel_only(engine: KvmEngine, name: str) -> None:
    passes(execute(with_irqchip(name, "split"), engine))


@pytest.mark.kvm
@pytest.mark.parametrize("name", BY_IO_APIC)
def test_pins_with_local_apics_in_the_kernel_only(engine: KvmEngine, name: str) -> None:
    case = with_irqchip(name, "split")
    if engine.backend.name == "kvm_pvm":
        pytest.skip("kvm_pvm does not tell of the end of an interrupt")
    passes(execute(by_routes(case), engine))


@pytest.mark.parametrize("name", BY_IO_APIC)
def test_pins_by_routes_of_the_host(software: SoftwareEngine, name: str) -> None:
    passes(execute(by_routes(with_irqchip(name, "split")), software))


@pytest.mark.kvm
def test_a_pin_once_with_local_apics_in_the_kernel_only(engine: KvmEngine) -> None:
    """As much of it as kvm_pvm can: the line is raised and lowered once."""
    case = by_routes(with_irqchip("irq.ioapic.intx", "split"))
    steps = case.script.keywords["steps"]
    once = [n for n, step in enumerate(steps) if isinstance(step, Interrupts)][1]
    passes(execute(replace(case, script=partial(case.script, steps=steps[: once + 1])), engine))


@each_case
def test_on_the_software_engine(software: SoftwareEngine, case: Case) -> None:
    passes(execute(case, software))


def passes(result: CaseResult) -> None:
    if result.verdict is Verdict.SKIP:
        pytest.skip(result.reason)
    assert result.verdict is Verdict.PASS, (result.reason, result.checks)
