"""pc-testdev: what test kernels need of the outside world (spec/pc_testdev.py).

A register and a stretch of memory that are no RAM, so that each access leaves the guest; ports that drive interrupt
lines; and a port that makes the host forget how it maps a page, so that the next access faults in the host.
"""

from collections.abc import Callable


class Bytes:
    """Plain storage behind ports or addresses: what is written in any size is read in any size."""

    def __init__(self, size: int) -> None:
        self._content = bytearray(size)

    def read(self, offset: int, size: int) -> int:
        return int.from_bytes(self._content[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        self._content[offset : offset + size] = value.to_bytes(size, "little")


class Lines:
    """One port per interrupt line; what is written is its level, reads give 0."""

    def __init__(self, set_line: Callable[[int, bool], None]) -> None:
        self._set_line = set_line

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        self._set_line(offset, value != 0)


class Flush:
    """A doubleword written is a guest-physical address, whose page goes to ``flush``; nothing else does anything."""

    def __init__(self, flush: Callable[[int], None]) -> None:
        self._flush = flush

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        if size == 4:
            self._flush(value & ~0xFFF)
