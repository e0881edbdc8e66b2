"""QEMU's devices under our drivers: what runs on which of them, and where it is known to observe something else."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

from virtproof.conformance.case import Case, HostScript, Program
from virtproof.conformance.encode import resolve
from virtproof.conformance.virtio import CONTENT
from virtproof.guest_payloads import images
from virtproof.guest_payloads.program import OBSERVATIONS
from virtproof.lab.references.booted import SECONDS, cable, run

ARGUMENTS = 8
# QEMU's e1000 receives nothing in the first second after RCTL is written; the driver looks so often before it sends.
SETTLE = 3_000_000
MAC = "52:54:00:12:34:56"


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
    Device("virtio.scsi.drv*", "virtio-scsi-pci", disk=bytes(8192 * 512), behind="scsi-hd"),
    Device("pvscsi.*",    "pvscsi",         disk=bytes(8192 * 512), behind="scsi-hd"),
    Device("lsi.*_sas",   "mptsas1068",     disk=bytes(8192 * 512), behind="scsi-hd"),
)
KNOWN = (
    Known("e1000.drv.segments",   (4, 21), "e1000: data that end with a segment are followed by one of headers only"),
    Known("e1000.drv.reset",      (0, 31, 512, 512, 0x400FA, 0x4008002, 128, 0), RESET),
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
    """What the program observes on QEMU's device; as ``booted.run``."""
    image = images.load(program.image)
    arguments = [resolve(value, image) for value in program.arguments]
    arguments += [0] * (ARGUMENTS - 1 - len(arguments)) + [device.settle]
    contents = {image["arguments"]: struct.pack(f"<{ARGUMENTS}Q", *arguments)}
    count = min(len(program.observations), OBSERVATIONS)
    with _peer(device) as other_end:
        return run(qemu, image, contents, other_end, count, timed=bool(device.settle), seconds=seconds)


@contextmanager
def _peer(device: Device) -> Iterator[list[str]]:
    """The device on QEMU's command line, with its cable or disk."""
    if device.network:
        yield ["-netdev", f"{cable()},id=net", "-device", f"{device.name},netdev=net,mac={MAC}"]
        return
    with tempfile.NamedTemporaryFile(prefix="virtproof-") as disk:
        disk.write(device.disk)
        disk.flush()
        words = ["-drive", f"if=none,id=disk,format=raw,file={disk.name}"]
        if device.behind:
            words += ["-device", f"{device.name},id=host", "-device", f"{device.behind},drive=disk,bus=host.0"]
        else:
            words += ["-device", f"{device.name},drive=disk"]
        yield words


def explained(case: str, saw: tuple[int, ...]) -> Known | None:
    """The row that explains what QEMU shows, or None."""
    return next((known for known in KNOWN if known.case == case and known.saw == saw), None)
