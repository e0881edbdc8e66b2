"""Unmodified SeaBIOS from the reset vector: it finds our devices and boots what is plugged in."""

from __future__ import annotations

import struct
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import BOOTS_IN
from tests.clients.pc import NO_MENU, SERIAL_CONSOLE, STATUS, Client, boot_sector
from virtproof.vmm.computer import PoweredOff
from virtproof.vmm.devices.pvscsi import PvScsi
from virtproof.vmm.devices.virtio.rng import VirtioRng
from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.engine import Engine
from virtproof.vmm.engines.opening import EngineUnavailable, open_engine
from virtproof.vmm.exits import Timeout
from virtproof.vmm.firmware import e820, tables
from virtproof.vmm.pci.function import Bar, Function, Identity
from virtproof.vmm.peripherals import BUSES, Drive, controllers

MIB, GIB = 1 << 20, 1 << 30


def until(pc: Client, text: str, seconds: float = BOOTS_IN) -> None:
    """Run the guest until its firmware's log has this; fail with the log where it does not come."""
    while text not in pc.log and seconds > 0:
        pc.run(0.25)
        seconds -= 0.25
    assert text in pc.log, pc.log


def found(pc: Client, signature: bytes, size: int) -> bytes:
    """A structure on 16 bytes in the area below 1 MiB."""
    area = pc.machine.memory.read(0xF0000, 0x10000)
    at = next(at for at in range(0, len(area), 16) if area[at:].startswith(signature))
    return area[at : at + size]


def boot_disk(engine: Engine, seabios: bytes, bus: str, sector: bytes, *, after_text: str = "") -> Client:
    pc = Client(engine, bios=seabios, files=NO_MENU, times=8)
    disk = FileDisk.in_memory(2048, sector)
    for controller in controllers([Drive(bus, disk)], pc.machine.after):
        pc.board.add(controller)
    return pc


def test_it_reaches_its_boot_menu_and_finds_the_board(engine: Engine, seabios: bytes) -> None:
    with Client(engine, bios=seabios) as pc:
        pc.board.add(VirtioRng(pc.machine.after), slot=3)
        pc.board.add(VirtioRng(pc.machine.after), slot=4)
        until(pc, "Press ESC for boot menu.")
        for text in (
            "SeaBIOS (version 1.", "QEMU fw_cfg DMA interface supported", "RamSize: 0x04000000 [cmos]",
            "Relocating init from", "PCI: init bdf=00:01.3 id=8086:7113", "PIIX3/PIIX4 init: elcr=00 0c",
            "PS2 keyboard initialized", "Found 1 cpu(s) max supported 1 cpu(s)",
        ):  # fmt: skip
            assert text in pc.log, text
        isa, pm = pc.board.isa_bridge.function, pc.platform.pm.function
        assert isa.read_config(0x60, 4) == 0x0B0B_0A0A
        assert pm.read_config(0x40, 4) == 0xB001
        rng = [pc.board.pci.devices[slot << 3].function for slot in (3, 4)]
        assert [function.read_config(0x3C, 1) for function in rng] == [11, 11]
        assert all(function.read_config(0x10, 4) >= 0xC001 for function in rng)
        assert all(0x8000_0000 <= function.read_config(0x20, 4) < 0xFEC0_0000 for function in rng)


class Ports:
    """A card with nothing but ports and a pin."""

    def __init__(self) -> None:
        self.function = Function(Identity(0x1234, 0x1111, 0xFF_0000, interrupt_pin=1), [Bar(0, 32, "io", self)])

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None: ...
    def reset(self) -> None: ...
    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None: ...


def test_it_places_windows_and_routes_pins(engine: Engine, seabios: bytes) -> None:
    with Client(engine, bios=seabios) as pc:
        pc.board.add(PvScsi({}, pc.machine.after), slot=2)
        for slot in (3, 4, 5):
            pc.board.add(Ports(), slot=slot)
        until(pc, "Press ESC for boot menu.")
        found = [pc.board.pci.devices[slot << 3].function for slot in (2, 3, 4, 5)]
        assert found[0].read_config(0x10, 4) == 0xFEBF_8000
        assert sorted(function.read_config(0x10, 4) for function in found[1:]) == [0xC001, 0xC021, 0xC041]
        assert [function.read_config(0x3C, 1) for function in found] == [10, 11, 11, 10]


def test_it_builds_its_own_tables(engine: Engine, seabios: bytes) -> None:
    with Client(engine, bios=seabios) as pc:
        until(pc, "Press ESC for boot menu.")
        rsdp = found(pc, b"RSD PTR ", 20)
        assert sum(rsdp) & 0xFF == 0
        rsdt = struct.unpack_from("<I", rsdp, 16)[0]
        pointers = struct.iter_unpack("<I", pc.machine.memory.read(rsdt, 128)[36:])
        fadt = next(at for (at,) in pointers if pc.machine.memory.read(at, 4) == b"FACP")
        assert int.from_bytes(pc.machine.memory.read(fadt + 76, 4), "little") == 0xB008
        assert sum(found(pc, b"_SM_", 31)) & 0xFF == 0
        pointer = found(pc, b"_MP_", 16)
        assert sum(pointer) & 0xFF == 0
        table = pc.machine.memory.read(struct.unpack_from("<I", pointer, 4)[0], 256)
        assert table[:4] == b"PCMP"
        assert table[44] == 0  # a processor
        assert table[64] != 0  # and one only


def test_it_places_ours_where_it_is_given_them(engine: Engine, seabios: bytes) -> None:
    with Client(engine, bios=seabios) as pc:
        files = tables.files(pc.description)
    with Client(engine, bios=seabios, files=files) as pc:
        until(pc, "Press ESC for boot menu.")
        assert pc.platform.pm.function.read_config(0x40, 4) == 0x601
        rsdp = found(pc, b"RSD PTR ", 36)
        assert rsdp[9:15] == b"VPROOF"
        assert sum(rsdp[:20]) & 0xFF == sum(rsdp) & 0xFF == 0
        xsdt = struct.unpack_from("<Q", rsdp, 24)[0]
        length = int.from_bytes(pc.machine.memory.read(xsdt + 4, 4), "little")
        assert sum(pc.machine.memory.read(xsdt, length)) & 0xFF == 0
        for (table,) in struct.iter_unpack("<Q", pc.machine.memory.read(xsdt + 36, length - 36)):
            size = int.from_bytes(pc.machine.memory.read(table + 4, 4), "little")
            assert sum(pc.machine.memory.read(table, size)) & 0xFF == 0
        assert b"virtproof virtual machine" in pc.machine.memory.read(
            struct.unpack_from("<I", found(pc, b"_SM_", 31), 24)[0], 1024
        )


@pytest.mark.parametrize("pam", [0x00, 0x10], ids=["copies-itself", "finds-its-copy"])
def test_it_starts_whether_or_not_its_image_is_in_ram(engine: Engine, seabios: bytes, pam: int) -> None:
    with Client(engine, bios=seabios) as pc:
        assert pc.machine.memory.read(0xE0000, 0x20000) == seabios[-0x20000:]
        if pam:
            host = pc.board.pci.devices[0].function
            for register, value in (
                (0x59, 0x30),
                (0x5A, 0x33),
                (0x5B, 0x33),
                (0x5C, 0x33),
                (0x5D, 0x33),
                (0x5E, 0x33),
                (0x5F, 0x33),
            ):
                host.write_config(register, 1, value)
            pc.machine.memory.load(0xC0000, seabios)
        until(pc, "Press ESC for boot menu.")
        assert "Relocating init from" in pc.log


def test_memory_comes_from_the_map_where_there_is_one(engine: Engine, seabios: bytes) -> None:
    rows = e820.packed(row for row in e820.memory_map(128 * MIB) if row.start != 0)
    with Client(engine, ram=128 * MIB, bios=seabios, files={"etc/e820": rows}) as pc:
        until(pc, "Press ESC for boot menu.")
        assert "qemu/e820: addr 0x0000000000100000 len 0x0000000007f00000 [RAM]" in pc.log
    with Client(engine, ram=4 * GIB, bios=seabios) as pc:
        until(pc, "Press ESC for boot menu.")
        assert "RamSizeOver4G: 0x0000000040000000 [cmos]" in pc.log


def test_without_devices_nothing_boots(engine: Engine, seabios: bytes) -> None:
    with Client(engine, bios=seabios, files=NO_MENU, times=8, items=SERIAL_CONSOLE) as pc:
        until(pc, "No bootable device.")
        assert "Press ESC for boot menu." not in pc.log
        assert "SeaBIOS (version" in pc.text
        assert "\x1b[" in pc.text


@pytest.mark.parametrize("bus", BUSES)
def test_it_boots_from_a_disk(engine: Engine, seabios: bytes, bus: str) -> None:
    with boot_disk(engine, seabios, bus, boot_sector()) as pc:
        assert pc.run(BOOTS_IN) == STATUS, pc.log
        assert "Booting from Hard Disk..." in pc.log
        assert "Booting from 0000:7c00" in pc.log


def test_a_disk_without_a_signature_is_refused(engine: Engine, seabios: bytes) -> None:
    with boot_disk(engine, seabios, "virtio", bytes(512)) as pc:
        until(pc, "Boot failed: not a bootable disk")


def test_a_boot_sector_powers_off_through_acpi(engine: Engine, seabios: bytes) -> None:
    code = bytes.fromhex("ba 04 b0  b8 00 20  ef  f4").ljust(510, b"\0") + b"\x55\xaa"  # mov dx, B004H; out dx, ax
    with boot_disk(engine, seabios, "virtio", code) as pc:
        assert pc.run(BOOTS_IN) == PoweredOff(), pc.log


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("b0 02 ba f9 0c ee b0 06 ee f4", id="cf9"),
        pytest.param("b0 fe e6 64 f4", id="keyboard-controller"),
        pytest.param("0f 01 1e 20 7c cc", id="triple-fault"),  # lidt with a limit of 0; int3
    ],
)
def test_a_reset_starts_anew(engine: Engine, seabios: bytes, code: str) -> None:
    """The first boot leaves a mark and resets; the second finds the mark, and ends."""
    mark = bytes.fromhex(
        "b0 40 e6 70 e4 71 3c 5a"  # cell 40H of the clock's memory
        "75 05 b0 2a e6 f4 f4"  # jne; else exit
        "b0 40 e6 70 b0 5a e6 71"
    )
    sector = mark + bytes.fromhex(code)
    sector = sector.ljust(510, b"\0") + b"\x55\xaa"
    with boot_disk(engine, seabios, "virtio", sector) as pc:
        assert pc.run(BOOTS_IN) == STATUS, pc.log
        assert pc.resets == 1
        assert pc.log.count("SeaBIOS (version") == 4  # twice a boot


def bev_rom() -> bytes:
    """A PnP option ROM with a boot entry vector at 80H that ends the machine."""
    rom = bytearray(512)
    rom[0:4] = b"\x55\xaa\x01\xcb"
    rom[0x1A:0x1C] = (0x20).to_bytes(2, "little")
    rom[0x20:0x26] = b"$PnP\x01\x02"
    rom[0x20 + 0x1A : 0x20 + 0x1C] = (0x80).to_bytes(2, "little")
    rom[0x29] = -sum(rom[0x20:0x40]) & 0xFF
    rom[0x80:0x85] = bytes.fromhex("b0 2a e6 f4 f4")
    rom[-1] = -sum(rom) & 0xFF
    return bytes(rom)


def test_it_boots_from_an_option_rom(engine: Engine, seabios: bytes) -> None:
    with Client(engine, bios=seabios, files=NO_MENU | {"genroms/test.rom": bev_rom()}, times=8) as pc:
        assert pc.run(BOOTS_IN) == STATUS, pc.log
        assert "Booting from ROM..." in pc.log


def test_a_rom_with_a_wrong_checksum_is_refused(engine: Engine, seabios: bytes) -> None:
    rom = bytearray(bev_rom())
    rom[0x90] ^= 1
    with Client(engine, bios=seabios, files=NO_MENU | {"genroms/test.rom": bytes(rom)}, times=8) as pc:
        until(pc, "No bootable device.")
        assert "bad checksum" in pc.log


def test_a_rom_that_says_it_is_longer_than_its_file_does_no_harm(engine: Engine, seabios: bytes) -> None:
    rom = bytearray(bev_rom())
    rom[2] = 0xFF
    with Client(engine, bios=seabios, files=NO_MENU | {"genroms/test.rom": bytes(rom)}, times=8) as pc:
        until(pc, "No bootable device.")


def test_the_evidence_survives_a_guest_that_is_stopped(engine: Engine, seabios: bytes, tmp_path: Path) -> None:
    with Client(engine, bios=seabios) as pc:
        assert isinstance(pc.run(0.01), Timeout)
        (tmp_path / "log").write_text(pc.log)


@pytest.mark.kvm
def test_on_kvm_it_counts_two_processors_by_kvms_clock(seabios: bytes) -> None:
    with ExitStack() as stack:
        try:
            engine = stack.enter_context(open_engine("kvm"))
        except EngineUnavailable as fault:
            pytest.skip(str(fault))
        pc = stack.enter_context(Client(engine, bios=seabios, vcpus=2, files=NO_MENU, irqchip="kernel"))
        until(pc, "No bootable device.")
        assert "Found 2 cpu(s) max supported 2 cpu(s)" in pc.log
        assert "kvmclock: stable tsc" in pc.log
