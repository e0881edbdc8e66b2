"""A large host: what its CPUs say alike is stored once, what tells them apart must not make the snapshot large."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from virtproof.probes.ask import ask
from virtproof.probes.collect import collect
from virtproof.probes.snapshot import dumps, loads
from virtproof.spec.x86.msr_presence import PRESENCE

CPUS = 256
LIMIT = 1 << 20


def leaf(cpu, leaf, sub):
    """A two-socket EPYC with all the leaves there are, and its APIC ids wherever a processor gives them."""
    match leaf, sub:
        case 0x0, _:
            return 0x23, 0x68747541, 0x444D4163, 0x69746E65
        case 0x1, _:
            return 0x00B00F21, cpu << 24 | 0x800, 0x7EF8320B, 0x178BFBFF
        case 0xB | 0x8000_0026, n if n < 4:
            return 1 + 4 * n, 2 + 4 * n, n | n + 1 << 8, cpu
        case 0x8000_0000, _:
            return 0x8000_0028, 0, 0, 0
        case 0x8000_0001, _:
            return 0x00B00F21, 0x40000000, 0x75C237FF, 0x2FD3FBFF
        case 0x8000_000A, _:
            return 1, 0x8000, 0, 0xFFBFBDFF
        case 0x8000_001E, _:
            return cpu, cpu >> 1 | 1 << 8, cpu >> 7, 0
        case 0xB | 0x8000_0026, _:
            return 0, 0, sub, cpu
        case _:
            return 0x01020304, 0x05060708, 0x0A0B0C0D, 0x0E0F1011


@pytest.fixture
def large(amd):
    """256 CPUs, each with an APIC id, a host state-save area and a memory type range register of its own."""
    amd.file("/sys/devices/system/cpu/online", f"0-{CPUS - 1}\n")
    amd.cpus = CPUS
    amd.cpuinfo("fpu svm npt " + "word" * 400)

    @contextmanager
    def cpuid(cpu):
        yield lambda number, sub: leaf(cpu, number, sub)

    @contextmanager
    def msr(cpu):
        own = cpu << 12
        values = {0xFE: 0x50A, 0xC001_0117: 0x1_0000_0000 + own, 0x200: 0x2_0000_0000 + own}
        yield lambda index: values.get(index, 0x1_0000_0000 + index)

    return collect(str(amd.root), cpuid_ways=[("the test's table", cpuid)], msr_opener=msr)


def test_a_snapshot_of_256_cpus_is_below_a_mebibyte(large):
    assert len(large["cpuid"]["values"]["8000001e.00"]) == CPUS
    assert len(large["msr"]["values"]["0xc0010117"]) == CPUS
    assert len(large["msr"]["values"]) + len(large["msr"]["absent"]) == len(PRESENCE)
    assert len(large["cpuid"]["values"]) > 150
    assert len(dumps(large)) < LIMIT


def test_its_facts_are_those_of_one_cpu(large):
    answers = ask(loads(dumps(large)))
    assert answers.value("npt.cpuid") is True
    assert answers["npt.cpuid"].seen[0].cpus == "0-255"
    assert answers.value("svm.asids") == 0x8000
    assert answers.value("mtrr.uniform") is False
    assert answers.value("svm.host_save_set") is True
    assert answers.value("svm.host_save") is None
    assert answers["svm.host_save"].answer.reason.startswith("the CPUs differ")
