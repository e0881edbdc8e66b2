"""The output of ``cpuid -r``, the Linux tool's raw form.

    CPU 0:
       0x00000007 0x00: eax=0x00000001 ebx=0xf1bf07ab ecx=0x00405fc6 edx=0x00000010

``cpuid -1 -r`` prints one CPU, under ``CPU:``.
"""

from __future__ import annotations

import re

from virtproof.probes.imports.part import Part, cpu_number, text_of
from virtproof.probes.imports.registers import Registers

TOOL = "output of cpuid -r"
LINE = re.compile(
    r"\s*0x([0-9a-f]{8}) 0x([0-9a-f]{2,8}): eax=0x([0-9a-f]{8}) ebx=0x([0-9a-f]{8})"
    r" ecx=0x([0-9a-f]{8}) edx=0x([0-9a-f]{8})"
)
HEADING = re.compile(r"CPU(?: (\d+))?:\s*$")
LOOKS = re.compile(r"^\s*0x[0-9a-f]{8} 0x[0-9a-f]{2,8}: eax=0x[0-9a-f]{8} ebx=0x", re.MULTILINE)


def looks_like(data: bytes) -> bool:
    return LOOKS.search(text_of(data)) is not None


def parse(data: bytes) -> Part:
    """The dump.  Raises ``Fault`` where it lists a CPU or more leaves than a host can have."""
    registers = Registers(TOOL)
    cpu, numbered = 0, False
    for line in text_of(data).split("\n"):
        if found := LINE.match(line):
            leaf, sub, a, b, c, d = (int(word, 16) for word in found.groups())
            registers.leaf(cpu, leaf, sub, (a, b, c, d))
        elif found := HEADING.match(line):
            cpu = cpu_number(found[1], f"read the {TOOL}") if found[1] else 0
            numbered = numbered or found[1] is not None
    return Part(registers.sections(), tuple(sorted(registers.leaves)), all_cpus=numbered)
