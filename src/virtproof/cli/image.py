"""``virtproof image``: a bootable system that checks a bare machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from virtproof.cli import folder
from virtproof.cli.screen import say
from virtproof.spec.fault import Fault


@click.group("image")
def command() -> None:
    """Build a bootable image that runs virtproof check on a machine without a system, and take its results.

    \b
    Examples:
      virtproof image build -o /srv/tftp/virtproof
      virtproof image build -o image --iso --append 'virtproof.out=LABEL=RESULTS virtproof.then=poweroff'
      virtproof image receive -o report /dev/ttyUSB0
    """


@command.command("build")
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder for vmlinuz, initrd.img, virtproof.iso and SHA256SUMS.",
)
@click.option("--iso", "with_iso", is_flag=True, help="Make an image for CD and USB stick, BIOS and UEFI, too.")
@click.option(
    "--kernel",
    default="linux-image-amd64",
    show_default=True,
    metavar="PACKAGE|PATH",
    help="A Debian package, a .deb file, or boot/vmlinuz-RELEASE with its modules beside it.",
)
@click.option(
    "--append", default="", metavar="WORDS", help="Kernel parameters for the ISO image, virtproof.out=... among them."
)
def build_image(out: Path, with_iso: bool, kernel: str, append: str) -> None:
    """Build the image: kernel and initrd for PXE, with --iso an image for CD and USB stick.

    Needs Debian's tools, and no root.  The same inputs give the same bytes (SOURCE_DATE_EPOCH dates the ISO image).

    \b
    The kernel's command line tells the image what to do (docs/image.md):
      virtproof.out=LABEL=NAME | http://... | https://... | serial
      virtproof.then=wait | poweroff
      virtproof.profile=NAME   virtproof.args="..."   ip=dhcp
    """
    from virtproof.lab.image.build import build
    from virtproof.lab.image.parameters import parse

    if any(not character.isprintable() or character in "'\\{}$;" for character in append):
        raise click.UsageError("--append takes what GRUB passes on as it is: no quotes of its own, $, ;, {} or \\")
    if append and not with_iso:
        raise click.UsageError("--append is for the ISO image: add --iso; by PXE the boot server names the parameters")
    if wrong := parse(append).wrong:
        raise click.UsageError(f"--append: {wrong[0]}")
    for path in build(out, kernel=kernel, with_iso=with_iso, parameters=append):
        say(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


@command.command("receive")
@click.argument("source", default="-", metavar="[DEVICE|FILE]")
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("virtproof-report"),
    show_default=True,
    metavar="DIR",
    help="Folder for the results.",
)
def receive_results(source: str, out: Path) -> None:
    """Take the results of an image booted with virtproof.out=serial, and check that they are whole.

    DEVICE is the serial port at this end (115200 baud, raw); a FILE is what another program recorded there; - is
    standard input.
    """
    from virtproof.lab.image.receive import receive

    folder.prepare(out)
    with _reader(source) as read:
        files = receive(read, source)
    folder.publish(out, files)
    for name in files:
        say(f"{out / name}")


@contextmanager
def _reader(source: str) -> Iterator[Callable[[int], bytes]]:
    import termios
    import tty

    if source == "-":
        yield lambda size: os.read(0, size)
        return
    try:
        handle = os.open(source, os.O_RDONLY | os.O_NOCTTY)
    except OSError as err:
        raise Fault(f"open {source}", err.strerror or str(err), "name a serial port, or a file") from err
    try:
        if os.isatty(handle):
            tty.setraw(handle)
            settings = termios.tcgetattr(handle)
            settings[4] = settings[5] = termios.B115200
            termios.tcsetattr(handle, termios.TCSANOW, settings)
        yield lambda size: os.read(handle, size)
    finally:
        os.close(handle)
