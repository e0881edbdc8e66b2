"""Real dumps: all are read, and say what an independent reading of their raw bits says."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from virtproof.probes.ask import Answers, ask
from virtproof.probes.claims import claims
from virtproof.probes.cpus import parse
from virtproof.probes.imports.merge import Dump, import_dumps
from virtproof.probes.snapshot import Snapshot

DATA = Path(os.environ.get("VIRTPROOF_DATA", Path(__file__).parents[4] / "shared" / "data"))


def files(folder: str) -> list[Path]:
    found = sorted(path for path in (DATA / folder).glob("*") if path.is_file())
    if not found:
        pytest.skip(f"no real dumps in {DATA / folder} (set VIRTPROOF_DATA)")
    return found


def read(path: Path) -> Snapshot:
    return import_dumps([Dump(path.name, path.read_bytes())])


def product(name: str) -> Answers:
    (path,) = (path for path in files("cpuid") if name in path.name)
    return ask(read(path))


class Raw:
    """Another reading of a CPUID dump: the text is only searched, no line is interpreted twice."""

    def __init__(self, path: Path) -> None:
        self.text = path.read_text("latin-1")
        self.cpus = max(len(re.findall(r"CPUID 00000000\W", self.text)), 1)

    def bits(self, leaf: int, register: int, bit: int) -> set[bool] | None:
        """The values of a CPUID bit over all CPUs; ``None`` where the dump should list the leaf and does not."""
        word = r"[0-9A-F]{8}"
        rows = re.findall(rf"CPUID {leaf:08X}\W+({word})\W({word})\W({word})\W({word})(?! \[SL 0[1-9])", self.text)
        highest = re.findall(rf"CPUID {leaf & 0x80000000:08X}\W+({word})", self.text)
        if not highest or not leaf & 0x8000_0000 <= int(highest[0], 16) < (leaf & 0x8000_0000) + 0x10000:
            return {False}
        if leaf > int(highest[0], 16):
            return {False}
        return {bool(int(row[register], 16) >> bit & 1) for row in rows} if rows else None

    def msr(self, index: int, bit: int) -> set[bool]:
        rows = re.findall(
            rf"MSR {index:08X}:?\s+([0-9A-F]{{4}})-([0-9A-F]{{4}})-([0-9A-F]{{4}})-([0-9A-F]{{4}})", self.text
        )
        return {bool(int("".join(row), 16) >> bit & 1) for row in rows}


CPUID_BITS = {
    "vmx.cpuid": (1, 2, 5),
    "svm.cpuid": (0x8000_0001, 2, 2),
    "npt.cpuid": (0x8000_000A, 3, 0),
    "cpu.nx": (0x8000_0001, 3, 20),
    "cpu.long_mode": (0x8000_0001, 3, 29),
    "cpu.smep": (7, 1, 7),
    "hypervisor.present": (1, 2, 31),
}
MSR_BITS = {"ept.control": (0x48B, 33), "vmx.control.vpid": (0x48B, 37), "vmx.control.unrestricted_guest": (0x48B, 39)}


def test_every_cpuid_dump_says_what_its_raw_bits_say():
    known = dict.fromkeys([*CPUID_BITS, *MSR_BITS], 0)
    for path in files("cpuid"):
        raw, answers = Raw(path), ask(read(path))
        for fact, place in CPUID_BITS.items():
            values = raw.bits(*place)
            expected = next(iter(values)) if values and len(values) == 1 else None
            assert answers.value(fact) is expected, (path.name, fact)
            known[fact] += expected is True
        for fact, (index, bit) in MSR_BITS.items():
            values = raw.msr(index, bit)
            assert answers.value(fact) is (next(iter(values)) if len(values) == 1 else None), (path.name, fact)
            known[fact] += values == {True}
    assert all(known.values()), known


def test_every_cpu_of_every_dump_is_there():
    most = 0
    for path in files("cpuid"):
        snapshot = read(path)
        assert len(parse(snapshot["cpus"])) == Raw(path).cpus, path.name
        assert snapshot["cpuid"]["how"]
        most = max(most, len(parse(snapshot["cpus"])))
    assert most == 64


# fmt: off
PRODUCTS = [
    #  dump                        fact                              value
    ("0B00F21_K20_Turin",          "svm.cpuid",                      True),
    ("0B00F21_K20_Turin",          "npt.cpuid",                      True),
    ("0B00F21_K20_Turin",          "cpu.count",                      64),
    ("0020FF0_K8_Venice",          "npt.cpuid",                      False),
    ("0040F33_K8_Windsor",         "svm.cpuid",                      True),
    ("0040F33_K8_Windsor",         "npt.cpuid",                      False),
    ("0010677_Yorkfield",          "vmx.cpuid",                      True),
    ("00106E0_Lynnfield",          "vmx.cpuid",                      True),
    ("00206D7_SandyBridgeE_00",    "ept.control",                    True),
    ("00206D7_SandyBridgeE_00",    "vmx.control.unrestricted_guest", True),
    ("B0671_RaptorLake_14",        "ept.control",                    True),
    ("0000F34_P4_Prescott",        "vmx.cpuid",                      False),
]


# What the MSRs of some are not there to say; a generation is known by its model.
SILICON = [
    ("0010677_Yorkfield",          "vmx",                            "yes"),  # Penryn
    ("0010677_Yorkfield",          "ept",                            "no"),
    ("00006F2_Conroe",             "ept",                            "no"),
    ("0000F68_P4_Tulsa",           "ept",                            "no"),
    ("00106E0_Lynnfield",          "ept",                            "yes"),
    ("00106E0_Lynnfield",          "vpid",                           "yes"),
    ("00106E0_Lynnfield",          "unrestricted_guest",             "no"),
    ("00206C1_Gulftown",           "unrestricted_guest",             "yes"),
    ("0050656_CascadeLakeSP",      "unrestricted_guest",             "yes"),
    ("0030673_Silvermont3",        "unrestricted_guest",             "yes"),
    ("00006F1_CNA_Isaiah",         "ept",                            "unknown"),
    ("0B00F21_K20_Turin",          "npt",                            "yes"),
    ("0B00F21_K20_Turin",          "ept",                            "n/a"),
    ("0040F33_K8_Windsor",         "npt",                            "no"),
    ("0020FF0_K8_Venice",          "svm",                            "no"),
    ("0910F00_Hygon_01",           "npt",                            "yes"),
]
# fmt: on


@pytest.mark.parametrize(("name", "claim", "silicon"), SILICON)
def test_the_silicon_of_products(name, claim, silicon):
    found = {one.name: one for one in claims(product(name))}
    assert found[claim].silicon == silicon


def test_generations_agree_with_the_capability_msrs_of_every_dump():
    both = 0
    for path in files("cpuid"):
        answers = ask(read(path))
        for msr, generation in (
            ("ept.control", "vmx.generation.ept"),
            ("vmx.control.vpid", "vmx.generation.ept"),
            ("vmx.control.unrestricted_guest", "vmx.generation.unrestricted_guest"),
        ):
            if None not in (answers.value(msr), answers.value(generation)):
                assert answers.value(msr) == answers.value(generation), (path.name, msr)
                both += 1
    assert both > 30


@pytest.mark.parametrize(("name", "fact", "value"), PRODUCTS)
def test_products_are_what_they_are(name, fact, value):
    assert product(name).value(fact) == value


def test_every_acpi_dump_is_read_whole():
    seen = {"DMAR": 0, "IVRS": 0, "APIC": 0}
    for path in files("acpi"):
        snapshot = read(path)
        raw = path.read_text("latin-1")
        for signature in seen:
            there = f"\n{signature} @" in f"\n{raw}"
            assert (signature in snapshot["acpi"]["tables"]) is there, (path.name, signature)
            seen[signature] += there
        for name, table in snapshot["acpi"]["tables"].items():
            assert table["signature"] == name.rstrip("0123456789") or name == "TPM2", (path.name, name)
            assert "length differs" not in table["checksum"], (path.name, name)
    assert seen["APIC"] == len(files("acpi"))
    assert seen["DMAR"]
    assert seen["IVRS"]
