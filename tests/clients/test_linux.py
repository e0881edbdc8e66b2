"""Debian's kernel, unmodified, boots on our tables and drives our devices with its own drivers, then powers off.

It takes many minutes on the software engine.  Its initial RAM disk has busybox and the drivers.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.clients.pc import Client
from tests.clients.server import Server
from virtproof.lab import initramfs_linux
from virtproof.lab.initramfs import Archive
from virtproof.vmm.computer import PoweredOff
from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.engine import Engine
from virtproof.vmm.loaders import bzimage
from virtproof.vmm.loaders.image import Kernel, Module
from virtproof.vmm.peripherals import NICS, controllers, mac

BOOTS_IN = 3600.0  # seconds, for a machine that does much else
QUIET = b"console=ttyS0 mitigations=off nokaslr cryptomgr.notests lsm=capability audit=0 random.trust_cpu=on panic=-1"
DRIVERS = ("e1000", "vmxnet3", "virtio_pci", "virtio_net", "virtio_blk", "vmw_pvscsi", "mptspi", "sd_mod")
DISKS = ("virtio", "pvscsi", "lsi")
INIT = """#!/bin/sh
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs devtmpfs /dev
for name in $(sed 's/:.*//; s/.*\\///; s/\\.ko.*//' /lib/modules/*/modules.dep); do modprobe $name; done
busybox sleep 2
for nic in /sys/class/net/eth*; do
    name=${nic##*/}; ip link set $name up
    busybox udhcpc -i $name -n -q -t 10 -s /bin/true >/dev/null 2>&1 && echo "LEASE $(cat $nic/address)"
done
for disk in /sys/block/[sv]d*; do
    name=/dev/${disk##*/}
    echo "DISK $(busybox dd if=$name bs=512 count=1 2>/dev/null | head -c 8)"
    echo "written by Linux" | busybox dd of=$name bs=512 seek=8 conv=sync,fsync 2>/dev/null
done
grep -E 'eth|virtio|vmw_pvscsi|ioc0' /proc/interrupts
echo "THE END"
poweroff -f
"""


def ram_disk(kernel: initramfs_linux.Kernel) -> bytes:
    archive = Archive()
    initramfs_linux.add_base(archive)
    initramfs_linux.add_modules(archive, kernel, DRIVERS)
    archive.link("bin/true", "busybox")
    archive.file("init", INIT.encode(), 0o755)
    return archive.data()


def test_linux_drives_every_device_and_powers_off(
    engine: Engine, debian: initramfs_linux.Kernel, tmp_path: Path
) -> None:
    disks = [FileDisk.in_memory(4096, f"{bus:8}".encode()) for bus in DISKS]
    with Server(tmp_path) as server, Client(engine, ram=512 << 20) as pc:
        for controller in controllers(list(zip(DISKS, disks, strict=True)), pc.machine.after):
            pc.board.add(controller)
        for number, nic in enumerate(NICS.values()):
            port = server.bridge.tap(pc.machine.events, pc.machine.after)
            pc.board.add(nic.make(mac(number), port, pc.machine.after, b""))
        initrd = Module("initrd", ram_disk(debian))
        pc.boot(bzimage.load(Kernel("vmlinuz", debian.image.read_bytes(), QUIET, initrd), pc.ram))
        ended = pc.run(BOOTS_IN)
        (tmp_path / "console").write_text(pc.text)
        assert ended == PoweredOff(), pc.text[-3000:]
        assert "Linux version 6." in pc.text
        assert "is a 16550A" in pc.text
        assert "THE END" in pc.text
        assert "ACPI Error" not in pc.text
        assert sorted(re.findall(r"^LEASE (\S+)", pc.text, re.MULTILINE)) == [mac(n).hex(":") for n in range(len(NICS))]
        assert sorted(server.leases) == [mac(number).hex(":") for number in range(len(NICS))]
        assert sorted(re.findall(r"^DISK (\S+)", pc.text, re.MULTILINE)) == sorted(DISKS)
        assert all(disk.read(8, 1).startswith(b"written by Linux\n") for disk in disks)
        rows = re.findall(r"^ *\d+: +(\d+) .* (\S+)$", pc.text, re.MULTILINE)
        assert rows
        silent = [name for count, name in rows if count == "0"]  # nothing changed that these would tell of
        assert all(name.endswith(("-config", "-event-1")) for name in silent)
