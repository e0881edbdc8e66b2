"""The lab's cache: made once, kept by content, and what people are told where there is no room."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from virtproof.lab import cache
from virtproof.spec.fault import Fault


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "virtproof"


def test_an_entry_is_made_once(home):
    calls = []

    def make(path: Path) -> None:
        calls.append(path)
        path.write_text("made")

    first = cache.entry("things", "a", make)
    assert cache.entry("things", "a", make) == first == home / "things/a"
    assert first.read_text() == "made"
    assert len(calls) == 1


def test_what_failed_half_way_is_not_there(home):
    def make(path: Path) -> None:
        path.write_text("half")
        raise Fault("make it", "it broke")

    with pytest.raises(Fault, match="it broke"):
        cache.entry("things", "a", make)
    assert [one.name for one in (home / "things").iterdir()] == [".lock"]


def test_the_oldest_entries_go(home):
    for number, key in enumerate("abcd"):
        path = cache.entry("things", key, Path.mkdir, keep=2)
        os.utime(path, (number, number))
    assert sorted(one.name for one in (home / "things").iterdir()) == [".lock", "c", "d"]


def test_no_room_is_said_before_anything_is_made(home, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(Fault) as fault:
        cache.entry("things", "a", lambda path: pytest.fail("was made"))
    assert "less than 512 MiB are free" in str(fault.value)
    assert "XDG_CACHE_HOME" in fault.value.remedy


def test_a_disk_that_fills_meanwhile_is_a_fault():
    def make(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with pytest.raises(Fault, match="No space left on device") as fault:
        cache.entry("things", "a", make)
    assert fault.value.remedy.startswith("free some space")


def test_a_folder_that_cannot_be_written_is_a_fault(home, monkeypatch):
    home.write_text("a file where the folder belongs")
    with pytest.raises(Fault, match="write to") as fault:
        cache.entry("things", "a", Path.mkdir)
    assert fault.value.remedy.startswith("make the folder writable")
