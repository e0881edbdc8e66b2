"""Every device of a board at once, driven at random through the bus: nothing that goes wrong is remembered for ever."""

from __future__ import annotations

import gc
import os
import random
import tracemalloc
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

from tests.vmm.pc_parts import Memory
from virtproof.vmm.board import Board
from virtproof.vmm.bus import Bus
from virtproof.vmm.devices.e1000.nic import E1000
from virtproof.vmm.devices.lsi_mpt.adapter import LsiMpt
from virtproof.vmm.devices.pvscsi import PvScsi
from virtproof.vmm.devices.virtio.blk import VirtioBlk
from virtproof.vmm.devices.virtio.net import VirtioNet
from virtproof.vmm.devices.vmxnet3.adapter import Vmxnet3
from virtproof.vmm.disks.file import FileDisk, HostFile
from virtproof.vmm.events import EventLoop, ManualClock
from virtproof.vmm.machine import Machine
from virtproof.vmm.network.loopback import Loopback
from virtproof.vmm.pci.bus import PciDevice
from virtproof.vmm.scsi.block import DiskUnit

OPERATIONS = 100 * int(os.environ.get("VIRTPROOF_FUZZ", "100"))
SEED = int(os.environ.get("VIRTPROOF_FUZZ_SEED", "1"))
GROWTH = 5 << 20  # bytes
MAC = bytes.fromhex("525400123456")
MAPPED, WINDOW, PORTS, PORT_WINDOW = 0xE000_0000, 0x10_0000, 0xC000, 0x400  # a part of each space for each device


def test_memory_does_not_grow_with_what_goes_wrong() -> None:
    chance, clock, bus, memory = random.Random(SEED), ManualClock(), Bus(), Memory()
    loop = EventLoop(clock)
    interrupts = SimpleNamespace(set_line=lambda gsi, level: None, send_msi=lambda address, data: None)
    board = Board(
        cast(
            Machine,
            SimpleNamespace(
                bus=bus, memory=memory, interrupts=interrupts, vcpus=(None,), wire_timer=lambda: None, after=loop.after
            ),
        )
    )
    disks = [FileDisk(HostFile.anonymous(1 << 20)) for _ in range(3)]
    devices: tuple[PciDevice, ...] = (
        E1000(MAC, Loopback(loop.after), loop.after),
        Vmxnet3(MAC, Loopback(loop.after), loop.after),
        VirtioNet(MAC, Loopback(loop.after), loop.after),
        VirtioBlk(disks[0], loop.after),
        PvScsi({0: {0: DiskUnit(disks[1])}}, loop.after),
        LsiMpt({0: {0: DiskUnit(disks[2])}}, loop.after),
    )
    windows: list[tuple[bool, int, int]] = []
    for number, device in enumerate(devices):
        board.add(device)
        memory_at, port_at, places = MAPPED + number * WINDOW, PORTS + number * PORT_WINDOW, []
        for bar in device.function.bars:
            if bar.kind == "io":
                port_at = -(-port_at // bar.size) * bar.size
                places.append(port_at)
                port_at += bar.size
            else:
                memory_at = -(-memory_at // bar.size) * bar.size
                places.append(memory_at)
                memory_at += bar.size
            windows.append((bar.kind == "io", places[-1], bar.size))
        device.function.place(places)
    memory.data[:] = chance.randbytes(len(memory.data))

    def some(count: int) -> None:
        for _ in range(count):
            is_port, base, size = chance.choice(windows)
            width = chance.choice((1, 2, 4))
            at = base + chance.randrange(min(size, 0x6000)) // width * width
            value = chance.choice((0, 1, 1 << 8 * width - 1, chance.randrange(1 << 8 * width), 0x2000))
            value &= (1 << 8 * width) - 1
            if chance.random() < 0.7:
                (bus.pio_out if is_port else bus.mmio_write)(at, width, value)
            else:
                (bus.pio_in if is_port else bus.mmio_read)(at, width)
            if chance.random() < 0.1:
                clock.advance(100_000)
                loop.poll()

    assert _growth(lambda: some(OPERATIONS // 10), lambda: some(OPERATIONS)) < GROWTH


def _growth(warm: Callable[[], None], work: Callable[[], None]) -> int:
    """How many more bytes are in use after ``work``, which comes after ``warm``."""
    tracemalloc.start()
    try:
        warm()
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        work()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
