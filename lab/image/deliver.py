"""The ways by which results leave the booted image.  Each raises ``Fault`` where it fails, and may be tried again."""

from __future__ import annotations

import gzip
import os
import subprocess
import termios
import tty
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path

from virtproof.lab.frames import Kind, Sender
from virtproof.spec.fault import Fault

SECONDS = 30.0  # for one answer of a server
MOUNT = Path("/mnt")
FILE_SYSTEMS = ("ext4", "vfat")
PACKED = ".gz"


def put(address: str, files: Mapping[str, bytes]) -> None:
    """PUT every file to the address with its name appended (RFC 9110, "PUT")."""
    base = address if address.endswith("/") else f"{address}/"
    for name, data in files.items():
        url = base + urllib.parse.quote(name)
        headers = {"Content-Type": "application/octet-stream"}
        try:
            request = urllib.request.Request(url, data, headers, method="PUT")
            with urllib.request.urlopen(request, timeout=SECONDS):
                pass
        except (OSError, HTTPException, ValueError) as err:
            reason = err.reason if isinstance(err, urllib.error.URLError) else err
            said = f"HTTP status {err.code} {reason}" if isinstance(err, urllib.error.HTTPError) else str(reason)
            raise Fault(
                f"PUT {url}", said or type(err).__name__, "check the address, the network and the server"
            ) from err


def store(label: str, folder: str, files: Mapping[str, bytes]) -> None:
    """Write the files to ``folder`` of the partition with this label."""
    tried = f"write to the partition with the label {label}"
    found = _run("findfs", f"LABEL={label}")
    if not found.stdout.startswith("/dev/"):
        raise Fault(tried, "no disk has such a partition", "plug it in; it is looked for again")
    device = found.stdout.strip()
    if all(_run("mount", "-t", kind, device, str(MOUNT)).returncode for kind in FILE_SYSTEMS):
        raise Fault(tried, f"{device} has no file system of {' or '.join(FILE_SYSTEMS)}, or a damaged one", "format it")
    try:
        target = MOUNT / folder
        target.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            _write(target / name, data)
    except OSError as err:
        raise Fault(tried, str(err.strerror or err), "give it room, and let it be writable") from err
    finally:
        unmounted = _run("umount", str(MOUNT))
    if unmounted.returncode:
        raise Fault(tried, unmounted.stderr.strip(), "check the disk")


def stream(port: Path, files: Mapping[str, bytes]) -> None:
    """Send the files as frames, compressed, through a serial port, which is left as it was."""
    try:
        handle = os.open(port, os.O_RDWR | os.O_NOCTTY)
        try:
            before = termios.tcgetattr(handle)
            tty.setraw(handle)
            sender = Sender(lambda data: _write_all(handle, data))
            for name, data in files.items():
                packed, end = (data, "") if name.endswith(PACKED) else (gzip.compress(data, mtime=0), PACKED)
                sender.send(Kind.FILE, os.fsencode(name + end) + b"\0" + packed)
            sender.send(Kind.END)
            termios.tcdrain(handle)
            termios.tcsetattr(handle, termios.TCSANOW, before)
        finally:
            os.close(handle)
    except (OSError, termios.error) as err:
        raise Fault(f"send to {port}", str(err), "let the kernel have a console=ttyS0,115200") from err


def _write_all(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _write(path: Path, data: bytes) -> None:
    """Write a file that is whole under its name, also when somebody pulls the plug."""
    partial = path.with_name(f"{path.name}.partial")
    with open(partial, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
