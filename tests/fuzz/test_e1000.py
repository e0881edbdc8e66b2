"""Random registers, rings, descriptors and frames: no exception, no access outside of memory, nothing that grows.

What the guest writes is mostly nearly right: random words would hardly ever make a ring that works.
"""

from __future__ import annotations

import os
import random

from tests.vmm.devices.e1000.rig import BROADCAST, MAC, Rig
from tests.vmm.devices.e1000.test_transmit import tcp
from virtproof.spec import e1000
from virtproof.spec.e1000 import REGISTERS, Ctrl, Rctl, Tctl
from virtproof.spec.e1000_descriptors import Context, ContextOffsets, Data, Legacy
from virtproof.spec.pci import COMMAND
from virtproof.vmm.devices.e1000.statistics import OFFSETS
from virtproof.vmm.network.port import LONGEST

OPERATIONS = 100 * int(os.environ.get("VIRTPROOF_FUZZ", "300"))
SEED = int(os.environ.get("VIRTPROOF_FUZZ_SEED", "1"))
RAM = 1 << 20
EVERY = [register + 4 * n for register in REGISTERS for n in range(min(register.count, 4))] + sorted(OFFSETS)
ADDRESSES = (0, 0x1000, 0x2000, 0x8_0000, RAM - 16, RAM - 1, RAM, 0xFEBC_3818, (1 << 64) - 16, (1 << 64) - 1)
LENGTHS = (0, 1, 4, 13, 14, 60, 256, 1514, 4096, 16380, 0xFFFF)
FRAMES = (
    b"",
    b"\0" * 13,
    b"\xff" * 14,
    MAC + bytes(48),
    BROADCAST + bytes(1500),
    BROADCAST + bytes(9000),
    bytes(70_000),
)
WAITS = (0, 1, 1000, 10**6, 10**9)


def bounded(frame: bytes) -> None:
    """The other end of the cable keeps nothing and believes nothing."""
    assert 14 <= len(frame) <= LONGEST + 255


class Guest:
    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.rig = Rig(chance.choice(("82540em", "82545em")), ram=RAM)
        self.rig.cable.send = bounded  # type: ignore[method-assign]
        self.io = self.rig.nic.function.bars[1].device

    def word(self) -> int:
        return self.chance.choice((0, 1, 0xFFFF_FFFF, 1 << self.chance.randrange(32), self.chance.getrandbits(32)))

    def address(self) -> int:
        return self.chance.choice((*ADDRESSES, self.chance.randrange(RAM), self.chance.randrange(RAM)))

    def descriptor(self) -> bytes:
        chance = self.chance
        address, length = self.address(), chance.choice((*LENGTHS, chance.randrange(2000)))
        flags = {name: chance.getrandbits(1) for name in ("eop", "rs", "vle", "ide")}
        match chance.randrange(6):
            case 0 | 1:
                flags |= {"ic": chance.getrandbits(1), "css": chance.getrandbits(8), "cso": chance.getrandbits(8)}
                word = int(Legacy(0).but(length=length, special=chance.getrandbits(16), **flags))
            case 2 | 3:
                flags |= {"tse": chance.getrandbits(1), "ixsm": chance.getrandbits(1), "txsm": chance.getrandbits(1)}
                word = int(Data(0).but(length=length, dtyp=1, dext=1, **flags))
                address = chance.choice((0x8_0000, address))
            case 4:
                good = {"ipcss": 14, "ipcso": 24, "ipcse": 33, "tucss": 34, "tucso": 50}
                address = int(ContextOffsets(0).but(**good)) if chance.getrandbits(1) else chance.getrandbits(64)
                mss, header = chance.choice((0, 1, 100, 1460, 0xFFFF)), chance.choice((0, 54, 255))
                word = int(
                    Context(0).but(dext=1, tcp=chance.getrandbits(1), tse=chance.getrandbits(1), mss=mss, hdrlen=header)
                )
            case _:
                word = chance.getrandbits(64)
        return address.to_bytes(8, "little") + word.to_bytes(8, "little")

    @property
    def carried(self) -> tuple[int, int]:
        """Frames sent and stored since somebody last cleared the statistics."""
        counts = self.rig.nic.statistics.counts
        return counts[e1000.Statistic.GPTC], counts[e1000.Statistic.GPRC]

    def lay_rings(self) -> None:
        """Both rings nearly right, somewhere, perhaps in one place."""
        chance, rig = self.chance, self.rig
        for base, enable, register in (
            (e1000.TDBAL, Tctl(self.word() & Tctl.KNOWN).but(en=1), e1000.TCTL),
            (e1000.RDBAL, Rctl(self.word() & Rctl.KNOWN).but(en=1), e1000.RCTL),
        ):
            at, count = chance.choice((0x1000, 0x1000, 0x4000)), chance.choice((8, 16, 64, 1024))
            rig.wires.ram[at : at + 1024] = b"".join(self.descriptor() for _ in range(64))
            rig.write(base, at)
            rig.write(base + 4, 0)
            rig.write(base + 8, 16 * count)
            rig.write(base + 0x10, chance.randrange(count))
            rig.write(register, enable)
            rig.write(base + 0x18, chance.randrange(count))
        rig.wires.ram[0x8_0000 : 0x8_0000 + 4000] = tcp(bytes(3946))

    def step(self) -> None:
        chance, rig = self.chance, self.rig
        match chance.randrange(20):
            case 0:
                self.lay_rings()
            case 1 | 2 | 3:
                rig.write(chance.choice((e1000.TDT, e1000.RDT)), chance.randrange(64))
            case 4 | 5:
                rig.cable.receive(chance.choice(FRAMES))
            case 6:
                rig.elapse(chance.choice(WAITS))
            case 7:
                offset, size = chance.randrange(e1000.MEMORY_SIZE), chance.choice((1, 2, 4))
                rig.nic.read(offset & -size, size)
                rig.nic.write(offset & -size, size, self.word() & (1 << 8 * size) - 1)
            case 8:
                assert self.io is not None
                offset, size = chance.choice((0, 4, 4, 8, 60)), chance.choice((1, 2, 4, 4))
                self.io.write(offset, size, self.word() & (1 << 8 * size) - 1)
                assert 0 <= self.io.read(offset, size) < 1 << 32
            case 9 if chance.randrange(20) == 0:
                rig.nic.function.write_config(COMMAND, 2, chance.choice((0, 2, 7, 7, 7, 0x407)))
            case 10 if chance.randrange(20) == 0:
                rig.nic.set_link(bool(chance.getrandbits(1)))
            case 11 if chance.randrange(50) == 0:
                rig.nic.reset()
            case 12 if chance.randrange(20) == 0:
                rig.write(e1000.CTRL, Ctrl(self.word() & Ctrl.KNOWN).but(rst=chance.getrandbits(1)))
            case 13 if chance.randrange(200) == 0:
                rig.nic.restore(rig.nic.state())
            case 14:
                at = chance.randrange(64)
                rig.wires.ram[0x1000 + 16 * at : 0x1010 + 16 * at] = self.descriptor()
            case _:
                register = chance.choice(EVERY)
                if register not in (e1000.CTRL, e1000.RDBAH, e1000.TDBAH) or chance.randrange(20) == 0:
                    rig.write(register, self.word())
                assert 0 <= rig.read(register) < 1 << 32


def test_random_guests() -> None:
    chance = random.Random(SEED)
    sent = stored = 0
    for start in range(0, OPERATIONS, 2000):
        guest = Guest(chance)
        for _ in range(min(2000, OPERATIONS - start)):
            before = guest.carried
            guest.step()
            more = [max(0, now - then) for now, then in zip(guest.carried, before, strict=True)]  # a read clears
            sent, stored = sent + more[0], stored + more[1]
        assert len(guest.rig.wires.ram) == RAM
        assert len(guest.rig.loop._heap) < 200
        assert len(guest.rig.nic.transmitter.state()["frame"]) <= 2 * (65536 + 255)
        guest.rig.wires.lines.clear()
    assert sent > OPERATIONS / 20  # else they are not plausible
    assert stored > OPERATIONS / 200
