"""Unmodified iPXE drives our network adapters: a lease from a real server, a file over TFTP or HTTP, which runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.conftest import BOOTS_IN, ROMS, content
from tests.clients.pc import EXITED, NO_MENU, SERIAL_CONSOLE, STATUS, Client
from tests.clients.server import ADDRESS, Server
from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.engine import Engine
from virtproof.vmm.peripherals import NICS, Drive, controllers, mac

ISO = Path("/usr/lib/ipxe/ipxe.iso")


def booted_from_network(pc: Client, server: Server, address: bytes) -> None:
    assert pc.run(BOOTS_IN) == STATUS, pc.text + pc.log
    assert "boot.bin : 3000 bytes [PXE-NBP]" in pc.text
    assert server.leases == [address.hex(":")]
    assert "sent " in server.log


@pytest.fixture(params=["software", pytest.param("hardware", marks=pytest.mark.kvm)])
def engine(request: pytest.FixtureRequest) -> Engine:
    """The software engine, and KVM."""
    made: Engine = request.getfixturevalue(request.param)
    return made


@pytest.mark.parametrize("model", NICS)
def test_its_option_rom_boots_from_the_network(engine: Engine, seabios: bytes, server: Server, model: str) -> None:
    nic = NICS[model]
    rom = content(ROMS / nic.rom, "ipxe-qemu")
    files = NO_MENU | ({nic.rom_name: rom} if nic.rom_name else {})
    with server, Client(engine, bios=seabios, files=files, items=SERIAL_CONSOLE, times=8) as pc:
        port = server.bridge.tap(pc.machine.events, pc.machine.after)
        pc.board.add(nic.make(mac(0), port, pc.machine.after, rom))
        booted_from_network(pc, server, mac(0))
        assert "Running option rom at c000:0003" in pc.log


def test_it_boots_over_http(engine: Engine, seabios: bytes, tmp_path: Path) -> None:
    """TCP: what iPXE sends and receives through a virtio adapter has the right checksums."""
    nic = NICS["virtio"]
    files = NO_MENU | {nic.rom_name: content(ROMS / nic.rom, "ipxe-qemu")}
    with (
        Server(tmp_path, f"http://{ADDRESS}/boot.bin") as server,
        Client(engine, bios=seabios, files=files, items=SERIAL_CONSOLE, times=8) as pc,
    ):
        (tmp_path / "tftp" / "boot.bin").write_bytes(EXITED.ljust(100_000, b"\0"))
        port = server.bridge.tap(pc.machine.events, pc.machine.after)
        pc.board.add(nic.make(mac(0), port, pc.machine.after, b""))
        assert pc.run(BOOTS_IN) == STATUS, pc.text + pc.log
        assert "boot.bin : 100000 bytes" in pc.text
        assert ("/boot.bin", 200) in server.asked


def test_a_rom_in_a_bar_runs_for_its_own_device_only(engine: Engine, seabios: bytes, server: Server) -> None:
    """The same ROM behind a function whose id it does not name."""
    from virtproof.vmm.devices.e1000.nic import E1000

    rom = content(ROMS / "pxe-e1000.rom", "ipxe-qemu")
    with server, Client(engine, bios=seabios, files=NO_MENU, times=8) as pc:
        port = server.bridge.tap(pc.machine.events, pc.machine.after)
        pc.board.add(E1000(mac(0), port, pc.machine.after, model="82545em", rom=rom))
        while "No bootable device." not in pc.log:
            pc.run(0.25)
        assert "Running option rom" not in pc.log


def test_two_option_roms_fit(engine: Engine, seabios: bytes, server: Server) -> None:
    roms = {nic.rom_name: content(ROMS / nic.rom, "ipxe-qemu") for nic in (NICS["vmxnet3"], NICS["virtio"])}
    with server, Client(engine, bios=seabios, files=NO_MENU | roms, items=SERIAL_CONSOLE, times=8) as pc:
        for number, model in enumerate(("vmxnet3", "virtio")):
            port = server.bridge.tap(pc.machine.events, pc.machine.after)
            pc.board.add(NICS[model].make(mac(number), port, pc.machine.after, b""))
        booted_from_network(pc, server, mac(0))
        assert pc.log.count("Running option rom at") == 2


@pytest.mark.parametrize("model", NICS)
def test_its_image_on_a_disk_brings_all_drivers(
    engine: Engine, seabios: bytes, server: Server, model: str, slow: None
) -> None:
    disk = FileDisk.in_memory(content=content(ISO, "ipxe"))
    with server, Client(engine, bios=seabios, files=NO_MENU, items=SERIAL_CONSOLE, times=8) as pc:
        for controller in controllers([Drive("virtio", disk)], pc.machine.after):
            pc.board.add(controller)
        port = server.bridge.tap(pc.machine.events, pc.machine.after)
        pc.board.add(NICS[model].make(mac(0), port, pc.machine.after, b""))
        booted_from_network(pc, server, mac(0))
