"""What a disk is to a controller: sectors of 512 bytes, read, written, flushed and discarded."""

from typing import Protocol

SECTOR = 512  # bytes
LARGEST = 1 << 53  # sectors: offsets in bytes stay below 2^62


class DiskError(Exception):
    """The host could not do it: what, and what came back."""


class Disk(Protocol):
    """One disk.  ``sectors`` never changes.  Every method may raise DiskError, for a range outside the disk too."""

    @property
    def sectors(self) -> int: ...
    @property
    def read_only(self) -> bool: ...
    def read(self, sector: int, count: int) -> bytes:
        """``count`` sectors; what was never written is zero."""
        ...

    def write(self, sector: int, data: bytes) -> None:
        """Whole sectors; stable when a later ``flush`` returns, and until then either written, not written or torn."""
        ...

    def flush(self) -> None:
        """On return everything that was written is on stable storage."""
        ...

    def discard(self, sector: int, count: int) -> None:
        """Nobody needs these sectors any more: each reads as before or as zeros."""
        ...

    def delay(self, length: int) -> int:
        """Nanoseconds to wait before a transfer of ``length`` bytes may start; it counts as made."""
        ...

    def close(self) -> None: ...


def check_range(disk: Disk, sector: int, count: int) -> None:
    """Raise DiskError unless ``count`` sectors from ``sector`` are on the disk."""
    if sector < 0 or count < 0 or sector + count > disk.sectors:
        raise DiskError(f"sectors {sector}..{sector + count - 1} of a disk of {disk.sectors}")


def check_write(disk: Disk, sector: int, data: bytes) -> None:
    """Raise DiskError unless ``data`` are whole sectors that may be written at ``sector``."""
    if disk.read_only:
        raise DiskError("write to a read-only disk")
    if len(data) % SECTOR:
        raise DiskError(f"{len(data)} bytes are no whole sectors")
    check_range(disk, sector, len(data) // SECTOR)
