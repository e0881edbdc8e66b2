"""Unmodified GRUB, started by SeaBIOS, reads its modules, a menu and files from our disks, and starts kernels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.conftest import BOOTS_IN, content
from tests.clients.pc import NO_MENU, SERIAL_CONSOLE, STATUS, Client, until
from tests.clients.server import Server
from virtproof.conformance import export
from virtproof.conformance.case import Row
from virtproof.conformance.catalogue import all_cases
from virtproof.lab import initramfs_linux
from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.engine import Engine
from virtproof.vmm.peripherals import BUSES, NICS, Drive, controllers, mac

LKRN = Path("/usr/lib/ipxe/ipxe.lkrn")
MODULES = Path("/usr/lib/grub/i386-pc")
NEEDED = "normal biosdisk iso9660 serial terminal multiboot linux linux16 cat echo"
QUICK = ("virtio", "pvscsi", "lsi")
NEXT, ENTER = b"\x0e", b"\r"
KERNEL = "trap.ud.ud2.prot32"  # the case whose reproducer is started
PASSED = 1  # the exit status of a reproducer that passes
TEXT = "This file is on the disk.\n"
MENU = """
serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
set timeout=-1
menuentry "Another entry" { echo wrong; halt }
menuentry "The reproducer" { cat /text; multiboot /kernel }
menuentry "By the real-mode entry" { linux16 /program }
menuentry "Linux" { linux /vmlinuz console=ttyS0 earlyprintk=serial,ttyS0,115200 nokaslr }
"""


def disk_image(folder: Path, **files: bytes) -> Path:
    """A disk that starts GRUB, as grub-mkrescue makes it.  Skips where that cannot be."""
    for program, package in (("grub-mkrescue", "grub-common"), ("xorriso", "xorriso")):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} (Debian: {package})")
    if not MODULES.exists():
        pytest.skip(f"no {MODULES} (Debian: grub-pc-bin)")
    tree = folder / "tree"
    (tree / "boot" / "grub").mkdir(parents=True)
    (tree / "boot" / "grub" / "grub.cfg").write_text(MENU)
    for name, data in files.items():
        (tree / name).write_bytes(data)
    image = folder / "grub.iso"
    command = ["grub-mkrescue", "-d", MODULES, f"--install-modules={NEEDED}", "--fonts=", "--locales=", "--themes="]
    done = subprocess.run([*command, "-o", image, tree], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return image


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    case = next(case for case in all_cases() if case.id == KERNEL)
    assert isinstance(case, Row)
    return disk_image(tmp_path_factory.mktemp("grub"), text=TEXT.encode(), kernel=export.export(case).kernel)


@pytest.mark.parametrize("bus", BUSES)
def test_its_menu_starts_our_kernel(
    engine: Engine, seabios: bytes, disk: Path, bus: str, request: pytest.FixtureRequest
) -> None:
    if bus not in QUICK:
        request.getfixturevalue("slow")
    with Client(engine, bios=seabios, files=NO_MENU, times=8) as pc:
        for controller in controllers([Drive(bus, FileDisk.in_memory(content=disk.read_bytes()))], pc.machine.after):
            pc.board.add(controller)
        until(pc, "Linux  ", BOOTS_IN)
        assert "GNU GRUB  version 2." in pc.text
        assert "*Another entry" in pc.text
        pc.serial.receive(NEXT)
        until(pc, "*The reproducer", BOOTS_IN)
        pc.serial.receive(ENTER)
        assert pc.run(BOOTS_IN) == PASSED, pc.text
        assert TEXT.strip() in pc.text
        assert pc.text.endswith(f"PASS {KERNEL}\r\n")


def test_by_hand(engine: Engine, seabios: bytes, disk: Path, slow: None) -> None:
    """``virtproof guest``: keys through a pipe, a disk that may not be written."""
    command = ["--bios", "--disk", f"{disk},bus=lsi,ro", "--engine", "software", "--timeout", str(BOOTS_IN)]
    with subprocess.Popen(
        [sys.executable, "-m", "virtproof", "guest", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as guest:
        assert guest.stdin is not None
        assert guest.stdout is not None
        seen = b""
        for awaited, key in ((b"Linux  ", NEXT), (b"*The reproducer", ENTER)):
            while awaited not in seen:
                more = os.read(guest.stdout.fileno(), 4096)
                assert more, seen
                seen += more
            guest.stdin.write(key)
            guest.stdin.flush()
        seen += guest.stdout.read()
    assert guest.returncode == PASSED
    assert seen.endswith(f"PASS {KERNEL}\r\n".encode())


def test_it_starts_linux(engine: Engine, seabios: bytes, debian: initramfs_linux.Kernel, tmp_path: Path) -> None:
    """By the 32-bit entry, with the memory map and tables that SeaBIOS left."""
    image = disk_image(tmp_path, vmlinuz=debian.image.read_bytes())
    with Client(engine, bios=seabios, files=NO_MENU, ram=512 << 20) as pc:
        for controller in controllers(
            [Drive("virtio", FileDisk.in_memory(content=image.read_bytes()))], pc.machine.after
        ):
            pc.board.add(controller)
        until(pc, "Linux  ", BOOTS_IN)
        pc.serial.receive(NEXT * 3 + ENTER)
        until(pc, f"Linux version {debian.release}", BOOTS_IN)
        until(pc, "ACPI: RSDP 0x00000000000F", BOOTS_IN)


def test_it_starts_ipxe_by_its_real_mode_entry(
    engine: Engine, seabios: bytes, server: Server, tmp_path: Path, slow: None
) -> None:
    image = disk_image(tmp_path, program=content(LKRN, "ipxe"))
    nic = NICS["vmxnet3"]
    with server, Client(engine, bios=seabios, files=NO_MENU, items=SERIAL_CONSOLE, times=8) as pc:
        for controller in controllers(
            [Drive("virtio", FileDisk.in_memory(content=image.read_bytes()))], pc.machine.after
        ):
            pc.board.add(controller)
        pc.board.add(nic.make(mac(0), server.bridge.tap(pc.machine.events, pc.machine.after), pc.machine.after, b""))
        until(pc, "Linux  ", BOOTS_IN)
        pc.serial.receive(NEXT * 2 + ENTER)
        assert pc.run(BOOTS_IN) == STATUS, pc.text
        assert server.leases == [mac(0).hex(":")]
