"""A VMXNET3 driven at random: no exception, nothing outside guest memory, no queue, ring or timer without an end."""

from __future__ import annotations

import json
import os
import random

from tests.vmm.devices.vmxnet3_bench import MAC, RAM, RXPROD, RXPROD2, TXPROD, Bench, frame
from virtproof.conformance import packets
from virtproof.conformance import vmxnet3_layout as layout
from virtproof.spec import vmxnet3 as spec
from virtproof.spec.vmxnet3 import Cmd, Register
from virtproof.vmm.devices.vmxnet3.adapter import BATCH
from virtproof.vmm.network.segment import SEGMENTS

OPERATIONS = 100 * int(os.environ.get("VIRTPROOF_FUZZ", "100"))
SEED = int(os.environ.get("VIRTPROOF_FUZZ_SEED", "1"))
COMMANDS = (*Cmd, *range(0xCAFE0000, 0xCAFE0012), *range(0xF00D0000, 0xF00D000E))
EDGES = (0, 1, 31, 32, 33, 255, 4096, 8192, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, RAM - 16, RAM, 1 << 40, (1 << 64) - 512)
SIZES = (32, 32, 64, 4096, 0, 33)
RSS_CONF = 0x2A0000
RINGS = (layout.TX_RING, layout.RX_RING, layout.RX_RING1, layout.OTHER_RINGS)


class Fuzzed(Bench):
    """One adapter and the chances that are taken with it."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.chance = chance
        self._gen = 1

    def number(self, bits: int) -> int:
        return self.chance.choice((self.chance.getrandbits(bits), self.chance.choice(EDGES) & (1 << bits) - 1))

    def address(self) -> int:
        pick = self.chance.choice
        if self.chance.random() < 0.98:
            return pick((layout.OUTGOING, layout.INCOMING + pick(range(0, 0x8000, 16))))
        return pick((RAM - pick(range(64)), self.number(64)))

    def configure(self) -> None:
        pick = self.chance.choice
        tx, rx = pick((1, 1, 2, 8)), pick((1, 1, 2, 16))
        sizes = SIZES if self.chance.random() < 0.1 else (32, 64)
        area = layout.shared(
            tx=tx, rx=rx, features=self.chance.getrandbits(4), pieces=pick((0, 0, 1, 17)), auto_mask=pick((0, 1)),
            control=pick((0, 0, 1)), mode=pick((0x1F, 0x1B, self.chance.getrandbits(5))),
            group_bytes=pick((0, 12, 65535)),
            groups=pick((layout.GROUPS, self.address())),
            vlans=range(0, 4096, 3), rss=RSS_CONF,
        )  # fmt: skip
        sending = [
            layout.tx_queue(ring=ring, size=pick(sizes), completion_size=pick(sizes), interrupt=pick((0, 1, 24)))
            for ring in (RINGS * 2)[:tx]
        ]
        receiving = [layout.rx_queue(size=pick(sizes), size1=pick((*sizes, 0))) for _ in range(rx)]
        key, table = self.chance.randbytes(pick((40, 40, 39))), self.chance.randbytes(pick((128, 2, 0)))
        self.put(RSS_CONF, layout.rss(self.chance.getrandbits(4), key, table, function=pick((1, 1, 1, 0))))
        self.lay_out(area, *sending, *receiving)
        if self.chance.random() < 0.2:
            for _ in range(pick((1, 1, 8))):
                at = pick((layout.SHARED + self.chance.randrange(720), layout.QUEUES + self.chance.randrange(512)))
                self.wires.ram[at] = self.chance.getrandbits(8)
        self.command(Cmd.ACTIVATE)
        if self.chance.random() < 0.8:
            for vector in range(8):
                self.set_pt(spec.IMR + spec.STRIDE * vector, 0)

    def sent_soon(self) -> bytes:
        pick = self.chance.choice
        length = pick((0, 1, 13, 60, 60, 1500, 3054, 3054, 16383))
        return layout.tx_descriptor(
            self.address(), length, gen=self._gen, eop=pick((0, 1, 1)), cq=pick((0, 1)),
            om=self.chance.randrange(4), hlen=pick((0, 34, 54, 54, 1023)), msscof=pick((0, 1, 50, 50, 1460, 16383)),
            ti=pick((0, 1)), tci=self.chance.getrandbits(16), dtype=self.chance.random() < 0.002,
        )  # fmt: skip

    def received_soon(self) -> bytes:
        pick = self.chance.choice
        return layout.rx_descriptor(
            self.address(), pick((0, 1, 128, 2048, 2048, 16383)), body=pick((0, 1)), gen=self._gen
        )

    def descriptors(self) -> None:
        """Somewhere, or where the adapter looks next."""
        pick = self.chance.choice
        rings = [(queue.ring, queue.conf.ring, self.sent_soon) for queue in self.nic._tx]
        rings += [(queue.rings[0], queue.conf.ring0, self.received_soon) for queue in self.nic._rx]
        rings += [(queue.rings[1], queue.conf.ring1, self.received_soon) for queue in self.nic._rx[:1]]
        if rings and self.chance.random() < 0.8:
            ring, base, make = pick((rings[0], *rings))
            at, self._gen = ring.index, int(ring.generation)
        else:
            at, base, make = self.chance.randrange(64), pick(RINGS), pick((self.sent_soon, self.received_soon))
            self._gen = pick((0, 1))
        for n in range(pick((1, 3, 32))):
            if base + 16 * (at + n) <= RAM - 16:
                self.put(base + 16 * (at + n), make())

    def arrive(self) -> None:
        pick = self.chance.choice
        whole = pick((frame(pick((14, 15, 60, 1514, 9000))), packets.tcp(bytes(100), to=MAC), b"\xff" * 20 + bytes(40)))
        if pick((True, False)):
            whole = packets.tagged(whole, self.chance.getrandbits(16))
        broken = bytearray(whole)
        broken[self.chance.randrange(len(broken))] = self.chance.getrandbits(8)
        assert self.cable.receive(bytes(broken)) is True

    def ring(self) -> None:
        which = self.chance.choice((TXPROD, TXPROD, RXPROD, RXPROD2)) + 8 * self.chance.choice((0, 0, 0, 1, 7, 63))
        self.set_pt(which, self.number(32))

    def access(self) -> None:
        window = self.nic.function.bars[self.chance.randrange(2)].device
        assert window is not None
        size = self.chance.choice((1, 2, 4, 4))
        offset = self.chance.choice((self.chance.randrange(0, 0x1000, size), self.chance.randrange(0, 0x48, size)))
        if self.chance.random() < 0.5:
            assert 0 <= window.read(offset, size) < 1 << 8 * size
        elif offset != Register.CMD:
            window.write(offset, size, self.number(8 * size))

    def configuration_space(self) -> None:
        offset = self.chance.choice((4, 4, 0x84, 0x86, 0x9C, 0x9E, self.chance.randrange(0, 256, 2)))
        self.nic.function.write_config(offset, 2, self.number(16))
        if self.chance.random() < 0.9:
            self.nic.function.write_config(4, 2, 7)

    def save_and_restore(self) -> None:
        saved = json.loads(json.dumps(self.nic.state()))
        self.nic.restore(saved)
        assert self.nic.state() == saved

    @property
    def stored(self) -> list[int]:
        """Where each receive queue will tell of its next frame."""
        return [queue.completions.index for queue in self.nic._rx]

    def check(self, before: int) -> None:
        """What has to be bounded is."""
        assert len(self.cable.sent) - before <= 8 * (BATCH + SEGMENTS)
        assert len(self.loop._heap) <= 1
        for queue in self.nic._tx:
            assert len(queue._chain) <= queue.ring.size
            assert len(queue.ring._ahead) <= queue.ring.size <= 4096
        for queue in self.nic._rx:
            assert all(len(ring._ahead) <= ring.size <= 4096 for ring in queue.rings)


def test_random_drivers() -> None:
    chance = random.Random(SEED)
    nic = Fuzzed(chance)
    nic.put(layout.OUTGOING, packets.tcp(bytes(3000)))
    often = (nic.descriptors,) * 4 + (nic.ring,) * 6 + (nic.arrive,) * 6 + (nic.access,) * 3 + (nic.loop.poll,) * 2
    acts = (*often, nic.configure, nic.configure, nic.configuration_space)
    sent = stored = told = 0
    for number in range(OPERATIONS):
        before, full = len(nic.cable.sent), nic.stored
        if number % 40 == 0:
            nic.command(Cmd.RESET)
            nic.configure()
        elif number % 40 == 20:
            nic.command(chance.choice((*COMMANDS, chance.getrandbits(32))))
        elif number % 400 == 30:
            nic.nic.set_link(chance.random() < 0.8)
        elif number % 400 == 35:
            nic.save_and_restore()
        else:
            chance.choice(acts)()
        nic.check(before)
        sent, stored = sent + len(nic.cable.sent) - before, stored + (nic.stored != full)
        told += len(nic.wires.messages) + len(nic.wires.lines)
        if len(nic.cable.sent) > 10_000:
            nic.cable.sent.clear()
        del nic.wires.messages[:], nic.wires.lines[:]
    assert sent > OPERATIONS // 20  # else they are not plausible
    assert stored > OPERATIONS // 50
    assert told > OPERATIONS // 200
    nic.nic.reset()
    nic.nic.function.write_config(4, 2, 7)
    nic.nic.set_link(True)
    nic.wires.ram[:] = bytes(RAM)
    nic.cable.sent.clear()
    assert nic.activate() == 0
    nic.put(layout.OUTGOING, frame())
    nic.tx(layout.tx_descriptor())
    assert nic.cable.sent == [frame()]
