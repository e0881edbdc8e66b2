"""The PC of other people's kernels: memory where it belongs, pages mapped anew, and kvm-unit-tests where they are."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

import pytest

from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.loaders.detect import load
from virtproof.vmm.loaders.image import Kernel
from virtproof.vmm.loaders.layout import HOLE, HOLE_END
from virtproof.vmm.pc import Pc, map_anew

MIB = 1 << 20

# Name, number of CPUs, and how many PASS lines there are at least, on every backend; FAIL is nowhere.
# fmt: off
THEIR_TESTS = (
    ("setjmp",   1, 10),
    ("la57",     1, 1),
    ("idt_test", 1, 4),
    ("smptest",  2, 1),
    ("smptest",  3, 1),
    ("realmode", 1, 100),
    ("lam",      1, 1),
)
# fmt: on


@pytest.mark.kvm
def test_memory_beyond_the_hole(engine: KvmEngine) -> None:
    with Pc(engine, ram=HOLE + MIB, transmit=lambda byte: None) as pc:
        assert [(slot.gpa, slot.end) for slot in pc.machine.memory.slots] == [(0, HOLE), (HOLE_END, HOLE_END + MIB)]


@pytest.mark.kvm
def test_a_page_that_is_mapped_anew_keeps_its_content(engine: KvmEngine) -> None:
    with Pc(engine, ram=MIB, transmit=lambda byte: None) as pc:
        pc.machine.memory.write(0x5000, b"content")
        map_anew(pc.machine.memory, 0x5000)
        map_anew(pc.machine.memory, MIB)  # no memory: nothing to do
        assert pc.machine.memory.read(0x5000, 7) == b"content"


@pytest.mark.kvm
@pytest.mark.parametrize(("name", "vcpus", "passes"), THEIR_TESTS)
@pytest.mark.parametrize("irqchip", ["kernel", "user"])
def test_kvm_unit_tests(
    engine: KvmEngine, irqchip: Literal["kernel", "user"], name: str, vcpus: int, passes: int
) -> None:
    folder = os.environ.get("VIRTPROOF_KUT")
    if not folder:
        pytest.skip("VIRTPROOF_KUT does not name a folder with kvm-unit-tests' x86/*.flat")
    file = Path(folder) / f"{name}.flat"
    if not file.is_file():
        pytest.skip(f"{file} does not exist")
    ram, output = 128 * MIB, bytearray()
    with Pc(engine, ram=ram, vcpus=vcpus, transmit=output.append, irqchip=irqchip) as pc:
        pc.boot(load(Kernel(str(file), file.read_bytes()), ram))
        ended = pc.run(300)
    assert ended == 1, bytes(output)
    assert len(re.findall(rb"^PASS:", output, re.MULTILINE)) >= passes
    assert not re.search(rb"^FAIL:", output, re.MULTILINE)
