"""Disks in files of the host: raw images, sparse where they have holes, and anonymous memory."""

import ctypes
import errno
import fcntl
import os
import stat
from functools import cache
from pathlib import Path
from typing import Self

from virtproof.spec.fault import Fault
from virtproof.vmm.disks.disk import LARGEST, SECTOR, DiskError, check_range, check_write

# linux/falloc.h
FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE = 1, 2

# An overlay reads its base: it goes over an image that others read, and not over one that somebody writes.
READ_BY_OTHERS = "another guest reads it", "stop that, or put an overlay over the image"
WRITTEN_BY_ANOTHER = "another guest writes it", "stop that, or use a copy of the image"


class HostFile:
    """Positional reads and writes of one open file that is nobody else's; bytes, and DiskError where the host fails.

    It is locked (flock): a file that one guest writes is opened by no other, and one that is read is written by none.
    """

    def __init__(self, fd: int, name: str, *, read_only: bool) -> None:
        self._fd, self._name, self.read_only = fd, name, read_only
        self._lost = False

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False, create: int | None = None) -> Self:
        """Open a regular file or block device; ``create`` makes a new one of so many bytes, all of them a hole.

        Raises Fault.
        """
        tried = f"open disk image {path}"
        flags = (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO would wait for ever
        if create is not None:
            flags |= os.O_CREAT | os.O_EXCL
        try:
            fd = os.open(path, flags, 0o600)
        except OSError as error:
            raise Fault(tried, error.strerror or str(error), "name a file that can be opened so") from None
        try:
            mode = os.fstat(fd).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
                raise Fault(tried, "neither a regular file nor a block device", "name a disk image")
            fcntl.flock(fd, (fcntl.LOCK_SH if read_only else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            if create is not None:
                os.ftruncate(fd, create)
                _sync_folder(path.parent)
        except BlockingIOError:
            only_read = not read_only and _shared(fd)
            os.close(fd)
            saw, remedy = READ_BY_OTHERS if only_read else WRITTEN_BY_ANOTHER
            raise Fault(tried, saw, remedy) from None
        except OSError as error:
            os.close(fd)
            raise Fault(tried, error.strerror or str(error)) from None
        except Fault:
            os.close(fd)
            raise
        return cls(fd, str(path), read_only=read_only)

    @classmethod
    def anonymous(cls, size: int) -> Self:
        """Memory of the host that is there when it was written."""
        fd = os.memfd_create("disk", os.MFD_CLOEXEC)
        os.ftruncate(fd, size)
        return cls(fd, "anonymous memory", read_only=False)

    @property
    def size(self) -> int:
        return os.lseek(self._fd, 0, os.SEEK_END)

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes; zeros behind the end of the file."""
        try:
            data = os.pread(self._fd, length, offset)
            while len(data) < length and (more := os.pread(self._fd, length - len(data), offset + len(data))):
                data += more
        except OSError as error:
            raise self._failed("read", error) from None
        return data if len(data) == length else data.ljust(length, b"\0")

    def write(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                done = os.pwrite(self._fd, view, offset)
                view, offset = view[done:], offset + done
        except OSError as error:
            raise self._failed("write", error) from None

    def flush(self) -> None:
        """Wait until everything is on stable storage."""
        # The kernel reports a lost write once and forgets it: a later success would be a lie.
        if self._lost:
            raise DiskError(f"{self._name}: an earlier flush failed")
        try:
            os.fsync(self._fd)
        except OSError as error:
            self._lost = True
            raise self._failed("flush", error) from None

    def punch(self, offset: int, length: int) -> None:
        """Give space back where the file system can do that; the bytes read as zeros then."""
        mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
        if length and _libc().fallocate(self._fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)):
            number = ctypes.get_errno()
            if number not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV):
                raise self._failed("discard", OSError(number, os.strerror(number)))

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _failed(self, what: str, error: OSError) -> DiskError:
        return DiskError(f"{what} {self._name}: {error.strerror or error}")


class FileDisk:
    """A raw image.

    >>> disk = FileDisk.in_memory(sectors=8)
    >>> disk.write(7, bytes(range(256)) * 2); disk.read(7, 1)[:4].hex()
    '00010203'
    """

    def __init__(self, file: HostFile) -> None:
        self._file = file
        self.sectors = min(-(-file.size // SECTOR), LARGEST)  # a last sector that is not whole ends in zeros
        self.read_only = file.read_only

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> Self:
        """Raises Fault."""
        return cls(HostFile.open(path, read_only=read_only))

    @classmethod
    def create(cls, path: Path, sectors: int) -> Self:
        """Make a new image of zeros that takes no space.  Raises Fault, where ``path`` exists too."""
        return cls(HostFile.open(path, create=sectors * SECTOR))

    @classmethod
    def in_memory(cls, sectors: int = 0, content: bytes = b"") -> Self:
        """Make a disk without a file, at least as large as ``content``; it takes as much memory as was written."""
        file = HostFile.anonymous(max(sectors * SECTOR, len(content)))
        file.write(0, content)
        return cls(file)

    def read(self, sector: int, count: int) -> bytes:
        check_range(self, sector, count)
        return self._file.read(sector * SECTOR, count * SECTOR)

    def write(self, sector: int, data: bytes) -> None:
        check_write(self, sector, data)
        self._file.write(sector * SECTOR, data)

    def flush(self) -> None:
        if not self.read_only:
            self._file.flush()

    def discard(self, sector: int, count: int) -> None:
        check_write(self, sector, b"")
        check_range(self, sector, count)
        self._file.punch(sector * SECTOR, count * SECTOR)

    def delay(self, length: int) -> int:
        return 0

    def close(self) -> None:
        self._file.close()


def _shared(fd: int) -> bool:
    """Do only readers hold the file?"""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _sync_folder(path: Path) -> None:
    """Make the name of a new file stable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
