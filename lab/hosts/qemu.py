"""QEMU with its own processor, TCG: the command line that boots a machine."""

from __future__ import annotations

import shutil
from pathlib import Path

from virtproof.lab.hosts.machine import Machine
from virtproof.lab.missing import Missing

PROGRAM = "qemu-system-x86_64"


def command(machine: Machine, folder: Path, console: Path) -> list[str]:
    """The command that boots ``machine``: debug port on standard output, serial port in ``console``.

    ``folder`` is for its files.  Raises ``Missing`` where QEMU is not installed.
    """
    if shutil.which(PROGRAM) is None:
        raise Missing("boot a lab host", f"no {PROGRAM} on this machine", "apt-get install qemu-system-x86")
    initrd = folder / "initrd"
    with initrd.open("wb") as whole:
        for part in machine.initrds:
            with part.open("rb") as source:
                shutil.copyfileobj(source, whole, 1 << 20)
    devices = [word for device in machine.devices for word in ("-device", device)]
    return [
        PROGRAM, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-accel", "tcg", "-machine", "q35", "-cpu", machine.cpu, "-smp", str(machine.cpus), "-m", str(machine.memory),
        "-serial", f"file:{console}",
        "-chardev", "stdio,id=debug,signal=off", "-device", "isa-debugcon,iobase=0xe9,chardev=debug",
        *devices,
        "-kernel", str(machine.kernel), "-initrd", str(initrd), "-append", machine.command_line,
    ]  # fmt: skip
