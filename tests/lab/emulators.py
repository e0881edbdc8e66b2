"""Emulated machines that boot a multiboot kernel: what it said and how the machine ended."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest

SECONDS = 300.0  # far more than any boot here needs
VERDICTS = ("PASS ", "FAIL ", "SKIP")
DISPLAYS = ("nogui", 'rfb, options="timeout=0"')  # what distributions' builds have of those that need no terminal


def qemu(kernel: Path, *, memory: int, cpu: str = "max,la57=off") -> tuple[int, str]:
    """Boot on QEMU's own processor (TCG); return its exit status and what came out of the serial port."""
    _need("qemu-system-x86_64")
    done = subprocess.run(
        ["qemu-system-x86_64", "-accel", "tcg", "-cpu", cpu, "-m", str(memory), "-nodefaults", "-no-reboot",
         "-display", "none", "-serial", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
         "-kernel", str(kernel)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout.replace("\r", "")


def bochs(kernel: Path, *, memory: int) -> str:
    """Boot on Bochs from a CD with GRUB; return what came out of the debug console, up to a verdict."""
    emulator = os.environ.get("BOCHS", "bochs")
    _need(emulator, "grub-mkrescue", "xorriso")
    folder = kernel.parent / "bochs"
    grub = folder / "iso/boot/grub"
    grub.mkdir(parents=True)
    shutil.copy(kernel, folder / "iso/boot/kernel.elf")
    (grub / "grub.cfg").write_text("set timeout=0\nmenuentry kernel {\n multiboot /boot/kernel.elf\n}\n")
    made = subprocess.run(
        ["grub-mkrescue", "-o", str(folder / "boot.iso"), str(folder / "iso")],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"grub-mkrescue cannot make a BIOS image here: {made.stderr.strip()[-200:]}")
    said = ""
    for display in DISPLAYS:
        (folder / "bochsrc").write_text(
            f"display_library: {display}\n"
            "romimage: file=/usr/share/bochs/BIOS-bochs-latest\n"
            "vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest\n"
            f"memory: guest={memory}, host={min(memory, 2048)}\n"
            "cpu: model=corei7_skylake_x, ips=100000000, reset_on_triple_fault=0, ignore_bad_msrs=0\n"
            "ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14\n"
            f"ata0-master: type=cdrom, path={folder}/boot.iso, status=inserted\nboot: cdrom\n"
            f"port_e9_hack: enabled=1\nclock: sync=none\nlog: {folder}/log\npanic: action=fatal\n"
        )
        said = _until_a_verdict([emulator, "-q", "-f", str(folder / "bochsrc")])
        if "virtproof" in said:
            return said
    pytest.skip(f"{emulator} does not boot here: {said[-500:]}")


def _until_a_verdict(command: list[str]) -> str:
    """The emulator's standard output up to the line with a verdict."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace"
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        deadline = threading.Timer(SECONDS, running.kill)
        deadline.start()
        said = ""
        try:
            with suppress(BrokenPipeError):
                running.stdin.write("continue\n")  # to the debugger that Debian's build starts in
                running.stdin.close()
            for line in running.stdout:
                said += line
                if line.startswith(VERDICTS):
                    break
        finally:
            deadline.cancel()
            running.kill()
    return said


def _need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"no {program} on this machine")
