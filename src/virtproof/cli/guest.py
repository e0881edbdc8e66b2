"""``virtproof guest``: boot somebody's kernel with its serial port on the terminal."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from virtproof.cli.console import Console
from virtproof.cli.execution import engine_option
from virtproof.cli.guest_pc import SEABIOS, Plugs, computer, read
from virtproof.cli.peripherals import disk_options, nic_option
from virtproof.cli.screen import say

if TYPE_CHECKING:
    from virtproof.vmm.computer import Ended
    from virtproof.vmm.exits import Exit, Timeout
    from virtproof.vmm.gdb.connection import Listener
    from virtproof.vmm.gdb.debuggee import Killed
    from virtproof.vmm.loaders.image import Kernel

DIED = 70  # EX_SOFTWARE
WANTS_RESET = 71  # EX_OSERR
INTERRUPTED = 130
TIMED_OUT = 124  # as timeout(1) has it
MIB = 1 << 20
KERNEL_LIMIT = 1 << 30  # a kernel with symbols may be larger than the guest's RAM, but not without end
FOREVER = threading.TIMEOUT_MAX / 2  # seconds; half, because deadlines are added to the time of day

FORMATS = (
    "auto",
    "flat",
    "bzimage",
    "multiboot",
    "pvh",
    "elf64",
)  # a test compares them with the loaders, which load slowly


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says; the fields are the parameters below."""

    file: str | None
    kernel: str | None
    bios: str | None
    disks: tuple[str, ...]
    nics: tuple[str, ...]
    append: str
    module: str | None
    smp: int
    memory: int  # MiB
    timeout: float | None  # seconds
    format_: str
    gdb: str | None
    gdb_bits: str | None
    engine: str

    @property
    def whole_pc(self) -> bool:
        return self.kernel is not None or self.bios is not None

    @property
    def ram(self) -> int:
        """Bytes."""
        return self.memory * MIB

    @property
    def seconds(self) -> float:
        return self.timeout or FOREVER

    def check(self) -> None:
        """Raise click.UsageError for what does not go together."""
        if sum(each is not None for each in (self.file, self.kernel, self.bios)) != 1:
            raise click.UsageError("name one thing to boot: FILE, --kernel FILE or --bios")
        if (self.disks or self.nics) and not self.whole_pc:
            raise click.UsageError("--disk and --nic need a whole PC: --bios, or --kernel FILE instead of FILE")
        if self.gdb is not None and self.whole_pc:
            raise click.UsageError("--gdb goes with FILE only")
        if self.bios is not None and (self.module or self.append):
            raise click.UsageError("--initrd and --append go with a kernel, and a BIOS boots from a disk or an adapter")

    def loaded(self, file: str) -> Kernel:
        """The kernel with its command line and its module.  Raises Fault."""
        from virtproof.vmm.loaders.image import Kernel, Module

        module = Module(self.module, read(self.module, self.ram)) if self.module else None
        return Kernel(file, read(file, KERNEL_LIMIT), os.fsencode(self.append), module)


@click.command("guest")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=str), required=False)
@click.option(
    "--kernel",
    type=click.Path(exists=True, dir_okay=False, path_type=str),
    metavar="FILE",
    help="A kernel for a whole PC: with PCI, ACPI and a clock, and what --disk and --nic plug in.",
)
@click.option(
    "--bios",
    is_flag=False,
    flag_value=SEABIOS,
    metavar="[FILE]",
    help=f"Start a whole PC from a BIOS.  [without FILE: {SEABIOS}]",
)
@click.option(
    "--disk",
    "disks",
    multiple=True,
    metavar="FILE,bus=BUS[,lun=N][,cdrom][,rate=BYTES][,ro][,snapshot][,overlay=FILE]",
    help="A raw image on a controller: virtio, virtio-scsi, pvscsi, lsi (53C1030), lsi-sas; as LUN N of the disk "
    "before it there, as a CD-ROM, limited to BYTES a second (K, M, G).  FILE stays as it is with ro, with snapshot, "
    "which forgets what is written, and with overlay, which keeps it in another file.",
)
@click.option(
    "--nic",
    "nics",
    multiple=True,
    metavar="model=MODEL,backend=BACKEND[,segment=NAME][,rate=BYTES][,mac=..][,rom=FILE][,record=FILE]",
    help="An adapter: e1000, 82545em, vmxnet3, virtio; at nothing (none), itself (loopback), a switch (adapters of one "
    "segment see each other), or a bridge of the kernel in a namespace of its own (tap); limited to BYTES a second.",
)
@click.option("--append", default="", metavar="ARGS", help="The kernel's command line, behind its own name.")
@click.option(
    "--module",
    "--initrd",
    "module",
    type=click.Path(exists=True, dir_okay=False, path_type=str),
    metavar="FILE",
    help="A file to load with it: a multiboot module, an initial RAM disk.",
)
@click.option("--smp", type=click.IntRange(1, 4096), default=1, show_default=True, metavar="N", help="Virtual CPUs.")
@click.option(
    "--memory",
    type=click.IntRange(1, MIB),
    default=128,
    show_default=True,
    metavar="MiB",
    help="RAM; what does not fit below 3 GiB lies above 4 GiB.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    help="End the guest after S seconds. [default: never]",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="auto",
    show_default=True,
    help="What FILE is; auto looks at its content.",
)
@click.option(
    "--gdb",
    is_flag=False,
    flag_value="0",
    metavar="[ADDRESS]",
    help="Wait for GDB before the first instruction, at a port on 127.0.0.1 or a Unix socket (a path with a slash); "
    "without an address at any port that is free.",
)
@click.option(
    "--gdb-bits",
    type=click.Choice(["32", "64"]),
    help="What the debugger takes the kernel for. [default: 64; 32 where FILE is 32-bit ELF]",
)
@engine_option
def command(**said: Any) -> int:
    """Boot the kernel in FILE, or a whole PC, on virtproof's own monitor, its serial port COM1 on this terminal.

    What the guest sends goes to standard output byte by byte, unchanged.  What is typed, or comes through a pipe, goes
    to the guest; ctrl-C ends it.

    \b
    Formats:
      multiboot  Multiboot 1: 32-bit ELF, or any file by the addresses in its header
      pvh        ELF with a Xen PHYS32_ENTRY note, as Linux's vmlinux
      elf64      64-bit ELF without either: starts in 64-bit mode, memory mapped to itself, with a small stack;
                 it gets no command line and no module
      bzimage    Linux, and what is packed as it is; by its 64-bit entry where it has one
      flat       raw bytes: lie at 0x7c00 and start there in real mode; as elf64, it gets nothing else

    The machine of FILE has interrupt controllers and timers (8259, I/O APIC, local APICs, 8254), COM1, and the devices
    that test kernels expect of QEMU: isa-debug-exit at port 0xf4, pc-testdev, the number of CPUs in fw_cfg.  It has no
    firmware, PCI, disk or screen.  --bios and --kernel make a whole PC instead: i440FX, PIIX3 and PIIX4, fw_cfg, the
    controllers and adapters that --disk and --nic name, and tables (ACPI, SMBIOS) where there is no BIOS to make them.

    \b
    Examples:
      virtproof guest kernel.elf --append "console=ttyS0 verbose"
      virtproof guest vmlinux --append "console=ttyS0 panic=-1" --module initrd.img --memory 512
      virtproof guest x86/smptest.flat --smp 2 --timeout 60
      virtproof guest kernel.elf --gdb
      virtproof guest --bios --disk disk.img,bus=pvscsi,snapshot
      virtproof guest --bios --disk base.img,overlay=mine.img,rate=20M --disk install.iso,bus=lsi,cdrom
      virtproof guest --bios --nic model=vmxnet3,backend=tap,record=boot.pcap
      virtproof guest --kernel vmlinuz --initrd initrd.img --append console=ttyS0 --disk disk.img,bus=lsi

    \b
    Exit codes:
      0    a whole PC was powered off
      odd  the guest wrote v to port 0xf4: (v << 1 | 1) & 0xff, as with QEMU; 1 stands for v = 0
      70   the guest died: triple fault, or KVM cannot go on; stderr says which
      71   it asked for a reset, and has no BIOS to start from
      124  the timeout has passed           130  ctrl-C, or killed by the debugger
      4    virtproof's own error, or FILE is not a kernel that it can boot
      64   wrong usage
    """
    asked = Asked(**said)
    asked.check()
    return _run_pc(asked) if asked.whole_pc else _run_kernel(asked)


def _run_pc(asked: Asked) -> int:
    from virtproof.vmm.engines.opening import open_engine
    from virtproof.vmm.loaders.detect import load

    plugged = disk_options(asked.disks), [nic_option(text) for text in asked.nics]
    image = None if asked.kernel is None else load(asked.loaded(asked.kernel), asked.ram, asked.format_)
    with (
        Console() as console,
        open_engine(asked.engine) as opened,
        Plugs(*plugged, bios=asked.bios is not None) as plugs,
        computer(opened, console, plugs, ram=asked.ram, vcpus=asked.smp, bios=asked.bios) as pc,
    ):
        if image is not None:
            pc.boot(image)
        console.feed(pc.serial, pc.machine.events)
        try:
            return _ended(asked.kernel or "the BIOS", pc.run(asked.seconds))
        finally:
            plugs.close()  # adapters are unplugged before their machine goes


def _ended(what: str, ended: Ended) -> int:
    from virtproof.vmm.computer import PoweredOff, WantsReset

    if isinstance(ended, PoweredOff):
        return 0
    if isinstance(ended, WantsReset):
        say(f"virtproof: {what}: {ended}", err=True)
        return WANTS_RESET
    return _code(what, ended)


def _run_kernel(asked: Asked) -> int:
    from virtproof.vmm.engines.opening import open_engine
    from virtproof.vmm.loaders.detect import load
    from virtproof.vmm.pc import Pc

    assert asked.file is not None
    kernel = asked.loaded(asked.file)
    image = load(kernel, asked.ram, asked.format_)
    with (
        _listener(asked.gdb) as listener,
        Console() as console,
        open_engine(asked.engine) as opened,
        Pc(opened, ram=asked.ram, vcpus=asked.smp, transmit=console.transmit) as pc,
    ):
        pc.boot(image)
        console.feed(pc.serial, pc.machine.events)
        if listener is None:
            return _code(asked.file, pc.run(asked.seconds))
        say(f"virtproof: waiting for a debugger: target remote {listener.address}", err=True)
        bits = int(asked.gdb_bits or _bits(kernel.content))
        return _code(asked.file, pc.debug(listener, asked.seconds, bits=bits))


def _code(file: str, ended: int | Exit | Timeout | Killed) -> int:
    if isinstance(ended, int):
        return ended
    from virtproof.vmm.exits import Timeout
    from virtproof.vmm.gdb.debuggee import Killed

    say(f"virtproof: {file}: {ended}", err=True)
    match ended:
        case Timeout():
            return TIMED_OUT
        case Killed():
            return INTERRUPTED
        case _:
            return DIED


def _listener(address: str | None) -> AbstractContextManager[Listener | None]:
    if address is None:
        return nullcontext()
    from virtproof.vmm.gdb.connection import Listener

    return Listener(address)


def _bits(content: bytes) -> int:
    """Return the architecture that fits the symbols in the file."""
    from virtproof.spec import elf

    return 32 if content.startswith(elf.MAGIC + bytes((elf.CLASS32,))) else 64
