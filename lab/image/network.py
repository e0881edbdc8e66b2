"""The network of the booted image: an address by DHCP, or the one that the command line gives."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from virtproof.spec.fault import Fault

SCRIPT = "/etc/udhcpc"
CLASS = Path("/sys/class/net")
ETHERNET = "1"  # ARPHRD_ETHER in include/uapi/linux/if_arp.h
ATTEMPTS, PAUSE = 5, 3  # DHCP discoveries and seconds between them; a switch forwards nothing for a while after link-up
_DHCP = {"", "dhcp", "on", "any", "both"}


def up(ip: str, bootif: str, say: Callable[[str], None]) -> None:
    """Give one interface an address; ``ip`` and ``bootif`` as in ``Parameters``.  Raises ``Fault``."""
    static = _static(ip)
    found = interfaces(bootif, _device(ip))
    if not found:
        wanted = _device(ip) or bootif
        raise Fault(
            "bring up the network",
            f"no such interface: {wanted}" if wanted else "no Ethernet interface: no driver knows this adapter",
            "use another adapter, or virtproof.out=LABEL=... or serial",
        )
    for name in found:
        _run("ip", "link", "set", name, "up")
    if static:
        _configure(found[0], *static)
        say(f"{found[0]}: {static[0]}")
        return
    for name in found:
        done = _run("udhcpc", "-i", name, "-n", "-q", "-f", "-t", str(ATTEMPTS), "-T", str(PAUSE), "-s", SCRIPT)
        if done == 0:
            say(f"{name}: {address(name)} by DHCP")
            return
    raise Fault("bring up the network", f"no answer by DHCP on {', '.join(found)}", "check the cable and the server")


def interfaces(bootif: str = "", device: str = "", folder: Path = CLASS) -> list[str]:
    """The Ethernet interfaces, that from which the machine was booted only if BOOTIF names it."""
    names = sorted(path.name for path in folder.glob("*") if _text(path / "type") == ETHERNET)
    mac = bootif.lower().replace("-", ":")[-17:]
    if device:
        return [name for name in names if name == device]
    return [name for name in names if not mac or _text(folder / name / "address") == mac]


def mac(bootif: str = "") -> str:
    """The hardware address of the first interface, or of that which BOOTIF names; empty where there is none."""
    names = interfaces(bootif)
    return _text(CLASS / names[0] / "address") if names else ""


def address(name: str) -> str:
    """The interface's IPv4 address with the length of its prefix, for people."""
    done = subprocess.run(["ip", "-4", "-o", "addr", "show", "dev", name], capture_output=True, text=True, check=False)
    words = done.stdout.split()
    return words[words.index("inet") + 1] if "inet" in words else "no address"


def _static(ip: str) -> tuple[IPv4Interface, IPv4Address | None, list[str]] | None:
    """Address, gateway and name servers of ``ip=CLIENT:SERVER:GATEWAY:NETMASK:HOST:DEVICE:AUTOCONF:DNS:DNS``."""
    if ip in _DHCP or (fields := ip.split(":"))[0] == "" or ip.endswith(":dhcp"):
        return None
    fields += [""] * (9 - len(fields))
    try:
        client = IPv4Interface(f"{fields[0]}/{fields[3] or 24}")
        gateway = IPv4Address(fields[2]) if fields[2] else None
        servers = [str(IPv4Address(one)) for one in fields[7:9] if one]
    except ValueError as err:
        raise Fault(
            "bring up the network", f"ip={ip}: {err}", "write ip=dhcp, or ip=ADDRESS::GATEWAY:NETMASK::INTERFACE:off"
        ) from err
    return client, gateway, servers


def _device(ip: str) -> str:
    """The interface that ``ip=DEVICE:dhcp`` or the sixth field names."""
    fields = ip.split(":")
    if len(fields) == 2 and fields[1] in _DHCP:
        return fields[0]
    return fields[5] if len(fields) > 5 else ""


def _configure(name: str, client: IPv4Interface, gateway: IPv4Address | None, servers: list[str]) -> None:
    _run("ip", "addr", "flush", "dev", name)
    if _run("ip", "addr", "add", str(client), "dev", name):
        raise Fault("bring up the network", f"{name} refuses {client}", "mend ip= on the kernel's command line")
    if gateway:
        _run("ip", "route", "add", "default", "via", str(gateway), "dev", name)
    Path("/etc/resolv.conf").write_text("".join(f"nameserver {one}\n" for one in servers), encoding="ascii")


def _run(*command: str) -> int:
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    ).returncode


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
