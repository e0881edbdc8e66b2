"""The whole state of a stopped machine: taken, and put into a new one.

    state = save(machine)
    write_state("guest.state", state)                       # vmm.state_file
    ...                                                     # another process, another day
    machine, missing = restore(engine, read_state("guest.state"), furnish)

What a kernel does not give or take is named in ``missing``, never left out silently.  The order of the parts matters:
Linux Documentation/virt/kvm/api.rst, "KVM_SET_CPUID2", "KVM_SET_VCPU_EVENTS" and "KVM_SET_LAPIC".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from ctypes import sizeof
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

from virtproof.kvm import CpuidEntry, KvmError
from virtproof.spec.fault import Fault
from virtproof.spec.kvm import Cap, Ioctl
from virtproof.spec.kvm.devices import ClockData, Irqchip, LapicState, PitState2
from virtproof.spec.kvm.exits import IrqchipId
from virtproof.spec.kvm.structures import Debugregs, Fpu, MpState, Regs, Sregs, Sregs2, VcpuEvents, Xcrs, Xsave
from virtproof.vmm.backing import PAGE, Backing
from virtproof.vmm.engine import Engine, Vcpu
from virtproof.vmm.engines.kvm import KvmVm
from virtproof.vmm.engines.kvm_vcpu import KvmVcpu
from virtproof.vmm.exits import Interrupted
from virtproof.vmm.machine import Irqchip as Controller
from virtproof.vmm.machine import Machine


class StateError(Fault):
    """A saved state that cannot be read, or does not fit."""


@runtime_checkable
class Stateful(Protocol):
    """A device whose state can be saved: plain JSON values.

    ``restore`` checks what it is given, which may come from anywhere: a wrong value is a ValueError, TypeError or
    KeyError.
    """

    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


class SavableEngine(Protocol):
    """An engine whose machines can be saved."""

    def saved_msrs(self) -> tuple[int, ...]: ...


class SavableVm(Protocol):
    """Its VM: structures of KVM by the ioctl that reads and sets them."""

    attached_fds: int

    def check_extension(self, cap: Cap) -> int: ...
    def get(self, number: Ioctl, size: int, data: bytes = b"") -> bytes: ...
    def set(self, number: Ioctl, data: bytes) -> None: ...


class SavableVcpu(Vcpu, Protocol):
    """Its vCPU."""

    index: int

    def get(self, number: Ioctl, size: int) -> bytes: ...
    def set(self, number: Ioctl, data: bytes) -> None: ...
    def get_msrs(self, indices: Iterable[int]) -> dict[int, int]: ...
    def set_msrs(self, values: Mapping[int, int]) -> tuple[int, ...]: ...


class Part(NamedTuple):
    """A structure of KVM: how it is read and set, how large it is, which capability brings it."""

    name: str
    get: Ioctl
    set: Ioctl
    size: int
    cap: Cap | None = None
    instead: Cap | None = None  # a capability that makes another part better
    apic: bool = False  # only with a local APIC in the kernel


# In the order of restoring; CPUID comes before, MSRs and events after.
# fmt: off
VCPU_PARTS = (
    Part("mp_state",  Ioctl.GET_MP_STATE,  Ioctl.SET_MP_STATE,  sizeof(MpState),   Cap.MP_STATE, apic=True),
    Part("regs",      Ioctl.GET_REGS,      Ioctl.SET_REGS,      sizeof(Regs)),
    Part("sregs",     Ioctl.GET_SREGS,     Ioctl.SET_SREGS,     sizeof(Sregs),     instead=Cap.SREGS2),
    Part("sregs2",    Ioctl.GET_SREGS2,    Ioctl.SET_SREGS2,    sizeof(Sregs2),    Cap.SREGS2),
    Part("fpu",       Ioctl.GET_FPU,       Ioctl.SET_FPU,       sizeof(Fpu),       instead=Cap.XSAVE),
    Part("xcrs",      Ioctl.GET_XCRS,      Ioctl.SET_XCRS,      sizeof(Xcrs),      Cap.XCRS),
    Part("xsave",     Ioctl.GET_XSAVE,     Ioctl.SET_XSAVE,     sizeof(Xsave),     Cap.XSAVE),
    Part("debugregs", Ioctl.GET_DEBUGREGS, Ioctl.SET_DEBUGREGS, sizeof(Debugregs), Cap.DEBUGREGS),
    Part("lapic",     Ioctl.GET_LAPIC,     Ioctl.SET_LAPIC,     sizeof(LapicState), Cap.IRQCHIP, apic=True),
)
EVENTS = Part("events", Ioctl.GET_VCPU_EVENTS, Ioctl.SET_VCPU_EVENTS, sizeof(VcpuEvents), Cap.VCPU_EVENTS)
CLOCK  = Part("clock",  Ioctl.GET_CLOCK,       Ioctl.SET_CLOCK,       sizeof(ClockData),  Cap.ADJUST_CLOCK)
PIT    = Part("pit",    Ioctl.GET_PIT2,        Ioctl.SET_PIT2,        sizeof(PitState2),  Cap.PIT_STATE2)
# fmt: on
VCPU_SIZES = {part.name: part.size for part in (*VCPU_PARTS, EVENTS)}
VM_SIZES = {
    CLOCK.name: CLOCK.size,
    PIT.name: PIT.size,
    **{f"irqchip {chip.name.lower()}": sizeof(Irqchip) for chip in IrqchipId},
}

# KVM knows the MTRRs but does not list them: Intel SDM vol. 3A, "Memory Type Range Registers (MTRRs)".
MTRRS = (*range(0x200, 0x210), 0x250, 0x258, 0x259, *range(0x268, 0x270), 0x2FF)


@dataclass(frozen=True, slots=True)
class VcpuState:
    """One vCPU: structures as the kernel lays them out, by the name of their part."""

    parts: Mapping[str, bytes]
    cpuid: tuple[CpuidEntry, ...]
    msrs: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class SavedSlot:
    """A slot; ``runs`` are (offset, bytes) of what is not zero, in whole pages, by offset."""

    gpa: int
    size: int
    read_only: bool
    log_dirty: bool
    backing: Backing
    runs: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class MachineState:
    """Everything of a machine; ``missing`` names what could not be had."""

    irqchip: Controller | None
    pit: bool
    memory: tuple[SavedSlot, ...]
    vm: Mapping[str, bytes]
    vcpus: tuple[VcpuState, ...]
    devices: Mapping[str, dict[str, Any]]
    interrupts: dict[str, Any] = field(default_factory=dict)
    tsc_khz: int = 0  # 0: not known
    missing: tuple[str, ...] = ()


class Processors(NamedTuple):
    """The vCPUs, and what of interrupt controllers and timers is in the kernel."""

    vm: dict[str, bytes]
    vcpus: tuple[VcpuState, ...]
    missing: tuple[str, ...]


class Restored(NamedTuple):
    """A machine that goes on where the saved one was, and what it lacks."""

    machine: Machine
    missing: tuple[str, ...]


def save(machine: Machine) -> MachineState:
    """Take the state of a machine that does not run.  Accesses at hand are completed first.

    Raises Fault where an access at hand cannot be completed.
    """
    vm, vcpus = _parts_of(machine)
    for vcpu, accesses in zip(vcpus, machine.accesses, strict=True):
        vcpu.kick()
        stopped = vcpu.run(accesses)
        if not isinstance(stopped, Interrupted):
            raise Fault("save a machine", f"vCPU {vcpu.index} went on: {stopped}", "save it when it is stopped")
    processors = save_processors(machine)
    missing = list(processors.missing)
    devices = {}
    for name, device in machine.bus.devices():
        if isinstance(device, Stateful):
            devices[name] = device.state()
        else:
            missing.append(f"device {name}: it has no state to save, or none that it gives")
    if vm.attached_fds:
        missing.append(f"{vm.attached_fds} eventfds attached to the VM: they belong to this process")
    shared = len(machine.memory.slots) - len({id(slot.memory) for slot in machine.memory.slots})
    if shared:
        missing.append(f"{shared} slots share memory with others: each is restored with a copy")
    return MachineState(
        irqchip=machine.irqchip,
        pit=machine.pit,
        memory=tuple(
            SavedSlot(s.gpa, s.memory.size, s.read_only, s.log_dirty, s.memory.backing, tuple(_runs(s.memory.view)))
            for s in machine.memory.slots
        ),
        vm=processors.vm,
        vcpus=processors.vcpus,
        devices=devices,
        interrupts=machine.interrupts.state(),
        tsc_khz=vcpus[0].tsc_khz(),
        missing=tuple(missing),
    )


def save_processors(machine: Machine) -> Processors:
    """The part of ``save`` that is neither memory nor devices."""
    vm, vcpus = _parts_of(machine)
    missing: list[str] = []
    listed = cast(SavableEngine, machine.engine).saved_msrs()
    saved = []
    for vcpu in vcpus:
        parts = _parts(vm, vcpu, machine, missing)
        msrs = vcpu.get_msrs((*listed, *MTRRS))
        absent = [index for index in listed if index not in msrs]
        missing += [f"vCPU {vcpu.index}: MSR {index:#x}: the engine lists it and does not give it" for index in absent]
        saved.append(VcpuState(parts, vcpu.cpuid(), msrs))
    return Processors(_vm_parts(vm, machine, missing), tuple(saved), tuple(missing))


def restore_processors(machine: Machine, saved: Processors) -> tuple[str, ...]:
    """Put the processors of a stopped machine back to where they were; return what it does not take.

    What its CPUID answers stays.
    """
    vm, vcpus = _parts_of(machine)
    missing: list[str] = []
    _restore_vm(vm, saved.vm, missing)
    for vcpu, of in zip(vcpus, saved.vcpus, strict=True):
        _restore_vcpu(vcpu, replace(of, cpuid=()), missing)
    return tuple(missing)


def restore(engine: Engine, state: MachineState, furnish: Callable[[Machine], None] = lambda machine: None) -> Restored:
    """Make a machine with the saved state; ``furnish`` adds the devices that the saved one had, by the same names.

    Raises Fault where the machine cannot be made, StateError where the state does not fit it.
    """
    machine = Machine(engine, vcpus=len(state.vcpus), ram=0, irqchip=state.irqchip or False, pit=state.pit)
    try:
        return Restored(machine, _restore(machine, state, furnish))
    except BaseException:
        machine.close()
        raise


def _restore(machine: Machine, state: MachineState, furnish: Callable[[Machine], None]) -> tuple[str, ...]:
    vm, vcpus = _parts_of(machine)
    missing = list(state.missing)
    for slot in state.memory:
        made = machine.memory.add(
            slot.gpa, slot.size, read_only=slot.read_only, log_dirty=slot.log_dirty, backing=slot.backing
        )
        for offset, data in slot.runs:
            made.memory.view[offset : offset + len(data)] = data
    furnish(machine)
    _restore_vm(vm, state.vm, missing)
    if state.tsc_khz and state.tsc_khz != vcpus[0].tsc_khz():
        if vm.check_extension(Cap.TSC_CONTROL):
            for of_kvm in cast(tuple[KvmVcpu, ...], vcpus):
                of_kvm.set_tsc_khz(state.tsc_khz)
        else:
            missing.append(f"TSC: it ran at {state.tsc_khz} kHz; here it is {vcpus[0].tsc_khz()}, and cannot be scaled")
    for vcpu, saved in zip(vcpus, state.vcpus, strict=True):
        _restore_vcpu(vcpu, saved, missing)
    known = dict(machine.bus.devices())
    for name, saved_device in state.devices.items():
        device = known.get(name)
        if not isinstance(device, Stateful):
            missing.append(f"device {name}: its state was saved, but this machine has no such device")
            continue
        _told(f"restore device {name}", device.restore, saved_device)
    _told("restore the interrupt lines", machine.interrupts.restore, state.interrupts)
    return tuple(missing)


def _restore_vm(vm: SavableVm, saved: Mapping[str, bytes], missing: list[str]) -> None:
    for part in (PIT, CLOCK):
        if part.name in saved:
            _set(vm.set, part, saved[part.name], "VM", missing)
    for chip in IrqchipId:
        saved_chip = saved.get(f"irqchip {chip.name.lower()}")
        if saved_chip is not None:
            vm.set(Ioctl.SET_IRQCHIP, saved_chip)


def _restore_vcpu(vcpu: SavableVcpu, saved: VcpuState, missing: list[str]) -> None:
    who = f"vCPU {vcpu.index}"
    if saved.cpuid:
        vcpu.set_cpuid(saved.cpuid)
    for part in VCPU_PARTS:
        if part.name in saved.parts:
            _set(vcpu.set, part, saved.parts[part.name], who, missing)
    for index in vcpu.set_msrs(saved.msrs):
        if saved.msrs[index] != vcpu.get_msrs([index]).get(index):
            missing.append(f"{who}: MSR {index:#x} = {saved.msrs[index]:#x}: the engine does not take it")
    if EVENTS.name in saved.parts:
        _set(vcpu.set, EVENTS, saved.parts[EVENTS.name], who, missing)


def _parts(vm: SavableVm, vcpu: SavableVcpu, machine: Machine, missing: list[str]) -> dict[str, bytes]:
    apic = machine.irqchip in ("kernel", "split") and not machine.models_apics
    found = {}
    for part in (*VCPU_PARTS, EVENTS):
        if (part.instead is not None and vm.check_extension(part.instead)) or (part.apic and not apic):
            continue
        if part.cap is not None and not vm.check_extension(part.cap):
            if part.name != "sregs2":  # sregs stands for it
                missing.append(f"vCPU {vcpu.index}: {part.name}: this kernel has no KVM_CAP_{part.cap.name}")
            continue
        get, size = part.get, part.size
        if part.name == "xsave" and vm.check_extension(Cap.XSAVE2):
            get, size = Ioctl.GET_XSAVE2, max(part.size, vm.check_extension(Cap.XSAVE2))
        try:
            found[part.name] = vcpu.get(get, size)
        except KvmError as err:
            missing.append(f"vCPU {vcpu.index}: {part.name}: {err.tried}: {err.saw}")
    return found


def _vm_parts(vm: SavableVm, machine: Machine, missing: list[str]) -> dict[str, bytes]:
    found = {}
    wanted = ([CLOCK] if isinstance(vm, KvmVm) else []) + ([PIT] if machine.pit and not machine.models_apics else [])
    for part in wanted:
        if part.cap is not None and not vm.check_extension(part.cap):
            missing.append(f"VM: {part.name}: this kernel has no KVM_CAP_{part.cap.name}")
            continue
        found[part.name] = vm.get(part.get, part.size)
    if CLOCK.name in found:
        clock = ClockData.from_buffer_copy(found[CLOCK.name])
        found[CLOCK.name] = bytes(ClockData(clock=clock.clock))  # the flags tell, they cannot be set
    if machine.irqchip == "kernel" and not machine.models_apics:
        for chip in IrqchipId:
            found[f"irqchip {chip.name.lower()}"] = vm.get(
                Ioctl.GET_IRQCHIP, sizeof(Irqchip), bytes(Irqchip(chip_id=chip))
            )
    return found


def _set(setter: Callable[[Ioctl, bytes], None], part: Part, data: bytes, who: str, missing: list[str]) -> None:
    """Set a part.  What a guest cannot do without must be taken; the rest may be missed, by name."""
    try:
        setter(part.set, data)
    except Fault as err:
        if part.name in ("regs", "sregs", "sregs2", "lapic"):
            raise StateError(f"restore {part.name} of {who}", err.saw, err.remedy) from err
        missing.append(f"{who}: {part.name}: {err.tried}: {err.saw}")


def _told(tried: str, give: Callable[[dict[str, Any]], None], state: dict[str, Any]) -> None:
    try:
        give(state)
    except (ValueError, TypeError, KeyError) as err:
        raise StateError(tried, f"{type(err).__name__}: {err}", "the file is damaged, or of another version") from err


def _runs(view: memoryview) -> Iterator[tuple[int, bytes]]:
    """What is not zero: (offset, bytes) of whole pages that follow one another."""
    zero, start = bytes(PAGE), -1
    for at in range(0, len(view), PAGE):
        if view[at : at + PAGE] == zero:
            if start >= 0:
                yield start, bytes(view[start:at])
                start = -1
        elif start < 0:
            start = at
    if start >= 0:
        yield start, bytes(view[start:])


def _parts_of(machine: Machine) -> tuple[SavableVm, tuple[SavableVcpu, ...]]:
    """The VM and its vCPUs with what is needed here.  Both engines have it; others need not."""
    return cast(SavableVm, machine.vm), cast(tuple[SavableVcpu, ...], machine.vcpus)
