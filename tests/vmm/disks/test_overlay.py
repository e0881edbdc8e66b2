"""Overlays: the base never changes, and what was flushed survives any loss of power."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from virtproof.spec.fault import Fault
from virtproof.vmm.disks.disk import SECTOR, DiskError
from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.disks.overlay import CLUSTER, Overlay

SECTORS = 3 * CLUSTER // SECTOR + 5  # the last cluster is not whole


class Base(FileDisk):
    """A disk that may only be read."""

    def write(self, sector: int, data: bytes) -> None:
        raise AssertionError("write to the base")

    def flush(self) -> None:
        raise AssertionError("flush of the base")

    def discard(self, sector: int, count: int) -> None:
        raise AssertionError("discard of the base")


def content(sectors: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(sectors * SECTOR)


@pytest.fixture
def base() -> Base:
    return Base.in_memory(content=content(SECTORS))


def test_an_empty_overlay_is_the_base(base: Base) -> None:
    overlay = Overlay.in_memory(base)
    assert overlay.sectors == SECTORS
    assert overlay.read(0, SECTORS) == content(SECTORS)


def test_writes_of_all_sizes_and_places(base: Base) -> None:
    overlay, model, rng = Overlay.in_memory(base), bytearray(content(SECTORS)), random.Random(2)
    for _ in range(300):
        sector = rng.randrange(SECTORS)
        count = min(rng.choice((0, 1, 3, 127, 128, 129, 256, 300)), SECTORS - sector)
        data = rng.randbytes(count * SECTOR)
        overlay.write(sector, data)
        model[sector * SECTOR : sector * SECTOR + len(data)] = data
        at = rng.randrange(SECTORS)
        n = rng.randrange(SECTORS - at + 1)
        assert overlay.read(at, n) == model[at * SECTOR : (at + n) * SECTOR]
    assert base.read(0, SECTORS) == content(SECTORS)


def test_it_is_there_when_opened_again(base: Base, tmp_path: Path) -> None:
    overlay = Overlay.open(base, tmp_path / "o")
    overlay.write(7, b"x" * 1024)
    overlay.flush()
    overlay._store.close()
    again = Overlay.open(base, tmp_path / "o")
    assert again.read(7, 2) == b"x" * 1024
    assert again.read(0, 7) == content(SECTORS)[: 7 * SECTOR]
    assert (tmp_path / "o").stat().st_blocks * 512 < 4 * CLUSTER


def test_discard_gives_back_what_the_overlay_holds(base: Base) -> None:
    overlay = Overlay.in_memory(base)
    overlay.write(0, b"x" * CLUSTER)
    overlay.discard(0, SECTORS)
    assert overlay.read(0, 128) == bytes(CLUSTER)
    assert overlay.read(128, 10) == content(SECTORS)[CLUSTER : CLUSTER + 10 * SECTOR]


@pytest.mark.parametrize(("sector", "count"), [(SECTORS, 1), (SECTORS - 1, 2), (-1, 1)])
def test_nothing_outside_the_disk(base: Base, sector: int, count: int) -> None:
    overlay = Overlay.in_memory(base)
    for attempt in (
        lambda: overlay.read(sector, count),
        lambda: overlay.write(sector, bytes(count * SECTOR)),
        lambda: overlay.discard(sector, count),
    ):
        with pytest.raises(DiskError):
            attempt()


@pytest.mark.parametrize("damage", [b"x", b"virtproof overlay\n".ljust(24, b"\0") + b"\2\0\0\0"])
def test_another_file_is_refused(base: Base, tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "o"
    path.write_bytes(damage)
    with pytest.raises(Fault, match="not an overlay"):
        Overlay.open(base, path)
    assert path.read_bytes() == damage


def test_an_overlay_of_another_disk_is_refused(base: Base, tmp_path: Path) -> None:
    Overlay.open(base, tmp_path / "o")._store.close()
    with pytest.raises(Fault, match="not an overlay of this disk"):
        Overlay.open(FileDisk.in_memory(8), tmp_path / "o")


def test_a_disk_too_large_for_the_map() -> None:
    with pytest.raises(Fault, match="below 32 TiB"):
        Overlay.in_memory(FileDisk.in_memory(1 << 37))


class PowerLoss:
    """A file of which, when power fails, the writes since the last flush are there, are not, or are torn by sectors."""

    def __init__(self) -> None:
        self.stable, self.now = bytearray(), bytearray()
        self.pending: list[tuple[int, bytes]] = []

    @property
    def size(self) -> int:
        return len(self.now)

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self.now[offset : offset + length]).ljust(length, b"\0")

    def write(self, offset: int, data: bytes) -> None:
        self.pending.append((offset, data))
        put(self.now, offset, data)

    def flush(self) -> None:
        self.stable, self.pending = bytearray(self.now), []

    def punch(self, offset: int, length: int) -> None:
        self.write(offset, bytes(length))

    def close(self) -> None: ...

    def fail(self, rng: random.Random) -> PowerLoss:
        share = rng.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        other = PowerLoss()
        for offset, data in self.pending:
            for at in range(0, len(data), SECTOR):
                if rng.random() < share:
                    put(self.stable, offset + at, data[at : at + SECTOR])
        other.stable, other.now = self.stable, bytearray(self.stable)
        return other


def put(image: bytearray, offset: int, data: bytes) -> None:
    image.extend(bytes(max(0, offset + len(data) - len(image))))
    image[offset : offset + len(data)] = data


class Cut(Exception):
    pass


def cut_after(store: PowerLoss, operations: int) -> None:
    """Power fails before the store's so manyth write or flush."""
    left = iter(range(operations))

    def counted(name: str) -> None:
        original = getattr(store, name)

        def operation(*args: object) -> None:
            if next(left, None) is None:
                raise Cut
            original(*args)

        setattr(store, name, operation)

    counted("write")
    counted("flush")


def rounds(rng: random.Random) -> Iterator[tuple[int, bytes] | None]:
    """Writes, and None for a flush."""
    for n in range(rng.randrange(1, 25)):
        if rng.random() < 0.3:
            yield None
        else:
            sector = rng.randrange(SECTORS - 4)
            yield sector, bytes([n + 1]) * SECTOR * rng.randrange(1, 4)


@pytest.mark.parametrize("seed", range(60))
def test_power_fails_at_any_point_and_nothing_flushed_is_lost(seed: int) -> None:
    rng = random.Random(seed)
    base = Base.in_memory(content=content(SECTORS))
    store = PowerLoss()
    overlay = Overlay(base, store)
    may: list[set[bytes]] = [
        {content(SECTORS)[at : at + SECTOR]} for at in range(0, SECTORS * SECTOR, SECTOR)
    ]  # what each sector may hold
    for _ in range(3):  # power fails that often
        cut_after(store, rng.randrange(40))
        try:
            for step in rounds(rng):
                if step is None:
                    now = overlay.read(0, SECTORS)
                    overlay.flush()
                    may = [{now[at : at + SECTOR]} for at in range(0, len(now), SECTOR)]
                else:
                    sector, data = step
                    for n in range(len(data) // SECTOR):
                        may[sector + n].add(data[:SECTOR])
                    overlay.write(sector, data)
        except Cut:
            pass
        store = store.fail(rng)
        overlay = Overlay(base, store)
        found = overlay.read(0, SECTORS)
        for sector, allowed in enumerate(may):
            assert found[sector * SECTOR : (sector + 1) * SECTOR] in allowed, f"sector {sector}"
        store.flush()  # what came back stays
        may = [{found[at : at + SECTOR]} for at in range(0, len(found), SECTOR)]
