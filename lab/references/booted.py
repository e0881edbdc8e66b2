"""Programs of guest_payloads on QEMU's own processor and devices.

A program and what it is given lie in a ROM (guest_payloads/bare.py), which starts it without firmware.  The machine's
memory is a file, in which the observations are found when it has ended: by isa-debug-exit, at the port of its reports.
Nothing can be asked of the host there: that port leads nowhere.

QEMU "System Emulation User's Guide", "Invocation".
"""

from __future__ import annotations

import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from virtproof.conformance.device_script import Host, Put, Step, checked, compiled
from virtproof.guest_payloads import accesses, bare, images, start
from virtproof.guest_payloads.images import Image
from virtproof.guest_payloads.program import OBSERVATIONS
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.fault import Fault
from virtproof.spec.guest_protocol import REPORT_PORT

MEMORY = 16 << 20
SECONDS = 120.0  # far more than any program here needs
TIMED = "-icount", "shift=8,sleep=off"  # time goes by instructions, 256 ns each


def run(
    qemu: str,
    image: Image,
    contents: Mapping[int, bytes],
    devices: Sequence[str],
    count: int,
    *,
    timed: bool = False,
    seconds: float = SECONDS,
) -> tuple[int, ...]:
    """Run a program until it reports, and return what it observed: ``count`` words, or as many as it made.

    ``contents`` are put into memory at physical addresses, ``devices`` are QEMU's arguments for them.  ``timed``: a
    second of the machine is over when it has run so many instructions.  Raises Fault where the machine does not start,
    or gives no answer in time.
    """
    rom = bare.rom_of(
        start.variables(images.load("bare"), Mode.LONG64, image), {image["image"]: image.data, **contents}
    )
    with tempfile.TemporaryDirectory(prefix="virtproof-") as folder:
        bios, ram = Path(folder, "rom"), Path(folder, "ram")
        bios.write_bytes(rom)
        with ram.open("wb") as file:
            file.truncate(MEMORY)
        command = [
            qemu, "-accel", "tcg", *(TIMED if timed else ()), "-machine", "pc,memory-backend=ram",
            "-object", f"memory-backend-file,id=ram,size={MEMORY},mem-path={ram},share=on", "-m", str(MEMORY >> 20),
            "-cpu", "max,la57=off", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
            "-bios", str(bios), "-device", f"isa-debug-exit,iobase={REPORT_PORT:#x},iosize=4", *devices,
        ]  # fmt: skip
        tried = f"run a driver on {qemu} {' '.join(devices)}"
        try:
            ended = subprocess.run(command, capture_output=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            raise Fault(tried, f"no answer in {seconds:g} s") from None
        if not ended.returncode & 1:  # isa-debug-exit's are odd
            said = ended.stderr.decode(errors="replace")[-400:]
            raise Fault(tried, f"it ended with {ended.returncode}: {said}")
        content = ram.read_bytes()
    told = ended.returncode >> 1  # the low bits of their number
    if told != count & 0x7F:
        count = min(told, OBSERVATIONS)
    return struct.unpack_from(f"<{count}Q", content, image["observations"])


def walk(qemu: str, steps: Iterable[Step], devices: Sequence[str]) -> list[Check]:
    """Walk the steps of a device script; acts of the host are left out.  Raises as ``run`` does."""
    steps = [step for step in steps if not isinstance(step, Host)]
    watched = list(compiled(steps, []))
    contents = {accesses.TABLE: accesses.pack(each.access for each in watched)}
    contents |= {step.address: step.data for step in steps if isinstance(step, Put)}
    observed = [each for each in watched if each.observed]
    seen = run(qemu, images.load("accesses"), contents, devices, len(observed))
    pairs = zip(observed, seen, strict=False)
    return [checked(each, value) for each, value in pairs if each.expect is not None]


def cable() -> str:
    """A network back end that gives back what is sent: a datagram socket whose peer is itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:  # the port that QEMU then binds
        free.bind(("127.0.0.1", 0))
        at = f"127.0.0.1:{free.getsockname()[1]}"
    return f"socket,udp={at},localaddr={at}"
