"""``virtproof guest`` with a whole PC: what is plugged in, and what people are told who ask for what cannot be."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.vmm.loaders.files import bzimage_file
from virtproof.cli.app import run
from virtproof.cli.guest_pc import Plugs
from virtproof.cli.peripherals import disk_options, nic_option
from virtproof.spec.fault import Fault
from virtproof.vmm import peripherals
from virtproof.vmm.computer import Computer
from virtproof.vmm.engines.software.engine import SoftwareEngine
from virtproof.vmm.events import After, EventLoop, ManualClock
from virtproof.vmm.network.port import Port
from virtproof.vmm.scsi.block import DiskUnit
from virtproof.vmm.scsi.cdrom import CdRomUnit

SEABIOS = Path("/usr/share/seabios/bios-256k.bin")
EXIT, POWER_OFF = "b0 2a e6 f4 f4", "66 ba 04 06  66 b8 00 20  66 ef  f4"


def guest(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "virtproof", "guest", *arguments, "--engine", "software", "--timeout", "60")
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def kernel(folder: Path, code: str) -> str:
    made = folder / "vmlinuz"
    made.write_bytes(bzimage_file(protected=bytes.fromhex(code).ljust(0x200, b"\xf4") + bytes.fromhex(code)))
    return str(made)


@pytest.fixture
def bios(software: SoftwareEngine) -> str:
    if not SEABIOS.exists():
        pytest.skip(f"no {SEABIOS} (Debian: seabios)")
    return str(SEABIOS)


def test_a_bios_boots_a_disk_that_stays_as_it_was(bios: str, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes((bytes.fromhex("b0 2a e6 f4 f4")).ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    before = disk.read_bytes()
    for how in ("bus=pvscsi,snapshot", f"bus=lsi,overlay={tmp_path / 'mine'},rate=100M"):
        done = guest("--bios", bios, "--disk", f"{disk},{how}")
        assert done.returncode == 0x55, done.stderr
        assert "Booting from Hard Disk" in done.stdout
    assert disk.read_bytes() == before


@pytest.mark.parametrize(("code", "status"), [(EXIT, 0x55), (POWER_OFF, 0)])
def test_a_kernel_ends_the_pc(software: SoftwareEngine, tmp_path: Path, code: str, status: int) -> None:
    done = guest(
        "--kernel",
        kernel(tmp_path, code),
        "--nic",
        "model=vmxnet3,backend=switch",
        "--nic",
        "model=virtio,backend=switch",
    )
    assert (done.returncode, done.stderr) == (status, "")


def test_a_reset_without_a_bios_is_told(software: SoftwareEngine, tmp_path: Path) -> None:
    done = guest("--kernel", kernel(tmp_path, "b0 fe e6 64 f4"))
    assert done.returncode == 71
    assert "asked for a reset" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((), 64, "name one thing to boot"),
        (("--bios", "x", "--kernel", os.devnull), 64, "name one thing to boot|Invalid value"),
        (("--bios", "/nowhere/bios"), 4, "install SeaBIOS"),
        (("--bios", os.devnull), 4, "it is empty"),
        (("--bios", __file__), 4, "whole pages"),
        (("--bios", "x", "--disk", "f,bus=ide"), 64, "known are virtio, "),
        (("--bios", "x", "--disk", "f,bus=lsi,cache=on"), 64, "known are bus=virtio"),
        (("--bios", "x", "--disk", "f,cdrom"), 64, "bus=virtio has neither CD-ROMs nor LUNs"),
        (("--bios", "x", "--disk", "f,lun=0"), 64, "bus=virtio has neither CD-ROMs nor LUNs"),
        (("--bios", "x", "--disk", "f,bus=lsi,media=floppy"), 64, "known are disk and cdrom"),
        (("--bios", "x", "--disk", "f,bus=lsi,lun=8"), 64, "from 0 to 7"),
        (("--bios", "x", "--disk", "f,bus=lsi,lun=one"), 64, "from 0 to 7"),
        (("--bios", "x", "--disk", "f,bus=lsi,lun=1"), 64, "there is none"),
        (("--bios", "x", "--disk", "f,bus=lsi", "--disk", "f,bus=pvscsi,lun=1"), 64, "there is none"),
        (("--bios", "x", *("--disk", "f,bus=lsi") * 2, *("--disk", "f,bus=lsi,lun=1") * 2), 64, "has it already"),
        (("--bios", "x", "--disk", "f,snapshot,overlay=o"), 64, "only one of them"),
        (("--bios", "x", "--disk", "f,bus=lsi,cdrom,overlay=o"), 64, "only one of them"),
        (("--bios", "x", "--disk", "f,ro,snapshot"), 64, "only one of them"),
        (("--bios", "x", "--disk", "f,rate=fast"), 64, "bytes a second"),
        (("--bios", "x", "--disk", "f,rate=0"), 64, "bytes a second"),
        (("--bios", "x", "--disk", "f,rate=1025G"), 64, "bytes a second"),
        (("--bios", "x", "--disk", f"{__file__},overlay={__file__}"), 4, "not an overlay|reads it"),
        (("--bios", "x", "--disk", f"{__file__},overlay=/nowhere/o"), 4, "/nowhere/o"),
        (("--bios", "x", "--nic", "backend=tap,segment=a"), 64, "only backend=switch has segments"),
        (("--bios", "x", "--nic", "rate=-1"), 64, "bytes a second"),
        (("--bios", "x", "--nic", "model=rtl8139"), 64, "known are e1000"),
        (("--bios", "x", "--nic", "backend=wifi"), 64, "known are none, loopback, switch, tap"),
        (("--bios", "x", "--nic", "mac=ff:ff:ff:ff:ff:ff"), 64, "six bytes"),
        (("--bios", "x", "--nic", "speed=9"), 64, "known are model="),
        (("--bios", "x", "--disk", "/nowhere/disk"), 4, "/nowhere/disk"),
        (("--bios", "x", "--append", "quiet"), 64, "go with a kernel"),
        (("--bios", "x", "--gdb"), 64, "--gdb goes with FILE only"),
        (("--disk", "f"), 64, "name one thing to boot"),
    ],
)
def test_what_cannot_be_is_told(
    software: SoftwareEngine, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], status: int, said: str
) -> None:
    assert run(["guest", *arguments, "--engine", "software"]) == status
    told = capsys.readouterr().err
    assert any(each in told for each in said.split("|")), told


def test_disks_and_adapters_need_a_whole_pc(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["guest", kernel(tmp_path, EXIT), "--disk", "f"]) == 64
    assert "need a whole PC" in capsys.readouterr().err


# What is plugged in, without a processor.


class Machine:
    """As much of a computer as plugs ask for; remembers its devices, and whose time is counted by hand."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.targets: dict[str, peripherals.Targets] = {}
        self.ports: list[Port] = []
        self.clock = ManualClock()
        self.events = EventLoop(self.clock)
        self.after = self.events.after
        self.machine = self.board = self
        for bus in peripherals.SCSI:
            patch.setitem(peripherals.SCSI, bus, functools.partial(self._controller, bus))
        nic = peripherals.Nic(lambda mac, port, after, rom: self.ports.append(port), "", "")
        patch.setitem(peripherals.NICS, "e1000", nic)

    def _controller(self, bus: str, targets: peripherals.Targets, after: After) -> None:
        self.targets[bus] = targets

    def add(self, device: object) -> None: ...

    def pass_time(self, milliseconds: int) -> None:
        for _ in range(4):  # what one adapter sent arrives at the next look
            self.events.poll(0)
        for _ in range(milliseconds):
            self.clock.advance(1_000_000)
            self.events.poll(0)

    def plug(self, disks: list[str], nics: list[str] | None = None) -> Plugs:
        plugs = Plugs(disk_options(disks), [nic_option(text) for text in nics or ()], bios=False)
        plugs.plug_into(cast(Computer, self))
        return plugs


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    made = Machine(monkeypatch)
    yield made
    made.events.close()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(b"base".ljust(1 << 20, b"."))
    return path


def test_disks_are_targets_or_luns_of_the_one_before(machine: Machine, image: Path) -> None:
    words = [
        "bus=lsi",
        "bus=pvscsi",
        "bus=lsi,lun=3",
        "bus=lsi,media=cdrom",
        "bus=lsi,lun=3,cdrom,ro",
        "bus=pvscsi,lun=7",
        "bus=lsi,lun=0",
    ]
    with machine.plug([f"{image},ro,{each}" for each in words]):
        kinds = {
            bus: {target: {lun: type(unit) for lun, unit in units.items()} for target, units in targets.items()}
            for bus, targets in machine.targets.items()
        }
    assert kinds == {
        "lsi": {0: {0: DiskUnit, 3: DiskUnit}, 1: {0: CdRomUnit, 3: CdRomUnit}, 2: {0: DiskUnit}},
        "pvscsi": {0: {0: DiskUnit, 7: DiskUnit}},
    }


def test_an_overlay_keeps_what_is_written_and_its_base_as_it_is(machine: Machine, image: Path, tmp_path: Path) -> None:
    before = image.read_bytes()
    said = f"{image},bus=lsi,overlay={tmp_path / 'mine'}"
    for seen in (b"base", b"mine"):
        with machine.plug([said]):
            unit = machine.targets["lsi"][0][0]
            assert isinstance(unit, DiskUnit)
            assert unit.disk is not None
            assert unit.disk.read(0, 1)[:4] == seen
            unit.disk.write(0, b"mine".ljust(512, b"."))
            unit.disk.flush()
    assert image.read_bytes() == before


def test_two_guests_stand_on_one_base_and_none_on_one_that_is_written(
    machine: Machine, image: Path, tmp_path: Path
) -> None:
    with machine.plug([f"{image},overlay={tmp_path / 'one'}"]):
        with machine.plug([f"{image},overlay={tmp_path / 'two'}"]):
            pass
        with pytest.raises(Fault, match="another guest reads it") as caught:
            machine.plug([str(image)])
        assert "overlay" in caught.value.remedy
        with pytest.raises(Fault, match="another guest writes it"):
            machine.plug([f"{image},overlay={tmp_path / 'one'}"])
    with machine.plug([str(image)]):
        with pytest.raises(Fault, match="another guest writes it") as caught:
            machine.plug([f"{image},overlay={tmp_path / 'two'}"])
        assert "overlay" not in caught.value.remedy
    with machine.plug([str(image)]):
        pass


def test_a_disc_has_a_sector_of_its_own_size(machine: Machine, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.write_bytes(bytes(1024))
    with pytest.raises(Fault, match="smaller than a sector of 2048 bytes"):
        machine.plug([f"{small},bus=lsi,cdrom"])
    with machine.plug([f"{small},bus=lsi"]):
        pass


def test_a_disk_has_its_rate_by_the_clock_of_its_machine(machine: Machine, image: Path) -> None:
    with machine.plug([f"{image},bus=lsi,ro,rate=1M", f"{image},bus=lsi,ro"]):
        limited, free = (machine.targets["lsi"][target][0] for target in (0, 1))
        assert isinstance(limited, DiskUnit)
        assert isinstance(free, DiskUnit)
        assert limited.disk is not None
        assert free.disk is not None
        assert limited.disk.delay(1 << 20) == pytest.approx(0.9e9, rel=1e-5)
        machine.clock.advance(2_000_000_000)
        assert limited.disk.delay(4096) == 0
        assert free.disk.delay(1 << 30) == 0


def frame(number: int, length: int = 60) -> bytes:
    return (b"\xff" * 6 + bytes((2, 0, 0, 0, 0, number))).ljust(length, b".")


def test_adapters_of_one_segment_see_each_other(machine: Machine) -> None:
    with machine.plug([], ["segment=a", "segment=a,backend=switch", "segment=b", "backend=switch", "backend=switch"]):
        heard: list[list[bytes]] = [[] for _ in machine.ports]
        for port, frames in zip(machine.ports, heard, strict=True):
            port.connect(lambda data, frames=frames: not frames.append(data))  # type: ignore[misc]
        for number, port in enumerate(machine.ports):
            port.send(frame(number))
        machine.pass_time(1)
    assert heard == [[frame(1)], [frame(0)], [], [frame(4)], [frame(3)]]


def test_an_adapter_has_its_rate(machine: Machine) -> None:
    with machine.plug([], ["segment=a,rate=1000000", "segment=a"]):
        heard: list[bytes] = []
        slow, fast = machine.ports
        fast.connect(lambda data: not heard.append(data))  # type: ignore[func-returns-value]
        for _ in range(100):
            slow.send(frame(0, 1500))
        machine.pass_time(0)
        at_once = len(heard)
        assert 1 <= at_once < 60
        machine.pass_time(30)
        assert at_once + 15 < len(heard) < at_once + 25, "a frame takes 1.5 ms"
        machine.pass_time(150)
        assert len(heard) == 100
