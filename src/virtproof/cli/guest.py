"""``virtproof guest``: boot somebody's kernel with its serial port on the terminal."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import click

from virtproof.cli.console import Console
from virtproof.cli.execution import engine_option
from virtproof.cli.screen import say
from virtproof.spec.fault import Fault

if TYPE_CHECKING:
    from virtproof.vmm.exits import Exit, Timeout
    from virtproof.vmm.gdb.connection import Listener
    from virtproof.vmm.gdb.debuggee import Killed
    from virtproof.vmm.loaders.image import Kernel

DIED = 70  # EX_SOFTWARE
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


@click.command("guest")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=str))
@click.option("--append", default="", metavar="ARGS", help="The kernel's command line, behind its own name.")
@click.option(
    "--module",
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
def command(
    file: str,
    append: str,
    module: str | None,
    smp: int,
    memory: int,
    timeout: float | None,
    format_: str,
    gdb: str | None,
    gdb_bits: str | None,
    engine: str,
) -> int:
    """Boot the kernel in FILE on virtproof's own monitor, its serial port COM1 on this terminal.

    What the guest sends goes to standard output byte by byte, unchanged.  What is typed, or comes through a pipe, goes
    to the guest; ctrl-C ends it.

    \b
    Formats:
      multiboot  Multiboot 1: 32-bit ELF, or any file by the addresses in its header
      pvh        ELF with a Xen PHYS32_ENTRY note, as Linux's vmlinux
      elf64      64-bit ELF without either: starts in 64-bit mode, memory mapped to itself, with a small stack;
                 it gets no command line and no module
      flat       raw bytes: lie at 0x7c00 and start there in real mode; as elf64, it gets nothing else

    The machine has interrupt controllers and timers (8259, I/O APIC, local APICs, 8254), COM1, and the devices that
    test kernels expect of QEMU: isa-debug-exit at port 0xf4, pc-testdev, the number of CPUs in fw_cfg.  It has no
    firmware, PCI, disk or screen.

    \b
    Examples:
      virtproof guest kernel.elf --append "console=ttyS0 verbose"
      virtproof guest vmlinux --append "console=ttyS0 panic=-1" --module initrd.img --memory 512
      virtproof guest x86/smptest.flat --smp 2 --timeout 60
      virtproof guest kernel.elf --gdb

    \b
    Exit codes:
      odd  the guest wrote v to port 0xf4: (v << 1 | 1) & 0xff, as with QEMU; 1 stands for v = 0
      70   the guest died: triple fault, or KVM cannot go on; stderr says which
      124  the timeout has passed           130  ctrl-C, or killed by the debugger
      4    virtproof's own error, or FILE is not a kernel that it can boot
      64   wrong usage
    """
    from virtproof.vmm.engines.opening import open_engine
    from virtproof.vmm.loaders.detect import load
    from virtproof.vmm.pc import Pc

    ram = memory * MIB
    kernel = _kernel(file, append, module, ram)
    image = load(kernel, ram, format_)
    with (
        _listener(gdb) as listener,
        Console() as console,
        open_engine(engine) as opened,
        Pc(opened, ram=ram, vcpus=smp, transmit=console.transmit) as pc,
    ):
        pc.boot(image)
        console.feed(pc.serial, pc.machine.events)
        if listener is None:
            return _code(file, pc.run(timeout or FOREVER))
        say(f"virtproof: waiting for a debugger: target remote {listener.address}", err=True)
        bits = int(gdb_bits or _bits(kernel.content))
        return _code(file, pc.debug(listener, timeout or FOREVER, bits=bits))


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


def _kernel(file: str, arguments: str, module: str | None, ram: int) -> Kernel:
    from virtproof.vmm.loaders.image import Kernel, Module

    extra = Module(module, _content(module, ram)) if module else None
    return Kernel(file, _content(file), os.fsencode(arguments), extra)


def _content(file: str, limit: int = KERNEL_LIMIT) -> bytes:
    try:
        with open(file, "rb") as stream:
            data = stream.read(limit + 1)
    except OSError as err:
        raise Fault(f"read {file}", err.strerror or str(err)) from err
    if len(data) > limit:
        raise Fault(f"read {file}", f"it has more than {limit // MIB} MiB", "use a smaller file, or a larger guest")
    return data
