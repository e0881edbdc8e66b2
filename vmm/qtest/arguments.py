"""QEMU's command line, as far as libqos and people who try a device use it.

QEMU "System Emulation User's Guide", "Invocation".  Understood: -qtest, -chardev with -mon, -machine or -M, -m,
-device, -netdev, -drive, -blockdev.  Those in ``SKIPPED`` and ``FLAGS`` say nothing about our devices, and are skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from virtproof.spec.fault import Fault

MIB = 1 << 20
RAM = 128 * MIB
SKIPPED = frozenset(
    ("-accel", "-audio", "-boot", "-cpu", "-display", "-name", "-object", "-qtest-log", "-serial", "-smp", "-vga")
)
FLAGS = frozenset(("-S", "-enable-kvm", "-nodefaults", "-no-reboot", "-no-user-config", "-nographic", "-snapshot"))
UNITS = {"K": 1 << 10, "M": MIB, "G": 1 << 30}
LARGEST_RAM = 1 << 40
SEE = "see docs/qtest.md for what there is"


@dataclass
class Arguments:
    """What the command line asked for; options by name, the first unnamed one as ``first``."""

    machine: str = "pc"
    ram: int = RAM
    qtest: str = ""  # a chardev: "unix:PATH", or "stdio"
    qmp: str = ""  # the path of a Unix socket
    devices: list[dict[str, str]] = field(default_factory=list)
    netdevs: list[dict[str, str]] = field(default_factory=list)
    drives: list[dict[str, str]] = field(default_factory=list)


def parse(words: Sequence[str]) -> Arguments:
    """Read a command line.  Raises Fault for what is not understood, in words that name it."""
    found, chardevs, monitors = Arguments(), {}, []
    left = list(words)
    while left:
        name = left.pop(0)
        name = name[1:] if name.startswith("--") else name
        if name in FLAGS:
            continue
        if not left:
            raise Fault(f"read the option {name}", "it is unknown, or it has no value", SEE)
        value = left.pop(0)
        match name:
            case "-machine" | "-M":
                found.machine = options(value, "type").get("type", "pc")
            case "-m":
                found.ram = size(options(value, "size").get("size", "128"))
            case "-qtest":
                found.qtest = value.split(",")[0]
            case "-chardev":
                chardev = options(value, "backend")
                chardevs[chardev.get("id", "")] = chardev
            case "-mon":
                monitors.append(options(value, "chardev"))
            case "-device":
                found.devices.append(options(value, "driver"))
            case "-netdev":
                found.netdevs.append(options(value, "type"))
            case "-drive":
                found.drives.append(options(value, "file"))
            case "-blockdev":
                drive = options(value, "driver")
                found.drives.append({"file": f"{drive.get('driver')}://", "id": drive.get("node-name", "")} | drive)
            case _ if name in SKIPPED:
                pass
            case _:
                raise Fault(f"read the option {name}", "it is unknown", SEE)
    for monitor in monitors:
        chardev = chardevs.get(monitor["chardev"], {})
        if monitor.get("mode") == "control" and chardev.get("backend") == "socket":
            found.qmp = chardev.get("path", "")
    return found


def options(text: str, first: str) -> dict[str, str]:
    """ "a,b=c" as {first: a, b: c}; two commas are one in a value."""
    parts = [part.replace("\0", ",") for part in text.replace(",,", "\0").split(",")]
    found: dict[str, str] = {}
    for n, part in enumerate(parts):
        name, equals, value = part.partition("=")
        if equals:
            found[name] = value
        elif n == 0:
            found[first] = part
        elif part:
            found[part] = "on"
    return found


def size(text: str) -> int:
    """Bytes: a number with K, M or G, without one MiB.  Raises Fault."""
    unit = UNITS.get(text[-1:].upper())
    digits = text[:-1] if unit else text
    if not digits.isdecimal() or not 0 < int(digits) * (unit or MIB) <= LARGEST_RAM:
        raise Fault(f"read the size {text}", "it is not a size", "write 128, 512K, 64M or 2G")
    return int(digits) * (unit or MIB)
