"""The hybrid ISO image: boots from CD and USB stick, by BIOS and by UEFI.

What grub-mkrescue does, step by step: it puts the time of day into several places, and the same inputs shall give the
same bytes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from virtproof.lab import cache
from virtproof.lab.missing import Missing
from virtproof.spec.fault import Fault

VOLUME = "VIRTPROOF"
GRUB = Path("/usr/lib/grub")
PROGRAMS = {"grub-mkimage": "grub-common", "xorriso": "xorriso", "mformat": "mtools", "mcopy": "mtools"}
PLATFORMS = {"i386-pc": "grub-pc-bin", "x86_64-efi": "grub-efi-amd64-bin"}
MODULES = (
    "iso9660", "part_msdos", "part_gpt", "search", "search_fs_file", "normal", "configfile", "linux", "serial",
    "terminal", "test", "echo", "all_video", "gfxterm", "minicmd", "reboot", "halt",
)  # fmt: skip
PARAMETERS = "console=tty0 console=ttyS0,115200 quiet"
MARK = "/boot/virtproof.id"  # by which GRUB finds its disk
_FIND = f"search --no-floppy --set=root --file {MARK}\nset prefix=($root)/boot/grub\n"
_CONFIGURATION = """\
if serial --unit=0 --speed=115200; then
    terminal_input console serial
    terminal_output console serial
fi
set timeout=5
menuentry "virtproof: check this machine (e: edit the parameters)" {{
    linux /boot/vmlinuz {parameters}
    initrd /boot/initrd.img
}}
"""
_EFI_SLACK = 64 << 10  # bytes for the FAT itself


def build(kernel: Path, initrd: Path, parameters: str, target: Path, epoch: int) -> None:
    """Write the image.  ``epoch``: all its dates, in seconds since 1970.  Raises ``Fault``."""
    need()
    stamp = time.strftime("%Y%m%d%H%M%S00", time.gmtime(epoch))
    try:
        # Beside the target, which must have room for all of it anyway.
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".making-") as scratch:
            tree, efi = Path(scratch, "tree"), Path(scratch, "efi.img")
            grub = tree / "boot/grub"
            grub.mkdir(parents=True)
            (tree / MARK.lstrip("/")).write_text(f"{VOLUME} {stamp}\n", encoding="ascii")
            shutil.copyfile(kernel, tree / "boot/vmlinuz")
            shutil.copyfile(initrd, tree / "boot/initrd.img")
            line = f"{PARAMETERS} {parameters}".rstrip()
            (grub / "grub.cfg").write_text(_CONFIGURATION.format(parameters=line), encoding="utf-8")
            early = Path(scratch, "early.cfg")
            early.write_text(_FIND + "configfile $prefix/grub.cfg\n", encoding="ascii")
            _core("i386-pc-eltorito", early, grub / "eltorito.img", "biosdisk")
            _efi(early, efi, epoch)
            _date(tree, epoch)
            made = Path(scratch, "image.iso")
            _run(
                epoch,
                "xorriso", "-as", "mkisofs", "-o", str(made), "-V", VOLUME, "-r", "-J", "-joliet-long",
                f"--modification-date={stamp}", "--set_all_file_dates", "set_to_mtime",
                "-b", "boot/grub/eltorito.img", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table",
                "--grub2-boot-info", "--grub2-mbr", str(GRUB / "i386-pc/boot_hybrid.img"),
                "-append_partition", "2", "0xef", str(efi), "-eltorito-alt-boot",
                "-e", "--interval:appended_partition_2:all::", "-no-emul-boot", str(tree),
            )  # fmt: skip
            os.replace(made, target)
    except OSError as err:
        raise cache.no_room(err, target.parent) from err


def need() -> None:
    """Raises ``Missing`` where a program or a platform of GRUB is not installed."""
    lacks = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    lacks += [package for platform, package in PLATFORMS.items() if not (GRUB / platform / "moddep.lst").exists()]
    if lacks:
        packages = " ".join(dict.fromkeys(lacks))
        raise Missing("make an ISO image", f"not installed: {packages}", f"apt-get install {packages}")


def _core(form: str, early: Path, target: Path, *more: str) -> None:
    """GRUB with all that it needs in one file, so that nothing depends on what is on the disk."""
    _run(0, "grub-mkimage", "-O", form, "-c", str(early), "-p", "/boot/grub", "-o", str(target), *MODULES, *more)


def _efi(early: Path, target: Path, epoch: int) -> None:
    """A FAT file system with the boot loader where UEFI looks ("Removable Media Boot Behavior")."""
    loader = target.with_name("BOOTX64.EFI")
    _core("x86_64-efi", early, loader)
    os.utime(loader, (epoch, epoch))
    kilobytes = -(-(loader.stat().st_size + _EFI_SLACK) // 1024)
    kilobytes = max(1440, -(-kilobytes // 32) * 32)
    with target.open("wb") as file:
        file.truncate(kilobytes << 10)
    image = str(target)
    _run(epoch, "mformat", "-i", image, "-N", "56505246", "-T", str(kilobytes * 2), "-h", "1", "-s", "1", "::")
    _run(epoch, "mmd", "-i", image, "::/EFI", "::/EFI/BOOT")
    _run(epoch, "mcopy", "-m", "-i", image, str(loader), "::/EFI/BOOT/BOOTX64.EFI")


def _date(tree: Path, epoch: int) -> None:
    for at, _, files in os.walk(tree, topdown=False):
        for name in files:
            os.utime(Path(at, name), (epoch, epoch))
        os.utime(at, (epoch, epoch))


def _run(epoch: int, *command: str) -> None:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC", "LC_ALL": "C"}
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = " / ".join(done.stderr.strip().splitlines()[-3:])
        raise Fault(
            f"make an ISO image with {command[0]}", said or f"it ended with {done.returncode}", "free some space"
        )
