"""VMXNET3: registers, commands, events, and the queues while it is active.

The interface is that of the header which VMware publishes with its drivers (``spec/vmxnet3.py``), revision 1: what
drivers that others wrote select here.

Omitted: LRO, wake-up, plug-ins, interrupt moderation, ports of the later
revisions.  The MTU is not enforced.
"""
# ruff: noqa: E701 -- one register or command, one line

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from virtproof.spec import vmxnet3 as spec
from virtproof.spec.vmxnet3 import Cmd, Event, Feature, Filters, Register, Shared
from virtproof.vmm.devices.vmxnet3.configuration import Configuration, ConfigurationError
from virtproof.vmm.devices.vmxnet3.filter import RxFilter
from virtproof.vmm.devices.vmxnet3.interrupts import Interrupts
from virtproof.vmm.devices.vmxnet3.rss import UNHASHED, Rss
from virtproof.vmm.devices.vmxnet3.rx import RxQueue
from virtproof.vmm.devices.vmxnet3.tx import TxQueue
from virtproof.vmm.events import After
from virtproof.vmm.network.port import Port
from virtproof.vmm.pci.function import Bar, DmaError, Function, Identity, Msi, Msix

BATCH = 256  # descriptors and frames that one doorbell moves before other work of the machine has its turn
IDENTITY = Identity(
    spec.VENDOR,
    spec.DEVICE,
    spec.NETWORK,
    revision=spec.REVISION,
    subsystem_vendor=spec.VENDOR,
    subsystem=spec.DEVICE,
    interrupt_pin=1,
)


class Vmxnet3:
    """One adapter with the permanent address ``mac``, plugged into ``port``.  ``after`` is that of the machine."""

    def __init__(self, mac: bytes, port: Port, after: After) -> None:
        self._permanent, self._port, self._after = bytes(mac), port, after
        self.function = Function(
            IDENTITY,
            (
                Bar(0, spec.WINDOW, "memory32", _Window(self._read_passthrough, self._write_passthrough)),
                Bar(1, spec.WINDOW, "memory32", _Window(self._read_register, self._write_register)),
                Bar(2, spec.MESSAGES_WINDOW, "memory32", None),
            ),
            msi=Msi(offset=spec.MSI_CAPABILITY),
            msix=Msix(spec.INTERRUPTS, bar=2, table=0, pba=spec.PENDING, offset=spec.MSIX_CAPABILITY),
        )
        self.interrupts = Interrupts(self.function, self._interrupts_allowed)
        self.filter = RxFilter()
        self._link = True
        self._active: Configuration | None = None
        self._tx: list[TxQueue] = []
        self._rx: list[RxQueue] = []
        self._rss: Rss | None = None
        self._continuing = False
        self._clear()
        port.connect(self.receive)

    def _clear(self) -> None:
        self._mac = self._permanent
        self._result = 0
        self._low = 0  # DSAL, until DSAH is written
        self._shared: int | None = None
        self._events = Event(0)

    @property
    def active(self) -> bool:
        return self._active is not None

    @property
    def _queues(self) -> list[TxQueue | RxQueue]:
        return [*self._tx, *self._rx]

    @property
    def mac(self) -> bytes:
        """The address that counts now."""
        return self._mac

    def reset(self) -> None:
        """As after power-on, but for the link."""
        self._quiesce()
        self.interrupts.reset()
        self.filter.reset()
        self._clear()

    def set_link(self, up: bool) -> None:
        """Plug the cable in, or pull it."""
        if up != self._link:
            self._link = up
            for queue in self._tx:
                queue.link = up
            self._raise(Event.LINK)

    def receive(self, frame: bytes) -> bool:
        """Take a frame from the port.  What there is no buffer for is dropped and counted: always True."""
        if self._rx and self._link and self.function.bus_master and self.filter.accepts(frame, self._mac):
            steered = UNHASHED if self._rss is None else self._rss.steer(frame)
            queue = self._rx[steered.entry % len(self._rx)]
            failed = queue.error
            if queue.receive(frame, steered):
                self.interrupts.request(queue.conf.interrupt)
            elif queue.error != failed:
                self._report(Event.RX_QUEUE_ERROR)
        return True

    # fmt: off
    def _read_passthrough(self, offset: int) -> int:
        number, rest = divmod(offset - spec.IMR, spec.STRIDE)
        return int(self.interrupts.masked(number)) if number < spec.INTERRUPTS and not rest else 0

    def _write_passthrough(self, offset: int, value: int) -> None:
        number = offset % 0x200 // spec.STRIDE
        match offset - number * spec.STRIDE:
            case spec.IMR if number < spec.INTERRUPTS: self.interrupts.mask(number, bool(value & 1))
            case spec.TXPROD if number < len(self._tx): self._transmit(self._tx[number], BATCH)
            case spec.RXPROD | spec.RXPROD2: self._port.ready()

    def _read_register(self, offset: int) -> int:
        match offset:
            case Register.VRRS | Register.UVRS: return spec.VERSION
            case Register.DSAL: return (self._shared or 0) & 0xFFFF_FFFF
            case Register.DSAH: return (self._shared or 0) >> 32
            case Register.CMD:  return self._result
            case Register.MACL: return int.from_bytes(self._mac[:4], "little")
            case Register.MACH: return int.from_bytes(self._mac[4:], "little")
            case Register.ICR:  return self.interrupts.cause()
            case _:             return 0

    def _write_register(self, offset: int, value: int) -> None:
        match offset:
            case Register.DSAL: self._locate_low(value)
            case Register.DSAH: self._shared = value << 32 | self._low
            case Register.CMD:  self._result = self._command(value)
            case Register.MACL: self._mac = value.to_bytes(4, "little") + self._mac[4:]
            case Register.MACH: self._mac = self._mac[:4] + (value & 0xFFFF).to_bytes(2, "little")
            case Register.ECR:  self._acknowledge(value)
            case _:             pass  # one revision: there is nothing to choose

    def _command(self, command: int) -> int:
        match command:
            case Cmd.ACTIVATE:               return self._activate()
            case Cmd.QUIESCE:                self._quiesce()
            case Cmd.RESET:                  self.reset()
            case Cmd.UPDATE_RX_MODE:         self._update_filter(mode=True)
            case Cmd.UPDATE_MAC_FILTERS:     self._update_filter(groups=True)
            case Cmd.UPDATE_VLAN_FILTERS:    self._update_filter(vlans=True)
            case Cmd.UPDATE_RSSIDT:          self._update_rss()
            case Cmd.UPDATE_FEATURE:         self._update_features()
            case Cmd.GET_QUEUE_STATUS:       self._write_status()
            case Cmd.GET_STATS:              self._write_statistics()
            case Cmd.GET_LINK:               return spec.LINK_UP if self._link else 0
            case Cmd.GET_PERM_MAC_LO:        return int.from_bytes(self._permanent[:4], "little")
            case Cmd.GET_PERM_MAC_HI:        return int.from_bytes(self._permanent[4:], "little")
            case Cmd.GET_DID_LO:             return spec.DEVICE
            case Cmd.GET_DID_HI:             return spec.REVISION
            case Cmd.GET_CONF_INTR:          return spec.CONF_INTR
            case Cmd.GET_ADAPTIVE_RING_INFO: return spec.ADAPTIVE_RING_OFF
        return 0
    # fmt: on

    def _locate_low(self, value: int) -> None:
        self._low = value
        if value == 0:
            self._quiesce()
            self._shared = None

    def _activate(self) -> int:
        """0: active.  Anything that is not as it must be leaves the adapter as it was."""
        if self._active is not None:
            return 0
        if self._shared is None:
            return 1
        try:
            configuration = Configuration.read(self.function, self._shared)
            tx, rx = configuration.queues(self.function, self._port)
            for completions in [queue.completions for queue in tx] + [queue.completions for queue in rx]:
                completions.clear()
            for queue in tx:
                queue.link = self._link
                self.function.dma_write(queue.address + spec.TX_THRESHOLD, (1).to_bytes(4, "little"))
        except (ConfigurationError, DmaError):
            return 1
        self._active, self._tx, self._rx = configuration, tx, rx
        self.interrupts.auto_mask = bool(configuration.shared.auto_mask)
        self._events = Event(0)
        self._update_filter(mode=True, groups=True, vlans=True)
        self._update_rss()
        return 0

    def _quiesce(self) -> None:
        self._active, self._tx, self._rx, self._rss = None, [], [], None
        self.interrupts.clear()

    def _update_filter(self, *, mode: bool = False, groups: bool = False, vlans: bool = False) -> None:
        if self._active is None:
            return
        try:
            area = self.function.dma_read(self._active.address + spec.FILTERS, spec.FILTERS_SIZE)
        except DmaError:  # it was memory when the adapter was activated
            return
        filters = Filters.unpack(area)
        if mode:
            self.filter.mode = filters.mode
        if vlans:
            self.filter.vlans = filters.vlans
        if groups:
            try:
                table = self.function.dma_read(filters.groups, filters.length)
            except DmaError:
                table = b""
            self.filter.set_groups(table)

    def _update_features(self) -> None:
        if self._active is not None:
            try:
                area = self.function.dma_read(self._active.address, spec.SHARED_SIZE)
            except DmaError:
                return
            for queue in self._rx:
                queue.features = Shared.unpack(area).features
            self._update_rss()

    def _update_rss(self) -> None:
        """Take the driver's table; without one, or without the feature, all goes to queue 0."""
        self._rss = None
        if self._active is not None and self._rx[0].features & Feature.RSS:
            with suppress(DmaError):
                location = self.function.dma_read(self._active.address + spec.RSS_LOCATION, spec.LOCATION.size)
                _, _, address = spec.LOCATION.unpack(location)
                self._rss = Rss.unpack(self.function.dma_read(address, spec.RSS_SIZE))

    def _transmit(self, queue: TxQueue, budget: int) -> None:
        if not self.function.bus_master or queue.error:
            return
        completed, more = queue.run(budget)
        if queue.error:
            self._report(Event.TX_QUEUE_ERROR)
        if completed:
            self.interrupts.request(queue.conf.interrupt)
        if more and not self._continuing:
            self._continuing = True
            self._after(0, self._continue)

    def _continue(self) -> None:
        self._continuing = False
        for queue in self._tx:
            self._transmit(queue, BATCH)

    def _report(self, event: Event) -> None:
        """A queue has stopped."""
        self._write_status()
        self._raise(event)

    def _write_status(self) -> None:
        for queue in self._queues:
            self._write(queue.address + spec.QUEUE_STATUS, spec.STATUS.pack(queue.error != 0, queue.error))

    def _write_statistics(self) -> None:
        for queue in self._queues:
            self._write(queue.address + spec.QUEUE_STATISTICS, spec.STATISTICS.pack(*queue.statistics))

    def _raise(self, event: Event) -> None:
        if self._active is not None:
            self._show_events(self._events | event)
            self.interrupts.request(self._active.shared.event_interrupt)

    def _acknowledge(self, value: int) -> None:
        if self._active is not None:
            self._show_events(self._events & ~value)

    def _show_events(self, events: int) -> None:
        assert self._active is not None
        self._events = Event(events)
        self._write(self._active.address + spec.SHARED_ECR, self._events.to_bytes(4, "little"))

    def _write(self, address: int, data: bytes) -> None:
        """Tell the driver; where the memory has gone that it gave for this there is nobody to tell."""
        try:
            self.function.dma_write(address, data)
        except DmaError:
            return

    def _interrupts_allowed(self) -> bool:
        """Drivers clear and set the bit in memory without saying so."""
        if self._active is None:
            return False
        try:
            control = self.function.dma_read(self._active.address + spec.SHARED_INTERRUPT_CONTROL, 4)
        except DmaError:
            return False
        return not control[0] & spec.DISABLE_ALL

    def state(self) -> dict[str, Any]:
        active = self._active
        return {
            "mac": self._mac.hex(),
            "result": self._result,
            "low": self._low,
            "shared": self._shared,
            "link": self._link,
            "events": int(self._events),
            "interrupts": self.interrupts.state(),
            "filter": self.filter.state(),
            "rss": None if self._rss is None else [self._rss.hashes, self._rss.key.hex(), self._rss.table.hex()],
            "active": None
            if active is None
            else {
                "address": active.address,
                "shared": list(active.shared),
                "tx": [{"conf": list(queue.conf), **queue.state()} for queue in self._tx],
                "rx": [{"conf": list(queue.conf), **queue.state()} for queue in self._rx],
            },
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        mac = bytes.fromhex(state["mac"])
        if len(mac) != len(self._mac):
            raise ValueError("no address")
        configuration, tx, rx = self._restored(state["active"])
        rss = None
        if state["rss"] is not None:
            hashes, key, table = state["rss"]
            rss = Rss(int(hashes), bytes.fromhex(key), bytes.fromhex(table))
            if len(rss.key) != spec.RSS_KEY or not 1 <= len(rss.table) <= spec.RSS_TABLE:
                raise ValueError("no table of queues")
        self._mac, self._result, self._low = mac, int(state["result"]), int(state["low"])
        self._shared = None if state["shared"] is None else int(state["shared"])
        self._link, self._events = bool(state["link"]), Event(int(state["events"]) & sum(Event))
        self.interrupts.restore(state["interrupts"])
        self.filter.restore(state["filter"])
        self._active, self._tx, self._rx, self._rss = configuration, tx, rx, rss
        for queue in tx:
            queue.link = self._link
        if tx and not self._continuing:
            self._continuing = True
            self._after(0, self._continue)

    def _restored(self, state: Any) -> tuple[Configuration | None, list[TxQueue], list[RxQueue]]:
        if state is None:
            return None, [], []
        found = Configuration(
            int(state["address"]),
            Shared(*map(int, state["shared"])),
            tuple(spec.TxQueueConf(*map(int, each["conf"])) for each in state["tx"]),
            tuple(spec.RxQueueConf(*map(int, each["conf"])) for each in state["rx"]),
        )
        try:
            found.check()
        except ConfigurationError as error:
            raise ValueError(str(error)) from error
        tx, rx = found.queues(self.function, self._port)
        for sending, saved in zip(tx, state["tx"], strict=True):
            sending.restore(saved)
        for receiving, saved in zip(rx, state["rx"], strict=True):
            receiving.restore(saved)
        return found, tx, rx


class _Window:
    """Registers of 32 bits.  Parts of one can be read; they cannot be written."""

    def __init__(self, read: Callable[[int], int], write: Callable[[int, int], None]) -> None:
        self._read, self._write = read, write

    def read(self, offset: int, size: int) -> int:
        return self._read(offset & ~3) >> 8 * (offset & 3) & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        if size == 4:
            self._write(offset, value)
