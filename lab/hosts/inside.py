"""What runs in a lab host, as root, when its kernel is up: inject the fault, run virtproof, send results.

The job is a JSON object: ``steps`` before anything runs (a module to load, an MSR to write), the ``command`` and the
user it runs as, and ``tools`` to run beside it.  Results leave as frames through the debug port of QEMU and Bochs.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import selectors
import subprocess
import sys
from pathlib import Path
from typing import Any

from virtproof.lab.frames import PAYLOAD, Kind, Sender

DEBUG_PORT = 0xE9
JOB = "/lab/job.json"
RESULTS = "/out"
TOOL_SECONDS = 120.0
HEARTBEAT = 2.0  # seconds of this machine's clock

# System V ABI: rdi = data, rsi = length, edx = port.
REP_OUTSB = bytes.fromhex("4889f1 4889fe f36e c3")  # mov %rsi,%rcx; mov %rdi,%rsi; rep outsb; ret


class DebugPort:
    """Writes bytes to the port, which has no driver, and for which /dev/port will not do: that one counts ports up."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.ioperm(DEBUG_PORT, 1, 1):
            raise OSError(ctypes.get_errno(), "ioperm")
        self._code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._code.write(REP_OUTSB)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._code))
        self._out = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)(address)

    def write(self, data: bytes) -> None:
        self._out(data, len(data), DEBUG_PORT)


def main() -> None:
    with open(JOB, encoding="utf-8") as file:
        job = json.load(file)
    sender = Sender(DebugPort().write)
    steps = [_step(step) for step in job["steps"]]
    code = _run(job["command"], job["user"], sender)
    tools = {}
    for name, command in job["tools"].items():
        sender.send(Kind.ALIVE)
        tools[name] = _tool(command, job["user"])
    log = subprocess.run(["dmesg"], capture_output=True, text=True, errors="replace", check=False).stdout
    uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    for path in sorted(Path(RESULTS).rglob("*")):
        if path.is_file():
            sender.send(Kind.FILE, os.fsencode(path.relative_to(RESULTS)) + b"\0" + path.read_bytes())
    report = {"steps": steps, "exit": code, "tools": tools, "uptime": uptime, "log": log}
    sender.send(Kind.REPORT, json.dumps(report).encode())
    sender.send(Kind.END)


def _step(step: list[Any]) -> str:
    """Carry out one step and say how it went."""
    match step:
        case ["load", str(module), str(parameters)]:
            done = subprocess.run(
                ["modprobe", module, *parameters.split()], capture_output=True, text=True, errors="replace", check=False
            )
            return f"modprobe {module} {parameters}: {done.returncode} {done.stderr.strip()}"
        case ["wrmsr", int(number), int(value)]:
            for cpu in sorted(Path("/dev/cpu").glob("[0-9]*")):
                with open(cpu / "msr", "r+b", buffering=0) as msr:
                    os.pwrite(msr.fileno(), value.to_bytes(8, "little"), number)
            return f"wrmsr {number:#x} {value:#x}"
    raise ValueError(f"no such step: {step}")


def _run(command: list[str], user: int, sender: Sender) -> int:
    """Run the command, send what it prints as it comes, return its exit code (negative: the signal that ended it)."""
    os.chown(RESULTS, user, user)
    with subprocess.Popen(
        [sys.executable, "-m", "virtproof", *command],
        cwd=RESULTS,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        user=user,
        group=user,
        extra_groups=[],
    ) as running:
        with selectors.DefaultSelector() as selector:
            selector.register(running.stdout or -1, selectors.EVENT_READ, Kind.STDOUT)
            selector.register(running.stderr or -1, selectors.EVENT_READ, Kind.STDERR)
            while selector.get_map():
                ready = selector.select(HEARTBEAT)
                if not ready:
                    sender.send(Kind.ALIVE)
                for key, _ in ready:
                    if data := os.read(key.fd, PAYLOAD):
                        sender.send(key.data, data)
                    else:
                        selector.unregister(key.fileobj)
        return running.wait()


def _tool(command: list[str], user: int) -> dict[str, Any]:
    """Run another tool to its end, as the same user: exit code and everything it says."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=TOOL_SECONDS,
            check=False, user=user, group=user, extra_groups=[],
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as err:
        return {"exit": None, "said": str(err)}
    return {"exit": done.returncode, "said": done.stdout + done.stderr}


if __name__ == "__main__":
    main()
