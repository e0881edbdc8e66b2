"""``virtproof probe --vmx`` and ``--svm`` on hosts that are written down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from virtproof.cli.app import run
from virtproof.probes.snapshot import SCHEMA, dumps, loads

VENDORS = {
    "GenuineIntel": "00000020 756e6547 6c65746e 49656e69",
    "AuthenticAMD": "00000020 68747541 444d4163 69746e65",
}


def written(folder: Path, vendor: str, ecx: int, **sections: object) -> str:
    leaves = {
        "00000000.00": {VENDORS[vendor]: "0-1"},
        "00000001.00": {f"000606a6 00000000 {ecx:08x} 00000020": "0-1"},
        "80000000.00": {"8000001f 00000000 00000000 00000000": "0-1"},
        "80000001.00": {f"00000000 00000000 {4 if vendor == 'AuthenticAMD' else 0:08x} 00000000": "0-1"},
        "8000000a.00": {"00000001 00008000 00000000 00000003": "0-1"},
        "8000001f.00": {"00000002 00000073 00000010 00000005": "0-1"},
    }
    document = {
        "schema": SCHEMA, "tool": "test", "taken": "2026-01-01T00:00:00Z", "cpus": "0-1",
        "cpuid": {"how": {}, "values": leaves, "unread": []}, **sections,
    }  # fmt: skip
    path = folder / f"{vendor}.json"
    path.write_text(dumps(loads(json.dumps(document))))
    return str(path)


def msrs(values: dict[str, dict[str, str]], obstacle: str = "") -> dict[str, object]:
    unread = [{"what": "*", "cpus": "0-1", "reason": obstacle}] if obstacle else []
    return {"how": {}, "values": values, "unread": unread}


def row(text: str, term: str) -> list[str]:
    """The words behind a field's name, the first time it is shown."""
    (line, *_) = (line for line in text.splitlines() if f" {term} " in line)
    return line.split(term)[1].split("  ")


def words(text: str, term: str) -> list[str]:
    return [word.strip() for word in row(text, term) if word.strip()]


def test_vmx_bit_by_bit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {
        "0x3a": {"0x5": "0-1"},
        "0x480": {"0xda040000000004": "0-1"},
        "0x481": {"0xff00000016": "0-1"},
        "0x48d": {"0xff00000016": "0-1"},
        "0x48b": {"0x200000000": "0", "0x2200000000": "1"},
    }
    file = written(tmp_path, "GenuineIntel", 1 << 5, msr=msrs(values))
    assert run(["probe", "--vmx", "--snapshot", file]) == 0
    said = capsys.readouterr().out
    assert words(said, "VMX: virtual machine extensions") == ["yes"]
    assert words(said, "enable VMX outside SMX operation") == ["yes"]
    assert words(said, "VMCS revision identifier") == ["4"]
    assert words(said, "process posted interrupts") == ["yes"]
    assert words(said, "enable EPT") == ["yes"]
    assert words(said, "enable VPID") == ["no (CPUs 0), yes (CPUs 1)"]
    assert words(said, "HLT exiting") == ["unknown"]
    assert "IA32_VMX_PINBASED_CTLS (481H), TRUE 48DH" in said
    assert max(map(len, said.splitlines())) < 160


def test_without_msrs_kvm_is_asked_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kvm = {"feature_msrs": {"0x48b": "0x200000000"}, "unread": []}
    obstacle = "/dev/cpu/N/msr: Permission denied"
    file = written(tmp_path, "GenuineIntel", 1 << 5, msr=msrs({}, obstacle), kvm=kvm)
    assert run(["probe", "--vmx", "--snapshot", file]) == 0
    said = capsys.readouterr().out
    assert said.count(obstacle) == 1
    assert "KVM's guests  0x200000000" in said
    assert words(said, "enable EPT") == ["unknown", "yes"]
    assert words(said, "enable VPID") == ["unknown", "no"]
    assert words(said, "activate secondary controls") == ["unknown"]


def test_svm_bit_by_bit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, "AuthenticAMD", 0, msr=msrs({"0xc0010114": {"0x18": "0-1"}}))
    assert run(["probe", "--svm", "--snapshot", file]) == 0
    said = capsys.readouterr().out
    assert words(said, "NP: nested paging") == ["yes"]
    assert words(said, "AVIC: virtual interrupt controller") == ["no"]
    assert words(said, "SVMDIS: EFER.SVME cannot be set") == ["yes"]
    assert words(said, "CbitPosition: page table bit of encryption") == ["51"]
    assert words(said, "NASID: address-space identifiers") == ["32768"]


def test_nothing_to_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, "AuthenticAMD", 0)
    assert run(["probe", "--vmx", "--snapshot", file]) == 0
    said = capsys.readouterr().out
    assert "There is no VMX here" in said
    assert "IA32_VMX_BASIC" not in said


def test_tables_are_for_people(tmp_path: Path) -> None:
    assert run(["probe", "--svm", "--json", "--snapshot", written(tmp_path, "AuthenticAMD", 0)]) == 64
