"""Random commands, rings, frames and registers: no exception, no hang, nothing outside guest memory, bounded queues."""

from __future__ import annotations

import copy
import os
import random
import struct
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.vmm.devices import test_lsi_mpt as lsi
from tests.vmm.devices import test_pvscsi as pv
from virtproof.spec import fusion_mpt as mpt
from virtproof.spec import pvscsi
from virtproof.spec.pvscsi import SetupRings
from virtproof.spec.scsi import Status
from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.scsi import target
from virtproof.vmm.scsi.block import DiskUnit
from virtproof.vmm.scsi.cdrom import CdRomUnit
from virtproof.vmm.scsi.target import Completion, LogicalUnit

OPERATIONS = 100 * int(os.environ.get("VIRTPROOF_FUZZ", "200"))
SEED = int(os.environ.get("VIRTPROOF_FUZZ_SEED", "1"))
RAM = pv.RAM
NUMBERS = (0, 1, 2, 7, 8, 16, 512, 1024, 4096, 0xFFFF, RAM - 8, RAM, 16 << 20, 1 << 31, 0xFFFF_FFFF)
LONG = (*NUMBERS, 1 << 52, 1 << 63, (1 << 64) - 8, (1 << 64) - 1)
OPCODES = (*DiskUnit.COMMANDS, *CdRomUnit.COMMANDS, 0xA0, 0xC0)


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Counter[Status]:
    """How the commands ended that came to a unit."""
    seen: Counter[Status] = Counter()
    original = LogicalUnit.execute

    def execute(self: LogicalUnit, *rest: Any) -> Completion:
        done = original(self, *rest)
        seen[done.status] += 1
        return done

    monkeypatch.setattr(LogicalUnit, "execute", execute)
    return seen


def cdb(chance: random.Random) -> bytes:
    fields = chance.choice((bytes(15), chance.randbytes(15), b"\xff" * 15, bytes(3) + chance.randbytes(2) + bytes(10)))
    return bytes((chance.choice((*OPCODES, chance.randrange(256))),)) + fields


def test_random_commands() -> None:
    chance = random.Random(SEED)
    disk, disc = FileDisk.in_memory(4096), FileDisk.in_memory(64)
    drive = CdRomUnit(disc)
    units: dict[int, LogicalUnit] = {0: DiskUnit(disk), 1: drive, 300: DiskUnit(FileDisk.in_memory(1 << 40))}
    for _ in range(OPERATIONS):
        match chance.randrange(100):
            case 0:
                drive.insert(disc)
            case 1:
                drive.eject()
            case 2:
                chance.choice(list(units.values())).reset()
        room = chance.choice((0, 5, 36, 4096, 1 << 20))
        command = cdb(chance)[: chance.choice((0, 1, 6, 10, 12, 16, 16, 16))]
        data = chance.randbytes(chance.choice((0, 4, 24, 512, 4096)))
        done = target.execute(units, chance.choice((0, 1, 300, 5, None)), command, data, room)
        assert done.status in (Status.GOOD, Status.CHECK_CONDITION)
        assert len(done.data_in) <= min(room, done.length)
        assert len(done.sense) == (18 if done.status else 0)
        assert 0 <= done.length <= target.LARGEST_TRANSFER


class Fuzz:
    """A driver of one controller, and memory that is now and then something else."""

    def __init__(self, driver: Any, registers: tuple[int, ...], settle: Callable[[], None]) -> None:
        self.chance = random.Random(SEED)
        self.driver, self.registers, self.settle = driver, registers, settle
        self.states: list[dict[str, Any]] = []

    def number(self, wide: bool = False) -> int:
        chance = self.chance
        near = chance.randrange(RAM) & ~chance.choice((0, 3, 15, 127, 4095))
        return chance.choice(
            (chance.choice(LONG if wide else NUMBERS), near, near, chance.getrandbits(64 if wide else 32))
        )

    def scribble(self, at: int, size: int) -> None:
        """Overwrite a field of a structure."""
        value = self.number(wide=True) & (1 << 8 * size) - 1
        self.driver.wires.ram[at : at + size] = value.to_bytes(size, "little")

    def step(self, act: Callable[[], None]) -> None:
        chance, driver = self.chance, self.driver
        device = driver.device
        match chance.randrange(40):
            case 0:
                driver.clock.advance(chance.choice((0, 10**6, 10**9, 10**12)))
            case 1 if chance.random() < 0.2:
                device.function.reset()
                device.reset()
                device.function.write_config(4, 2, 7)
            case 2:
                device.function.write_config(4, 2, chance.choice((7, 7, 3, 0x407)))
            case 3:
                self.states = [*self.states[-3:], device.state()]
            case 4 if self.states:
                with suppress(ValueError, TypeError, KeyError):
                    device.restore(self.damaged(chance.choice(self.states)))
            case 5 | 12 | 13:
                self.settle()
            case 6 | 7 | 8 | 9:
                size = chance.choice((1, 2, 4, 4))
                assert 0 <= device.read(chance.choice(self.registers), size) < 1 << 8 * size
            case 10 | 11:
                device.write(chance.choice(self.registers), chance.choice((1, 2, 4, 4, 4)), self.number())
            case _:
                act()
        driver.loop.poll()
        assert len(driver.wires.ram) == RAM
        assert len(driver.loop._heap) <= 5000
        if len(driver.wires.lines) > 1000:
            del driver.wires.lines[:]
            del driver.wires.messages[:]

    def damaged(self, state: dict[str, Any]) -> dict[str, Any]:
        """A state of before, of which one value may be another."""
        made = copy.deepcopy(state)
        key = self.chance.choice(list(made))
        if self.chance.random() < 0.5:
            made[key] = self.chance.choice((None, [], [1], {}, "x", -1, 1 << 70, ["zz"] * 3, [[0] * 3]))
        return made


def test_random_pvscsi(ended: Counter[Status]) -> None:
    driver = pv.Driver()
    registers = (
        pvscsi.COMMAND, pvscsi.COMMAND_DATA, pvscsi.COMMAND_STATUS, pvscsi.INTR_STATUS, pvscsi.INTR_MASK,
        pvscsi.KICK_RW_IO, pvscsi.KICK_NON_RW_IO, 0x7FFC,
    )  # fmt: skip

    def set_up() -> None:
        driver.produced = driver.read = 0
        driver.set_up()

    fuzz = Fuzz(driver, registers, set_up)
    chance, pick = fuzz.chance, fuzz.chance.choice
    set_up()

    def act() -> None:
        match chance.randrange(12):
            case 0:
                counts = chance.choice(((1, 1), (2, 4), (3, 1), (33, 1), (0, 0), (32, 32)))
                pages = tuple(fuzz.number(wide=True) >> 12 for _ in range(32))
                driver.command(3, SetupRings(*counts, fuzz.number() >> 12, pages, pages).pack())
            case 1:
                driver.command(chance.choice((1, 4, 5, 6, 7, 99)), chance.randbytes(4 * chance.randrange(6)))
            case 2:
                driver.command(6, struct.pack("<QII", chance.randrange(4), 1, 0))
            case 3:
                fuzz.scribble(pv.STATE + chance.choice((0, 4, 8, 12, 16, 20)), 4)
                driver.kick()
            case _:
                at = pick((pv.LIST, pv.LIST, pv.BUFFER, fuzz.number(wide=True)))
                for n in range(4):
                    address, length = pick((pv.BUFFER, fuzz.number(wide=True))), pick((512, fuzz.number()))
                    row = pvscsi.ELEMENT.pack(address, length & 0xFFFFFFFF, pick((0, 0, 1)))
                    driver.wires.ram[pv.LIST + 16 * n : pv.LIST + 16 * n + 16] = row
                slot = pv.REQUESTS + driver.produced % 32 * 128
                length = pick((0, 512, 1024, 4096, fuzz.number(wide=True)))
                driver.put(
                    cdb(chance), length, pick((0, 4, 8, 9, 16, 17, 24, 2)), data=at, target=pick((0, 0, 1, 9)),
                    context=chance.randrange(4), cdb_length=pick((6, 10, 16, 200)),
                )  # fmt: skip
                if chance.random() < 0.3:
                    fuzz.scribble(slot + chance.choice((8, 16, 24, 32, 36, 56, 57, 66, 67)), chance.choice((1, 4, 8)))
                driver.kick()
                if chance.random() < 0.9:
                    driver.read = driver.ring()[3]
                    struct.pack_into("<I", driver.wires.ram, pv.STATE + pvscsi.CMP_CONS, driver.read)

    for _ in range(OPERATIONS):
        fuzz.step(act)
        assert len(driver.device._tasks) <= 4096
    assert min(ended[Status.GOOD], ended[Status.CHECK_CONDITION]) > OPERATIONS // 400, ended
    driver.device.reset()
    driver.device.function.write_config(4, 2, 7)
    set_up()
    assert driver.do(pv.READ, 1024, pv.IN) == (0, 0, 1024)


def test_random_fusion_mpt(ended: Counter[Status]) -> None:
    for model in ("53c1030", "sas1068"):
        driver = lsi.Driver(model)

        def start(driver: lsi.Driver = driver) -> None:
            driver.put(mpt.DOORBELL, 0x40000000)
            driver.put(mpt.HOST_INTERRUPT_STATUS, 0)
            driver.device.function.write_config(4, 2, 7)
            driver.start()

        registers = (0x00, 0x00, 0x04, 0x08, 0x30, 0x34, 0x40, 0x44, 0x44, 0x3FFC)
        fuzz = Fuzz(driver, registers, start)
        chance = fuzz.chance
        start()

        def act(driver: lsi.Driver = driver, fuzz: Fuzz = fuzz, chance: random.Random = chance) -> None:
            pick = chance.choice
            match chance.randrange(12):
                case 0:
                    driver.begin(bytes((0, 0, 0, pick((*range(9), 255)))) + chance.randbytes(4 * chance.randrange(12)))
                case 1:
                    kind, number, ext = (
                        pick((0, 1, 3, 4, 9, 0xF, 0xE)),
                        chance.randrange(4),
                        chance.randrange(0x0F, 0x15),
                    )
                    head = mpt._CONFIG.pack(chance.randrange(8), 4, 0, ext, 0, 5, 0, 0, number, kind, fuzz.number())
                    driver.begin(head + lsi.simple(fuzz.number(), pick((0, 16, 300)), pick((lsi.END, 0x10000000))))
                case 2:
                    target_id, kind = pick((0, 1, 5)), chance.randrange(9)
                    driver.post(mpt.TaskMgmt(target_id, 0, 1, kind, 0, 5, bytes(8), lsi.CONTEXT).pack())
                case 3:
                    driver.put(mpt.REPLY_QUEUE, fuzz.number())
                case _:
                    sgl = b"".join(element() for _ in range(4))
                    driver.wires.ram[lsi.CHAIN : lsi.CHAIN + 64] = sgl.ljust(64, b"\0")
                    driver.post(
                        driver.frame(
                            cdb(chance), pick((0, 512, 1024, fuzz.number())), sgl, target=pick((0, 0, 1, 5)),
                            cdb_length=pick((6, 10, 16, 255)), sense=fuzz.number(),
                            control=pick((0, mpt.READ_CONTROL, mpt.WRITE_CONTROL)),
                        )
                    )  # fmt: skip
                    for _ in range(chance.randrange(3)):
                        driver.get(mpt.REPLY_QUEUE)

        def element(fuzz: Fuzz = fuzz, chance: random.Random = chance) -> bytes:
            match chance.randrange(4):
                case 0:
                    return lsi.chain(chance.choice((lsi.CHAIN, fuzz.number())), chance.choice((16, 64, 0)))
                case 1:
                    return chance.randbytes(8)
                case _:
                    return lsi.simple(lsi.BUFFER, 512, chance.choice((lsi.END, 0x10000000)))

        for _ in range(OPERATIONS // 2):
            fuzz.step(act)
            assert len(driver.device._requests.waiting) <= mpt.DEPTH
            assert max(len(driver.device._replies), len(driver.device._free)) <= mpt.DEPTH
        assert min(ended[Status.GOOD], ended[Status.CHECK_CONDITION]) > OPERATIONS // 400, ended
        ended.clear()
        driver.device.reset()
        driver.device.function.write_config(4, 2, 7)
        driver.start()
        assert driver.do(lsi.READ, 1024) == lsi.CONTEXT
