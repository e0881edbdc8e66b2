"""Measure the model of virtio-net without a guest: processor time, so that a busy machine does not count.

    python benchmarks/nic_virtio.py

Exits with 1 where the bound is not met.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from time import process_time

from unplugged import Unplugged, guest_memory

from virtproof.spec.pci import COMMAND, Command
from virtproof.spec.virtio import Common, Feature, Status, legacy_rings
from virtproof.spec.virtio_net import HEADER, RECEIVE, TRANSMIT
from virtproof.vmm.devices.virtio.net import QUEUE_SIZE, VirtioNet
from virtproof.vmm.devices.virtio.transport import COMMON_AT, NOTIFY_AT, Transport
from virtproof.vmm.events import EventLoop
from virtproof.vmm.memory import GuestMemory

BOUND = 100_000  # descriptors a second
LAPS, ROUNDS = 100, 5  # laps round a ring in a round; of rounds the best counts
FRAME = bytes(64)
RAM = 2 << 20
BUFFERS, BUFFER = 0x4_0000, 0x800
NEXT, WRITE = 1, 2


class Bench:
    """An adapter that a driver has started; both rings are full of descriptors of one frame each, or of two."""

    def __init__(self, memory: GuestMemory, loop: EventLoop, parts: int) -> None:
        self.memory, self.port, self.parts = memory, Unplugged(), parts
        device = VirtioNet(bytes(6), self.port, loop.after)
        device.function.connect(memory, self.port)
        device.function.write_config(COMMAND, 2, Command(0).but(io=1, memory=1, master=1))
        self.bar: Transport = device._transport
        for place, value in (
            (Common.STATUS, 3),
            (Common.DRIVER_FEATURE_SELECT, 1),
            (Common.DRIVER_FEATURE, Feature.VERSION_1 >> 32),
            (Common.STATUS, 11),
        ):
            self.bar.write(COMMON_AT + place.offset, place.size, value)
        self.indices = {queue: self.lay_out(queue) for queue in (RECEIVE, TRANSMIT)}
        self.filled = 0
        ready = Status(0).but(acknowledge=1, driver=1, features_ok=1, driver_ok=1)
        self.bar.write(COMMON_AT + Common.STATUS.offset, 1, ready)

    def lay_out(self, queue: int) -> int:
        """Fill a ring; return where its index is."""
        base = 0x1_0000 * (queue + 1)
        available, used = legacy_rings(base, QUEUE_SIZE)
        lengths = (HEADER + len(FRAME),) if self.parts == 1 else (HEADER, len(FRAME))
        flags = WRITE if queue == RECEIVE else 0
        for head in range(0, QUEUE_SIZE, self.parts):
            for n, length in enumerate(lengths):
                address = BUFFERS + BUFFER * (head + n)
                more = NEXT * (n < self.parts - 1)
                self.memory.write(
                    base + 16 * (head + n), struct.pack("<QIHH", address, length, flags | more, head + n + 1)
                )
            for lap in range(self.parts):
                slot = head // self.parts + lap * QUEUE_SIZE // self.parts
                self.memory.write(available + 4 + 2 * slot, head.to_bytes(2, "little"))
        self.bar.write(COMMON_AT + Common.QUEUE_SELECT.offset, 2, queue)
        for place, value in ((Common.QUEUE_DESC, base), (Common.QUEUE_DRIVER, available), (Common.QUEUE_DEVICE, used)):
            self.bar.write(COMMON_AT + place.offset, 4, value)
        self.bar.write(COMMON_AT + Common.QUEUE_ENABLE.offset, 2, 1)
        return available + 2

    def offer(self, queue: int) -> None:
        """Make all descriptors available again, and notify."""
        self.filled += QUEUE_SIZE // self.parts
        self.memory.write(self.indices[queue], (self.filled & 0xFFFF).to_bytes(2, "little"))
        self.bar.write(NOTIFY_AT + 4 * queue, 2, queue)


def send(bench: Bench) -> float:
    """Seconds for ``LAPS`` rings of frames that go out."""
    start = process_time()
    for _ in range(LAPS):
        bench.offer(TRANSMIT)
    return process_time() - start


def receive(bench: Bench) -> float:
    """The same of frames that come in, each on its own."""
    start = process_time()
    for _ in range(LAPS):
        bench.offer(RECEIVE)
        for _ in range(QUEUE_SIZE // bench.parts):
            if not bench.port.receive(FRAME):
                raise SystemExit("the adapter has no room where it must have some")
    return process_time() - start


def best(measure: Callable[[Bench], float], parts: int) -> float:
    """The shortest of some rounds, each with an adapter of its own."""
    seconds = []
    for _ in range(ROUNDS):
        with guest_memory(RAM) as memory, EventLoop() as loop:
            seconds.append(measure(Bench(memory, loop, parts)))
    return min(seconds)


def main() -> int:
    worst = float("inf")
    for name, measure, parts in (
        ("frames out, one descriptor each", send, 1), ("frames out, two descriptors each", send, 2),
        ("frames in, one descriptor each", receive, 1), ("frames in, two descriptors each", receive, 2),
    ):  # fmt: skip
        rate = LAPS * QUEUE_SIZE / best(measure, parts)
        worst = min(worst, rate)
        print(f"{name:<34} {rate:>12,.0f} descriptors a second")
    print(f"bound {BOUND:,}: {'met' if worst >= BOUND else 'NOT MET'}")
    return 0 if worst >= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
