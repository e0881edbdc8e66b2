"""How values are read: what stands in the way is said, and nothing personal is kept."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from virtproof.probes.collect import collect
from virtproof.probes.cpus import group, parse, render
from virtproof.probes.snapshot import dumps, loads
from virtproof.probes.sources import acpi, cpuid, files, log
from virtproof.spec.fault import Fault


@pytest.mark.parametrize(("text", "cpus"), [("", ()), ("0", (0,)), ("0-3,8\n", (0, 1, 2, 3, 8)), ("1,3-4", (1, 3, 4))])
def test_cpu_lists_round_trip(text, cpus):
    assert parse(text) == cpus
    assert render(cpus) == text.strip()


@pytest.mark.parametrize(
    "text", ["x", "3-1", "1,1", "-1", "0-99999", "0-8192", "1--2", "٣", "0-", ",", "2,1", "0x1", "1-2-3"]
)
def test_cpu_lists_that_are_none(text):
    with pytest.raises(Fault):
        parse(text)


def test_equal_values_are_stored_once():
    assert group([(0, "a"), (1, "b"), (2, "a"), (3, "a")]) == {"a": "0,2-3", "b": "1"}


def table_of(leaves):
    return lambda leaf, sub: leaves.get((leaf, sub), (0, 0, 0, 0))


def test_leaves_stop_where_the_processor_says():
    leaves = dict(cpuid._leaves(table_of({
        (0, 0): (0xD, 1, 2, 3), (4, 0): (1, 0, 0, 0), (4, 1): (2, 0, 0, 0), (4, 2): (0, 0, 0, 0), (4, 3): (9, 9, 9, 9),
        (0x8000_0000, 0): (0x8000_0001, 0, 0, 0), (0x8000_0001, 0): (0, 0, 4, 0), (0x8000_0002, 0): (7, 7, 7, 7),
        (0xD, 0): (7, 0, 0, 0), (0xD, 1): (1, 0, 0, 0), (0xD, 9): (8, 0xA80, 0, 0), (0x4000_0000, 0): (9, 9, 9, 9),
    })))  # fmt: skip
    assert (4, 1) in leaves
    assert (4, 3) not in leaves
    assert (0xD, 9) in leaves
    assert max(leaf for leaf, _ in leaves) == 0x8000_0001
    assert (0x4000_0000, 0) not in leaves  # bare metal: an echo


def test_a_hypervisor_that_poses_as_another_is_read_too():
    virtual = {(0, 0): (1, 0, 0, 0), (1, 0): (0, 0, 1 << 31, 0), (0x4000_0000, 0): (0x4000_0001, 0x7263694D, 1, 1)}
    kvm = (0x4000_0101, 0x4B4D564B, 0x564B4D56, 0x4D)
    leaves = dict(cpuid._leaves(table_of({**virtual, (0x4000_0100, 0): kvm, (0x4000_0101, 0): (7, 0, 0, 0)})))
    assert (leaves[0x4000_0100, 0], leaves[0x4000_0101, 0]) == (kvm, (7, 0, 0, 0))
    for echo in ((0, 0, 0, 0), (0x16, 0x10, 0x10, 0), (0x4000_0101, 0, 0, 0), (0x4000_0101, 0xFFFF_FFFF, 0, 0)):
        leaves = dict(cpuid._leaves(table_of({**virtual, (0x4000_0100, 0): echo})))
        assert (0x4000_0100, 0) not in leaves, echo


def test_every_section_of_enclave_memory_is_read():
    sections = {(0x12, sub): (1, 0, 0x1000, 0) for sub in range(2, 10)}
    leaves = dict(cpuid._leaves(table_of({(0, 0): (0x12, 0, 0, 0), (0x12, 0): (3, 0, 0, 0), **sections})))
    assert [sub for leaf, sub in leaves if leaf == 0x12] == [0, *range(2, 10)]


def test_a_hostile_processor_cannot_make_the_walk_endless():
    leaves = list(cpuid._leaves(lambda leaf, sub: (leaf & 0xC000_0000 | 0xFFFF, 0xFFFF_FFFF, 0xFFFF_FFFF, 0xFFFF_FFFF)))
    assert len(leaves) <= 4 * cpuid.MAX_LEAVES * cpuid.MAX_SUBLEAVES + 0x100


def test_every_obstacle_is_named():
    def refuse(cpu):
        raise PermissionError(13, "Permission denied")

    section = cpuid.read((0, 1), [("first", refuse), ("second", refuse)])
    (entry,) = section["unread"]
    assert entry == {"what": "*", "cpus": "0-1", "reason": "first: Permission denied; second: Permission denied"}


def test_the_device_and_the_native_way_agree():
    """On the machine the tests run on."""
    device, native = cpuid.ways("/")
    cpu = min(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)
    try:
        by_device, by_native = cpuid.read((cpu,), [device]), cpuid.read((cpu,), [native])
    finally:
        assert os.sched_getaffinity(0) == before
    if by_device["unread"] or not by_native["values"]:
        pytest.skip(f"one of the ways cannot be used: {by_device['unread']} {by_native['unread']}")
    volatile = {"0000000d.00", "0000000d.01"}  # sizes follow XCR0, which does not change, but XSS may
    for key in by_native["values"].keys() - volatile:
        assert by_native["values"][key] == by_device["values"][key], key
    assert not any(key.startswith("4") for key in by_native["values"])


def test_only_parameters_about_virtualization_are_kept():
    line = "BOOT_IMAGE=/vmlinuz root=UUID=1-2 intel_iommu=on password=x kvm-intel.nested=1 quiet -- kvm.secret=1"
    assert files.kept_parameters(line) == "intel_iommu=on kvm-intel.nested=1"


def test_files_are_bounded_absent_or_unreadable(tmp_path: Path):
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/osrelease").write_text("6.1\n" + "x" * 100_000)
    (tmp_path / "proc/sys/kernel/tainted").mkdir()
    section = files.read(str(tmp_path))
    assert len(section["values"]["/proc/sys/kernel/osrelease"]) == files.LIMIT
    assert {"what": "/proc/sys/kernel/tainted", "cpus": "", "reason": "Is a directory"} in section["unread"]
    assert "/sys/class/iommu" in section["absent"]


def test_a_fifo_in_a_foreign_tree_does_not_hang(tmp_path: Path):
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    os.mkfifo(tmp_path / "proc/sys/kernel/osrelease")
    assert files.read(str(tmp_path))["values"]["/proc/sys/kernel/osrelease"] == ""


def test_acpi_headers_are_checked(tmp_path: Path):
    folder = tmp_path / "sys/firmware/acpi/tables"
    folder.mkdir(parents=True)
    body = bytearray(b"DMAR" + (48).to_bytes(4, "little") + bytes(40))
    body[9] = -sum(body) & 0xFF
    (folder / "DMAR").write_bytes(body)
    (folder / "IVRS").write_bytes(b"short")
    (folder / "SSDT1").write_bytes(bytes(64))
    (folder / "APIC").write_bytes(b"APIC" + (44).to_bytes(4, "little") + b"\xff" * 36)
    section = acpi.read(str(tmp_path))
    assert section["tables"]["DMAR"]["checksum"] == "ok"
    assert section["tables"]["APIC"]["checksum"] == "wrong"
    assert set(section["tables"]) == {"DMAR", "APIC"}
    assert section["names"] == ["APIC", "DMAR", "IVRS", "SSDT1"]
    assert section["unread"][0]["what"] == "IVRS"


def test_the_log_keeps_what_matters_and_knows_whether_it_is_whole(tmp_path: Path):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kmsg").write_text(
        "6,0,0,-;Linux\n SUBSYSTEM=x\n4,1,1,-;kvm: disabled by bios\n6,2,2,-;usb 1-1: new\n"
    )
    whole = log.read(str(tmp_path))
    assert (whole["lines"], whole["complete"]) == (["kvm: disabled by bios"], True)
    (tmp_path / "dev/kmsg").write_text("6,900,0,-;later\n")
    assert log.read(str(tmp_path))["complete"] is False
    (tmp_path / "dev/kmsg").unlink()
    assert log.read(str(tmp_path))["unread"][0]["reason"] == "/dev/kmsg: No such file or directory"


def test_collecting_this_machine_gives_a_valid_snapshot_and_changes_no_permission():
    snapshot = collect()
    assert loads(dumps(snapshot)) == snapshot
    node = snapshot.node("/dev/kvm")
    if node:
        assert node["mode"] == f"{stat.S_IMODE(os.stat('/dev/kvm').st_mode):04o}"
