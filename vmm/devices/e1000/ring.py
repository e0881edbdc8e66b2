"""A ring of descriptors in guest memory: "Receive Descriptor Queue Structure", "Transmit Descriptor Ring Structure"."""

from __future__ import annotations

from virtproof.spec.e1000_descriptors import SIZE

BASE_LOW, BASE_HIGH, LENGTH, HEAD, TAIL = 0x00, 0x04, 0x08, 0x10, 0x18  # from RDBAL or TDBAL


class Ring:
    """The view of five registers; ``first`` is the offset of the lowest of them."""

    def __init__(self, registers: dict[int, int], first: int) -> None:
        self._registers = registers
        self._low, self._high, self._length = first + BASE_LOW, first + BASE_HIGH, first + LENGTH
        self._head, self._tail = first + HEAD, first + TAIL

    @property
    def head(self) -> int:
        return self._registers[self._head]

    @head.setter
    def head(self, value: int) -> None:
        self._registers[self._head] = value

    @property
    def owned(self) -> int:
        """Descriptors that are the controller's: from the head up to the tail.

        None where head or tail is outside: what the controller does then is undefined, and here it waits.
        """
        return self.now()[3]

    def now(self) -> tuple[int, int, int, int]:
        """Base, count, head, and how many descriptors are owned, at one look."""
        registers = self._registers
        base = registers[self._high] << 32 | registers[self._low]
        count, head, tail = registers[self._length] // SIZE, registers[self._head], registers[self._tail]
        if head >= count or tail >= count:
            return base, count, head, 0
        return base, count, head, tail - head if tail >= head else count - head + tail
