"""KVM's binary statistics, by name: Linux Documentation/virt/kvm/api.rst, "KVM_GET_STATS_FD".

The descriptor describes itself: a header, a table of names, and the values.  What a counter means is in the kernel's
source; histograms are lists.
"""

from __future__ import annotations

import os
import struct
from ctypes import sizeof
from types import TracebackType
from typing import NamedTuple, Self

from virtproof.spec.fault import Fault
from virtproof.spec.kvm.devices import StatsDesc, StatsHeader
from virtproof.spec.kvm.exits import StatsType

MAX_NAMES, MAX_NAME, MAX_VALUES = 4096, 256, 1024  # far beyond any kernel's


class Counter(NamedTuple):
    """One row of the table: where its values are, in bytes from the start of the data, and how many."""

    name: str
    kind: int
    offset: int
    length: int

    @property
    def is_list(self) -> bool:
        return self.length != 1 or self.kind in (StatsType.LINEAR_HIST, StatsType.LOG_HIST)


class Stats:
    """A statistics descriptor, which it owns and closes.  The names are read once, the values at each ``read``."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        try:
            self._header = StatsHeader.from_buffer_copy(self._at(0, sizeof(StatsHeader)))
            self.counters = self._counters()
        except BaseException:
            self.close()
            raise

    def read(self) -> dict[str, int | list[int]]:
        size = max((c.offset + 8 * c.length for c in self.counters), default=0)
        data = self._at(self._header.data_offset, size)
        found: dict[str, int | list[int]] = {}
        for counter in self.counters:
            values = list(struct.unpack_from(f"<{counter.length}Q", data, counter.offset))
            found[counter.name] = values if counter.is_list else values[0]
        return found

    def _counters(self) -> tuple[Counter, ...]:
        header, size = self._header, sizeof(StatsDesc) + self._header.name_size
        if header.num_desc > MAX_NAMES or header.name_size > MAX_NAME:
            raise self._odd(f"{header.num_desc} names of {header.name_size} bytes")
        table = self._at(header.desc_offset, header.num_desc * size)
        counters = []
        for at in range(0, len(table), size):
            row = StatsDesc.from_buffer_copy(table, at)
            name = table[at + sizeof(StatsDesc) : at + size].partition(b"\0")[0].decode("ascii", "replace")
            if not 0 < row.size <= MAX_VALUES or row.offset > MAX_NAMES * MAX_VALUES:
                raise self._odd(f"{row.size} values of {name} at {row.offset}")
            counters.append(Counter(name, row.flags & 0xF, row.offset, row.size))
        return tuple(counters)

    def _at(self, offset: int, size: int) -> bytes:
        try:
            data = os.pread(self.fd, size, offset)
        except OSError as err:
            raise Fault("read KVM's statistics", str(err.strerror), "see the kernel log (dmesg)") from err
        if len(data) != size:
            raise self._odd(f"{len(data)} of {size} bytes at {offset}")
        return data

    @staticmethod
    def _odd(saw: str) -> Fault:
        return Fault("read KVM's statistics", f"the kernel gives {saw}", "its format is not the one documented")

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
