"""The initrd of the image, from parts of a few bytes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lab.test_initramfs import read
from virtproof.lab import debian
from virtproof.lab.image import contents
from virtproof.lab.initramfs import Archive
from virtproof.lab.missing import Missing


@pytest.fixture
def busybox(tmp_path, monkeypatch) -> Path:
    root = tmp_path / "busybox"
    (root / "bin").mkdir(parents=True)
    (root / "bin/busybox").write_bytes(b"busybox")
    monkeypatch.setattr(debian, "unpacked", lambda package: root)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return root


def test_what_the_kernel_and_the_image_call_is_where_they_look(busybox, tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "CERTIFICATES", tmp_path / "authorities")
    (tmp_path / "authorities").write_bytes(b"-----BEGIN CERTIFICATE-----")
    archive = Archive()
    contents._add_base(archive)
    entries = read(archive.data())
    assert entries["sbin/modprobe"].data == b"../bin/busybox"
    assert entries["init"].data.startswith(b"#!/bin/sh\n")
    assert entries["init"].mode & 0o111
    assert entries["etc/udhcpc"].mode & 0o111
    for name in ("findfs", "udhcpc", "umount", "mount", "modprobe", "ip", "dmesg", "poweroff", "sleep"):
        assert entries[f"bin/{name}"].data == b"busybox"
    assert [entry.data for entry in entries.values()].count(b"-----BEGIN CERTIFICATE-----") == 1


@pytest.mark.parametrize("size", range(1, 9))
def test_parts_may_follow_each_other(busybox, size):
    if shutil.which("zstd") is None:
        pytest.skip("no zstd on this machine")
    data = bytes(range(size)) * size
    path = contents._compressed("part", str(size), lambda: data)
    packed = path.read_bytes()
    assert len(packed) % 4 == 0
    done = subprocess.run(["zstd", "-dc"], input=packed, capture_output=True, check=False)
    assert done.stdout == data  # whatever zstd says of the padding


def test_without_zstd_its_package_is_named(busybox, monkeypatch):
    monkeypatch.setattr(contents, "ZSTD", ("zstd-that-is-not-there",))
    with pytest.raises(Missing, match="there is no zstd") as fault:
        contents._compressed("part", "x", lambda: b"data")
    assert fault.value.remedy == "apt-get install zstd"
