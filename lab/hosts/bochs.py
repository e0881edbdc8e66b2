"""Bochs: the command that boots a machine from a CD, with the Bochs built here or the distribution's."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from virtproof.lab import cache, debian
from virtproof.lab.hosts import bios
from virtproof.lab.hosts.machine import Machine
from virtproof.lab.missing import Missing
from virtproof.spec.fault import Fault

BUILT = "bochs-3.0"  # in the cache: made by bochs_build
# The distribution's Bochs has no display that needs neither a screen nor a terminal but RFB, which nobody has to watch.
DISPLAYS = {True: "nogui", False: 'rfb, options="timeout=0"'}

_RC = """\
display_library: {display}
romimage: file={bios}
vgaromimage: file={vgabios}
cpu: model={machine.cpu}, count={machine.cpus}, ips=100000000, reset_on_triple_fault=0, ignore_bad_msrs=1
memory: guest={machine.memory}, host={machine.memory}
pci: enabled=1, chipset=i440fx
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path={cd}, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev={console}
port_e9_hack: enabled=1
clock: sync=none, time0=local
log: {log}
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
"""
# Only a panic is logged: Bochs counts its speed in a signal handler that logs too, and waits for ever for the lock
# of the log where it interrupts somebody who logs.
_MENU = """\
DEFAULT linux
PROMPT 0
TIMEOUT 0
LABEL linux
 KERNEL /vmlinuz
 INITRD {initrds}
 APPEND {machine.command_line}
"""


@dataclass(frozen=True, slots=True)
class Bochs:
    """A Bochs to run.  Ours (3.0, without its debugger) is several times as fast as Debian's 2.7."""

    program: str
    ours: bool


def found() -> Bochs:
    """The Bochs of this machine, ours first.  Raises ``Fault`` where there is none."""
    ours = cache.folder() / BUILT / "bochs"
    if ours.exists():
        return Bochs(str(ours), ours=True)
    for name in ("bochs-bin", "bochs"):
        if program := shutil.which(name):
            return Bochs(program, ours=False)
    raise Missing(
        "boot a lab host", "no Bochs on this machine", "virtproof lab build bochs (5 minutes), or apt-get install bochs"
    )


def command(machine: Machine, folder: Path, console: Path) -> list[str]:
    """The command that boots ``machine``: debug port on standard output, serial port in ``console``.

    ``folder`` is for its files.  Debian's Bochs starts in its debugger: it has to be told ``c`` on standard input.
    Raises ``Fault`` where Bochs or a tool to make a CD is missing.
    """
    emulator = found()
    (folder / "bochsrc").write_text(
        _RC.format(
            display=DISPLAYS[emulator.ours],
            bios=bios.image(machine.firmware),
            vgabios=debian.unpacked("vgabios") / "usr/share/vgabios/vgabios.bin",
            machine=machine,
            cd=_cd(machine, folder),
            console=console,
            log=console.with_name("bochs.log"),
        ),
        encoding="utf-8",
    )
    return [emulator.program, "-q", "-f", str(folder / "bochsrc")]


def _cd(machine: Machine, folder: Path) -> Path:
    """A bootable CD with the machine's kernel and initrds."""
    if shutil.which("xorriso") is None:
        raise Missing("make a CD for Bochs", "no xorriso on this machine", "apt-get install xorriso")
    content, image = folder / "cd", folder / "cd.iso"
    loader = content / "isolinux"
    loader.mkdir(parents=True)
    shutil.copy(debian.unpacked("isolinux") / "usr/lib/ISOLINUX/isolinux.bin", loader)
    shutil.copy(debian.unpacked("syslinux-common") / "usr/lib/syslinux/modules/bios/ldlinux.c32", loader)
    names = [f"initrd{number}" for number, _ in enumerate(machine.initrds)]
    for name, path in zip(("vmlinuz", *names), (machine.kernel, *machine.initrds), strict=True):
        os.symlink(path, content / name)
    initrds = ",".join(f"/{name}" for name in names)
    (loader / "isolinux.cfg").write_text(_MENU.format(initrds=initrds, machine=machine), encoding="utf-8")
    made = subprocess.run(
        ["xorriso", "-as", "mkisofs", "-quiet", "-f", "-o", image, "-b", "isolinux/isolinux.bin",
         "-c", "isolinux/boot.cat", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", content],
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if made.returncode:
        raise Fault("make a CD for Bochs", made.stderr.strip()[-300:], f"look for room on the disk of {folder}")
    return image
