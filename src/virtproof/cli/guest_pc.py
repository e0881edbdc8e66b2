"""The whole PC of ``virtproof guest``: what its options plug in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from virtproof.spec.fault import Fault

if TYPE_CHECKING:
    from virtproof.cli.console import Console
    from virtproof.vmm.computer import Computer
    from virtproof.vmm.disks.disk import Disk
    from virtproof.vmm.engine import Engine
    from virtproof.vmm.events import After, EventLoop
    from virtproof.vmm.network.port import Port
    from virtproof.vmm.network.switch import Switch
    from virtproof.vmm.network.tap import Bridge

SEABIOS = "/usr/share/seabios/bios-256k.bin"  # of Debian's package seabios
ROMS = Path("/usr/lib/ipxe/qemu")  # of ipxe-qemu
BACKENDS = ("none", "loopback", "switch", "tap")
TAP_ADDRESS = "10.0.2.1/24"  # of the host on the bridge


class DiskOption(NamedTuple):
    """--disk."""

    file: str
    bus: str
    read_only: bool
    snapshot: bool


class NicOption(NamedTuple):
    """--nic."""

    model: str
    backend: str
    mac: bytes | None
    rom: str | None
    record: str | None


def disk_option(text: str) -> DiskOption:
    """FILE,bus=...[,ro][,snapshot].  Raises click.BadParameter."""
    from virtproof.vmm.peripherals import BUSES

    file, *rest = text.split(",")
    bus, flags = BUSES[0], set()
    for part in rest:
        name, _, value = part.partition("=")
        if name == "bus" and value in BUSES:
            bus = value
        elif part in ("ro", "snapshot"):
            flags.add(part)
        else:
            raise click.BadParameter(f"{part}: known are bus={'|'.join(BUSES)}, ro and snapshot", param_hint="--disk")
    return DiskOption(file, bus, "ro" in flags, "snapshot" in flags)


def nic_option(text: str) -> NicOption:
    """model=...,backend=...[,mac=][,rom=][,record=].  Raises click.BadParameter."""
    from virtproof.vmm.peripherals import NICS

    said = {"model": "e1000", "backend": "none"}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals or name not in ("model", "backend", "mac", "rom", "record"):
            raise click.BadParameter(f"{part}: known are model=, backend=, mac=, rom= and record=", param_hint="--nic")
        said[name] = value
    for name, known in (("model", tuple(NICS)), ("backend", BACKENDS)):
        if said[name] not in known:
            raise click.BadParameter(f"{name}={said[name]}: known are {', '.join(known)}", param_hint="--nic")
    return NicOption(said["model"], said["backend"], _mac(said.get("mac")), said.get("rom"), said.get("record"))


def _mac(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        address = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        address = b""
    if len(address) != 6 or address[0] & 1:
        raise click.BadParameter(f"mac={text}: six bytes with colons, as 52:54:00:12:34:56", param_hint="--nic")
    return address


class Plugs:
    """Opens what disks and adapters stand on; a context manager, left behind the computer's end.  Raises Fault."""

    def __init__(self, disks: Sequence[DiskOption], nics: Sequence[NicOption], *, bios: bool) -> None:
        self._nics = nics
        self._stack = ExitStack()
        self._switch: Switch | None = None
        self._bridge: Bridge | None = None
        try:
            self.disks = [(option.bus, self._opened(option)) for option in disks]
            self._roms = [_rom(nic) if bios else b"" for nic in nics]
        except BaseException:
            self._stack.close()
            raise

    @property
    def files(self) -> dict[str, bytes]:
        """What fw_cfg gives a BIOS: the option ROMs that are not in a function of their own."""
        from virtproof.vmm.peripherals import NICS

        pairs = ((NICS[nic.model].rom_name, rom) for nic, rom in zip(self._nics, self._roms, strict=True))
        return {name: rom for name, rom in pairs if name and rom}

    def plug_into(self, pc: Computer) -> None:
        from virtproof.vmm.peripherals import NICS, controllers, mac

        for controller in controllers(self.disks, pc.machine.after):
            pc.board.add(controller)
        for number, (nic, rom) in enumerate(zip(self._nics, self._roms, strict=True)):
            port = self._port(nic, pc.machine.events, pc.machine.after)
            pc.board.add(NICS[nic.model].make(nic.mac or mac(number), port, pc.machine.after, rom))

    def close(self) -> None:
        self._stack.close()

    def _opened(self, option: DiskOption) -> Disk:
        from virtproof.vmm.disks.file import FileDisk
        from virtproof.vmm.disks.overlay import Overlay

        disk: Disk = FileDisk.open(Path(option.file), read_only=option.read_only or option.snapshot)
        if option.snapshot:
            disk = Overlay.in_memory(disk)
        self._stack.callback(disk.close)
        if not disk.sectors:
            raise Fault(f"use {option.file} as a disk", "it is smaller than a sector of 512 bytes")
        return disk

    def _port(self, nic: NicOption, events: EventLoop, after: After) -> Port:
        from virtproof.vmm.network.loopback import Loopback
        from virtproof.vmm.network.recorder import Recorder

        port: Port
        match nic.backend:
            case "loopback":
                port = Loopback(after)
            case "switch":
                from virtproof.vmm.network.switch import Switch

                self._switch = self._switch or Switch()
                made = self._switch.port(events, after)
                self._stack.callback(made.close)
                port = made
            case "tap":
                from virtproof.vmm.network.tap import Bridge

                if self._bridge is None:
                    self._bridge = self._stack.enter_context(Bridge([TAP_ADDRESS]))
                port = self._bridge.tap(events, after)
            case _:
                port = _Nobody()
        if nic.record is not None:
            recorder = Recorder(port, Path(nic.record))
            self._stack.callback(recorder.close)
            port = recorder
        return port

    def __enter__(self) -> Plugs:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _Nobody:
    """A plug with nothing in it."""

    def send(self, frame: bytes) -> None: ...
    def connect(self, receive: object) -> None: ...
    def ready(self) -> None: ...


def _rom(nic: NicOption) -> bytes:
    """The option ROM: the one that was named, or iPXE's where it is installed."""
    from virtproof.vmm.peripherals import NICS

    path = Path(nic.rom) if nic.rom else ROMS / NICS[nic.model].rom
    if nic.rom is None and not path.exists():
        return b""
    return read(path, 1 << 20)


def read(path: str | Path, limit: int) -> bytes:
    """A whole file.  Raises Fault."""
    try:
        with open(path, "rb") as stream:
            data = stream.read(limit + 1)
    except OSError as err:
        raise Fault(f"read {os.fspath(path)}", err.strerror or str(err)) from err
    if len(data) > limit:
        raise Fault(f"read {os.fspath(path)}", f"it has more than {limit >> 20} MiB", "use a smaller file")
    return data


def computer(engine: Engine, console: Console, plugs: Plugs, *, ram: int, vcpus: int, bios: str | None) -> Computer:
    """Build the PC; a BIOS shows its screen on COM1.  Raises Fault."""
    from virtproof.spec.fw_cfg import Key
    from virtproof.vmm.computer import Computer

    image = b""
    if bios is not None:
        if not os.path.exists(bios):
            raise Fault(f"read {bios}", "no such file", "name a BIOS, or install SeaBIOS (Debian: apt install seabios)")
        image = read(bios, 16 << 20)
        if not image:
            raise Fault(f"start from {bios}", "it is empty", "name a BIOS's image")
    pc = Computer(
        engine,
        ram=ram,
        vcpus=vcpus,
        transmit=console.transmit,
        bios=image,
        files=plugs.files,
        items={Key.NO_GRAPHIC: b"\1\0"},
    )
    try:
        plugs.plug_into(pc)
    except BaseException:
        pc.close()
        raise
    return pc
