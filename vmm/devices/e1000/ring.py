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
    def base(self) -> int:
        return self._registers[self._high] << 32 | self._registers[self._low]

    @property
    def count(self) -> int:
        """Descriptors in the ring."""
        return self._registers[self._length] // SIZE

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
        registers = self._registers
        count, head, tail = registers[self._length] // SIZE, registers[self._head], registers[self._tail]
        if head >= count or tail >= count:
            return 0
        return tail - head if tail >= head else count - head + tail
