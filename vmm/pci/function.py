"""One PCI function: header, base addresses, capabilities, interrupts and bus mastering.

PCI Local Bus Specification 3.0, "Configuration Space Organization" and "Type 00h Configuration Space Header".

Omitted: power management, parity, user-definable features, PCI Express.  A base address of 0 does not answer: firmware
uses it for "not placed".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from virtproof.spec import pci
from virtproof.spec.pci import CapabilityId, Command, Status
from virtproof.vmm.backing import GuestMemoryError
from virtproof.vmm.bus import Device, Window
from virtproof.vmm.pci.messages import Msi, MsiMessages, Msix, MsixMessages
from virtproof.vmm.pci.registers import ConfigRegisters

__all__ = [
    "MAX_TRANSFER",
    "Bar",
    "Capability",
    "DmaError",
    "Function",
    "Identity",
    "Interrupts",
    "Memory",
    "Msi",
    "Msix",
]

# Intel SDM vol. 3A, "Message Address Register Format": all that the local APICs listen to
MESSAGES, MESSAGES_MASK = 0xFEE0_0000, ~0xF_FFFF
MAX_TRANSFER = 16 << 20  # bytes that one transfer of a device may move


class DmaError(Exception):
    """A device may not master the bus, or nobody, or no writable memory, is where it reads or writes."""


class Memory(Protocol):
    """Guest memory as devices reach it; both raise GuestMemoryError, and then nothing was written."""

    def read(self, gpa: int, length: int) -> bytes: ...
    def write(self, gpa: int, data: bytes | bytearray | memoryview) -> None: ...


class Interrupts(Protocol):
    """What a function's interrupt pin and its messages are wired to."""

    def set_intx(self, level: bool) -> None: ...
    def send_msi(self, address: int, data: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Identity:
    """What the header says; ``class_code`` is base, sub-class and interface in 24 bits; pin 1 is INTA, 0 none."""

    vendor: int
    device: int
    class_code: int
    revision: int = 0
    subsystem_vendor: int = 0
    subsystem: int = 0
    interrupt_pin: int = 0


@dataclass(frozen=True, slots=True)
class Bar:
    """A range that the guest places.  ``index`` is 0 to 5; a 64-bit one takes the next index too.

    ``device`` sees accesses of at most ``width`` bytes at offsets from the base; None where only MSI-X lives there.
    """

    index: int
    size: int
    kind: Literal["io", "memory32", "memory64"]
    device: Device | None
    width: int = 4
    prefetchable: bool = False

    def __post_init__(self) -> None:
        if self.size & self.size - 1 or self.size < (4 if self.kind == "io" else 16):
            raise ValueError(f"a BAR of {self.size} bytes")

    @property
    def flags(self) -> int:
        match self.kind:
            case "io":
                return pci.BAR_IO
            case "memory32":
                return pci.BAR_PREFETCHABLE * self.prefetchable
            case _:
                return pci.BAR_64 | pci.BAR_PREFETCHABLE * self.prefetchable

    @property
    def bytes(self) -> int:
        """How wide its register is."""
        return 8 if self.kind == "memory64" else 4


@dataclass(frozen=True, slots=True)
class Capability:
    """A capability of the function's own: what follows its id and next pointer.

    Ones in ``writable`` can be written.  With ``window`` accesses to the body go there instead.
    """

    id: int
    body: bytes
    writable: bytes = b""
    window: Device | None = None
    offset: int = 0  # in configuration space; 0: the next free place


class Function:
    """Built by its device model, which keeps it; a bus connects it.

    ``rom``, filled up to a power of two, is its expansion ROM.  Before it is connected it reaches nothing.
    """

    def __init__(
        self,
        identity: Identity,
        bars: Sequence[Bar] = (),
        *,
        rom: bytes = b"",
        msi: Msi | None = None,
        msix: Msix | None = None,
        capabilities: Sequence[Capability] = (),
    ) -> None:
        self.identity, self.bars = identity, tuple(sorted(bars, key=lambda bar: bar.index))
        self.config = ConfigRegisters()
        self.moved: Callable[[], None] = lambda: None  # the bus wants to know that windows changed
        self._memory: Memory | None = None
        self._interrupts: Interrupts | None = None
        self._rom = _Rom(rom) if rom else None
        self._master = False
        self._intx = self._pin = False
        self._add_header()
        self._next, self._last = pci.HEADER_END, pci.CAPABILITIES_POINTER
        self._msi = self._msix = None
        if msi is not None:
            at = self._add_capability(CapabilityId.MSI, MsiMessages.size(msi), msi.offset)
            self._msi = MsiMessages(msi, self.config, at, self._message, self._mode_changed)
        if msix is not None:
            at = self._add_capability(CapabilityId.MSIX, MsixMessages.SIZE, msix.offset)
            self._msix = MsixMessages(msix, self.config, at, self._message, self._mode_changed)
            self._msix_at = msix
        for capability in capabilities:
            self.add_capability(capability)

    def connect(self, memory: Memory, interrupts: Interrupts) -> None:
        """Give the function what it masters the bus with and what it interrupts by."""
        self._memory, self._interrupts = memory, interrupts

    def add_register(
        self,
        offset: int,
        size: int,
        value: int = 0,
        *,
        writable: int = 0,
        write_one_clears: int = 0,
        written: Callable[[int], None] | None = None,
    ) -> None:
        """Lay out a register of the device's own; ``written`` gets its value after each write that touches it."""
        self.config.add(offset, size, value, writable=writable, write_one_clears=write_one_clears, written=written)

    def add_capability(self, capability: Capability) -> int:
        """Add to the list of capabilities; return the offset of its id."""
        size = 2 + len(capability.body)
        at = self._add_capability(capability.id, size, capability.offset)
        if capability.body:
            self.config.add(
                at + 2,
                len(capability.body),
                int.from_bytes(capability.body, "little"),
                writable=int.from_bytes(capability.writable, "little"),
            )
        if capability.window is not None:
            self.config.add_window(at + 2, len(capability.body), capability.window)
        return at

    def set_multi_function(self) -> None:
        """Say in the header that the device has more functions."""
        self.config.add(pci.HEADER_TYPE, 1, pci.MULTI_FUNCTION)

    # What the bus calls.

    def read_config(self, offset: int, size: int) -> int:
        return self.config.read(offset, size)

    def write_config(self, offset: int, size: int, value: int) -> None:
        self.config.write(offset, size, value)

    def windows(self) -> Iterator[Window]:
        """Where the function answers as its registers are now."""
        command = self.config.get(pci.COMMAND, 2)
        name = f"{self.identity.vendor:04x}:{self.identity.device:04x}"
        for bar in self.bars:
            io = bar.kind == "io"
            base = self.config.get(pci.BASE_ADDRESS + 4 * bar.index, bar.bytes) & -bar.size
            if base and command & (Command.io.mask if io else Command.memory.mask):
                yield from self._bar_windows(bar, base, name)
        rom = self.config.get(pci.EXPANSION_ROM, 4)
        if self._rom is not None and rom & pci.ROM_ENABLE and command & Command.memory.mask and rom & -self._rom.size:
            yield Window("memory", rom & -self._rom.size, self._rom.size, self._rom, f"{name} ROM", 8)

    def place(self, addresses: Sequence[int]) -> None:
        """Do what firmware does: give the BARs, in their order, these addresses and let the function decode and master.

        Raises ValueError where there are not as many addresses as BARs.
        """
        for bar, address in zip(self.bars, addresses, strict=True):
            for at in range(0, bar.bytes, 4):
                self.write_config(pci.BASE_ADDRESS + 4 * bar.index + at, 4, address >> 8 * at & 0xFFFF_FFFF)
        self.write_config(pci.COMMAND, 2, Command(0).but(io=1, memory=1, master=1))

    # What the device model calls.

    @property
    def bus_master(self) -> bool:
        return self._master

    @property
    def message_mode(self) -> bool:
        """Whether interrupts are messages now: the pin is silent."""
        return (self._msi is not None and self._msi.enabled) or (self._msix is not None and self._msix.enabled)

    def dma_read(self, gpa: int, length: int) -> bytes:
        """Read guest memory.  Raises DmaError where the bus is not mastered or not all of it is RAM."""
        memory = self._memory
        if not self._master or memory is None or not 0 <= length <= MAX_TRANSFER:
            raise self._refused("read", gpa, length)
        try:
            return memory.read(gpa, length)
        except GuestMemoryError:
            raise self._aborted("read", gpa, length) from None

    def dma_write(self, gpa: int, data: bytes | bytearray | memoryview) -> None:
        """Write guest memory, or nothing.  Raises DmaError as ``dma_read``, and where it is read-only."""
        memory = self._memory
        if not self._master or memory is None or len(data) > MAX_TRANSFER:
            raise self._refused("write", gpa, len(data))
        try:
            memory.write(gpa, data)
        except GuestMemoryError:
            raise self._aborted("write", gpa, len(data)) from None

    def set_intx(self, level: bool) -> None:
        """Want the interrupt pin at this level; it is low while it is disabled or messages are enabled."""
        if level != self._intx:
            self._intx = level
            status = self.config.get(pci.STATUS, 2) & ~Status.interrupt.mask
            self.config.put(pci.STATUS, 2, status | Status.interrupt.mask * level)
            self._drive()

    def send_message(self, vector: int = 0) -> bool:
        """Send an interrupt message, which waits while it is masked; False where messages are not enabled."""
        if self._msix is not None and self._msix.enabled:
            self._msix.send(vector)
            return True
        if self._msi is not None and self._msi.enabled:
            self._msi.send(vector)
            return True
        return False

    def reset(self) -> None:
        """Back to the state after power-on: decodes nothing, masters nothing, interrupts nothing."""
        self._intx = False
        self.config.reset()
        if self._msix is not None:
            self._msix.reset()
        self._command(0)

    def state(self) -> dict[str, Any]:
        messages = self._msix.state() if self._msix is not None else None
        return {"config": self.config.state(), "intx": self._intx, "msix": messages}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        if (state["msix"] is None) != (self._msix is None):
            raise ValueError("the state of a function with other capabilities")
        self.config.restore(state["config"])
        if self._msix is not None:
            self._msix.restore(state["msix"])
        self._intx = False  # so that the status bit follows
        self._command(self.config.get(pci.COMMAND, 2))
        self.set_intx(bool(state["intx"]))

    def _add_header(self) -> None:
        of, add = self.identity, self.config.add
        fixed = Command(0).but(io=1, memory=1, master=1, serr=1, interrupt_disable=1)
        # fmt: off
        add(pci.VENDOR_ID,           2, of.vendor)
        add(pci.DEVICE_ID,           2, of.device)
        add(pci.COMMAND,             2, writable=fixed, written=self._command)
        add(pci.STATUS,              2, write_one_clears=pci.STATUS_ERRORS)
        add(pci.REVISION_ID,         1, of.revision)
        add(pci.CLASS_CODE,          3, of.class_code)
        add(pci.CACHE_LINE_SIZE,     1, writable=0xFF)
        add(pci.LATENCY_TIMER,       1, writable=0xFF)
        add(pci.SUBSYSTEM_VENDOR_ID, 2, of.subsystem_vendor)
        add(pci.SUBSYSTEM_ID,        2, of.subsystem)
        add(pci.INTERRUPT_LINE,      1, writable=0xFF)
        add(pci.INTERRUPT_PIN,       1, of.interrupt_pin)
        # fmt: on
        for bar in self.bars:
            writable = -bar.size & (1 << 8 * bar.bytes) - 1
            add(pci.BASE_ADDRESS + 4 * bar.index, bar.bytes, bar.flags, writable=writable, written=self._moved)
        if self._rom is not None:
            writable = -self._rom.size & 0xFFFF_FFFF | pci.ROM_ENABLE
            add(pci.EXPANSION_ROM, 4, writable=writable, written=self._moved)

    def _add_capability(self, identity: int, size: int, offset: int) -> int:
        at = offset or self._next
        if at + size > pci.CONFIG_SIZE:
            raise ValueError(f"no room for capability {identity:#x}")
        self.config.add(self._last, 1, at)
        self.config.add(at, 2, identity)
        self.config.add(pci.STATUS, 2, Status.capabilities.mask, write_one_clears=pci.STATUS_ERRORS)
        self._last = at + 1
        self._next = max(self._next, at + size + 3 & ~3)
        return at

    def _bar_windows(self, bar: Bar, base: int, name: str) -> Iterator[Window]:
        label = f"{name} BAR {bar.index}"
        space: Literal["io", "memory"] = "io" if bar.kind == "io" else "memory"
        if self._msix is not None and self._msix_at.bar == bar.index:
            vectors = self._msix_at.vectors
            table, pba = base + self._msix_at.table, base + self._msix_at.pba
            yield Window(space, table, vectors * pci.MSIX_ENTRY, self._msix.table, f"{label} MSI-X table", 8)
            yield Window(space, pba, (vectors + 63) // 64 * 8, self._msix.pba, f"{label} MSI-X pending bits", 8)
        if bar.device is not None:  # what the earlier windows leave of it
            yield Window(space, base, bar.size, bar.device, label, bar.width)

    def _command(self, value: int) -> None:
        self._master = bool(value & Command.master.mask)
        self._drive()
        self.moved()

    def _moved(self, value: int) -> None:
        self.moved()

    def _mode_changed(self, control: int) -> None:
        self._drive()

    def _drive(self) -> None:
        disabled = self.config.get(pci.COMMAND, 2) & Command.interrupt_disable.mask
        pin = self._intx and not disabled and not self.message_mode
        if pin != self._pin:
            self._pin = pin
            if self._interrupts is not None:
                self._interrupts.set_intx(pin)

    def _message(self, address: int, data: int) -> None:
        """Write a message as the bus does: what is not for the APICs goes to memory, or is lost."""
        if address & MESSAGES_MASK == MESSAGES:
            if self._master and self._interrupts is not None:
                self._interrupts.send_msi(address, data)
        else:
            with suppress(DmaError):
                self.dma_write(address, data.to_bytes(4, "little"))

    def _refused(self, verb: str, gpa: int, length: int) -> DmaError:
        why = f"more than {MAX_TRANSFER:#x} bytes" if self._master else "the function may not master the bus"
        return DmaError(f"{verb} {length:#x} bytes at {gpa:#x}: {why}")

    def _aborted(self, verb: str, gpa: int, length: int) -> DmaError:
        self.config.put(pci.STATUS, 2, self.config.get(pci.STATUS, 2) | Status.received_master_abort.mask)
        return DmaError(f"{verb} {length:#x} bytes at {gpa:#x}: nobody answers there")


class _Rom:
    """An expansion ROM; what lies beyond its image reads as all ones."""

    def __init__(self, image: bytes) -> None:
        self._image = image
        self.size = max(pci.ROM_UNIT, 1 << (len(image) - 1).bit_length())

    def read(self, offset: int, size: int) -> int:
        return int.from_bytes(self._image[offset : offset + size].ljust(size, b"\xff"), "little")

    def write(self, offset: int, size: int, value: int) -> None: ...
