import errno
import os
from pathlib import Path

import pytest

from virtproof.cli import folder
from virtproof.spec.fault import Fault

FILES = {"run.json": b"new", "report.html": b"new"}


def test_files_appear_with_their_content_and_nothing_else(tmp_path: Path) -> None:
    folder.prepare(tmp_path / "a" / "out")
    folder.publish(tmp_path / "a" / "out", FILES)
    assert {p.name: p.read_bytes() for p in (tmp_path / "a" / "out").iterdir()} == FILES


def test_files_can_be_read_by_whom_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        folder.publish(tmp_path, FILES)
    finally:
        os.umask(before)
    assert (tmp_path / "run.json").stat().st_mode & 0o777 == 0o644


def test_a_folder_that_cannot_be_made_is_found_when_preparing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Fault, match="--out"):
        folder.prepare(tmp_path / "file" / "out")


def test_a_file_in_place_of_the_folder_is_found_when_preparing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Fault, match="exists"):
        folder.prepare(tmp_path / "file")


def test_a_folder_that_takes_no_files_is_found_when_preparing() -> None:
    with pytest.raises(Fault, match="--out"):
        folder.prepare(Path("/proc"))  # root may not write there either


def test_a_full_disk_leaves_the_earlier_reports_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.publish(tmp_path, {"run.json": b"old", "report.html": b"old"})
    synced = []

    def full_at_the_second_file(fd: int) -> None:
        synced.append(fd)
        if len(synced) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full_at_the_second_file)
    with pytest.raises(Fault, match="No space left on device"):
        folder.publish(tmp_path, FILES)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"run.json": b"old", "report.html": b"old"}
