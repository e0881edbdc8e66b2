"""The whole PC of ``virtproof guest``: opens what its options name, and plugs it in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from virtproof.cli.peripherals import DiskOption, NicOption
from virtproof.spec.fault import Fault

if TYPE_CHECKING:
    from virtproof.cli.console import Console
    from virtproof.vmm.computer import Computer
    from virtproof.vmm.disks.disk import Disk
    from virtproof.vmm.engine import Engine
    from virtproof.vmm.events import After, Clock, EventLoop
    from virtproof.vmm.network.port import Port
    from virtproof.vmm.network.switch import Switch
    from virtproof.vmm.network.tap import Bridge
    from virtproof.vmm.peripherals import Drive

SEABIOS = "/usr/share/seabios/bios-256k.bin"  # of Debian's package seabios
ROMS = Path("/usr/lib/ipxe/qemu")  # of ipxe-qemu
TAP_ADDRESS = "10.0.2.1/24"  # of the host on the bridge
BURSTS = 10  # a second: what a limited disk transfers at once


class Plugs:
    """Opens what disks and adapters stand on; a context manager, left behind the computer's end.  Raises Fault."""

    def __init__(self, disks: Sequence[DiskOption], nics: Sequence[NicOption], *, bios: bool) -> None:
        self._nics = nics
        self._stack = ExitStack()
        self._switch: Switch | None = None
        self._bridge: Bridge | None = None
        try:
            self._disks = [(option, self._opened(option)) for option in disks]
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

        for controller in controllers(self._drives(pc.machine.events.clock), pc.machine.after):
            pc.board.add(controller)
        for number, (nic, rom) in enumerate(zip(self._nics, self._roms, strict=True)):
            port = self._port(nic, pc.machine.events, pc.machine.after)
            pc.board.add(NICS[nic.model].make(nic.mac or mac(number), port, pc.machine.after, rom))

    def close(self) -> None:
        self._stack.close()

    def _drives(self, clock: Clock) -> list[Drive]:
        """What controllers take, limited by the machine's own time."""
        from virtproof.vmm.disks.rate import RateLimit
        from virtproof.vmm.peripherals import Drive

        def limited(disk: Disk, rate: int | None) -> Disk:
            return disk if rate is None else RateLimit(disk, rate, max(rate // BURSTS, 1), clock)

        return [Drive(one.bus, limited(disk, one.rate), one.lun, one.cdrom) for one, disk in self._disks]

    def _opened(self, option: DiskOption) -> Disk:
        from virtproof.spec.scsi import CD_BLOCK
        from virtproof.vmm.disks.disk import SECTOR
        from virtproof.vmm.disks.file import FileDisk
        from virtproof.vmm.disks.overlay import Overlay

        base = FileDisk.open(Path(option.file), read_only=option.base_stays)
        self._stack.callback(base.close)  # closing twice is allowed, and Overlay.open may fail
        disk: Disk = base
        if option.overlay is not None:
            disk = Overlay.open(base, Path(option.overlay))
        elif option.snapshot:
            disk = Overlay.in_memory(base)
        self._stack.callback(disk.close)
        least = CD_BLOCK if option.cdrom else SECTOR
        if disk.sectors * SECTOR < least:
            raise Fault(f"use {option.file} as a disk", f"it is smaller than a sector of {least} bytes")
        return disk

    def _port(self, nic: NicOption, events: EventLoop, after: After) -> Port:
        from virtproof.vmm.network.loopback import Loopback
        from virtproof.vmm.network.rate_limit import RateLimit
        from virtproof.vmm.network.recorder import Recorder

        port: Port
        match nic.backend:
            case "loopback":
                port = Loopback(after)
            case "switch":
                from virtproof.vmm.network.switch import Switch

                self._switch = self._switch or Switch()
                made = self._switch.port(events, after, segment=nic.segment)
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
        if nic.rate is not None:  # the guest's side of the record, which has what passed
            port = RateLimit(port, after, events.clock.now, rate=nic.rate)
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
