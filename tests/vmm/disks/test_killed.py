"""The process that writes is killed at any moment: what it flushed before is in the file."""

from __future__ import annotations

import itertools
import os
import random
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from virtproof.vmm.disks.disk import SECTOR, Disk
from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.disks.overlay import Overlay

SECTORS = 1024
FLUSH_EVERY = 7  # writes


def stamp(number: int) -> bytes:
    return struct.pack("<Q", number) * (SECTOR // 8)


def writes(seed: int) -> Iterator[tuple[int, int]]:
    """Number, from 1, and first sector; each write is of three sectors."""
    rng = random.Random(seed)
    for number in itertools.count(1):
        yield number, rng.randrange(SECTORS - 2)


def opened(kind: str, folder: Path) -> Disk:
    if kind == "raw":
        return FileDisk.open(folder / "raw")
    return Overlay.open(FileDisk.open(folder / "raw", read_only=True), folder / "overlay")


def work(disk: Disk, seed: int, told: int) -> None:
    for number, sector in writes(seed):
        disk.write(sector, stamp(number) * 3)
        if number % FLUSH_EVERY == 0:
            disk.flush()
            os.write(told, struct.pack("<Q", number))


def killed(kind: str, folder: Path, seed: int) -> int:
    """Let a process write until it is killed; return the number of the last write that it knew to be flushed."""
    reading, telling = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            work(opened(kind, folder), seed, telling)
        finally:
            os._exit(1)
    os.close(telling)
    rng = random.Random(seed)
    flushed = 0
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        for _ in range(rng.randrange(1, 12)):
            (flushed,) = struct.unpack("<Q", pipe.read(8))
        for _ in range(rng.randrange(20_000)):  # some moment, not just after a flush
            pass
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        told = [number for (number,) in struct.iter_unpack("<Q", pipe.read())]
    return told[-1] if told else flushed


@pytest.mark.parametrize("kind", ["raw", "overlay"])
@pytest.mark.parametrize("seed", range(6))
def test_what_was_flushed_is_there(tmp_path: Path, kind: str, seed: int) -> None:
    FileDisk.create(tmp_path / "raw", SECTORS).close()
    flushed = killed(kind, tmp_path, seed)
    assert flushed > 0
    found = opened(kind, tmp_path).read(0, SECTORS)
    may: list[set[int]] = [{0} for _ in range(SECTORS)]
    for number, sector in itertools.takewhile(lambda write: write[0] <= flushed + FLUSH_EVERY, writes(seed)):
        for each in range(sector, sector + 3):
            may[each] = may[each] | {number} if number > flushed else {number}
    for sector, allowed in enumerate(may):
        content = found[sector * SECTOR : (sector + 1) * SECTOR]
        assert content in map(stamp, allowed), f"sector {sector}"
    if kind == "overlay":
        assert (tmp_path / "raw").read_bytes() == bytes(SECTORS * SECTOR)
