"""Rings in guest memory whose entries change hands by a generation bit, which flips at each lap."""

from collections import deque
from collections.abc import Callable
from typing import Any

from virtproof.spec.vmxnet3 import COMPLETION, DESCRIPTOR

AHEAD = 32  # descriptors that are read at once

Descriptor = tuple[int, int, int]


class Ring:
    """``size`` entries of 16 bytes at ``base``; where the device is, and what the bit is in this lap."""

    def __init__(self, base: int, size: int) -> None:
        self._base, self.size = base, size
        self.index = 0
        self.generation = True

    def state(self) -> list[int]:
        return [self.index, int(self.generation)]

    def restore(self, state: Any) -> None:
        index, generation = state
        if not 0 <= index < self.size:
            raise ValueError(f"entry {index} of {self.size}")
        self.index, self.generation = int(index), bool(generation)


class DescriptorRing(Ring):
    """Descriptors that the driver hands over; each is read once, and what counts is that copy.

    ``mask`` is the generation bit in the third word.  ``peek`` raises DmaError.
    """

    def __init__(self, dma_read: Callable[[int, int], bytes], base: int, size: int, mask: int) -> None:
        super().__init__(base, size)  # ``index``: the first that was not taken
        self._dma_read, self._mask = dma_read, mask
        self._ahead: deque[Descriptor] = deque()

    def peek(self, n: int = 0) -> Descriptor | None:
        """The descriptor ``n`` places on, where it is the device's."""
        ahead = self._ahead
        while len(ahead) <= n:
            if not self._fetch():
                return None
        return ahead[n]

    def take(self, count: int = 1) -> None:
        """Go on behind descriptors that ``peek`` has shown."""
        for _ in range(count):
            self._ahead.popleft()
        self.index += count
        if self.index >= self.size:
            self.index -= self.size
            self.generation = not self.generation

    def place(self, n: int) -> int:
        """The index of the descriptor ``n`` places on."""
        return (self.index + n) % self.size

    def restore(self, state: Any) -> None:
        super().restore(state)
        self._ahead.clear()

    def _fetch(self) -> bool:
        have = len(self._ahead)
        at, generation = self.index + have, self.generation
        if at >= self.size:
            at, generation = at - self.size, not generation
        count = min(AHEAD, self.size - at, self.size - have)
        if count == 0:
            return False
        mask = self._mask
        ours = mask if generation else 0
        for descriptor in DESCRIPTOR.iter_unpack(self._dma_read(self._base + 16 * at, 16 * count)):
            if descriptor[1] & mask != ours:
                break
            self._ahead.append(descriptor)
        return len(self._ahead) > have


class CompletionRing(Ring):
    """Completions for the driver, which are written when ``flush`` is called.  ``push`` and ``flush`` raise DmaError.

    A driver that does not read them finds them overwritten.
    """

    def __init__(self, dma_write: Callable[[int, bytes | bytearray], None], base: int, size: int) -> None:
        super().__init__(base, size)
        self._dma_write = dma_write
        self._waiting = bytearray()  # what belongs before ``index``

    def push(self, word0: int, word1: int, word2: int, word3: int) -> None:
        self._waiting += COMPLETION.pack(word0, word1, word2, word3 | self.generation << 31)
        self.index += 1
        if self.index == self.size:
            self.flush()
            self.index = 0
            self.generation = not self.generation

    def flush(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, bytearray()
            self._dma_write(self._base + 16 * self.index - len(waiting), waiting)

    def clear(self) -> None:
        """Give all entries the generation that is not written first."""
        self._dma_write(self._base, bytes(16 * self.size))
