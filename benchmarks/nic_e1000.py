"""Measure what a descriptor costs in the model of the e1000, and a read of ICR: processor time, and no guest.

    python benchmarks/nic_e1000.py

The adapter reaches a slot of guest memory as it does in a machine.  What a driver does between two doorbells is not
counted: it laid out the rings before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from statistics import median
from time import process_time

from unplugged import Unplugged, guest_memory

from virtproof.spec import e1000
from virtproof.spec.e1000 import Rctl, Statistic, Tctl
from virtproof.spec.e1000_descriptors import SIZE, Legacy
from virtproof.spec.pci import COMMAND
from virtproof.vmm.devices.e1000.nic import E1000
from virtproof.vmm.events import EventLoop
from virtproof.vmm.memory import GuestMemory

RAM = 4 << 20
RING = 256
ROUNDS, LAPS = 9, 40
WANTED, WANTED_READS = 100_000, 1_000_000  # a second
FRAME = b"\xff" * 12 + b"\x88\xb5" + bytes(50)
TX_RING, RX_RING, OUTGOING, INCOMING = 0x1000, 0x3000, 0x1_0000, 0x2_0000


class Bench:
    """An adapter whose rings turn."""

    def __init__(self, memory: GuestMemory, loop: EventLoop) -> None:
        self.loop, self.port = loop, Unplugged()
        self.nic = E1000(b"\x02\0\0\0\0\1", self.port, loop.after)
        self.nic.function.connect(memory, self.port)
        self.nic.function.write_config(COMMAND, 2, 7)
        word = int(Legacy(0).but(length=len(FRAME), eop=1, rs=1))
        memory.write(TX_RING, (OUTGOING.to_bytes(8, "little") + word.to_bytes(8, "little")) * RING)
        memory.write(RX_RING, (INCOMING.to_bytes(8, "little") + bytes(8)) * RING)
        memory.write(OUTGOING, FRAME)
        for first, ring in ((e1000.TDBAL, TX_RING), (e1000.RDBAL, RX_RING)):
            self.write(first, ring)
            self.write(e1000.TDLEN - e1000.TDBAL + first, SIZE * RING)
        self.write(e1000.RCTL, Rctl(0).but(en=1, bam=1, secrc=1))
        self.write(e1000.TCTL, Tctl(0).but(en=1))

    def write(self, register: int, value: int) -> None:
        self.nic.write(register, 4, value)

    def transmit(self) -> float:
        """Send a ring full but one with one doorbell; return the seconds."""
        start = process_time()
        self.write(e1000.TDT, (self.nic.read(e1000.TDH, 4) - 1) % RING)
        return process_time() - start

    def receive(self) -> float:
        """Take a ring full but one."""
        start = process_time()
        self.write(e1000.RDT, (self.nic.read(e1000.RDH, 4) - 1) % RING)
        for _ in range(RING - 1):
            self.port.receive(FRAME)
        return process_time() - start

    def poll(self) -> float:
        """Read an ICR of 0, as iPXE does without a pause."""
        read = self.nic.read
        start = process_time()
        for _ in range(RING - 1):
            read(e1000.ICR, 4)
        return process_time() - start


def rate(turn: Callable[[], float]) -> float:
    """How many a second: the median of rounds."""
    return median((RING - 1) * LAPS / sum(turn() for _ in range(LAPS)) for _ in range(ROUNDS))


def main() -> int:
    met = True
    with guest_memory(RAM) as memory, EventLoop() as loop:
        bench = Bench(memory, loop)
        for name, turn, counted, wanted in (
            ("transmit", bench.transmit, Statistic.GPTC, WANTED),
            ("receive", bench.receive, Statistic.GPRC, WANTED),
        ):
            found, moved = rate(turn), bench.nic.read(counted, 4)
            assert moved == (RING - 1) * LAPS * ROUNDS, f"{moved} moved"
            met &= found >= wanted
            print(f"e1000, {len(FRAME)}-byte frames, {name:10} {found:9,.0f} descriptors/s  wanted {wanted:,}")
        bench.nic.read(e1000.ICR, 4)
        found = rate(bench.poll)
        met &= found >= WANTED_READS
        print(f"e1000, reads of ICR                {found:9,.0f} /s             wanted {WANTED_READS:,}")
    print("met" if met else "NOT MET")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
