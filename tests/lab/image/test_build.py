"""Building: kernels that are not there, tools that are missing, and twice the same bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from virtproof.cli.app import run
from virtproof.lab import cache, debian, initramfs_python
from virtproof.lab.image import build, contents, iso, kernels
from virtproof.lab.missing import Missing
from virtproof.spec.fault import Fault

RELEASE = "6.1.0-1-amd64"


def unpacked(root: Path, *releases: str) -> Path:
    for release in releases:
        (root / "boot").mkdir(parents=True, exist_ok=True)
        (root / f"boot/vmlinuz-{release}").write_bytes(b"kernel")
        (root / f"lib/modules/{release}").mkdir(parents=True)
    return root


# Kernels


def test_a_folder_an_image_and_a_package_are_the_same_kernel(tmp_path, monkeypatch):
    root = unpacked(tmp_path / "k", RELEASE)
    monkeypatch.setattr(debian, "unpacked", lambda package: root if package == f"linux-image-{RELEASE}" else None)
    monkeypatch.setattr(debian, "newest_kernel", {"amd64": f"linux-image-{RELEASE}"}.__getitem__)
    for what in (str(root), f"{root}/boot/vmlinuz-{RELEASE}", f"linux-image-{RELEASE}", "linux-image-amd64"):
        found = kernels.find(what)
        assert (found.release, found.root) == (RELEASE, root)
        assert found.image.read_bytes() == b"kernel"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda root: root.mkdir(), "there is no boot/vmlinuz-"),
        (lambda root: None, "there is no boot/vmlinuz-"),
        (lambda root: unpacked(root, "1", "2"), "there is vmlinuz-1, vmlinuz-2"),
        (lambda root: (unpacked(root, "1") / "lib/modules/1").rmdir(), "no folder .*modules/1"),
    ],
)
def test_a_folder_without_one_kernel_is_refused(tmp_path, make, says):
    make(tmp_path / "k")
    with pytest.raises(Fault, match=says):
        kernels.find(f"{tmp_path}/k")


def test_a_file_that_is_no_package(tmp_path, monkeypatch):
    if shutil.which("dpkg-deb") is None:
        pytest.skip("no dpkg-deb on this machine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "x.deb").write_bytes(b"no archive")
    with pytest.raises(Fault, match=r"unpack .*x\.deb: dpkg-deb: error"):
        kernels.find(f"{tmp_path}/x.deb")


def test_the_command_names_a_package_that_does_not_exist(tmp_path, capsys, monkeypatch):
    def unknown(package):
        raise Missing(f"look for the package {package}", f"E: Unable to locate package {package}", debian.UPDATE)

    monkeypatch.setattr(debian, "unpacked", unknown)
    assert run(["image", "build", "-o", str(tmp_path), "--kernel", "linux-image-9-amd64"]) == 4
    said = capsys.readouterr().err
    assert "Unable to locate package linux-image-9-amd64" in said
    assert "apt-get update" in said


# Building


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A kernel and an initrd of a few bytes."""
    root = unpacked(tmp_path / "k", RELEASE)

    def write(kernel, target):
        target.write_bytes(b"initrd of " + kernel.release.encode())

    monkeypatch.setattr(contents, "write_initrd", write)
    return str(root)


def test_the_files_and_their_sums(small, tmp_path):
    out = tmp_path / "new/folder"
    files = build.build(out, kernel=small)
    assert [path.name for path in files] == ["vmlinuz", "initrd.img", "SHA256SUMS"]
    assert (out / "vmlinuz").read_bytes() == b"kernel"
    lines = (out / "SHA256SUMS").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["vmlinuz", "initrd.img"]
    assert all(len(line.split("  ")[0]) == 64 for line in lines)


def test_an_iso_image_of_another_build_does_not_stay(small, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/virtproof.iso").write_bytes(b"old")
    build.build(tmp_path / "out", kernel=small)
    assert not (tmp_path / "out/virtproof.iso").exists()


def test_a_disk_that_is_full(small, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(build.shutil, "disk_usage", lambda path: usage(1, 1, 1000))
    with pytest.raises(Fault, match=r"write the image to .*: less than 256 MiB are free"):
        build.build(tmp_path / "out", kernel=small)


def test_a_folder_that_cannot_be_made(small, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Fault, match=r"write to .*/file/out"):
        build.build(tmp_path / "file/out", kernel=small)


@pytest.mark.parametrize("text", ["", "-1", "yesterday", "1e9", "0", str(1 << 32)])
def test_dates_that_are_none(small, tmp_path, monkeypatch, text):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", text)
    with pytest.raises(Fault, match="SOURCE_DATE_EPOCH"):
        build.build(tmp_path / "out", kernel=small)


@pytest.mark.parametrize("program", iso.PROGRAMS)
def test_a_program_that_is_missing_is_named_with_its_package_before_anything_is_made(
    small, tmp_path, monkeypatch, program
):
    monkeypatch.setattr(iso.shutil, "which", lambda name: None if name == program else "/bin/true")
    with pytest.raises(Missing, match=f"not installed: .*{iso.PROGRAMS[program]}"):
        build.build(tmp_path / "out", kernel=small, with_iso=True)
    assert not (tmp_path / "out").exists()


def test_a_platform_of_grub_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(iso.shutil, "which", lambda name: "/bin/true")
    monkeypatch.setattr(iso, "GRUB", tmp_path)
    with pytest.raises(Missing, match="grub-pc-bin grub-efi-amd64-bin"):
        iso.need()


def test_the_iso_image_is_the_same_every_time_and_boots_both_ways(small, tmp_path, monkeypatch):
    try:
        iso.need()
    except Missing as fault:
        pytest.skip(str(fault))
    made = []
    for epoch in ("1600000000", "1600000000", "1600000001"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
        out = tmp_path / f"out{len(made)}"
        build.build(out, kernel=small, with_iso=True, parameters="virtproof.out=serial")
        made.append((out / "virtproof.iso").read_bytes())
        assert sorted(path.name for path in out.iterdir()) == ["SHA256SUMS", "initrd.img", "virtproof.iso", "vmlinuz"]
    assert made[0] == made[1] != made[2]
    assert made[0][510:512] == b"\x55\xaa"  # a stick is booted by its first sector
    assert made[0].count(b"EFI PART") or b"\xef" in {made[0][446 + 16 * n + 4 : 446 + 16 * n + 5] for n in range(4)}
    assert b"console=ttyS0,115200 quiet virtproof.out=serial\n" in made[0]
    assert b"mitigations=off" not in made[0]


def test_compiled_python_is_the_same_whoever_holds_its_strings():
    source = b"def f(a_name_of_its_own):\n    return a_name_of_its_own.b_name_of_its_own, 'c_string_of_its_own'\n"
    first = initramfs_python._compiled(source, "/x.py")
    held = [sys.intern(f"{one}_of_its_own") for one in ("a_name", "b_name", "c_string")]
    assert initramfs_python._compiled(source, "/x.py") == first
    assert held


@pytest.mark.lab
@pytest.mark.skipif(os.environ.get("VIRTPROOF_LAB") != "all", reason="make lab builds twice")
def test_everything_is_the_same_every_time(tmp_path):
    """From the packages on, with nothing else in the cache, in processes that hash in different ways."""
    sums = []
    for seed in ("1", "2"):
        kept = tmp_path / seed / "virtproof"
        kept.mkdir(parents=True)
        (kept / "packages").symlink_to(cache.folder() / "packages")
        done = subprocess.run(
            [sys.executable, "-m", "virtproof", "image", "build", "--iso", "-o", tmp_path / f"out{seed}"],
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / seed), "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if "not installed" in done.stderr or "on this machine" in done.stderr:
            pytest.skip(done.stderr)
        assert done.returncode == 0, done.stderr
        sums.append((tmp_path / f"out{seed}/SHA256SUMS").read_text())
    assert sums[0] == sums[1]
    assert "virtproof.iso" in sums[0]


# The command line


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--append", "virtproof.out=serial"), "add --iso"),
        (("--iso", "--append", "virtproof.out=ftp://x"), "results go to"),
        (("--iso", "--append", "a; reboot"), "what GRUB passes on"),
        (("--iso", "--append", "a\nb"), "what GRUB passes on"),
    ],
)
def test_parameters_that_would_not_arrive(tmp_path, capsys, words, says):
    assert run(["image", "build", "-o", str(tmp_path), *words]) == 64
    assert says in capsys.readouterr().err
