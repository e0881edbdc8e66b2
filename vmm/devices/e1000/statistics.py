"""Counters that are cleared by reading: "Statistics Registers"."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from virtproof.spec.e1000 import ALL, CRC, SIZES, WIDE, Statistic

_BROADCAST = b"\xff" * 6
_HALVES = {int(low): (int(low), True) for low in WIDE} | {low + 4: (int(low), False) for low in WIDE}
OFFSETS = frozenset(map(int, Statistic)) | _HALVES.keys()


class Statistics:
    """Counts by the offset of their register; a count that has reached all ones stays there."""

    def __init__(self) -> None:
        self.counts: dict[int, int] = dict.fromkeys(map(int, Statistic), 0)

    def count(self, what: Statistic, n: int = 1) -> None:
        self.counts[what] += n

    def received(self, frame: bytes) -> None:
        """A frame, given without its CRC, was stored."""
        self._frame(frame, Statistic.PRC64, Statistic.GORC, Statistic.TOR, Statistic.BPRC, Statistic.MPRC)
        self.counts[Statistic.GPRC] += 1
        self.counts[Statistic.TPR] += 1

    def sent(self, frame: bytes | bytearray) -> None:
        """A frame, given without its CRC, has left."""
        self._frame(frame, Statistic.PTC64, Statistic.GOTC, Statistic.TOT, Statistic.BPTC, Statistic.MPTC)
        self.counts[Statistic.GPTC] += 1
        self.counts[Statistic.TPT] += 1

    def _frame(self, frame: bytes | bytearray, by_size: int, good: int, every: int, broad: int, multi: int) -> None:
        counts, size = self.counts, len(frame) + CRC
        counts[by_size + 4 * bisect_left(SIZES, size)] += 1
        counts[good] += size
        counts[every] += size
        if frame[0] & 1:
            counts[broad if frame[:6] == _BROADCAST else multi] += 1

    def read(self, offset: int) -> int:
        """What a register holds, which is 0 from now on; of a pair, when the high half is read."""
        low, keep = _HALVES.get(offset, (offset, False))
        value = self.counts[low]
        if not keep:
            self.counts[low] = 0
        if offset not in _HALVES:
            return min(value, ALL)
        value = min(value, ALL << 32 | ALL)
        return value & ALL if keep else value >> 32

    def reset(self) -> None:
        self.counts = dict.fromkeys(self.counts, 0)

    def state(self) -> dict[str, Any]:
        return {"counts": list(self.counts.values())}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave; raises ValueError, TypeError or KeyError for anything else."""
        values = list(state["counts"])
        if not all(type(value) is int and value >= 0 for value in values):
            raise ValueError("counts below 0")
        self.counts = dict(zip(self.counts, values, strict=True))
