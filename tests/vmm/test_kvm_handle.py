"""The /dev/kvm handle: every way in which it cannot be had is named, with what to do."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from tests.processes import descriptors
from virtproof import kvm as module
from virtproof.kvm import CpuidEntry, Kvm, KvmError, KvmUnavailable, identify_backend, ioctl, pack_cpuid
from virtproof.spec.kvm import Cap, Ioctl


class FakeKernel:
    """Answers the ioctls of a system handle; a table maps an ioctl to its answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: int) -> None:
        self.answers = {"GET_API_VERSION": 12, "CHECK_EXTENSION": 1, "GET_VCPU_MMAP_SIZE": 12288} | answers
        self.arguments: list[Any] = []
        monkeypatch.setattr(fcntl, "ioctl", self.ioctl)

    def ioctl(self, fd: int, number: int, argument: Any = 0) -> int:
        self.arguments.append(argument)
        answer = self.answers[Ioctl(number).name]
        if answer < 0:
            raise OSError(-answer, os.strerror(-answer))
        return answer


@pytest.fixture
def device(tmp_path: Path) -> str:
    path = tmp_path / "kvm"
    path.touch()
    return str(path)


def unavailable(path: str) -> KvmUnavailable:
    before = descriptors()
    with pytest.raises(KvmUnavailable) as caught:
        Kvm.open(path)
    assert descriptors() == before
    return caught.value


def test_a_missing_device_names_the_modules(tmp_path: Path) -> None:
    fault = unavailable(str(tmp_path / "nothing"))
    assert fault.cause == "kvm-device-missing"
    assert "kvm_intel" in fault.remedy


def test_a_file_that_is_not_the_device_is_no_kvm(device: str) -> None:
    fault = unavailable(device)
    assert fault.cause == "kvm-error"
    assert "not the KVM device" in fault.remedy


@pytest.mark.parametrize(
    ("mode", "gid", "remedy"),
    [
        (0o660, 54321, "usermod -aG 54321"),
        (0o600, 54321, "chmod 660"),
        (0o660, os.getegid(), "you are in it"),
    ],
)
def test_no_permission_says_group_and_mode(monkeypatch: pytest.MonkeyPatch, mode: int, gid: int, remedy: str) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "stat", lambda path: os.stat_result((0o020000 | mode, 0, 0, 1, 0, gid, 0, 0, 0, 0)))
    with pytest.raises(KvmUnavailable) as caught:
        Kvm.open()
    assert caught.value.cause == "kvm-no-permission"
    assert f"mode {mode:04o}" in caught.value.saw
    assert remedy in caught.value.remedy


def test_an_unreadable_directory_is_no_permission_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(KvmUnavailable) as caught:
        Kvm.open()
    assert caught.value.cause == "kvm-no-permission"


def test_a_device_in_use_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(KvmUnavailable) as caught:
        Kvm.open()
    assert caught.value.cause == "kvm-busy"


def test_another_api_version_is_refused(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    FakeKernel(monkeypatch, GET_API_VERSION=11)
    fault = unavailable(device)
    assert fault.cause == "kvm-api-version"
    assert "11" in fault.saw


def test_a_missing_capability_is_named(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    FakeKernel(monkeypatch, CHECK_EXTENSION=0)
    fault = unavailable(device)
    assert fault.cause == "kvm-capability-missing"
    assert "KVM_CAP_IMMEDIATE_EXIT" in fault.saw


def test_a_vm_refused_because_of_another_hypervisor_is_busy(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    FakeKernel(monkeypatch, CREATE_VM=-errno.EBUSY)
    with Kvm.open(device) as kvm, pytest.raises(KvmUnavailable) as caught:
        kvm.create_vm()
    assert caught.value.cause == "kvm-busy"
    assert "VirtualBox" in caught.value.remedy


def test_a_failing_ioctl_names_itself_the_error_and_a_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeKernel(monkeypatch, SET_USER_MEMORY_REGION=-errno.EEXIST)
    with pytest.raises(KvmError) as caught:
        ioctl(3, Ioctl.SET_USER_MEMORY_REGION, b"")
    assert caught.value.tried == "ioctl KVM_SET_USER_MEMORY_REGION"
    assert "EEXIST" in caught.value.saw
    assert "overlaps" in caught.value.saw
    assert caught.value.remedy


def test_every_likely_cause_comes_with_a_remedy() -> None:
    assert all(cause and remedy for cause, remedy in module.LIKELY.values())


@pytest.mark.parametrize(("argument", "passed"), [(0x7FFF_FFFF, 0x7FFF_FFFF), (0xFFFB_D000, 0xFFFB_D000 - (1 << 32))])
def test_a_32_bit_argument_is_passed_as_c_int(monkeypatch: pytest.MonkeyPatch, argument: int, passed: int) -> None:
    kernel = FakeKernel(monkeypatch, SET_TSS_ADDR=0)
    ioctl(3, Ioctl.SET_TSS_ADDR, argument)
    assert kernel.arguments == [passed]


def test_cpuid_entries_are_packed_as_the_kernel_lays_them_out() -> None:
    packed = pack_cpuid([CpuidEntry(1, 2, 3, 4, 5, 6, 7)])
    words = [int.from_bytes(packed[at : at + 4], "little") for at in range(0, len(packed), 4)]
    assert words == [1, 0, 1, 2, 3, 4, 5, 6, 7, 0, 0, 0]


def host(root: Path, *modules: str, flags: str = "", device: bool = True) -> str:
    for name in modules:
        (root / "sys/module" / name).mkdir(parents=True)
    (root / "proc").mkdir()
    (root / "proc/cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu {flags}\n")
    (root / "dev").mkdir()
    if device:
        (root / "dev/kvm").touch()
    return str(root)


@pytest.mark.parametrize(
    ("modules", "flags", "name", "software"),
    [
        (("kvm", "kvm_intel"), "vmx", "kvm_intel", False),
        (("kvm", "kvm_amd"), "svm", "kvm_amd", False),
        (("kvm", "kvm_pvm"), "", "kvm_pvm", True),
        (("kvm_intel", "kvm_amd"), "svm", "kvm_amd", False),
        (("kvm_intel", "kvm_amd"), "", "unknown", None),
        (("kvm_intel", "kvm_pvm"), "vmx", "unknown", None),
        (("kvm",), "vmx", "unknown", None),
    ],
)
def test_the_backend_is_the_module_that_is_there(
    tmp_path: Path, modules: tuple[str, ...], flags: str, name: str, software: bool | None
) -> None:
    backend = identify_backend(host(tmp_path, *modules, flags=flags))
    assert (backend.engine, backend.name, backend.software) == ("kvm", name, software)
    assert backend.detail


def test_without_the_device_there_is_no_backend(tmp_path: Path) -> None:
    assert identify_backend(host(tmp_path, "kvm_intel", flags="vmx", device=False)).engine == "none"


@pytest.mark.kvm
def test_the_real_handle_answers() -> None:
    try:
        kvm = Kvm.open()
    except KvmUnavailable as fault:
        pytest.skip(str(fault))
    with kvm:
        assert kvm.api_version() == 12
        assert kvm.check_extension(Cap.USER_MEMORY) == 1
        assert kvm.supported_cpuid()[0].function == 0
        assert 0x10 in kvm.msr_index_list()  # IA32_TIME_STAMP_COUNTER
        values = kvm.feature_msrs([*kvm.msr_feature_index_list(), 0xFFFF_FFFF])
        assert 0xFFFF_FFFF not in values
