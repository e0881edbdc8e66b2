"""A split virtqueue as the device sees it: VIRTIO 1.2, "Split Virtqueues".

A chain is copied out of the driver's memory once, checked, and only the copy is used.  What a driver must not write
raises QueueBroken: an index too far ahead, a descriptor that is not there, a loop, an indirect table inside another or
of a bad length, something to read behind something to write.

Omitted: packed virtqueues, and the resetting of one queue.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol

from virtproof.spec import virtio
from virtproof.spec.virtio import DESCRIPTOR, DescriptorFlag

LONGEST_INDIRECT = 1024  # descriptors of an indirect table; drivers stay below the size of their queue or near it

_DESCRIPTOR, _USED = struct.Struct("<QIHH"), struct.Struct("<II")
_NEXT, _WRITE, _INDIRECT = (int(flag) for flag in DescriptorFlag)

Element = tuple[int, int]  # guest-physical address, length in bytes


class QueueBroken(Exception):
    """The driver has written what no driver may write; the device needs a reset."""


class Dma(Protocol):
    """Guest memory as the device reaches it; both raise what the device takes for a broken queue."""

    def dma_read(self, gpa: int, length: int) -> bytes: ...
    def dma_write(self, gpa: int, data: bytes | bytearray | memoryview) -> None: ...


class Chain:
    """What one entry of the available ring leads to: elements to read, then elements to write.

    ``moved`` counts the bytes that were, those of descriptors too, for whoever bounds the work.
    """

    __slots__ = ("_dma", "head", "moved", "readable", "writable")

    def __init__(self, dma: Dma, head: int, readable: list[Element], writable: list[Element]) -> None:
        self._dma, self.head = dma, head
        self.readable, self.writable = readable, writable
        self.moved = DESCRIPTOR * (len(readable) + len(writable))

    @property
    def to_read(self) -> int:
        """Bytes that the driver offers: up to 4 GiB an element."""
        return _total(self.readable)

    @property
    def to_write(self) -> int:
        """Bytes that the driver has room for."""
        return _total(self.writable)

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the readable part, fewer at its end.  The caller bounds ``length``."""
        if len(self.readable) == 1 and offset == 0:  # what most packets are
            address, there = self.readable[0]
            data = self._dma.dma_read(address, min(length, there))
        else:
            pieces = _pieces(self.readable, offset, length)
            data = b"".join([self._dma.dma_read(address, size) for address, size in pieces])
        self.moved += len(data)
        return data

    def write(self, data: bytes | bytearray | memoryview, offset: int = 0) -> int:
        """Write from ``offset`` of the writable part on, as far as there is room; return how many bytes that were."""
        if len(self.writable) == 1 and offset == 0 and len(data) <= self.writable[0][1]:
            self._dma.dma_write(self.writable[0][0], data)
            self.moved += len(data)
            return len(data)
        view, done = memoryview(data), 0
        for address, size in _pieces(self.writable, offset, len(data)):
            self._dma.dma_write(address, view[done : done + size])
            done += size
        self.moved += done
        return done


def _total(elements: list[Element]) -> int:
    return elements[0][1] if len(elements) == 1 else sum([length for _, length in elements])


def _pieces(elements: list[Element], offset: int, length: int) -> Iterator[Element]:
    """The part of ``elements`` that begins ``offset`` bytes into them."""
    for address, there in elements:
        if offset >= there:
            offset -= there
            continue
        size = min(there - offset, length)
        if size:
            yield address + offset, size
        offset, length = 0, length - size


class Queue:
    """``limit`` is the greatest size, a power of two.  The transport sets addresses and size, then ``enabled``.

    Chains are taken with ``pop`` and given back with ``push``; ``flush`` shows the driver what was given back, and says
    whether it wants to be interrupted.  A ``quiet`` queue asks for no notifications as long as it has chains: that of
    a device that takes them when it needs them.
    """

    def __init__(self, dma: Dma, limit: int, *, quiet: bool = False) -> None:
        self._dma, self.limit, self._quiet = dma, limit, quiet
        self.reset()

    def reset(self) -> None:
        self.size = self.limit
        self.enabled = False
        self.descriptors = self.available = self.used = 0  # addresses
        self.vector = virtio.NO_VECTOR
        self.event_idx = self.indirect = False  # as negotiated
        self._seen = 0  # entries of the available ring that were fetched, modulo 2**16
        self._heads: deque[int] = deque()  # fetched, and not taken yet
        self._taken: list[int] = []  # heads that were not given back yet
        self._table = b""  # the descriptor table as it was then
        self._done: list[tuple[int, int]] = []  # heads and lengths that the driver has not been shown
        self._shown = 0  # entries of the used ring
        self._silent = False  # NO_NOTIFY is set

    @property
    def busy(self) -> bool:
        """Whether chains were taken and not given back."""
        return bool(self._taken)

    def pop(self) -> Chain | None:
        """Take the next chain, if there is one.  Raises QueueBroken, and what DMA raises."""
        if not self._heads and not self._fetch():
            self._ask_for_notification()
            if not self._fetch():  # it may have come before the driver saw that it must notify
                return None
        chain = self._chain(self._heads.popleft())
        self._taken.append(chain.head)
        return chain

    def unpop(self, chain: Chain) -> None:
        """Put the chain that was taken last back: it is the next again."""
        self._taken.remove(chain.head)
        self._heads.appendleft(chain.head)

    def push(self, chain: Chain, written: int) -> None:
        """Give a chain back, with the number of bytes written to it."""
        self._taken.remove(chain.head)
        self._done.append((chain.head, written))

    def flush(self) -> bool:
        """Show the driver what was given back; True where it wants an interrupt.  Raises what DMA raises."""
        done, old = self._done, self._shown
        if not done:
            return False
        self._done = []
        at, entries = old % self.size, b"".join([_USED.pack(head, written) for head, written in done])
        first = 8 * (self.size - at)
        self._dma.dma_write(self.used + 4 + 8 * at, entries[:first])
        if len(entries) > first:
            self._dma.dma_write(self.used + 4, entries[first:])
        self._shown = new = old + len(done) & 0xFFFF
        self._dma.dma_write(self.used + 2, new.to_bytes(2, "little"))
        if self.event_idx:
            used_event = self._word(self.available + 4 + 2 * self.size)
            return new - used_event - 1 & 0xFFFF < new - old & 0xFFFF
        return not self._word(self.available) & virtio.NO_INTERRUPT

    def state(self) -> dict[str, Any]:
        """What is to be saved between two notifications; chains that were taken and not given back are taken again."""
        return {
            "size": self.size,
            "enabled": self.enabled,
            "addresses": [self.descriptors, self.available, self.used],
            "vector": self.vector,
            "seen": self._seen,
            "heads": [*self._taken, *self._heads],
            "shown": self._shown,
            "silent": self._silent,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        size, vector = saved_number(state["size"], 0xFFFF), saved_number(state["vector"], 0xFFFF)
        seen, shown = saved_number(state["seen"], 0xFFFF), saved_number(state["shown"], 0xFFFF)
        heads = [saved_number(head, 0xFFFF) for head in state["heads"]]
        descriptors, available, used = (saved_number(place, (1 << 64) - 1) for place in state["addresses"])
        if not self.accepts(size) or len(heads) > size:
            raise ValueError(f"{len(heads)} chains of a queue of {size}")
        self.reset()
        self.size, self.vector, self.enabled = size, vector, bool(state["enabled"])
        self.descriptors, self.available, self.used = descriptors, available, used
        self._seen, self._shown, self._heads = seen, shown, deque(heads)
        self._silent = bool(state["silent"])

    def accepts(self, size: int) -> bool:
        """Whether the queue may have this size."""
        return 0 < size <= self.limit and size & size - 1 == 0

    def _fetch(self) -> bool:
        """Copy the new entries of the available ring and the descriptor table; False: there are none."""
        if self.descriptors % 16 or self.available % 2 or self.used % 4:
            raise QueueBroken(f"rings at {self.descriptors:#x}, {self.available:#x}, {self.used:#x}")
        new = self._word(self.available + 2) - self._seen & 0xFFFF
        if not new:
            return False
        owed = self._seen - self._shown & 0xFFFF
        if new + owed > self.size:
            raise QueueBroken(f"{new} new entries in a ring of {self.size} of which {owed} are in use")
        first = min(new, self.size - self._seen % self.size)
        for at, count in ((self._seen % self.size, first), (0, new - first)):
            if count:
                ring = self._dma.dma_read(self.available + 4 + 2 * at, 2 * count)
                self._heads.extend(struct.unpack(f"<{count}H", ring))
        self._seen = self._seen + new & 0xFFFF
        self._table = self._dma.dma_read(self.descriptors, DESCRIPTOR * self.size)
        if self._quiet and not self.event_idx and not self._silent:  # with EVENT_IDX silence costs nothing
            self._set_silent(True)
        return True

    def _ask_for_notification(self) -> None:
        if self.event_idx:
            self._dma.dma_write(self.used + 4 + 8 * self.size, self._seen.to_bytes(2, "little"))
        elif self._silent:
            self._set_silent(False)

    def _set_silent(self, silent: bool) -> None:
        self._silent = silent
        self._dma.dma_write(self.used, (virtio.NO_NOTIFY * silent).to_bytes(2, "little"))

    def _chain(self, head: int) -> Chain:
        readable: list[Element] = []
        writable: list[Element] = []
        if not self._table:  # it was not saved
            self._table = self._dma.dma_read(self.descriptors, DESCRIPTOR * self.size)
        table, count, index, left, nested = self._table, self.size, head, self.size, False
        while True:
            if index >= count:
                raise QueueBroken(f"descriptor {index} of {count}")
            if not left:
                raise QueueBroken(f"a chain of more than {count} descriptors")
            left -= 1
            address, length, flags, index = _DESCRIPTOR.unpack_from(table, DESCRIPTOR * index)
            if flags & _INDIRECT:
                if nested or not self.indirect or flags & _NEXT:
                    raise QueueBroken(f"an indirect descriptor with flags {flags:#x} where none may be")
                if not length or length % DESCRIPTOR or length > DESCRIPTOR * LONGEST_INDIRECT:
                    raise QueueBroken(f"an indirect table of {length} bytes")
                table, index, nested = self._dma.dma_read(address, length), 0, True
                count = left = length // DESCRIPTOR
                continue
            if flags & _WRITE:
                writable.append((address, length))
            elif writable:
                raise QueueBroken("something to read behind something to write")
            else:
                readable.append((address, length))
            if not flags & _NEXT:
                return Chain(self._dma, head, readable, writable)

    def _word(self, address: int) -> int:
        return int.from_bytes(self._dma.dma_read(address, 2), "little")


def saved_number(value: Any, most: int) -> int:
    """A number of a saved state.  Raises ValueError or TypeError where it is none from 0 to ``most``."""
    if not isinstance(value, int):
        raise TypeError(f"{value!r} where a number should be")
    if not 0 <= value <= most:
        raise ValueError(f"{value} of 0 to {most}")
    return value
