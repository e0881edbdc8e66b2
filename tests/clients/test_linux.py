"""Debian's kernel, unmodified, boots on our tables and drives our devices with its own drivers, then powers off.

It takes many minutes on the software engine.  Its initial RAM disk has busybox and the drivers.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import random
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import BOOTS_IN
from tests.clients.pc import Client, until
from tests.clients.server import ADDRESS, ECHO, Server
from virtproof.lab import initramfs_linux
from virtproof.lab.initramfs import Archive
from virtproof.lab.missing import Missing
from virtproof.spec import bzimage as header
from virtproof.spec.fault import Fault
from virtproof.vmm.computer import PoweredOff
from virtproof.vmm.devices.e1000 import transmit as e1000
from virtproof.vmm.devices.virtio import net_offload as virtio
from virtproof.vmm.devices.vmxnet3 import tx as vmxnet3
from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.engine import Engine
from virtproof.vmm.loaders import bzimage, pvh
from virtproof.vmm.loaders.image import Image, Kernel, Module
from virtproof.vmm.peripherals import BUSES, NICS, Drive, controllers, mac

WORKS_IN = 3600.0  # seconds, for a machine that does much else
SLOWLY = 0.25  # of our time: a tick of the guest's 250 a second costs a millisecond here
CONSOLE = b"console=ttyS0 earlyprintk=serial,ttyS0,115200 nokaslr"
QUIET = (  # without what asks for minutes here: module signatures' self-tests, a walk through all page tables
    b"console=ttyS0 mitigations=off nokaslr cryptomgr.notests rodata=off lsm=capability audit=0 random.trust_cpu=on "
    b"nosoftlockup panic=-1"
)
DRIVERS = (
    "e1000", "vmxnet3", "virtio_pci", "virtio_net", "virtio_blk", "virtio_scsi", "vmw_pvscsi", "mptspi", "mptsas",
    "sd_mod",
)  # fmt: skip
BLOB = random.Random(1).randbytes(256 << 10)
SUM = hashlib.md5(BLOB, usedforsecurity=False).hexdigest()
OURS, THEIRS = 512 << 10, 1 << 20  # where BLOB lies on a disk, and where Linux writes a tar file
ON_A_LINE = {"eth0", "eth1", "ioc0", "ioc1"}  # the drivers of e1000 and LSI's controllers use no messages by themselves
SILENT = r".*-(config|event-1|control|event)"  # nothing happens that these would tell of
LEASE = """#!/bin/sh
if [ $1 = bound ]; then ip addr add $ip/24 dev $interface; fi
"""
# All at once, so that there is more to send than fits into a frame.
ECHOED = f"""#!/bin/sh
dd if=/blob bs={len(BLOB)} 2>/dev/null &
head -c {len(BLOB)} | md5sum >/echoed
"""
INIT = f"""#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs devtmpfs /dev
for name in $(sed 's/:.*//; s/.*\\///; s/\\.ko.*//' /lib/modules/*/modules.dep); do modprobe $name; done
for nic in /sys/class/net/eth*; do
    name=${{nic##*/}}; ip link set $name up
    udhcpc -i $name -n -q -t 10 -s /lease >/dev/null 2>&1 && echo "LEASE $(cat $nic/address)"
    echo "ECHO $(cat $nic/address) $(nc {ADDRESS} {ECHO} -e /echo; cat /echoed)"
    grep $name /proc/interrupts
    ip addr flush dev $name; ip link set $name down
done
for disk in /sys/block/[sv]d*; do
    name=/dev/${{disk##*/}}
    echo "DISK $(head -c 12 $name) $(dd if=$name bs=64k skip={OURS >> 16} count={len(BLOB) >> 16} 2>/dev/null | md5sum)"
    tar -cf - -C / blob | dd of=$name bs=64k seek={THEIRS >> 16} conv=fsync 2>/dev/null
done
grep -E 'virtio|vmw_pvscsi|ioc' /proc/interrupts
echo "THE END"
poweroff -f
"""


class Flushed(FileDisk):
    """A disk that counts how often it is flushed."""

    flushes = 0

    def flush(self) -> None:
        self.flushes += 1
        super().flush()


def ram_disk(kernel: initramfs_linux.Kernel) -> bytes:
    archive = Archive()
    initramfs_linux.add_base(archive)
    initramfs_linux.add_modules(archive, kernel, DRIVERS)
    archive.file("blob", BLOB)
    archive.file("lease", LEASE.encode(), 0o755)
    archive.file("echo", ECHOED.encode(), 0o755)
    archive.file("init", INIT.encode(), 0o755)
    return archive.data()


def vmlinux(image: bytes) -> bytes:
    """The ELF file inside of a bzImage that is packed with xz, as the larger kernel is."""
    start = (image[header.SETUP_SECTS] + 1) * header.SECTOR + int.from_bytes(image[0x248:0x24C], "little")
    return lzma.LZMADecompressor().decompress(image[start : start + int.from_bytes(image[0x24C:0x250], "little")])


@pytest.fixture
def cloud() -> initramfs_linux.Kernel:
    """Debian's smaller kernel, which lab hosts run."""
    try:
        return initramfs_linux.kernel("cloud-amd64")
    except (Missing, Fault) as fault:
        pytest.skip(str(fault))


def starts(engine: Engine, image: Image, release: str, ram: int) -> None:
    with Client(engine, ram=ram) as pc:
        pc.boot(image)
        until(pc, "ACPI: RSDP 0x00000000000F", BOOTS_IN)
        assert f"Linux version {release}" in pc.text
        assert "BIOS-e820: [mem 0x0000000000100000-0x" in pc.text
        assert CONSOLE.decode() in pc.text


def test_it_starts_by_its_32_bit_entry(engine: Engine, cloud: initramfs_linux.Kernel) -> None:
    kernel = Kernel("vmlinuz", cloud.image.read_bytes(), CONSOLE)
    starts(engine, bzimage.load(kernel, 256 << 20, bits=32), cloud.release, 256 << 20)


def test_it_starts_by_its_pvh_entry(engine: Engine, debian: initramfs_linux.Kernel) -> None:
    kernel = Kernel("vmlinux", vmlinux(debian.image.read_bytes()), CONSOLE)
    starts(engine, pvh.load(kernel, 256 << 20), debian.release, 256 << 20)


@pytest.fixture
def segmented(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of the adapters that were told to cut a TCP segment into frames."""
    names: set[str] = set()
    for module in (e1000, virtio, vmxnet3):

        def segments(*arguments: Any, name: str = module.__name__, cut: Any = module.segments) -> Iterator[bytes]:
            names.add(name)
            return cut(*arguments)

        monkeypatch.setattr(module, "segments", segments)
    return names


def test_linux_drives_every_device_and_powers_off(
    engine: Engine, debian: initramfs_linux.Kernel, segmented: set[str], tmp_path: Path
) -> None:
    disks = [Flushed.in_memory(8192, f"{bus:12}".encode().ljust(OURS, b"\0") + BLOB) for bus in BUSES]
    with Server(tmp_path) as server, Client(engine, ram=512 << 20, times=SLOWLY) as pc:
        for controller in controllers([*map(Drive, BUSES, disks)], pc.machine.after):
            pc.board.add(controller)
        for number, nic in enumerate(NICS.values()):
            port = server.bridge.tap(pc.machine.events, pc.machine.after)
            pc.board.add(nic.make(mac(number), port, pc.machine.after, b""))
        initrd = Module("initrd", ram_disk(debian))
        pc.boot(bzimage.load(Kernel("vmlinuz", debian.image.read_bytes(), QUIET, initrd), pc.ram))
        ended = pc.run(WORKS_IN)
        (tmp_path / "console").write_text(pc.text)
        assert ended == PoweredOff(), pc.text[-3000:]
        assert "Linux version 6." in pc.text
        assert "is a 16550A" in pc.text
        assert "THE END" in pc.text
        assert "ACPI Error" not in pc.text
        macs = [mac(number).hex(":") for number in range(len(NICS))]
        assert re.findall(r"^LEASE (\S+)", pc.text, re.MULTILINE) == macs
        assert sorted(server.leases) == macs
        assert re.findall(r"^ECHO (\S+) (\w+)", pc.text, re.MULTILINE) == [(each, SUM) for each in macs]
        assert segmented == {module.__name__ for module in (e1000, virtio, vmxnet3)}
        assert sorted(re.findall(r"^DISK (\S+) +(\w+)", pc.text, re.MULTILINE)) == [(bus, SUM) for bus in sorted(BUSES)]
        for disk in disks:
            written = io.BytesIO(disk.read(THEIRS // 512, disk.sectors - THEIRS // 512))
            with tarfile.open(fileobj=written) as archive, archive.extractfile("blob") or io.BytesIO() as blob:
                assert blob.read() == BLOB
            assert disk.flushes
        check_interrupts(pc.text)


def check_interrupts(text: str) -> None:
    """Messages where the drivers use them, and lines else; each tells of something."""
    rows = re.findall(r"^ *\d+: +(\d+) +(\S+) +\S+ +(.+?)\r?$", text, re.MULTILINE)
    named = [(name, kind, int(count)) for count, kind, names in rows for name in names.split(", ")]
    assert {name for name, kind, _ in named if kind == "IO-APIC"} == ON_A_LINE
    assert {kind for name, kind, _ in named if name not in ON_A_LINE} == {"PCI-MSI"}
    assert {"eth2-rxtx-0", "eth2-event-1", "vmw_pvscsi"} < {name for name, _, _ in named}
    assert sum(bool(re.fullmatch(r"virtio\d-(req\.0|input\.0|output\.0|request)", name)) for name, _, _ in named) == 4
    silent = [name for name, _, count in named if not count]
    assert all(re.fullmatch(SILENT, name) for name in silent), silent
