"""Random accesses to the ports of a PC's own devices while time passes: no exception, bounded queues, logs, timers."""

from __future__ import annotations

import os
import random

from tests.vmm.pc_parts import RAM, Parts
from virtproof.vmm.devices import debug_console, i8042
from virtproof.vmm.devices.serial import Serial

OPERATIONS = 100 * int(os.environ.get("VIRTPROOF_FUZZ", "300"))
SEED = int(os.environ.get("VIRTPROOF_FUZZ_SEED", "1"))
PORTS = (
    0x60, 0x64, 0x70, 0x71, 0x92, 0xB2, 0xB3, 0xE9, 0xF4, 0x402, 0x510, 0x511, 0x514, 0x518,
    0xCF8, 0xCF9, 0xCFA, 0xCFB, 0xCFC, 0xCFD, 0x600, 0x601, 0x602, 0x604, 0x608, 0x60C, 0x628,
)  # fmt: skip
BASES = (0, 0xCF8, 0x3F8, 0xFFC0, 0x600, 0x40, 0x80, 0x510, 0x700)
EDGES = (0, 1, 0xFFFF, 0xFFFF_FFFF, 0x8000_0000, RAM - 8, RAM - 16, RAM)


def test_random_accesses_to_the_ports() -> None:
    chance = random.Random(SEED)
    parts = Parts(files={"opt/a": bytes(1000)})
    rtc, keyboard = parts.platform.rtc, parts.platform.keyboard
    for number in range(OPERATIONS):
        port, size = chance.choice(PORTS), chance.choice((1, 1, 1, 2, 4))
        value = chance.choice((chance.getrandbits(8 * size), chance.choice(EDGES) & (1 << 8 * size) - 1))
        match chance.randrange(16):
            case 0:
                parts.elapse(chance.choice((1, 1000, 10**6, 10**9, 10**13)))
            case 1:
                keyboard.type_keys(bytes([value & 0xFF]))
            case 2:
                access = chance.getrandbits(5) | chance.choice((0, 0x19, 0x20, 5)) << 16
                length = chance.choice((0, 1, 100, 5000, 0xFFFF_FFFF, chance.getrandbits(20)))
                address = chance.choice((chance.getrandbits(20), chance.getrandbits(64), *EDGES))
                parts.memory.data[0x100:0x110] = access.to_bytes(4) + length.to_bytes(4) + address.to_bytes(8)
                parts.bus.pio_out(0x518, 4, 0x0001_0000)
            case 3:
                parts.platform.pm.function.write_config(
                    chance.choice((0x04, 0x40, 0x80, 0x58)), 4, chance.choice((*BASES, value))
                )
            case 4 if number % 50 == 0:
                parts.platform.reset()
                parts.platform.board.reset()
            case 5 | 6 | 7 | 8:
                assert 0 <= parts.bus.pio_in(port, size) < 1 << 8 * size
            case _:
                parts.bus.pio_out(port, size, value)
        assert len(keyboard.state()["queue"]) <= i8042.QUEUE
        if len(parts.asked) > 1000:
            parts.asked.clear()
        if number % 1000 == 0:
            assert len(parts.loop._heap) < 200
            assert len(parts.platform.firmware_log.text) <= 2 * debug_console.LIMIT
            seconds = bytes.fromhex(rtc.state()["cells"])
            assert len(seconds) == 128


def test_nothing_but_a_rise_of_its_bit_resets_by_cf9() -> None:
    chance = random.Random(SEED)
    parts = Parts()
    held = False
    for _ in range(OPERATIONS // 10):
        port, size, value = chance.randrange(0xCF8, 0xCFC), chance.choice((1, 2, 4)), chance.getrandbits(32)
        value &= (1 << 8 * size) - 1
        before = len(parts.asked)
        parts.bus.pio_out(port, size, value)
        # What is not aligned arrives in pieces; only bytes can be the port's.
        pieces = size > 1 and port % size != 0
        byte = value >> 8 * (0xCF9 - port) & 0xFF if port <= 0xCF9 < port + size else None
        reaches = byte is not None and (size == 1 or (pieces and port == 0xCF9))
        rises = reaches and byte is not None and byte & 4 != 0 and not held
        if reaches and byte is not None:
            held = byte & 4 != 0
        assert len(parts.asked) - before == rises


def test_random_accesses_to_a_serial_port_while_its_other_end_floods() -> None:
    chance = random.Random(SEED)
    parts = Parts()
    sent = [0]

    def count(byte: int) -> None:
        sent[0] += 1

    serial = Serial(count, lambda level: None, parts.loop.after)
    for _ in range(OPERATIONS):
        offset = chance.randrange(8)
        match chance.randrange(4):
            case 0:
                assert 0 <= serial.read(offset, 1) <= 0xFF
            case 1:
                serial.receive(bytes(chance.randrange(40)))
                parts.elapse(chance.choice((0, 1, 10**6)))
            case _:
                serial.write(offset, 1, chance.getrandbits(8))
        assert len(serial.state()["received"]) <= 16
        assert serial.room <= 16
    assert len(parts.loop._heap) < 200
    assert sent[0] > OPERATIONS // 100
