"""Programs that others wrote, on our devices: SeaBIOS, iPXE, Linux.

They run on the software engine; iPXE on KVM, too, where that is the processor's own virtualization.

What is quick runs everywhere; ``VIRTPROOF_CLIENTS=all`` runs what takes minutes too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.pc import EXITED
from tests.clients.server import Server
from virtproof.kvm import Kvm, KvmUnavailable
from virtproof.lab import initramfs_linux
from virtproof.lab.missing import Missing
from virtproof.spec.fault import Fault
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.engines.software import SoftwareEngine

SEABIOS = Path("/usr/share/seabios/bios-256k.bin")
ROMS = Path("/usr/lib/ipxe/qemu")
BOOTS_IN = 120.0  # seconds; far more than it takes


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.clients)


@pytest.fixture(scope="session")
def engine(software: SoftwareEngine) -> SoftwareEngine:
    return software


@pytest.fixture
def hardware() -> Iterator[KvmEngine]:
    """KVM; skips, with the reason, where it cannot be used, or interprets its guests."""
    try:
        kvm = Kvm.open()
    except KvmUnavailable as fault:
        pytest.skip(str(fault))
    with kvm:
        made = KvmEngine(kvm)
        if made.backend.software is not False:
            pytest.skip(f"{made.backend.name} is not known to run guests by hardware: firmware takes too long on it")
        yield made


@pytest.fixture(scope="session")
def seabios() -> bytes:
    return content(SEABIOS, "seabios")


@pytest.fixture
def slow() -> None:
    """For a test that takes minutes."""
    if os.environ.get("VIRTPROOF_CLIENTS") != "all":
        pytest.skip("takes minutes: VIRTPROOF_CLIENTS=all runs it")


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """Offers a program to boot that ends the machine with STATUS."""
    (tmp_path / "tftp").mkdir()
    (tmp_path / "tftp" / "boot.bin").write_bytes(EXITED.ljust(3000, b"\0"))
    return Server(tmp_path, "boot.bin")


@pytest.fixture
def debian(slow: None) -> initramfs_linux.Kernel:
    """Debian's kernel with all its drivers: the cloud kernel lacks those of e1000 and LSI's controllers."""
    try:
        return initramfs_linux.kernel("amd64")
    except (Missing, Fault) as fault:
        pytest.skip(str(fault))


def content(path: Path, package: str) -> bytes:
    if not path.exists():
        pytest.skip(f"no {path} (Debian: {package})")
    return path.read_bytes()
