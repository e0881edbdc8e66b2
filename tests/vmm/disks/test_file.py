"""Raw images: what is written is there, also after the file was opened again."""

import os
from pathlib import Path

import pytest

from virtproof.spec.fault import Fault
from virtproof.vmm.disks.disk import DiskError
from virtproof.vmm.disks.file import FileDisk, HostFile


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(b"".join(bytes([n]) * 512 for n in range(16)))
    return path


def test_a_file_is_read_and_written_in_sectors(image: Path) -> None:
    disk = FileDisk.open(image)
    assert disk.sectors == 16
    assert disk.read(3, 2) == b"\3" * 512 + b"\4" * 512
    disk.write(15, b"x" * 512)
    disk.flush()
    disk.close()
    assert image.read_bytes()[15 * 512 :] == b"x" * 512
    assert image.stat().st_size == 16 * 512


def test_a_new_image_is_sparse(tmp_path: Path) -> None:
    disk = FileDisk.create(tmp_path / "new.img", 1 << 31)
    assert disk.sectors == 1 << 31
    assert disk.read((1 << 31) - 1, 1) == bytes(512)
    assert os.stat(tmp_path / "new.img").st_blocks < 100


@pytest.mark.parametrize(("sector", "count"), [(16, 1), (15, 2), (-1, 1), (1 << 60, 1), (0, -1)])
def test_nothing_outside_the_disk(image: Path, sector: int, count: int) -> None:
    disk = FileDisk.open(image)
    with pytest.raises(DiskError):
        disk.read(sector, count)
    with pytest.raises(DiskError):
        disk.discard(sector, count)
    if count > 0:
        with pytest.raises(DiskError):
            disk.write(sector, bytes(512 * count))
    assert image.stat().st_size == 16 * 512


def test_sectors_are_whole(image: Path) -> None:
    with pytest.raises(DiskError, match="no whole sectors"):
        FileDisk.open(image).write(0, b"short")


def test_a_read_only_disk_stays_as_it_is(image: Path) -> None:
    before = image.read_bytes()
    disk = FileDisk.open(image, read_only=True)
    for attempt in (lambda: disk.write(0, bytes(512)), lambda: disk.discard(0, 1)):
        with pytest.raises(DiskError, match="read-only"):
            attempt()
    disk.flush()
    assert image.read_bytes() == before


def test_a_last_sector_that_is_not_whole_ends_in_zeros(tmp_path: Path) -> None:
    path = tmp_path / "odd.img"
    path.write_bytes(b"x" * 700)
    disk = FileDisk.open(path)
    assert disk.sectors == 2
    assert disk.read(1, 1) == b"x" * 188 + bytes(324)


def test_discarded_sectors_read_as_zeros_and_take_no_space(tmp_path: Path) -> None:
    disk = FileDisk.in_memory(2048)
    disk.write(0, b"x" * (1 << 20))
    disk.discard(8, 1024)
    assert disk.read(0, 8) == b"x" * 4096
    assert disk.read(8, 1024) == bytes(512 << 10)
    assert disk.read(1032, 1) == b"x" * 512
    assert disk.sectors == 2048


def test_one_guest_at_a_time_writes_a_file(image: Path) -> None:
    first = FileDisk.open(image)
    for read_only in (False, True):
        with pytest.raises(Fault, match="another guest"):
            FileDisk.open(image, read_only=read_only)
    first.close()
    readers = [FileDisk.open(image, read_only=True) for _ in range(2)]
    with pytest.raises(Fault, match="another guest"):
        FileDisk.open(image)
    assert [reader.read(1, 1) for reader in readers] == [b"\1" * 512] * 2


@pytest.mark.parametrize("kind", ["absent", "folder", "fifo"])
def test_what_is_no_image_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    if kind == "fifo":
        os.mkfifo(path)
    with pytest.raises(Fault):
        FileDisk.open(path)


def test_an_image_is_not_made_over_another(image: Path) -> None:
    with pytest.raises(Fault):
        FileDisk.create(image, 1)
    assert image.stat().st_size == 16 * 512


def test_a_flush_waits_for_the_disk(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    disk = FileDisk.open(image)
    disk.flush()
    assert len(synced) == 1


def test_a_flush_that_failed_once_never_succeeds(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FileDisk.open(image)

    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        with pytest.raises(DiskError, match="Input/output error"):
            disk.flush()
    with pytest.raises(DiskError, match="earlier"):
        disk.flush()


def test_short_reads_and_writes_are_continued(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pread, pwrite = os.pread, os.pwrite
    monkeypatch.setattr(os, "pread", lambda fd, n, at: pread(fd, min(n, 100), at))
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:77], at))
    file = HostFile.open(image)
    file.write(0, bytes(range(256)) * 4)
    assert file.read(0, 1024) == bytes(range(256)) * 4


def test_a_host_error_is_a_disk_error(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FileDisk.open(image)

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("pread", "pwrite", "fsync"):
        monkeypatch.setattr(os, name, fail)
    for attempt in (lambda: disk.read(0, 1), lambda: disk.write(0, bytes(512)), disk.flush):
        with pytest.raises(DiskError, match="No space left"):
            attempt()
