"""QEMU's devices under our drivers: a driver of the cases (guest_payloads/devices) boots there without a monitor.

The driver, its arguments and the code that starts it lie in a ROM (guest_payloads/bare.py).  The machine's memory is a
file, in which its observations are found when it has ended: it ends by isa-debug-exit, at the port of its reports.

QEMU "System Emulation User's Guide", "Invocation"; QEMU docs/devel/memory.rst.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from virtproof.conformance.case import Case, HostScript, Program
from virtproof.conformance.encode import resolve
from virtproof.conformance.virtio import CONTENT
from virtproof.guest_payloads import bare, images, start
from virtproof.guest_payloads.program import OBSERVATIONS
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.fault import Fault
from virtproof.spec.guest_protocol import REPORT_PORT

MEMORY = 16 << 20
SECONDS = 120.0
ARGUMENTS = 8
# QEMU's e1000 receives nothing in the first second after RCTL is written; the driver looks so often before it sends.
SETTLE = 3_000_000
MAC = "52:54:00:12:34:56"
TIMED = "-icount", "shift=8,sleep=off"  # 256 ns an instruction: that second is over soon


@dataclass(frozen=True, slots=True)
class Device:
    """What QEMU calls a device, and what is at its other end: a cable that leads back, or what is on its disk."""

    cases: str  # a glob
    name: str
    network: bool = False
    disk: bytes = b""
    behind: str = ""  # what the disk is, where the device is a host of disks
    settle: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """A difference that is understood: QEMU's observations, and why they are others."""

    case: str
    saw: tuple[int, ...]
    why: str


NUM_BUFFERS = (
    "virtio-net: without merged buffers num_buffers is left 0; VIRTIO 1.2 has it 1, and so have later versions"
)

RESET = "e1000: CTRL.RST clears itself and nothing else"

# fmt: off
DEVICES = (
    Device("e1000.*_545", "e1000-82545em",  network=True, settle=SETTLE),
    Device("e1000.*",     "e1000-82540em",  network=True, settle=SETTLE),
    Device("vmxnet3.*",   "vmxnet3",        network=True),
    Device("virtio.net*", "virtio-net-pci", network=True),
    Device("virtio.pci*", "virtio-net-pci", network=True),
    Device("virtio.blk*", "virtio-blk-pci", disk=CONTENT),
    Device("pvscsi.*",    "pvscsi",         disk=bytes(8192 * 512), behind="scsi-hd"),
    Device("lsi.*_sas",   "mptsas1068",     disk=bytes(8192 * 512), behind="scsi-hd"),
)
KNOWN = (
    Known("e1000.drv.segments",   (4, 21), "e1000: data that end with a segment are followed by one of headers only"),
    Known("e1000.drv.reset",      (0, 15, 256, 256, 0x400FA, 0x4008002, 128, 0), RESET),
    Known("virtio.net.polled",    (0, 20), NUM_BUFFERS),
    Known("virtio.net.unplaced",  (0, 2),  NUM_BUFFERS),
    Known("virtio.net.by_interrupt", (0, 64), NUM_BUFFERS),
)
# fmt: on


def driver_of(case: Case) -> Program | None:
    """The program that a case runs and compares with what the host does not touch; None where it is another kind."""
    if isinstance(case, HostScript) and isinstance(case.script, partial):
        program = next((given for given in case.script.args if isinstance(given, Program)), None)
        if program is not None and program.observations and not program.acts and "calls" not in case.script.keywords:
            return program
    return None


def device_of(case: Case) -> Device | None:
    """What the case's driver runs on; None where QEMU has no such device."""
    return next((device for device in DEVICES if fnmatchcase(case.id, device.cases)), None)


def observations(qemu: str, program: Program, device: Device, *, seconds: float = SECONDS) -> tuple[int, ...]:
    """What the program observes on QEMU's device.

    Raises Fault where the machine does not start, or gives no answer in time.
    """
    image = images.load(program.image)
    arguments = [resolve(value, image) for value in program.arguments]
    arguments += [0] * (ARGUMENTS - 1 - len(arguments)) + [device.settle]
    contents = {image["image"]: image.data, image["arguments"]: struct.pack(f"<{ARGUMENTS}Q", *arguments)}
    rom = bare.rom_of(start.variables(images.load("bare"), Mode.LONG64, image), contents)
    with tempfile.TemporaryDirectory(prefix="virtproof-") as folder, _peer(device, Path(folder)) as other_end:
        Path(folder, "rom").write_bytes(rom)
        ram = Path(folder, "ram")
        with ram.open("wb") as file:
            file.truncate(MEMORY)
        command = [
            qemu, "-accel", "tcg", *(TIMED if device.settle else ()), "-machine", "pc,memory-backend=ram",
            "-object", f"memory-backend-file,id=ram,size={MEMORY},mem-path={ram},share=on", "-m", str(MEMORY >> 20),
            "-cpu", "max,la57=off", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
            "-bios", str(Path(folder, "rom")), *other_end,
            "-device", f"isa-debug-exit,iobase={REPORT_PORT:#x},iosize=4",
        ]  # fmt: skip
        try:
            ended = subprocess.run(command, capture_output=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            raise Fault(f"run {program.image} on QEMU's {device.name}", f"no answer in {seconds:g} s") from None
        if not ended.returncode & 1:  # isa-debug-exit's are odd
            said = ended.stderr.decode(errors="replace")[-400:]
            raise Fault(f"run {program.image} on QEMU's {device.name}", f"it ended with {ended.returncode}: {said}")
        count = min(len(program.observations), OBSERVATIONS)
        content = ram.read_bytes()
    told = ended.returncode >> 1  # the low bits of their number
    if told != count & 0x7F:
        count = min(told, OBSERVATIONS)
    return struct.unpack_from(f"<{count}Q", content, image["observations"])


@contextmanager
def _peer(device: Device, folder: Path) -> Iterator[list[str]]:
    """The device on QEMU's command line, with its cable or disk."""
    words = []
    if device.network:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:  # the port that QEMU then binds
            free.bind(("127.0.0.1", 0))
            at = f"127.0.0.1:{free.getsockname()[1]}"
        words = ["-netdev", f"socket,id=net,udp={at},localaddr={at}", "-device", f"{device.name},netdev=net,mac={MAC}"]
    elif device.disk:
        disk = folder / "disk"
        disk.write_bytes(device.disk)
        words = ["-drive", f"if=none,id=disk,format=raw,file={disk}"]
        if device.behind:
            words += ["-device", f"{device.name},id=host", "-device", f"{device.behind},drive=disk,bus=host.0"]
        else:
            words += ["-device", f"{device.name},drive=disk"]
    yield words


def explained(case: str, saw: tuple[int, ...]) -> Known | None:
    """The row that explains what QEMU shows, or None."""
    return next((known for known in KNOWN if known.case == case and known.saw == saw), None)
