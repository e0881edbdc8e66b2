"""A whole virtual machine: the one place where VM, vCPUs, memory, bus and devices are put together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from virtproof.kvm import CpuidEntry
from virtproof.spec.fault import Fault
from virtproof.vmm import cpuid as features
from virtproof.vmm.allowance import Allowance, of_this_thread
from virtproof.vmm.bus import Bus, Trace
from virtproof.vmm.devices.serial import Serial
from virtproof.vmm.engine import Accesses, Engine, Vcpu
from virtproof.vmm.events import Clock, EventLoop, Timer
from virtproof.vmm.exits import Exit, Halt, Interrupted, Timeout
from virtproof.vmm.interrupts import (
    InjectedInterrupts,
    InterruptSink,
    KernelIrqchip,
    NoInterrupts,
    ResampleFds,
    SplitIrqchip,
)
from virtproof.vmm.memory import GuestMemory
from virtproof.vmm.watchdog import guard

if TYPE_CHECKING:  # what few machines need is imported when they need it
    from virtproof.vmm.description import Description
    from virtproof.vmm.smp import Crew
    from virtproof.vmm.startup import Startup
    from virtproof.vmm.user_irqchip import UserIrqchip

MIB = 1 << 20
SLICE = 0.001  # seconds that a guest runs at a stretch while descriptors are waited for

LOW_END, HIGH_START = 0xC000_0000, 1 << 32  # RAM goes round what devices and the APICs use below 4 GiB

COM1, COM1_PORTS, COM1_IRQ = 0x3F8, 8, 4

Irqchip = Literal["kernel", "split", "injected", "user"]


class Machine:
    """One VM.  What is not asked for is not created.  Use it as a context manager.

    - ``vcpus``: how many.  With local APICs all but the first wait for INIT and SIPI; without, each runs from the
      registers it was given.
    - ``ram``: bytes of memory from guest-physical 0, what exceeds 3 GiB from 4 GiB on; 0: none, slots are the caller's.
    - ``cpuid``: what the guest's CPUID instruction answers; None leaves KVM's default: nothing.  Each vCPU has APIC ids
      of its own.  ``cpuid_masks`` names features that are taken away (``vmm.cpuid.MASKS``), ``cpuid_overrides`` comes
      last; ``description`` shows both.
    - ``irqchip``: "kernel" (or True): PICs, I/O APIC and local APICs there; ``pit`` adds the 8254.  "split": local
      APICs only, lines by ``interrupts.route``.  "injected": none, the first vCPU is given vectors.
    - ``dirty_ring``: entries of a dirty ring a vCPU; 0: none.
    - ``trace`` sees every access on the bus.  ``clock`` is the time of timers of devices.

    Devices of a machine with one vCPU run on the guest's own thread: between exits, and where a timer or a descriptor
    is waited for, when the guest has been kicked out of its slice.  With more vCPUs, each of which has a thread, they
    run under ``lock``.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        vcpus: int = 1,
        ram: int = MIB,
        cpuid: Iterable[CpuidEntry] | None = None,
        cpuid_masks: Sequence[str] = (),
        cpuid_overrides: Sequence[features.Override] = (),
        irqchip: bool | Irqchip = False,
        pit: bool = False,
        dirty_ring: int = 0,
        trace: Trace | None = None,
        clock: Clock | None = None,
    ) -> None:
        if not 1 <= vcpus <= engine.max_vcpus:
            saw = f"this host's {engine.name} engine allows 1 to {engine.max_vcpus} in a machine"
            raise Fault(f"make a machine with {vcpus} vCPUs", saw, "ask for a number in that range")
        with ExitStack() as stack:
            self.vm = engine.create_vm()
            self.memory = GuestMemory(self.vm)
            stack.callback(self.memory.close)
            stack.callback(self.vm.close)  # closed first: memory outlives the VM that runs in it
            if dirty_ring:
                self.vm.enable_dirty_rings(dirty_ring)
            if ram:
                self.memory.add(0, min(ram, LOW_END))
            if ram > LOW_END:
                self.memory.add(HIGH_START, ram - LOW_END)
            self.events = EventLoop(clock)
            stack.callback(self.events.close)
            self.lock = threading.RLock()
            self.bus = Bus(trace)
            self.engine = engine
            self.pit = pit
            self.irqchip: Irqchip | None = "kernel" if irqchip is True else irqchip or None
            in_engine = self.irqchip in ("kernel", "split") and engine.kernel_irqchip
            self.models_apics = self.irqchip in ("kernel", "split", "user") and not in_engine
            self._masks, self._overrides = tuple(cpuid_masks), tuple(cpuid_overrides)
            if self.pit and self.irqchip not in ("kernel", "user"):
                raise Fault(
                    "make a machine with a PIT", "it needs 8259s to interrupt", 'use irqchip="kernel" or "user"'
                )
            self._user_irqchip: UserIrqchip | None = None
            if self.models_apics:
                self.vm.leave_apics_to_monitor()
            else:
                self.interrupts: InterruptSink = self._create_controller(stack)
            self.vcpus = self._create_vcpus(vcpus, cpuid)
            self.vcpu = self.vcpus[0]
            self.accesses: tuple[Accesses, ...] = (self.bus,) * vcpus  # by vCPU
            self._startups: Mapping[int, Startup] = {}
            if self.models_apics:
                self._model_controllers()
            self._wire_controller()
            self.stopped_by = 0  # the vCPU that ended the last run
            self._stopping = False
            self._crew: Crew | None = None
            if vcpus > 1:
                from virtproof.vmm.smp import Crew  # noqa: PLC0415

                self._crew = Crew(self.vcpus, self.accesses, self.lock, self.events, self._startups)
                stack.callback(self._crew.close)
            self._resources = stack.pop_all()

    def _create_controller(self, stack: ExitStack) -> InterruptSink:
        match self.irqchip:
            case "kernel":
                self.vm.create_irqchip()
                if self.pit:
                    self.vm.create_pit()
                resample = ResampleFds(self.vm, self.events)
                stack.callback(resample.close)
                return KernelIrqchip(self.vm, resample)
            case "split":
                self.vm.create_split_irqchip()
                return SplitIrqchip(self.vm)
            case "injected":
                return InjectedInterrupts(self._interrupt_waits, self.lock)
            case _:
                return NoInterrupts()

    def _model_controllers(self) -> None:
        from virtproof.vmm.user_irqchip import LocalApics, UserIrqchip, add_pit  # noqa: PLC0415

        now = self.events.clock.now
        apics = LocalApics(
            self.vcpus,
            after=self.after,
            now=now,
            lock=self.lock,
            asks=self._interrupt_waits,
            nmi=self.nmi,
            kicks=self._kick,
        )
        self._startups = apics.startups
        if self.irqchip == "split":
            self.interrupts = SplitIrqchip(apics)
            apics.attach()
            apics.ended = self.interrupts.ended
        else:
            self.interrupts = self._user_irqchip = UserIrqchip(apics, self.lock)
            self._user_irqchip.add_to(self.bus)
            apics.attach(self._user_irqchip.pic)
        if self.pit:
            add_pit(self.bus, self.interrupts.set_line, self.after, now)
        self.accesses = tuple(apics.accesses(index, self.bus) for index in range(len(self.vcpus)))

    def _create_vcpus(self, count: int, cpuid: Iterable[CpuidEntry] | None) -> tuple[Vcpu, ...]:
        if cpuid is None and (self._masks or self._overrides):
            raise Fault("change what CPUID answers", "the machine has no CPUID table", "give it one: cpuid=...")
        table = features.masked(cpuid, self._masks) if cpuid is not None else ()
        if self.irqchip not in ("kernel", "split", "user"):
            table = features.tsc_deadline(table, False)
        made = []
        for index in range(count):
            vcpu = self.vm.create_vcpu(index)
            if self.models_apics:
                table = features.local_apic(table, deadline=vcpu.tsc_khz() > 0)
            if cpuid is not None:
                vcpu.set_cpuid(features.overridden(features.for_vcpu(table, index, count), self._overrides))
            made.append(vcpu)
        return tuple(made)

    def _wire_controller(self) -> None:
        match self.interrupts:
            case InjectedInterrupts() as injected:
                self.vcpu.controller = injected
            case SplitIrqchip() as split if not self.models_apics:

                def ended(vector: int) -> None:
                    with self.lock:
                        split.ended(vector)

                for vcpu in self.vcpus:
                    vcpu.on_eoi = ended
            case _:
                pass

    def _interrupt_waits(self, vcpu: int = 0) -> None:
        self.vcpus[vcpu].request_interrupt_window()
        if self._crew is not None:
            self._crew.wake()

    def _kick(self, vcpu: int) -> None:
        self.vcpus[vcpu].kick()
        if self._crew is not None:
            self._crew.wake()

    @property
    def description(self) -> Description:
        """What the machine is made of, changes to CPUID included."""
        from virtproof.vmm.description import Description  # noqa: PLC0415

        return Description(
            engine=self.engine.name,
            backend=self.engine.backend.name,
            vcpus=len(self.vcpus),
            memory=tuple((slot.gpa, slot.memory.size, slot.memory.backing) for slot in self.memory.slots),
            interrupts=self.irqchip or "none",
            cpuid_masks=tuple(f"{name}: {features.MASKS[name].what}" for name in self._masks),
            cpuid_overrides=tuple(map(str, self._overrides)),
            cpuid_not_taken=features.not_taken(self.vcpu.cpuid(), self._masks, self._overrides),
        )

    def run(self, seconds: float, *, only: Container[int] | None = None) -> Exit | Timeout:
        """Run the guest until a vCPU stops it, ``stop`` is called, or ``seconds`` have passed in which it could run.

        A guest that halts goes on where a timer or a descriptor of a device is still to come.  A machine with several
        vCPUs has halted when all have; ``stopped_by`` says which one stopped it.  ``only`` those whose index is in
        there run, the others wait.  All times are multiplied by the engine's ``patience``.
        """
        seconds *= self.engine.patience
        self._stopping = False
        if self._crew is not None:
            self.stopped_by, stopped = self._crew.run(seconds, only)
            return stopped
        allowance = of_this_thread(seconds)
        with guard(self.vcpu, seconds, allowance) as whole:
            while True:
                stopped = self._slice()
                if self._stopping or not isinstance(stopped, Interrupted | Halt):
                    return stopped
                if whole.expired or allowance.left() <= 0:
                    return Timeout(seconds)
                if isinstance(stopped, Interrupted):
                    self.events.poll()
                elif self.vcpu.wakeful:
                    continue
                elif not self.events.waiting:
                    return stopped
                elif self.vcpu.controller is None:
                    self.events.poll(int(SLICE * 1e9))
                else:
                    self._rest(allowance)

    def _rest(self, allowance: Allowance) -> None:
        """Sleep in a halt until something wakes the vCPU, or nothing can any more."""
        while not self.vcpu.wakeful and self.events.waiting and not self._stopping and allowance.left() > 0:
            self.events.poll(int(SLICE * 1e9))

    def _slice(self) -> Exit:
        """Run the guest until something happens, or it is time to look after timers and descriptors."""
        if not self.events.waiting:
            return self.vcpu.run(self.accesses[0])
        due = self.events.next_deadline()
        seconds = SLICE if due is None else max(0.0, (due - self.events.clock.now()) / 1e9)
        with guard(self.vcpu, min(SLICE, seconds) if self.events.reading else seconds):
            return self.vcpu.run(self.accesses[0])

    def stop(self) -> None:
        """Make ``run`` return, the access at hand completed.  For devices; any thread may call it."""
        self._stopping = True
        if self._crew is not None:
            self._crew.end()
        else:
            self.vcpu.kick()

    def wire_timer(self) -> None:
        """Wire line 0, the 8254's, to pin 2 of the I/O APIC as PCs do; without this it is pin 0, as KVM has it."""
        from virtproof.vmm.routing import PC, TIMER_PIN  # noqa: PLC0415

        if self._user_irqchip is not None:
            self._user_irqchip.timer_pin = TIMER_PIN
        elif self.irqchip == "kernel":
            self.vm.set_routes(PC)

    def nmi(self, vcpu: int = 0) -> None:
        """Send a vCPU a non-maskable interrupt.  Any thread may call it."""
        self.vcpus[vcpu].nmi()
        if self._crew is not None:
            self._crew.wake()

    def after(self, ns: int, callback: Callable[[], None]) -> Timer:
        """Start a timer of a device, and see to it that the guest does not run past it."""
        timer = self.events.after(ns, callback)
        if self._crew is not None:
            self._crew.wake()
        else:
            self.vcpu.kick()
        return timer

    def add_serial(self, transmit: Callable[[int], None]) -> Serial:
        """Add COM1: a 16550A whose output goes to ``transmit``, byte by byte."""
        serial = Serial(transmit, lambda level: self.interrupts.set_line(COM1_IRQ, level), self.after)
        self.bus.add_ports(COM1, COM1_PORTS, serial, "COM1", width=1)
        return serial

    def close(self) -> None:
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
