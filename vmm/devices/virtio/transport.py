"""The PCI function of a virtio device: VIRTIO 1.2, "Virtio Over PCI Bus", modern and transitional.

BAR 4 holds the structures of the modern interface, BAR 1 the MSI-X table, and in a transitional device BAR 0 is the
legacy interface in I/O ports.  A register is read and written in any size: what an access leaves out of a field stays,
so that 64-bit addresses may be written as halves.

Omitted: features of the transport itself (notification data, resetting one queue, shared memory regions).
"""

# ruff: noqa: E701 -- one register, one line

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from virtproof.spec import virtio
from virtproof.spec.virtio import (
    IDENTITIES,
    MODERN_DEVICE,
    NO_VECTOR,
    VENDOR,
    VENDOR_CAPABILITY,
    CapabilityType,
    Common,
    Isr,
    Legacy,
    Place,
)
from virtproof.vmm.devices.virtio.device import Personality, Virtio
from virtproof.vmm.devices.virtio.queue import Queue, saved_number
from virtproof.vmm.events import After
from virtproof.vmm.pci.function import Bar, Capability, Function, Identity, Msix

LEGACY_BAR, MSIX_BAR, BAR = 0, 1, 4
COMMON_AT, ISR_AT, DEVICE_AT, NOTIFY_AT, BAR_SIZE = 0x0000, 0x1000, 0x2000, 0x3000, 0x4000
NOTIFY_MULTIPLIER = 4
MSIX_PBA, MSIX_SIZE = 0x800, 0x1000
LOW = 0xFFFF_FFFF

_COMMON = tuple(place for place in vars(Common).values() if isinstance(place, Place))
_LEGACY = tuple(place for place in vars(Legacy).values() if isinstance(place, Place))


class Transport:
    """One function.  ``legacy`` makes it a transitional device: drivers of both interfaces find it."""

    def __init__(self, personality: Personality, after: After, *, legacy: bool = True) -> None:
        self._personality = personality
        of = IDENTITIES[personality.kind]
        vectors = len(personality.queue_sizes) + 1
        self.function = Function(
            Identity(
                VENDOR,
                of.transitional if legacy else MODERN_DEVICE + personality.kind,
                of.class_code,
                revision=0 if legacy else 1,
                subsystem_vendor=VENDOR,
                subsystem=personality.kind if legacy else MODERN_DEVICE + personality.kind,
                interrupt_pin=1,
            ),
            self._bars(legacy),
            msix=Msix(vectors, MSIX_BAR, table=0, pba=MSIX_PBA),
            capabilities=self._capabilities(),
        )
        self.virtio: Virtio = Virtio(personality, self.function, after, self._signal)
        self._vectors = vectors
        self._isr = 0
        self._device_select: int = 0
        self._driver_select: int = 0
        self._queue_select: int = 0

    def reset(self) -> None:
        """Power-on: the driver's reset, and what only a reset of the bus forgets."""
        self._clear()
        self.virtio.reset()

    def read(self, offset: int, size: int) -> int:
        """BAR 4."""
        match offset & ~0xFFF:
            case 0x0000:
                return _read(_COMMON, self._common, offset, size)
            case 0x1000 if offset == ISR_AT:
                return self._take_isr()
            case 0x2000:
                return self._read_config(offset - DEVICE_AT, size)
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """BAR 4."""
        match offset & ~0xFFF:
            case 0x3000:
                self.virtio.notify((offset - NOTIFY_AT) // NOTIFY_MULTIPLIER)
            case 0x0000:
                _write(_COMMON, self._common, self._set_common, offset, size, value)
            case 0x2000:
                self._write_config(offset - DEVICE_AT, size, value)

    def state(self) -> dict[str, Any]:
        return {
            "virtio": self.virtio.state(),
            "isr": self._isr,
            "selects": [self._device_select, self._driver_select, self._queue_select],
            "window": self._window.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        isr = saved_number(state["isr"], Isr.QUEUE | Isr.CONFIG)
        device, driver, queue = (saved_number(select, LOW) for select in state["selects"])
        self.virtio.restore(state["virtio"])
        self._window.restore(state["window"])
        self._isr = isr
        self._device_select, self._driver_select, self._queue_select = device, driver, queue & 0xFFFF

    @property
    def _selected(self) -> Queue | None:
        queues = self.virtio.queues
        return queues[self._queue_select] if self._queue_select < len(queues) else None

    # fmt: off
    def _common(self, place: Place) -> int:
        of, queue = self.virtio, self._selected
        match place:
            case Common.DEVICE_FEATURE_SELECT: return self._device_select
            case Common.DEVICE_FEATURE:        return _half(of.offered, self._device_select)
            case Common.DRIVER_FEATURE_SELECT: return self._driver_select
            case Common.DRIVER_FEATURE:        return _half(of.accepted, self._driver_select)
            case Common.CONFIG_VECTOR:         return of.config_vector
            case Common.NUM_QUEUES:            return len(of.queues)
            case Common.STATUS:                return of.status
            case Common.GENERATION:            return of.generation
            case Common.QUEUE_SELECT:          return self._queue_select
        if queue is None:
            return 0
        match place:
            case Common.QUEUE_SIZE:            return queue.size
            case Common.QUEUE_VECTOR:          return queue.vector
            case Common.QUEUE_ENABLE:          return queue.enabled
            case Common.QUEUE_NOTIFY_OFF:      return self._queue_select
            case Common.QUEUE_DESC:            return queue.descriptors
            case Common.QUEUE_DRIVER:          return queue.available
            case Common.QUEUE_DEVICE:          return queue.used
        return 0

    def _set_common(self, place: Place, value: int) -> None:
        of, queue = self.virtio, self._selected
        match place:
            case Common.DEVICE_FEATURE_SELECT: self._device_select = value
            case Common.DRIVER_FEATURE_SELECT: self._driver_select = value
            case Common.DRIVER_FEATURE:        of.accept(_with_half(of.accepted, self._driver_select, value))
            case Common.CONFIG_VECTOR:         of.config_vector = self._vector(value)
            case Common.STATUS:                self._set_status(value, legacy=False)
            case Common.QUEUE_SELECT:          self._queue_select = value
        if queue is None:
            return
        match place:
            case Common.QUEUE_VECTOR:          queue.vector = self._vector(value)
            case Common.QUEUE_ENABLE:          queue.enabled |= value == 1
        if not queue.enabled:  # what a queue in use is made of stays
            match place:
                case Common.QUEUE_SIZE if queue.accepts(value): queue.size = value
                case Common.QUEUE_DESC:                         queue.descriptors = value
                case Common.QUEUE_DRIVER:                       queue.available = value
                case Common.QUEUE_DEVICE:                       queue.used = value

    def _legacy(self, place: Place) -> int:
        of, queue = self.virtio, self._selected
        match place:
            case Legacy.DEVICE_FEATURES: return of.offered_legacy
            case Legacy.GUEST_FEATURES:  return of.accepted & LOW
            case Legacy.QUEUE_ADDRESS:   return queue.descriptors >> virtio.PAGE_SHIFT & LOW if queue else 0
            case Legacy.QUEUE_SIZE:      return queue.size if queue else 0
            case Legacy.QUEUE_SELECT:    return self._queue_select
            case Legacy.STATUS:          return of.status
            case Legacy.ISR:             return self._take_isr()
            case Legacy.CONFIG_VECTOR:   return of.config_vector
            case Legacy.QUEUE_VECTOR:    return queue.vector if queue else NO_VECTOR
        return 0

    def _set_legacy(self, place: Place, value: int) -> None:
        of, queue = self.virtio, self._selected
        match place:
            case Legacy.GUEST_FEATURES:         of.accept(value & of.offered_legacy)
            case Legacy.QUEUE_ADDRESS if queue: of.place_legacy(queue, value << virtio.PAGE_SHIFT)
            case Legacy.QUEUE_SELECT:           self._queue_select = value
            case Legacy.QUEUE_NOTIFY:           of.notify(value)
            case Legacy.STATUS:                 self._set_status(value, legacy=True)
            case Legacy.CONFIG_VECTOR:          of.config_vector = self._vector(value)
            case Legacy.QUEUE_VECTOR if queue:  queue.vector = self._vector(value)
    # fmt: on

    def _read_legacy(self, offset: int, size: int) -> int:
        config = self._legacy_config
        if offset < config:
            return _read(_LEGACY, self._legacy, offset, size)
        return self._read_config(offset - config, size)

    def _write_legacy(self, offset: int, size: int, value: int) -> None:
        config = self._legacy_config
        if offset < config:
            _write(_LEGACY, self._legacy, self._set_legacy, offset, size, value)
        else:
            self._write_config(offset - config, size, value)

    @property
    def _legacy_config(self) -> int:
        return Legacy.CONFIG_MSIX if self.function.message_mode else Legacy.CONFIG

    def _set_status(self, value: int, *, legacy: bool) -> None:
        if value == 0:
            self._lower()
        self.virtio.set_status(value, legacy=legacy)

    def _vector(self, value: int) -> int:
        return value if value < self._vectors else NO_VECTOR

    def _read_config(self, offset: int, size: int) -> int:
        return int.from_bytes(self._personality.config()[offset : offset + size], "little")

    def _write_config(self, offset: int, size: int, value: int) -> None:
        if offset + size <= len(self._personality.config()):
            self._personality.configure(offset, value.to_bytes(size, "little"))

    def _signal(self, cause: Isr, vector: int) -> None:
        if not self.function.message_mode:
            self._isr |= cause
            self.function.set_intx(True)
            return
        self._isr |= cause & Isr.CONFIG  # of queues nobody asks while each has a vector of its own
        if vector != NO_VECTOR:
            self.function.send_message(vector)

    def _take_isr(self) -> int:
        isr = self._isr
        self._lower()
        return isr

    def _lower(self) -> None:
        self._isr = 0
        self.function.set_intx(False)

    def _clear(self) -> None:
        self._isr = 0
        self._device_select = self._driver_select = self._queue_select = 0
        self._window.reset()

    def _bars(self, legacy: bool) -> list[Bar]:
        bars = [Bar(MSIX_BAR, MSIX_SIZE, "memory32", None), Bar(BAR, BAR_SIZE, "memory64", self, prefetchable=True)]
        if legacy:
            longest = Legacy.CONFIG_MSIX + len(self._personality.config())
            size = 1 << (longest - 1).bit_length()
            bars.append(Bar(LEGACY_BAR, size, "io", _Registers(self._read_legacy, self._write_legacy)))
        return bars

    def _capabilities(self) -> Sequence[Capability]:
        queues, config = len(self._personality.queue_sizes), len(self._personality.config())
        self._window = _Window(self, BAR_SIZE)

        def capability(kind: CapabilityType, at: int, length: int, more: bytes = b"") -> Capability:
            return Capability(VENDOR_CAPABILITY, _body(kind, BAR, at, length, more))

        return (
            capability(CapabilityType.COMMON, COMMON_AT, Common.SIZE),
            capability(CapabilityType.ISR, ISR_AT, 1),
            capability(CapabilityType.DEVICE, DEVICE_AT, max(config, 4)),  # Linux refuses a device with one of length 0
            capability(
                CapabilityType.NOTIFY, NOTIFY_AT, NOTIFY_MULTIPLIER * queues, NOTIFY_MULTIPLIER.to_bytes(4, "little")
            ),
            Capability(VENDOR_CAPABILITY, self._window.body, window=self._window),
        )


class PciPersonality(Personality):
    """A device of any kind behind the transport; ``function`` is what a PCI bus takes."""

    def __init__(self, after: After, *, legacy: bool) -> None:
        self._transport = Transport(self, after, legacy=legacy)
        self.virtio = self._transport.virtio
        self.function = self._transport.function

    def reset(self) -> None:
        """Power-on; a driver's reset comes through the transport."""
        self._transport.reset()

    def state(self) -> dict[str, Any]:
        return self._transport.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        self._transport.restore(state)


def _body(kind: CapabilityType, bar: int, offset: int, length: int, more: bytes = b"") -> bytes:
    """A capability behind its id and next pointer."""
    return struct.pack("<BBBB2xII", 16 + len(more), kind, bar, 0, offset, length) + more


class _Window:
    """ "PCI configuration access capability": reaches BAR 4 through configuration space, bytes behind the pointer."""

    BAR, OFFSET, LENGTH, DATA, END = 2, 6, 10, 14, 18

    def __init__(self, structures: Transport, size: int) -> None:
        self._structures, self._size = structures, size
        self.reset()

    @property
    def body(self) -> bytes:
        return bytes(self._bytes)

    def reset(self) -> None:
        self._bytes = bytearray(_body(CapabilityType.PCI, BAR, 0, 0, bytes(4)))

    def state(self) -> str:
        return self._bytes.hex()

    def restore(self, state: str) -> None:
        content = bytearray.fromhex(state)
        if len(content) != self.END:
            raise ValueError("a window of another length")
        self._bytes = content

    def read(self, offset: int, size: int) -> int:
        access = self._access()
        if access is not None and offset < self.END and offset + size > self.DATA:
            at, length = access
            data = self._structures.read(at, length) & (1 << 8 * length) - 1
            self._bytes[self.DATA : self.DATA + length] = data.to_bytes(length, "little")
        return int.from_bytes(self._bytes[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        for at, byte in enumerate(value.to_bytes(size, "little"), offset):
            if at == self.BAR or self.OFFSET <= at < self.END:
                self._bytes[at] = byte
        access = self._access()
        if access is not None and offset < self.END and offset + size > self.DATA:
            at, length = access
            self._structures.write(at, length, int.from_bytes(self._bytes[self.DATA : self.DATA + length], "little"))

    def _access(self) -> tuple[int, int] | None:
        """Offset and length that the driver has named, if there is anything."""
        bar = self._bytes[self.BAR]
        offset, length = struct.unpack_from("<II", self._bytes, self.OFFSET)
        if bar != BAR or length not in (1, 2, 4) or offset % length or offset + length > self._size:
            return None
        return offset, length


class _Registers:
    def __init__(self, read: Callable[[int, int], int], write: Callable[[int, int, int], None]) -> None:
        self.read, self.write = read, write


def _read(places: Sequence[Place], value: Callable[[Place], int], offset: int, size: int) -> int:
    """Put an access together from the fields that it touches; what lies between them reads 0."""
    result = 0
    for place in places:
        shift = place.offset - offset
        if -place.size < shift < size:
            result |= _shifted(value(place), -shift)
    return result & (1 << 8 * size) - 1


def _write(
    places: Sequence[Place],
    value: Callable[[Place], int],
    put: Callable[[Place, int], None],
    offset: int,
    size: int,
    written: int,
) -> None:
    """Write to the fields that an access touches; the rest of each stays as it is."""
    for place in places:
        shift = place.offset - offset
        if -place.size < shift < size:
            whole = (1 << 8 * place.size) - 1
            mask = _shifted((1 << 8 * size) - 1, shift) & whole
            old = value(place) if mask != whole else 0
            put(place, old & ~mask | _shifted(written, shift) & mask)


def _shifted(number: int, down: int) -> int:
    """So many bytes to the right, or to the left."""
    return number >> 8 * down if down >= 0 else number << -8 * down


def _half(number: int, select: int) -> int:
    """32 bits of a 64-bit feature word; there are no more."""
    return number >> 32 * select & LOW if select < 2 else 0


def _with_half(number: int, select: int, value: int) -> int:
    if select >= 2:
        return number
    return number & ~(LOW << 32 * select) | value << 32 * select
