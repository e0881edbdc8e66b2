"""A copy-on-write overlay: writes go into a file of their own, the disk under it is only ever read.

The file, little-endian: a header of one page (``MAGIC``, format version, bytes of a cluster, sectors of the disk), one
bit per cluster that the overlay holds, and from the next multiple of a cluster on the clusters, each at its own place:
the file is sparse, and its holes are what was never written.

Nothing that was flushed is lost, wherever power fails: the first write to a cluster fills its place, which nobody reads
yet; ``flush`` makes the data stable before it writes the bits, and the bits stable before it returns.  Bits are never
taken back, so a torn write of them leaves old or new bytes, both of which name every cluster of an earlier flush.
"""

import struct
from pathlib import Path
from typing import Protocol, Self

from virtproof.spec.fault import Fault
from virtproof.vmm.disks.disk import SECTOR, Disk, DiskError, check_range, check_write
from virtproof.vmm.disks.file import HostFile

MAGIC = b"virtproof overlay\n"
HEADER = struct.Struct("<24sIIQ")  # magic, version, bytes of a cluster, sectors
VERSION = 1
CLUSTER = 64 << 10  # bytes
PAGE = 4096  # bytes of the bit map that are written together
LARGEST_MAP = 64 << 20  # bytes: disks of 32 TiB


class Store(Protocol):
    """What of a HostFile the overlay needs."""

    @property
    def size(self) -> int: ...
    def read(self, offset: int, length: int) -> bytes: ...
    def write(self, offset: int, data: bytes) -> None: ...
    def flush(self) -> None: ...
    def punch(self, offset: int, length: int) -> None: ...
    def close(self) -> None: ...


class Overlay:
    """A disk like ``base`` that can be written; ``base`` stays as it is and has to stay so."""

    read_only = False

    def __init__(self, base: Disk, store: Store) -> None:
        """``store`` holds an overlay of a disk of that size, or is empty.  Raises Fault, DiskError."""
        self._base, self._store = base, store
        self.sectors = base.sectors
        clusters = -(-self.sectors * SECTOR // CLUSTER)
        length = -(-clusters // (8 * PAGE)) * PAGE
        tried = "open overlay"
        if length > LARGEST_MAP:
            most = LARGEST_MAP * 8 * CLUSTER >> 40
            raise Fault(tried, f"a disk of {self.sectors} sectors", f"use one below {most} TiB")
        self._data = -(-(PAGE + length) // CLUSTER) * CLUSTER  # where the clusters begin
        header = HEADER.pack(MAGIC, VERSION, CLUSTER, self.sectors)
        if store.size == 0:
            store.write(0, header)
            store.flush()
        elif store.read(0, HEADER.size) != header:
            raise Fault(tried, "not an overlay of this disk", "name an overlay made for it, or a new file")
        self._map = bytearray(store.read(PAGE, length))
        self._changed: set[int] = set()  # pages of the map that the file does not have

    @classmethod
    def open(cls, base: Disk, path: Path) -> Self:
        """Open the overlay at ``path``, or make it.  Raises Fault."""
        store = HostFile.open(path) if path.exists() else HostFile.open(path, create=0)
        try:
            return cls(base, store)
        except DiskError as error:
            store.close()
            raise Fault(f"open overlay {path}", str(error)) from None
        except Fault as fault:
            store.close()
            raise Fault(f"{fault.tried} {path}", fault.saw, fault.remedy) from None

    @classmethod
    def in_memory(cls, base: Disk) -> Self:
        """Writes that last as long as the process."""
        return cls(base, HostFile.anonymous(0))

    def read(self, sector: int, count: int) -> bytes:
        check_range(self, sector, count)
        return b"".join(
            self._store.read(self._data + at * SECTOR, n * SECTOR) if own else self._base.read(at, n)
            for at, n, own in self._runs(sector, count)
        )

    def write(self, sector: int, data: bytes) -> None:
        check_write(self, sector, data)
        start, end = sector * SECTOR, sector * SECTOR + len(data)
        touched = range(start // CLUSTER, -(-end // CLUSTER) if data else 0)
        for cluster, partial in ((start // CLUSTER, start % CLUSTER), (end // CLUSTER, end % CLUSTER)):
            if data and partial and not self._own(cluster):
                self._copy(cluster)
        self._store.write(self._data + start, data)
        for cluster in touched:
            if not self._own(cluster):
                self._map[cluster >> 3] |= 1 << (cluster & 7)
                self._changed.add(cluster // (8 * PAGE))

    def flush(self) -> None:
        self._store.flush()
        if self._changed:
            for page in self._changed:
                self._store.write(PAGE + page * PAGE, bytes(self._map[page * PAGE : (page + 1) * PAGE]))
            self._store.flush()
            self._changed.clear()

    def discard(self, sector: int, count: int) -> None:
        check_range(self, sector, count)
        for at, n, own in self._runs(sector, count):
            if own:  # what the base holds cannot be given back
                self._store.punch(self._data + at * SECTOR, n * SECTOR)

    def delay(self, length: int) -> int:
        return self._base.delay(length)

    def close(self) -> None:
        self._store.close()
        self._base.close()

    def _own(self, cluster: int) -> bool:
        return bool(self._map[cluster >> 3] >> (cluster & 7) & 1)

    def _copy(self, cluster: int) -> None:
        first = cluster * CLUSTER // SECTOR
        count = min(CLUSTER // SECTOR, self.sectors - first)
        self._store.write(self._data + first * SECTOR, self._base.read(first, count))

    def _runs(self, sector: int, count: int) -> list[tuple[int, int, bool]]:
        """Sectors that follow each other in one place: first, how many, and whether the overlay holds them."""
        runs: list[tuple[int, int, bool]] = []
        while count:
            cluster = sector * SECTOR // CLUSTER
            n = min(count, (cluster + 1) * CLUSTER // SECTOR - sector)
            own = self._own(cluster)
            if runs and runs[-1][2] == own:
                runs[-1] = runs[-1][0], runs[-1][1] + n, own
            else:
                runs.append((sector, n, own))
            sector, count = sector + n, count - n
        return runs
