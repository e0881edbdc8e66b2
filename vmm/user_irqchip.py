"""Interrupt controllers of the monitor's own, put together as a PC has them.

    lines 0 to 15 --> two 8259s --INT--> LINT0 of every local APIC
    lines 0 to 23 --> I/O APIC --messages--> local APICs <--messages-- devices

The vCPU asks its ``VcpuApic`` for interrupts, MSRs and CR8, and the registers' page is looked for in front of the bus,
because each processor sees its own APIC there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from virtproof.spec import i8254, i8259, ioapic
from virtproof.spec.x86.apic import SIZE, Delivery, Icr, Lvt, MsiAddress, MsiData, Register, Shorthand
from virtproof.spec.x86.msr import Msr
from virtproof.vmm.bus import Bus
from virtproof.vmm.cpuid import ApicFeatures, apic_features
from virtproof.vmm.devices.apic_timer import ApicTimer
from virtproof.vmm.devices.ioapic import IoApic
from virtproof.vmm.devices.lapic import LocalApic
from virtproof.vmm.devices.pic import PicPair
from virtproof.vmm.devices.pit import Pit
from virtproof.vmm.engine import Accesses, Vcpu
from virtproof.vmm.events import After
from virtproof.vmm.interrupts import EndsOfInterrupts
from virtproof.vmm.routing import Route
from virtproof.vmm.startup import Startup

Lock = AbstractContextManager[object]

_PAGE = ~(SIZE - 1)


class Tsc:
    """A vCPU's time stamp counter by the monitor's clock, for when only another thread than the vCPU's can look."""

    def __init__(self, vcpu: Vcpu, now: Callable[[], int]) -> None:
        self._vcpu, self._now = vcpu, now
        self._khz = vcpu.tsc_khz()
        self._value = self._at = 0

    def sample(self) -> None:
        """Look at the counter itself; on the vCPU's own thread."""
        self._value, self._at = self._vcpu.tsc(), self._now()

    def tsc(self) -> int:
        return self._value + (self._now() - self._at) * self._khz // 1_000_000

    def tsc_khz(self) -> int:
        return self._khz


class VcpuApic:
    """What a vCPU knows of its local APIC: its ``controller``, ``msrs`` and ``task_priority``."""

    def __init__(self, apic: LocalApic, pic: PicPair | None, lock: Lock, tsc: Tsc | None) -> None:
        self.apic, self._pic, self._lock, self._tsc = apic, pic, lock, tsc

    @property
    def pending(self) -> bool:
        return self.apic.pending

    def acknowledge(self) -> int | None:
        with self._lock:
            if self.apic.extint and self._pic is not None:
                return self._pic.acknowledge()
            return self.apic.acknowledge() if self.apic.pending else None

    def read_msr(self, index: int) -> int | None:
        with self._lock:
            return self.apic.read_msr(index)

    def write_msr(self, index: int, value: int) -> bool:
        if index == Msr.IA32_TSC_DEADLINE and self._tsc is not None:
            self._tsc.sample()
        with self._lock:
            return self.apic.write_msr(index, value)

    @property
    def cr8(self) -> int:
        return self.apic.cr8

    @cr8.setter
    def cr8(self, value: int) -> None:
        with self._lock:
            self.apic.cr8 = value


class ApicAccesses:
    """The bus as one vCPU sees it: with its local APIC's page in front."""

    def __init__(self, apic: LocalApic, bus: Accesses, lock: Lock) -> None:
        self._apic, self._bus, self._lock = apic, bus, lock
        self.pio_in, self.pio_out = bus.pio_in, bus.pio_out

    def mmio_read(self, address: int, length: int) -> int:
        if address & _PAGE == self._apic.page:
            with self._lock:
                return self._apic.read(address & ~_PAGE, length)
        return self._bus.mmio_read(address, length)

    def mmio_write(self, address: int, length: int, value: int) -> None:
        if address & _PAGE == self._apic.page:
            with self._lock:
                self._apic.write(address & ~_PAGE, length, value)
        else:
            self._bus.mmio_write(address, length, value)


class LocalApics:
    """The local APICs of a machine, and the messages between them.

    What each offers is what its vCPU's CPUID tells.  ``ended`` is told of the end of each level-triggered vector;
    ``asks`` is called with the number of a vCPU for which an interrupt waits, ``nmi`` where it gets an NMI, ``kicks``
    where it gets INIT or SIPI.  Those are carried out by ``startups``, which has all but the first processor.
    """

    def __init__(
        self,
        vcpus: Sequence[Vcpu],
        *,
        after: After,
        now: Callable[[], int],
        lock: Lock,
        asks: Callable[[int], None],
        nmi: Callable[[int], None],
        kicks: Callable[[int], None],
    ) -> None:
        self._vcpus = vcpus
        self._lock, self._asks, self._nmi, self._kicks = lock, asks, nmi, kicks
        self.ended: Callable[[int], None] = lambda vector: None
        self._tscs = [Tsc(vcpu, now) if len(vcpus) > 1 else None for vcpu in vcpus]
        self.apics = [
            self._make(index, apic_features(vcpu.cpuid()), ApicTimer(after, now, tsc or vcpu))
            for index, (vcpu, tsc) in enumerate(zip(vcpus, self._tscs, strict=True))
        ]
        self.startups = {
            index: Startup(vcpu, lock, self.apics[index].reset) for index, vcpu in enumerate(vcpus) if index
        }
        # As firmware leaves it, and KVM begins: the first processor takes what the 8259s have.
        self.apics[0].lvt[Register.LVT_LINT0] = Lvt(0).but(delivery=Delivery.EXTINT)

    def attach(self, pic: PicPair | None = None) -> None:
        """Make each vCPU ask its APIC, and ``pic`` for what comes through LINT0."""
        for vcpu, apic, tsc in zip(self._vcpus, self.apics, self._tscs, strict=True):
            vcpu.controller = vcpu.msrs = vcpu.task_priority = VcpuApic(apic, pic, self._lock, tsc)

    def accesses(self, index: int, bus: Accesses) -> Accesses:
        """The bus as that vCPU sees it."""
        return ApicAccesses(self.apics[index], bus, self._lock)

    def set_lint(self, number: int, level: bool) -> None:
        for apic in self.apics:
            apic.set_lint(number, level)

    def signal_msi(self, address: int, data: int) -> bool:
        """Deliver a message; say whether anybody took it.  A write to elsewhere is no message."""
        if address >> 20 != MsiAddress.BASE >> 20:
            return False
        to, what = MsiAddress(address), MsiData(data)
        with self._lock:
            named = [apic for apic in self.apics if apic.is_destination(to.destination, logical=to.logical, short=True)]
            return self._deliver(named, Delivery(what.delivery), what.vector, what.level, to.redirection)

    def set_routes(self, routes: Sequence[Route]) -> None:
        """Nothing: who routes lines to messages needs no table here."""

    def state(self) -> dict[str, Any]:
        return {
            "apics": [apic.state() for apic in self.apics],
            "waits": [startup.waits for startup in self.startups.values()],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        for apic, vcpu, saved in zip(self.apics, self._vcpus, state["apics"], strict=True):
            apic.x2apic, apic.tsc_deadline, apic.physical_bits = apic_features(vcpu.cpuid())
            apic.restore(saved)
        for startup, waits in zip(self.startups.values(), state["waits"], strict=True):
            startup.waits = bool(waits)

    def _make(self, index: int, offered: ApicFeatures, timer: ApicTimer) -> LocalApic:
        return LocalApic(
            timer,
            send=lambda command: self._send(index, command),
            ended=self._end,
            signal=lambda delivery, vector: self._signal(index, delivery, vector),
            asks=lambda: self._asks(index),
            apic_id=index,
            bsp=index == 0,
            x2apic=offered.x2apic,
            tsc_deadline=offered.tsc_deadline,
            physical_bits=offered.physical_bits,
        )

    def _end(self, vector: int) -> None:
        self.ended(vector)

    def _send(self, sender: int, command: Icr) -> None:
        match Shorthand(command.shorthand):
            case Shorthand.SELF:
                named = [self.apics[sender]]
            case Shorthand.ALL:
                named = self.apics
            case Shorthand.OTHERS:
                named = [apic for apic in self.apics if apic is not self.apics[sender]]
            case Shorthand.NONE:
                short = not self.apics[sender].x2
                to = command.destination >> 24 if short else command.destination
                named = [apic for apic in self.apics if apic.is_destination(to, logical=command.logical, short=short)]
        self._deliver(named, Delivery(command.delivery), command.vector, False, False)

    def _deliver(
        self, named: Sequence[LocalApic], delivery: Delivery, vector: int, level: bool, redirection: bool
    ) -> bool:
        if delivery is Delivery.LOWEST or (redirection and delivery is Delivery.FIXED):
            able = [apic for apic in named if apic.base.en and apic.svr.enabled]
            named = sorted(able, key=lambda apic: apic.apr)[:1]
        taken = [apic.accept(delivery, vector, level=level) for apic in named]
        return any(taken)

    def _signal(self, index: int, delivery: Delivery, vector: int) -> None:
        startup = self.startups.get(index)
        match delivery:
            case Delivery.NMI:
                self._nmi(index)
            case Delivery.INIT if startup is not None:
                startup.init()
                self._kicks(index)
            case Delivery.STARTUP if startup is not None:
                startup.startup(vector)
                self._kicks(index)


class UserIrqchip(EndsOfInterrupts):
    """Both 8259s, the I/O APIC and the local APICs: an ``InterruptSink``."""

    def __init__(self, apics: LocalApics, lock: Lock) -> None:
        super().__init__()
        self.apics, self._lock = apics, lock
        self.timer_pin = 0  # of the I/O APIC: where line 0 is wired to
        self.pic = PicPair(lambda level: apics.set_lint(0, level), self.eoi)
        self.ioapic = IoApic(apics.signal_msi, self.eoi)
        apics.ended = self.ioapic.eoi

    def add_to(self, bus: Bus) -> None:
        """Wire the registers that all processors share."""
        bus.add_ports(i8259.MASTER, i8259.PORTS, self.pic.master, "master 8259", width=1)
        bus.add_ports(i8259.SLAVE, i8259.PORTS, self.pic.slave, "slave 8259", width=1)
        bus.add_ports(i8259.ELCR, i8259.ELCR_PORTS, self.pic.elcr, "ELCR", width=1)
        bus.add_mmio(ioapic.BASE, ioapic.SIZE, self.ioapic, "I/O APIC")

    def set_line(self, gsi: int, level: bool) -> None:
        with self._lock:
            if 0 <= gsi < 2 * i8259.LINES:
                self.pic.set_line(gsi, level)
            pin = gsi or self.timer_pin
            if 0 <= pin < ioapic.PINS and not (gsi and gsi == self.timer_pin):
                self.ioapic.set_line(pin, level)

    def send_msi(self, address: int, data: int) -> None:
        self.apics.signal_msi(address, data)

    def state(self) -> dict[str, Any]:
        """The local APICs': what is on the bus is saved as the devices there."""
        with self._lock:
            return self.apics.state()

    def restore(self, state: dict[str, Any]) -> None:
        with self._lock:
            self.apics.restore(state)


def add_pit(bus: Bus, set_line: Callable[[int, bool], None], after: After, now: Callable[[], int]) -> Pit:
    """Wire an 8254 and port 61H."""
    pit = Pit(lambda level: set_line(i8254.IRQ, level), after, now)
    bus.add_ports(i8254.BASE, i8254.PORTS, pit, "8254", width=1)
    bus.add_ports(i8254.GATES, 1, pit.gates, "port 61H")
    return pit
