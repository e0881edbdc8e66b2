"""Measure what a descriptor costs in the model of VMXNET3: processor time, and no guest.

    python benchmarks/nic_vmxnet3.py

The adapter reaches a slot of guest memory as it does in a machine.  What a driver does between two bells is not
counted: it laid out the rings before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from statistics import median
from time import process_time
from typing import cast

from unplugged import Unplugged, guest_memory

from virtproof.conformance import vmxnet3_layout as layout
from virtproof.spec import vmxnet3 as spec
from virtproof.spec.pci import COMMAND
from virtproof.spec.vmxnet3 import Cmd, Register, TxStatistics
from virtproof.vmm.bus import Device
from virtproof.vmm.devices.vmxnet3.adapter import Vmxnet3
from virtproof.vmm.events import EventLoop
from virtproof.vmm.memory import GuestMemory

RAM = 4 << 20
RING = 256
ROUNDS, LAPS = 9, 40
WANTED = 100_000  # descriptors a second
FRAME = b"\xff" * 12 + b"\x88\xb5" + bytes(50)
TXPROD = 0x600


class Bench:
    """An adapter whose rings turn."""

    def __init__(self, memory: GuestMemory, loop: EventLoop) -> None:
        self.memory, self.port = memory, Unplugged()
        nic = Vmxnet3(b"\x02\0\0\0\0\1", self.port, loop.after)
        nic.function.connect(memory, self.port)
        nic.function.write_config(COMMAND, 2, 7)
        self.bells, self.registers = (cast(Device, bar.device) for bar in nic.function.bars[:2])
        sizes = {"size": RING, "completion_size": RING}
        memory.write(layout.SHARED, layout.shared())
        memory.write(layout.QUEUES, layout.tx_queue(**sizes) + layout.rx_queue(**sizes))
        self.registers.write(Register.DSAL, 4, layout.SHARED)
        self.registers.write(Register.DSAH, 4, 0)
        self.registers.write(Register.CMD, 4, Cmd.ACTIVATE)
        assert self.registers.read(Register.CMD, 4) == 0
        self._tx = [layout.tx_descriptor(gen=gen) * RING for gen in (1, 0)]
        self._rx = [layout.rx_descriptor(layout.INCOMING, gen=gen) * RING for gen in (1, 0)]
        memory.write(layout.OUTGOING, FRAME)

    def moved(self, name: str) -> int:
        """How many frames the adapter itself has counted."""
        self.registers.write(Register.CMD, 4, Cmd.GET_STATS)
        at = layout.QUEUES + (0 if name == "transmit" else spec.QUEUE_SIZE) + spec.QUEUE_STATISTICS
        return spec.STATISTICS.unpack(self.memory.read(at, spec.STATISTICS.size))[TxStatistics.BROADCAST_FRAMES]

    def transmit(self, lap: int) -> float:
        """Send a ring full, in bells of half of it; return the seconds."""
        self.memory.write(layout.TX_RING, self._tx[lap % 2])
        start = process_time()
        self.bells.write(TXPROD, 4, 0)  # moves as many as one bell may
        self.bells.write(TXPROD, 4, 0)
        return process_time() - start

    def receive(self, lap: int) -> float:
        """Take a ring full."""
        self.memory.write(layout.RX_RING, self._rx[lap % 2])
        start = process_time()
        for _ in range(RING):
            self.port.receive(FRAME)
        return process_time() - start


def rate(turn: Callable[[int], float]) -> float:
    """Descriptors a second: the median of rounds."""
    return median(RING * LAPS / sum(turn(lap) for lap in range(LAPS)) for _ in range(ROUNDS))


def main() -> int:
    met = True
    with guest_memory(RAM) as memory, EventLoop() as loop:
        bench = Bench(memory, loop)
        for name, turn in (("transmit", bench.transmit), ("receive", bench.receive)):
            found = rate(turn)
            moved = bench.moved(name)
            assert moved == RING * LAPS * ROUNDS, f"{moved} moved"
            met &= found >= WANTED
            print(f"vmxnet3, {len(FRAME)}-byte frames, {name:10} {found:9,.0f} descriptors/s  wanted {WANTED:,}")
    print("met" if met else "NOT MET")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
