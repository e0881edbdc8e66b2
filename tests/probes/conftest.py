"""Hosts that do not exist: a file tree, registers of each CPU, and a stand-in for /dev/kvm."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from virtproof.kvm import CpuidEntry, KvmUnavailable
from virtproof.probes.collect import collect
from virtproof.probes.snapshot import Snapshot, checked
from virtproof.spec.kvm import Cap

Leaf = tuple[int, int, int, int]

# A Xeon and an EPYC, reduced to the leaves that facts ask for: what their manuals say such a processor answers.
INTEL: dict[tuple[int, int], Leaf] = {
    (0x0, 0): (0x16, 0x756E6547, 0x6C65746E, 0x49656E69),
    (0x1, 0): (0x000606A6, 0x00100800, 0x7FFEFBFF, 0xBFEBFBFF),
    (0x7, 0): (0, 0xF3BFB7EF, 0x40417F5E, 0xBC040412),
    (0x8000_0000, 0): (0x8000_0008, 0, 0, 0),
    (0x8000_0001, 0): (0, 0, 0x121, 0x2C100800),
    (0x8000_0007, 0): (0, 0, 0, 0x100),
    (0x8000_0008, 0): (0x3934, 0, 0, 0),
}
INTEL_MSRS = {
    0x1B: 0xFEE0_0D00,
    0x3A: 0x5,
    0x1A0: 0x85_0089,
    0x480: 0x00DA_0400_0000_0004,
    0x481: 0x0000_00FF_0000_0016,
    0x482: 0xFFF9_FFFE_0401_E172,
    0x48B: 0x0257_7FFF_0000_0000,
    0x48C: 0x0000_0F01_0673_4141,
}
AMD: dict[tuple[int, int], Leaf] = {
    (0x0, 0): (0x10, 0x68747541, 0x444D4163, 0x69746E65),
    (0x1, 0): (0x00A10F11, 0x00400800, 0x7EFA320B, 0x178BFBFF),
    (0x7, 0): (1, 0xF1BF97A9, 0x00405FCE, 0x10000010),
    (0x8000_0000, 0): (0x8000_0028, 0x68747541, 0x444D4163, 0x69746E65),
    (0x8000_0001, 0): (0x00A10F11, 0x40000000, 0x75C237FF, 0x2FD3FBFF),
    (0x8000_0007, 0): (0, 0, 0, 0x6799),
    (0x8000_0008, 0): (0x3934, 0, 0, 0),
    (0x8000_000A, 0): (1, 0x8000, 0, 0x1EBFBCFF),
}
AMD_MSRS = {0x1B: 0xFEE0_0900, 0xC001_0114: 0x8}
BOOT_FLAGS = "fpu msr pae lm nx pdpe1gb constant_tsc nonstop_tsc smep smap umip x2apic"


def with_bit(
    leaves: dict[tuple[int, int], Leaf], leaf: int, column: int, bit: int, on: bool
) -> dict[tuple[int, int], Leaf]:
    """The leaves with one bit changed."""
    registers = list(leaves[leaf, 0])
    registers[column] = registers[column] | 1 << bit if on else registers[column] & ~(1 << bit)
    return {**leaves, (leaf, 0): (registers[0], registers[1], registers[2], registers[3])}


class FakeKvm:
    """What probes ask of /dev/kvm; offers guests what the processor has."""

    def __init__(self, leaves: dict[tuple[int, int], Leaf], busy: bool = False) -> None:
        self.leaves, self.busy = leaves, busy

    def __enter__(self) -> FakeKvm:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def api_version(self) -> int:
        return 12

    def check_extension(self, cap: Cap) -> int:
        return 1

    def supported_cpuid(self) -> tuple[CpuidEntry, ...]:
        return tuple(CpuidEntry(leaf, sub, 0, *registers) for (leaf, sub), registers in self.leaves.items())

    def emulated_cpuid(self) -> tuple[CpuidEntry, ...]:
        return (CpuidEntry(0x1, 0, 0, 0, 0, 1 << 22, 0),)  # MOVBE

    def msr_index_list(self) -> tuple[int, ...]:
        return (0x10, 0x3A)

    def msr_feature_index_list(self) -> tuple[int, ...]:
        return (0x10A,)

    def feature_msrs(self, indices: tuple[int, ...]) -> dict[int, int]:
        return dict.fromkeys(indices, 1)

    def create_vm(self) -> int:
        if self.busy:
            raise KvmUnavailable("kvm-busy", "create a VM", "EBUSY", "stop it")
        return os.open("/dev/null", os.O_RDONLY)


@dataclass
class Machine:
    """A host to be collected.  ``leaves`` and ``msrs`` hold for every CPU but those in ``odd``."""

    root: Path
    leaves: dict[tuple[int, int], Leaf]
    msrs: dict[int, int] | None  # None: no msr device
    cpus: int = 4
    odd: dict[int, tuple[dict[tuple[int, int], Leaf], dict[int, int]]] = field(default_factory=dict)
    kvm: FakeKvm | KvmUnavailable | None = None

    def file(self, path: str, text: str | bytes = "") -> Machine:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode() if isinstance(text, str) else text)
        return self

    def folder(self, *paths: str) -> Machine:
        for path in paths:
            (self.root / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
        return self

    def module(self, name: str, **parameters: str) -> Machine:
        self.folder(f"/sys/module/{name}")
        for parameter, value in parameters.items():
            self.file(f"/sys/module/{name}/parameters/{parameter}", value + "\n")
        return self

    def cpuinfo(self, flags: str, vmx_flags: str = "", microcode: tuple[str, ...] = ()) -> Machine:
        blocks = []
        for cpu in range(self.cpus):
            revision = microcode[cpu] if microcode else "0xd0003a5"
            lines = [f"processor\t: {cpu}", f"microcode\t: {revision}", f"flags\t\t: {flags}"]
            blocks.append("\n".join([*lines, *([f"vmx flags\t: {vmx_flags}"] if vmx_flags else [])]))
        return self.file("/proc/cpuinfo", "\n\n".join(blocks) + "\n")

    def log(self, *lines: str) -> Machine:
        records = [f"6,{number},{number},-;{line}" for number, line in enumerate(("Linux version", *lines))]
        return self.file("/dev/kmsg", "\n".join(records) + "\n")

    def collect(self) -> Snapshot:
        """Collect, and make sure that what comes out is a valid snapshot."""
        self.file("/sys/devices/system/cpu/online", f"0-{self.cpus - 1}\n")

        @contextmanager
        def cpuid(cpu: int) -> Iterator[object]:
            leaves = dict(self.odd.get(cpu, (self.leaves, {}))[0])
            if (1, 0) in leaves:  # every CPU has an APIC id of its own
                a, b, c, d = leaves[1, 0]
                leaves[1, 0] = (a, b & 0xFF_FFFF | (cpu & 0xFF) << 24, c, d)
            yield lambda leaf, sub: leaves.get((leaf, sub), (0, 0, 0, 0))

        @contextmanager
        def msr(cpu: int) -> Iterator[object]:
            if self.msrs is None:
                raise FileNotFoundError(2, "No such file or directory")
            values = self.odd.get(cpu, ({}, self.msrs))[1]

            def read(index: int) -> int:
                if index not in values:
                    raise OSError(5, "Input/output error")
                return values[index]

            yield read

        def open_kvm() -> FakeKvm:
            if isinstance(self.kvm, KvmUnavailable):
                raise self.kvm
            assert self.kvm
            return self.kvm

        return checked(
            collect(
                str(self.root),
                cpuid_ways=[("the test's table", cpuid)],
                msr_opener=msr,
                open_kvm=open_kvm if self.kvm else None,  # type: ignore[arg-type]
            )
        )


def missing_device() -> KvmUnavailable:
    return KvmUnavailable("kvm-device-missing", "open /dev/kvm", "No such file or directory", "")


def acpi(signature: bytes, body: bytes) -> bytes:
    """An ACPI table with a header and a checksum."""
    size = 36 + len(body)
    table = bytearray(signature + size.to_bytes(4, "little") + b"\x01\0" + b"OEMID " + b"OEMTABLE" + bytes(12) + body)
    table[9] = -sum(table) & 0xFF
    return bytes(table)


def furnished(machine: Machine) -> Machine:
    """What every server in order has beside its processor."""
    machine.file("/dev/kvm").file("/dev/net/tun").file("/dev/vhost-net").module("kvm")
    machine.file("/sys/devices/system/cpu/vulnerabilities/meltdown", "Not affected\n")
    machine.file("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")
    machine.file("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "0\n")
    machine.file("/sys/bus/pci/devices/0000:3b:00.0/sriov_totalvfs", "64\n")
    return machine.folder("/sys/kernel/iommu_groups/0")


def healthy_intel(root: Path) -> Machine:
    """A Xeon server in order."""
    machine = furnished(Machine(root, INTEL, INTEL_MSRS, kvm=FakeKvm(INTEL)))
    machine.folder("/sys/class/iommu/dmar0").file(
        "/sys/firmware/acpi/tables/DMAR", acpi(b"DMAR", b"\x2d\x01" + bytes(10))
    )
    machine.module("kvm_intel", ept="Y", unrestricted_guest="Y", vpid="Y", nested="Y", enable_apicv="Y", pml="Y")
    machine.cpuinfo(f"{BOOT_FLAGS} vmx ept vpid", "ept vpid unrestricted_guest")
    return machine.file("/proc/sys/kernel/osrelease", "6.1.0-21-amd64\n").log(
        "DMAR-IR: Enabled IRQ remapping in x2apic mode"
    )


def healthy_amd(root: Path) -> Machine:
    """An EPYC server in order."""
    machine = furnished(Machine(root, AMD, AMD_MSRS, kvm=FakeKvm(AMD)))
    machine.folder("/sys/class/iommu/ivhd0").file("/sys/firmware/acpi/tables/IVRS", acpi(b"IVRS", bytes(12)))
    machine.module("kvm_amd", npt="Y", nested="1", avic="N").cpuinfo(f"{BOOT_FLAGS} svm npt")
    return machine.file("/proc/sys/kernel/osrelease", "6.8.0-40-generic\n").log("AMD-Vi: Interrupt remapping enabled")


def complete_intel(root: Path) -> Machine:
    """A Xeon server on which every claim holds."""
    machine = healthy_intel(root)
    machine.msrs = {**INTEL_MSRS, 0x87: 32 << 32 | 31}
    machine.file("/sys/module/kvm_intel/parameters/tdx", "Y\n").file("/proc/sys/kernel/osrelease", "6.18.1\n")
    remapping, tdx = (
        "DMAR-IR: Enabled IRQ remapping in x2apic mode",
        "virt/tdx: BIOS enabled: private KeyID range [32, 64)",
    )
    return machine.log(remapping, tdx)


def complete_amd(root: Path) -> Machine:
    """An EPYC server on which every claim holds."""
    machine = healthy_amd(root)
    leaves = with_bit(with_bit(AMD, 7, 2, 16, True), 1, 2, 24, True)
    machine.leaves = {**leaves, (0x8000_001F, 0): (0x1F, 0x4173, 1006, 100)}
    machine.msrs = {**AMD_MSRS, 0xC001_0010: 1 << 23, 0xC001_0132: 0x10_0000, 0xC001_0133: 0x20_0000}
    machine.kvm = FakeKvm(machine.leaves)
    machine.module("kvm_amd", npt="Y", nested="1", avic="Y", tsc_scaling="Y", sev="Y", sev_es="Y", sev_snp="Y")
    return machine.file("/proc/sys/kernel/osrelease", "6.18.1\n")


@pytest.fixture
def intel(tmp_path: Path) -> Machine:
    return healthy_intel(tmp_path)


@pytest.fixture
def amd(tmp_path: Path) -> Machine:
    return healthy_amd(tmp_path)


@pytest.fixture
def hosts():  # type: ignore[no-untyped-def]
    """The names of this module that tests need, which importlib mode does not let them import."""
    import types

    return types.SimpleNamespace(
        Machine=Machine, FakeKvm=FakeKvm, INTEL=INTEL, INTEL_MSRS=INTEL_MSRS, AMD=AMD, AMD_MSRS=AMD_MSRS,
        BOOT_FLAGS=BOOT_FLAGS, with_bit=with_bit, missing_device=missing_device,
        healthy_intel=healthy_intel, healthy_amd=healthy_amd, complete_intel=complete_intel,
        complete_amd=complete_amd, acpi=acpi,
    )  # fmt: skip


def data_folder() -> Path:
    """Where real dumps are: $VIRTPROOF_DATA, or shared/data beside the repository."""
    default = Path(__file__).parents[3] / "shared" / "data"
    return Path(os.environ.get("VIRTPROOF_DATA", default))


CPUID_LINE = re.compile(
    r"^CPUID ([0-9A-F]{8})[ :\t]+" + "[- ]".join(["([0-9A-F]{8})"] * 4) + r"(?: \[SL ([0-9A-F]{2})\])?"
)
MSR_LINE = re.compile(r"^MSR ([0-9A-F]{8}):?\s+([0-9A-F]{4})-([0-9A-F]{4})-([0-9A-F]{4})-([0-9A-F]{4})")


def parse_dump(text: str) -> tuple[dict[tuple[int, int], Leaf], dict[int, int]]:
    """The first CPU of a dump in the InstLatx64 form: leaves, MSRs."""
    leaves: dict[tuple[int, int], Leaf] = {}
    msrs: dict[int, int] = {}
    for line in text.splitlines():
        if found := CPUID_LINE.match(line):
            leaf, *registers = (int(found[n], 16) for n in range(1, 6))
            leaves.setdefault(
                (leaf, int(found[6] or "0", 16)), (registers[0], registers[1], registers[2], registers[3])
            )
        elif found := MSR_LINE.match(line):
            msrs.setdefault(int(found[1], 16), int("".join(found[n] for n in range(2, 6)), 16))
    return leaves, msrs


@pytest.fixture(name="data_folder")
def _data_folder() -> Path:
    return data_folder()


@pytest.fixture
def dumps() -> dict[str, tuple[dict[tuple[int, int], Leaf], dict[int, int]]]:
    """All real dumps by name; skips where they are absent."""
    folder = data_folder() / "cpuid"
    if not folder.is_dir():
        pytest.skip(f"no real dumps in {folder} (set VIRTPROOF_DATA)")
    return {path.stem: parse_dump(path.read_text("latin-1")) for path in sorted(folder.glob("*.txt"))}


@pytest.fixture
def make_machine(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Machines in folders of their own."""
    return lambda name, leaves, msrs: partial(Machine, cpus=1)(tmp_path / name, leaves, msrs)
