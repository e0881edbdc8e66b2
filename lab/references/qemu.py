"""QEMU's own processor (TCG) as a reference: quick, and wrong about much that guests seldom use.

QEMU documentation, "Invocation": -bios, -device isa-debugcon.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from virtproof.lab.references import emulator
from virtproof.lab.references.emulator import Emulator
from virtproof.lab.references.reference import Machine, ReferenceMissing
from virtproof.spec.fault import Fault

PROGRAM = "qemu-system-x86_64"


class Qemu(Emulator):
    """The QEMU on PATH."""

    cpus = ("max,la57=off",)

    def __init__(self, program: str, version: str) -> None:
        super().__init__(program, f"qemu {version}")

    @classmethod
    def find(cls) -> Qemu:
        """Raises ``ReferenceMissing``, and Fault where it cannot be asked for its version."""
        program = shutil.which(PROGRAM)
        if program is None:
            raise ReferenceMissing("find QEMU", f"no {PROGRAM} on this machine", "apt-get install qemu-system-x86")
        text = emulator.output(program, "--version")
        found = re.search(r"version (\d[\w.]*)", text)
        if found is None:
            raise Fault(f"run {program} --version", f"it does not say its version: {text[-200:]}", "install another")
        return cls(program, found[1])

    def command(self, folder: Path, rom: Path, machine: Machine) -> list[str]:
        return [
            self.program, "-accel", "tcg", "-machine", "pc", "-cpu", machine.cpu, "-m", str(machine.memory),
            "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-bios", str(rom),
            "-chardev", "stdio,id=console,signal=off", "-device", "isa-debugcon,iobase=0xe9,chardev=console",
        ]  # fmt: skip
