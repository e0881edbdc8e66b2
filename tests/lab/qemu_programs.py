"""Programs of guest_payloads on QEMU's own processor and devices: what they observe there.

QEMU documentation, "QEMU QMP Reference Manual".  The ROM that trampolines are started from starts programs too.  The
guest protocol's ports lead nowhere there: nothing is asked of the host, and observations are read from memory.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import pytest

from virtproof.conformance import device_script
from virtproof.conformance.case import HostScript
from virtproof.conformance.device_script import Host, Put, Step
from virtproof.guest_payloads import accesses, bare, images, start
from virtproof.guest_payloads.accesses import OBSERVING
from virtproof.guest_payloads.images import Image
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check

PROGRAM = "qemu-system-x86_64"
SECONDS = 60.0  # far more than any program here needs
IF = 1 << 9


def observations(folder: Path, image: str, test: str, arguments: Sequence[int], devices: Sequence[str]) -> list[int]:
    """Run the test of that name until it ends; ``devices`` are QEMU's arguments for them.

    Returns all words of the array of observations, those that were not made as 0.
    """
    program = images.load(image)
    words = struct.pack(f"<{1 + len(arguments)}Q", program[test], *arguments)
    return _run(folder, program, {program["arguments"]: words}, devices)


def walked(folder: Path, case: HostScript, before: Sequence[Step], devices: Sequence[str]) -> list[Check]:
    """Walk the steps of a device script, ``before`` them what firmware does there; acts of the host are left out."""
    assert isinstance(case.script, partial)
    steps = (*before, *(step for step in case.script.keywords["steps"] if not isinstance(step, Host)))
    watched = list(device_script._compiled(steps, []))
    contents = {accesses.TABLE: accesses.pack(each.access for each in watched)}
    contents |= {step.address: step.data for step in steps if isinstance(step, Put)}
    seen = _run(folder, images.load("accesses"), contents, devices)
    observed = [each for each in watched if each.access.what in OBSERVING and not each.handled]
    return [
        device_script._check(each, value)
        for each, value in zip(observed, seen, strict=False)
        if each.expect is not None
    ]


def _run(folder: Path, program: Image, contents: Mapping[int, bytes], devices: Sequence[str]) -> list[int]:
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"no {PROGRAM} on this machine")
    stub = images.load("bare")
    program = replace(program, symbols={**program.symbols, "walker_stack_top": program["stack_top"]})
    rom, seen = folder / "rom", folder / "observations"
    pieces = {program["image"]: program.data, **contents}
    rom.write_bytes(bare.rom_of(start.variables(stub, Mode.LONG64, program), pieces))
    command = [
        PROGRAM, "-accel", "tcg", "-machine", "pc", "-m", "64", "-nodefaults", "-no-user-config", "-no-reboot",
        "-display", "none", "-bios", str(rom), "-qmp", "stdio", *devices,
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as qemu:
        try:
            assert qemu.stdin is not None
            assert qemu.stdout is not None
            _ask(qemu.stdin, qemu.stdout, "qmp_capabilities")
            deadline = time.monotonic() + SECONDS
            while not _ended(str(_ask(qemu.stdin, qemu.stdout, "human-monitor-command", "info registers"))):
                assert time.monotonic() < deadline, "the program has not ended"
            _ask(qemu.stdin, qemu.stdout, "pmemsave", val=program["observations"], size=4096, filename=str(seen))
        finally:
            qemu.kill()
    return list(struct.unpack("<512Q", seen.read_bytes()))


def looped() -> str:
    """A network back end that gives back what is sent: a datagram socket whose peer is itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return f"socket,id=loop,udp=127.0.0.1:{port},localaddr=127.0.0.1:{port}"


def _ended(registers: str) -> bool:
    """Halted where no interrupt can wake it: the end of every program."""
    flags = re.search(r"RFL=([0-9a-f]+)", registers)
    return "HLT=1" in registers and flags is not None and not int(flags[1], 16) & IF


def _ask(to: IO[str], back: IO[str], command: str, line: str = "", **arguments: Any) -> Any:
    if line:
        arguments["command-line"] = line
    to.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
    to.flush()
    for answer in (json.loads(said) for said in back if said.startswith("{")):  # devices talk in between
        assert "error" not in answer, answer
        if "return" in answer:
            return answer["return"]
    raise AssertionError("QEMU has gone")
