"""Tables that point at each other, before it is known where they will lie."""

from __future__ import annotations

from typing import NamedTuple


class Pointer(NamedTuple):
    """``size`` bytes at ``offset`` of the blob hold the offset of their target."""

    offset: int
    size: int


class Sum(NamedTuple):
    """The byte at ``offset`` makes ``length`` bytes from ``start`` add up to 0."""

    offset: int
    start: int
    length: int


class Blob:
    """Bytes with pointers into themselves and checksums over them, in the order in which they must be made."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.pointers: list[Pointer] = []
        self.sums: list[Sum] = []

    def add(self, data: bytes, alignment: int = 16) -> int:
        """Append, and return the offset."""
        self.data += bytes(-len(self.data) % alignment)
        at = len(self.data)
        self.data += data
        return at

    def point(self, offset: int, size: int, target: int) -> None:
        self.data[offset : offset + size] = target.to_bytes(size, "little")
        self.pointers.append(Pointer(offset, size))

    def checksum(self, offset: int, start: int, length: int) -> None:
        self.data[offset] = 0
        self.sums.append(Sum(offset, start, length))

    def at(self, address: int) -> bytes:
        """The bytes as they are to lie at ``address``."""
        data = bytearray(self.data)
        for offset, size in self.pointers:
            target = int.from_bytes(data[offset : offset + size], "little") + address
            data[offset : offset + size] = target.to_bytes(size, "little")
        for offset, start, length in self.sums:
            data[offset] = -sum(data[start : start + length]) & 0xFF
        return bytes(data)
