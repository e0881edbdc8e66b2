"""Facts about real processors, against an independent reading of the raw bits and against what the products are."""

from __future__ import annotations

import pytest

from virtproof.probes.ask import ask
from virtproof.probes.claims import claims
from virtproof.results import Layer

WORD = {True: Layer.YES, False: Layer.NO}


def raw(leaves, leaf, column, bit):
    """A CPUID bit, read without any of our tables."""
    highest = leaves.get((leaf & 0x8000_0000, 0), (0, 0, 0, 0))[0]
    if highest < leaf or highest & 0x8000_0000 != leaf & 0x8000_0000:
        return False
    return bool(leaves.get((leaf, 0), (0, 0, 0, 0))[column] >> bit & 1)


def test_every_dump_says_what_its_raw_bits_say(dumps, make_machine):
    assert len(dumps) > 50
    seen = {"vmx": 0, "svm": 0, "npt": 0, "ept": 0}
    for name, (leaves, msrs) in dumps.items():
        assert {(0, 0), (1, 0)} <= leaves.keys(), f"{name}: the test did not understand the dump"
        answers = ask(make_machine(name, leaves, msrs).collect())
        truth = {
            "vmx.cpuid": raw(leaves, 1, 2, 5),
            "svm.cpuid": raw(leaves, 0x8000_0001, 2, 2),
            "npt.cpuid": raw(leaves, 0x8000_000A, 3, 0),
            "cpu.nx": raw(leaves, 0x8000_0001, 3, 20),
            "cpu.long_mode": raw(leaves, 0x8000_0001, 3, 29),
            "cpu.smep": raw(leaves, 7, 1, 7),
            "cpu.umip": raw(leaves, 7, 2, 2),
        }
        for fact, value in truth.items():
            assert answers.value(fact) is value, (name, fact)
        if 0x48B in msrs:
            assert answers.value("ept.control") is bool(msrs[0x48B] >> 33 & 1), name
            seen["ept"] += bool(msrs[0x48B] >> 33 & 1)
        else:  # a processor without VMX has no EPT; one with it, whose capabilities nobody read, may have it
            assert answers.value("ept.control") is (None if truth["vmx.cpuid"] else False), name
        seen["vmx"] += truth["vmx.cpuid"]
        seen["svm"] += truth["svm.cpuid"]
        seen["npt"] += truth["npt.cpuid"]
    assert all(seen.values()), seen


# fmt: off
PRODUCTS = [
    #  dump                        claim                 silicon
    ("0B00F21_K20_Turin",          "svm",                Layer.YES),
    ("0B00F21_K20_Turin",          "npt",                Layer.YES),
    ("0A10F11_K19_Genoa",          "npt",                Layer.YES),
    ("0020FF0_K8_Venice",          "svm",                Layer.NO),
    ("0040F33_K8_Windsor",         "svm",                Layer.YES),
    ("0040F33_K8_Windsor",         "npt",                Layer.NO),
    ("0100F21_K10_Barcelona",      "npt",                Layer.YES),
    ("Hygon_01",                   "npt",                Layer.YES),
    ("0010676_Harpertown",         "vmx",                Layer.YES),
    ("0010677_Yorkfield",          "vmx",                Layer.YES),
    ("00306F2_HaswellE2",          "ept",                Layer.YES),
    ("00306F2_HaswellE2",          "unrestricted_guest", Layer.YES),
    ("00006E4_PM_Yonah",           "svm",                Layer.NOT_APPLICABLE),
    ("0000F34_P4_Prescott",        "vmx",                Layer.NO),
    ("Crusoe",                     "vmx",                Layer.NO),
]
# fmt: on


@pytest.mark.parametrize(("product", "claim", "silicon"), PRODUCTS)
def test_products_are_what_they_are(dumps, make_machine, product, claim, silicon):
    ((name, (leaves, msrs)),) = ((name, dump) for name, dump in dumps.items() if product in name)
    found = {one.name: one for one in claims(ask(make_machine(name, leaves, msrs).collect()))}
    assert found[claim].silicon is silicon
