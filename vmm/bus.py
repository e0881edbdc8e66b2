"""Which device answers at a port or an address, and what happens where none does.

Policy, the same for ports and memory:

- Nobody home: reads give all ones, writes vanish.  A PCI read that no target claims ends in a master abort, and the
  host bridge answers all ones in its place (PCI Local Bus Specification 3.0, "Master-Abort").
- A device sees only naturally aligned accesses of 1, 2, 4 or 8 bytes that lie inside its range and are no wider than it
  is.  Everything else is cut into such pieces, each as large as it can be.  Hardware does the same: the processor
  splits an access at the boundary of its data bus, byte enables name the bytes of each cycle, and the bridge to an
  8-bit device makes byte cycles of a wide one.
- Pieces go out in ascending order.  The processor promises no order (Intel SDM vol. 1, "Input/Output", "I/O Port
  Addressing"), but a bridge in front of an 8-bit device counts upwards and drivers rely on it.
- Each byte belongs to whoever owns its address: an access over the edge of a device reads all ones beyond the edge.
- Ports end at 0xFFFF: they do not wrap round to 0.
- What is wired stays where it is.  Windows, which a guest moves about (the BARs of PCI functions), lie beneath: where
  one overlaps a wired device, or a window that comes before it, it does not answer.

The loop that repeats string I/O is the engine's: here each item is one access.

What a device raises ends the run of its machine, whatever the guest did to bring it about: the exception, with a note
that names the device and the access (PEP 678), comes out of ``Machine.run``.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal, NamedTuple, Protocol

PORTS = 1 << 16
PHYSICAL_ADDRESSES = 1 << 52  # the widest MAXPHYADDR there is

# Sizes that are naturally aligned at an address, by its low three bits.
_ALIGNED = tuple(frozenset(size for size in (1, 2, 4, 8) if low % size == 0) for low in range(8))

Trace = Callable[[Literal["pio", "mmio"], int, int, bool, int], None]


class Device(Protocol):
    """What the bus asks of a device.  ``offset`` counts bytes from the base it was added at; ``size`` is in bytes."""

    def read(self, offset: int, size: int) -> int: ...
    def write(self, offset: int, size: int, value: int) -> None: ...


class Window(NamedTuple):
    """Where a device answers for now: ``length`` ports or bytes from ``base``, as it sees them from ``offset`` on."""

    space: Literal["io", "memory"]
    base: int
    length: int
    device: Device
    name: str
    width: int = 4
    offset: int = 0


@dataclass(frozen=True, slots=True)
class _Region:
    base: int
    end: int
    device: Device
    name: str
    width: int
    origin: int  # where the device's offset 0 lies

    def sizes(self, address: int) -> frozenset[int]:
        """The accesses at ``address`` that the device takes in one piece."""
        return frozenset(s for s in _ALIGNED[address & 7] if s <= self.width and address + s <= self.end)


class Bus:
    """The port and memory space of one machine.

    ``trace(kind, address, size, is_write, value)`` sees every access as the guest made it: once, uncut, and after a
    read was answered.
    """

    def __init__(self, trace: Trace | None = None) -> None:
        self.trace = trace
        self._wired_ports: list[_Region] = []
        self._wired_mmio: list[_Region] = []
        self._windows: list[Window] = []
        self._port_windows: list[_Region] = []  # what of them answers
        self._ports: dict[int, tuple[Device, int, frozenset[int]]] = {}
        self._mmio: list[_Region] = []  # wired and windows, by base, as _bases
        self._bases: list[int] = []

    def add_ports(self, base: int, count: int, device: Device, name: str, *, width: int = 4) -> None:
        """Wire ``count`` ports; ``width`` is the widest access in bytes that the device takes in one piece.

        Raises ValueError where the range leaves the port space or overlaps another device.
        """
        region = _checked(_Region(base, base + count, device, name, width, base), self._wired_ports, PORTS)
        self._wired_ports.append(region)
        if self._windows:
            self.set_windows(self._windows)
        self._open(region)

    def add_mmio(self, base: int, length: int, device: Device, name: str, *, width: int = 8) -> None:
        """Wire ``length`` bytes of guest-physical addresses; ``width`` and errors as for ``add_ports``."""
        region = _Region(base, base + length, device, name, width, base)
        self._wired_mmio.append(_checked(region, self._wired_mmio, PHYSICAL_ADDRESSES))
        self._order_mmio()

    def set_windows(self, windows: Iterable[Window]) -> None:
        """Let these windows answer, and no others; the rest of one that leaves its address space is cut off."""
        self._windows = list(windows)
        for old in self._port_windows:
            for port in range(old.base, old.end):
                del self._ports[port]
        ports = (window for window in self._windows if window.space == "io")
        self._port_windows = _uncovered(self._wired_ports, ports, PORTS)
        for region in self._port_windows:
            self._open(region)
        self._order_mmio()

    def _open(self, region: _Region) -> None:
        for port in range(region.base, region.end):
            self._ports[port] = region.device, port - region.origin, region.sizes(port)

    def _order_mmio(self) -> None:
        memory = (window for window in self._windows if window.space == "memory")
        windows = _uncovered(self._wired_mmio, memory, PHYSICAL_ADDRESSES)
        self._mmio = sorted([*self._wired_mmio, *windows], key=attrgetter("base"))
        self._bases = [region.base for region in self._mmio]

    def devices(self) -> list[tuple[str, Device]]:
        """Every wired device by name, once."""
        wired = (*self._wired_ports, *self._wired_mmio)
        return list({(region.name, id(region.device)): (region.name, region.device) for region in wired}.values())

    def pio_in(self, port: int, size: int) -> int:
        """IN: ``size`` bytes, little-endian, as an unsigned number."""
        home = self._ports.get(port)
        try:
            if home is not None and size in home[2]:
                value = home[0].read(home[1], size) & (1 << 8 * size) - 1
            else:
                value = _read_pieces(self._ports.get, port, size)
        except Exception as error:
            self._tell(error, "pio", port, size, "read")
            raise
        if self.trace is not None:
            self.trace("pio", port, size, False, value)
        return value

    def pio_out(self, port: int, size: int, value: int) -> None:
        """OUT: ``0 <= value < 256 ** size``."""
        if self.trace is not None:
            self.trace("pio", port, size, True, value)
        home = self._ports.get(port)
        try:
            if home is not None and size in home[2]:
                home[0].write(home[1], size, value)
            else:
                _write_pieces(self._ports.get, port, size, value)
        except Exception as error:
            self._tell(error, "pio", port, size, f"write of {value:#x}")
            raise

    def mmio_read(self, address: int, length: int) -> int:
        """Load 1 to 8 bytes from a guest-physical address that no memory slot backs."""
        at = bisect_right(self._bases, address) - 1
        region = self._mmio[at] if at >= 0 else None
        try:
            if (
                region is not None
                and length <= region.width
                and length in _ALIGNED[address & 7]
                and address + length <= region.end
            ):
                value = region.device.read(address - region.origin, length) & (1 << 8 * length) - 1
            else:
                value = _read_pieces(self._mmio_home, address, length)
        except Exception as error:
            self._tell(error, "mmio", address, length, "read")
            raise
        if self.trace is not None:
            self.trace("mmio", address, length, False, value)
        return value

    def mmio_write(self, address: int, length: int, value: int) -> None:
        """Store 1 to 8 bytes at a guest-physical address that no memory slot backs."""
        if self.trace is not None:
            self.trace("mmio", address, length, True, value)
        at = bisect_right(self._bases, address) - 1
        region = self._mmio[at] if at >= 0 else None
        try:
            if (
                region is not None
                and length <= region.width
                and length in _ALIGNED[address & 7]
                and address + length <= region.end
            ):
                region.device.write(address - region.origin, length, value)
            else:
                _write_pieces(self._mmio_home, address, length, value)
        except Exception as error:
            self._tell(error, "mmio", address, length, f"write of {value:#x}")
            raise

    def _tell(self, error: Exception, kind: Literal["pio", "mmio"], address: int, size: int, access: str) -> None:
        """Note at an exception which access raised it."""
        regions = (*self._wired_ports, *self._port_windows) if kind == "pio" else self._mmio
        for region in regions:
            if region.base < address + size and address < region.end:
                where = f"{'port' if kind == 'pio' else 'memory'} {address:#x}"
                offset = max(address, region.base) - region.origin
                device = type(region.device).__qualname__
                error.add_note(f"in a {size}-byte {access} at offset {offset:#x} of {region.name} ({device}; {where})")
                return

    def _mmio_home(self, address: int) -> tuple[Device, int, frozenset[int]] | None:
        at = bisect_right(self._bases, address) - 1
        if at < 0 or address >= self._mmio[at].end:
            return None
        region = self._mmio[at]
        return region.device, address - region.origin, region.sizes(address)


_Find = Callable[[int], tuple[Device, int, frozenset[int]] | None]


def _checked(new: _Region, wired: list[_Region], limit: int) -> _Region:
    if new.width not in _ALIGNED[0]:
        raise ValueError(f"{new.name}: a device is 1, 2, 4 or 8 bytes wide, not {new.width}")
    if not 0 <= new.base < new.end <= limit:
        raise ValueError(f"{new.name}: {new.base:#x}..{new.end - 1:#x} is empty or leaves the address space")
    for old in wired:
        if new.base < old.end and old.base < new.end:
            raise ValueError(f"{new.name}: {new.base:#x}..{new.end - 1:#x} overlaps {old.name}")
    return new


def _uncovered(wired: Sequence[_Region], windows: Iterable[Window], limit: int) -> list[_Region]:
    """What of windows nobody before them covers."""
    found: list[_Region] = []
    for window in windows:
        origin = window.base - window.offset
        pieces = [(window.base, min(window.base + window.length, limit))]
        for other in (*wired, *found):
            pieces = [
                piece
                for start, end in pieces
                for piece in ((start, min(end, other.base)), (max(start, other.end), end))
                if piece[0] < piece[1]
            ]
        found += (_Region(start, end, window.device, window.name, window.width, origin) for start, end in pieces)
    return found


def _pieces(find: _Find, address: int, size: int) -> Iterator[tuple[Device, int, int, int]]:
    """Cut an access into (device, offset, size, position in the access), leaving out bytes with nobody home."""
    done = 0
    while done < size:
        home = find(address + done)
        if home is None:
            done += 1
            continue
        device, offset, sizes = home
        piece = max(s for s in sizes if s <= size - done)
        yield device, offset, piece, done
        done += piece


def _read_pieces(find: _Find, address: int, size: int) -> int:
    value = (1 << 8 * size) - 1
    for device, offset, piece, done in _pieces(find, address, size):
        ones = (1 << 8 * piece) - 1
        value = value & ~(ones << 8 * done) | (device.read(offset, piece) & ones) << 8 * done
    return value


def _write_pieces(find: _Find, address: int, size: int, value: int) -> None:
    for device, offset, piece, done in _pieces(find, address, size):
        device.write(offset, piece, value >> 8 * done & (1 << 8 * piece) - 1)
