"""The archive of an initramfs, read back by a reader of its own."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

import pytest

from virtproof.lab import initramfs_linux
from virtproof.lab.initramfs import Archive
from virtproof.lab.initramfs_linux import Kernel
from virtproof.spec.fault import Fault


@dataclass
class Entry:
    mode: int
    owner: int
    data: bytes
    device: tuple[int, int]


def read(data: bytes) -> dict[str, Entry]:
    """The entries of a newc archive: 110 bytes of header, name, content, each padded to four bytes."""
    entries: dict[str, Entry] = {}
    at = 0
    inodes = set()
    while True:
        assert data[at : at + 6] == b"070701"
        numbers = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        inode, mode, owner, _, _, _, size, _, _, major, minor, length, _ = numbers
        name = data[at + 110 : at + 110 + length - 1].decode()
        assert data[at + 110 + length - 1] == 0
        start = at + (110 + length + 3) // 4 * 4
        if name == "TRAILER!!!":
            assert not data[start:].strip(b"\0")
            return entries
        assert name not in entries
        assert inode not in inodes, "two entries with one inode are one file"
        inodes.add(inode)
        entries[name] = Entry(mode, owner, data[start : start + size], (major, minor))
        at = start + (size + 3) // 4 * 4


def test_entries_come_back_with_their_folders_before_them():
    archive = Archive()
    archive.file("usr/bin/x", b"\x7fELF!", 0o755)
    archive.link("bin", "usr/bin")
    archive.device("dev/null", 1, 3, 0o666)
    archive.folder("tmp", 0o1777)

    entries = read(archive.data())

    assert list(entries) == ["usr", "usr/bin", "usr/bin/x", "bin", "dev", "dev/null", "tmp"]
    assert entries["usr/bin/x"] == Entry(stat.S_IFREG | 0o755, 0, b"\x7fELF!", (0, 0))
    assert entries["bin"].data == b"usr/bin"
    assert stat.S_ISLNK(entries["bin"].mode)
    assert stat.S_ISCHR(entries["dev/null"].mode)
    assert entries["dev/null"].device == (1, 3)
    assert entries["tmp"].mode == stat.S_IFDIR | 0o1777


@pytest.mark.parametrize("size", range(5))
def test_archives_of_any_length_may_follow_each_other(size):
    archive = Archive()
    archive.file("f", bytes(range(size)))
    data = archive.data()

    assert len(data) % 512 == 0
    assert read(data)["f"].data == bytes(range(size))


def test_a_tree_is_taken_over_in_order_and_owned_by_root(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b/run").write_bytes(b"#!")
    (tmp_path / "b/run").chmod(0o700)
    (tmp_path / "a").symlink_to("b/run")
    archive = Archive()
    archive.tree(tmp_path, "opt")

    entries = read(archive.data())

    assert entries["opt/b/run"] == Entry(stat.S_IFREG | 0o755, 0, b"#!", (0, 0))
    assert entries["opt/a"].data == b"b/run"


def test_the_same_content_makes_the_same_bytes(tmp_path):
    for name in ("z", "a", "m"):
        (tmp_path / name).write_text(name)

    def archive() -> bytes:
        made = Archive()
        made.tree(tmp_path)
        return made.data()

    first = archive()
    (tmp_path / "a").touch()
    assert archive() == first
    assert list(read(first)) == ["a", "m", "z"]


@pytest.mark.parametrize("path", ["f", "/absolute", ""])
def test_a_path_that_is_taken_or_not_below_the_root_is_refused(path):
    archive = Archive()
    archive.file("f", b"")
    with pytest.raises(ValueError, match="cannot be added"):
        archive.file(path, b"")


# Kernel modules


def kernel(root: Path, **needs: str) -> Kernel:
    """A kernel with modules that say what they need, as the .modinfo section does."""
    folder = root / "lib/modules/6.1.0-1-amd64/kernel"
    folder.mkdir(parents=True)
    for name, depends in needs.items():
        (folder / f"{name.replace('_', '-')}.ko").write_bytes(
            b"\x7fELF\0license=GPL\0depends=" + depends.encode() + b"\0"
        )
    return Kernel("6.1.0-1-amd64", root)


def test_modules_come_with_what_they_need_and_the_table_for_modprobe(tmp_path):
    machine = kernel(tmp_path, kvm_amd="kvm,ccp", kvm="irqbypass", irqbypass="", ccp="", other="")
    archive = Archive()
    initramfs_linux.add_modules(archive, machine, ["kvm_amd"])

    entries = read(archive.data())
    base = "lib/modules/6.1.0-1-amd64"

    assert {name.removeprefix(f"{base}/kernel/") for name in entries if name.endswith(".ko")} == {
        "kvm-amd.ko", "kvm.ko", "irqbypass.ko", "ccp.ko",
    }  # fmt: skip
    table = entries[f"{base}/modules.dep"].data.decode().splitlines()
    assert "kernel/kvm-amd.ko: kernel/kvm.ko kernel/irqbypass.ko kernel/ccp.ko" in table
    assert "kernel/irqbypass.ko:" in table


def test_a_kernel_without_the_module_is_named(tmp_path):
    with pytest.raises(Fault, match=r"take the module kvm_intel from the kernel 6\.1\.0-1-amd64: it does not have"):
        initramfs_linux.add_modules(Archive(), kernel(tmp_path, kvm=""), ["kvm_intel"])
