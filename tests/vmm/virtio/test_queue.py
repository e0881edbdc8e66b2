"""Split virtqueues, driven through the entropy device: it writes whatever room it finds."""

from __future__ import annotations

import struct

import pytest

from tests.vmm.virtio.driver import INDIRECT, NEXT, READ, WRITE, Driver, loop
from virtproof.spec.virtio import Feature, Isr
from virtproof.vmm.devices.virtio import rng
from virtproof.vmm.devices.virtio.rng import VirtioRng


@pytest.fixture
def driver() -> Driver:
    return Driver(VirtioRng(loop.after, source=lambda length: b"\xa5" * length))


def table(*entries: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("<QIHH", *entry) for entry in entries)


def test_a_chain_is_written_to_and_its_head_comes_back(driver: Driver) -> None:
    driver.start()
    driver.add(0, (), (3,))
    into = driver.add(0, (), (5, 7))
    driver.kick(0)
    assert driver.take(0) == [(0, 3), (1, 12)]
    assert all(driver.wires.ram[at : at + size] == b"\xa5" * size for at, size in into)
    assert driver.wires.line


def test_indices_wrap(driver: Driver) -> None:
    driver.start(size=4)
    for n in range((1 << 16) + 10):
        driver.free = 0x4_0000
        driver.add(0, (), (1,))
        driver.kick(0)
        assert driver.take(0) == [(n % 4, 1)]


def test_a_batch_that_crosses_the_end_of_the_rings(driver: Driver) -> None:
    driver.start(size=4)
    for _ in range(3):
        driver.ask(0, (), (1,))
    for _ in range(4):
        driver.add(0, (), (2,))
    driver.kick(0)
    assert driver.take(0) == [(3, 2), (0, 2), (1, 2), (2, 2)]


def test_indirect_tables(driver: Driver) -> None:
    driver.start(Feature.INDIRECT_DESC)
    a, b, c = driver.buffer(3), driver.buffer(4), driver.buffer(5)
    inside = driver.buffer(table((b[0], 4, WRITE | NEXT, 1), (c[0], 5, WRITE, 0)))
    driver.offer(0, driver.describe(0, (*inside, INDIRECT)))
    driver.offer(0, driver.describe(0, (*driver.buffer(1), READ), (*inside, INDIRECT)))
    driver.offer(0, driver.describe(0, (*a, WRITE)))
    driver.kick(0)
    assert driver.take(0) == [(0, 9), (1, 9), (3, 3)]


@pytest.mark.parametrize(
    "wrong",
    {
        "loop": lambda d: d.offer(0, loop_of(d)),
        "next out of bounds": lambda d: d.offer(0, raw(d, (0x4_0000, 1, NEXT | WRITE, 0xFFFF))),
        "head out of bounds": lambda d: d.offer(0, 0xFFFF),
        "index too far": lambda d: d.set_index(0, 9),
        "read behind write": lambda d: d.offer(0, d.describe(0, (0x4_0000, 1, WRITE), (0x4_0000, 1, READ))),
        "indirect in indirect": lambda d: indirect(d, table((0x4_0000, 16, INDIRECT, 0))),
        "indirect and next": lambda d: d.offer(0, d.describe(0, (0x4_0000, 16, INDIRECT), (0x4_0000, 1, WRITE))),
        "indirect of 0": lambda d: d.offer(0, d.describe(0, (0x4_0000, 0, INDIRECT))),
        "indirect of 15": lambda d: d.offer(0, d.describe(0, (0x4_0000, 15, INDIRECT))),
        "indirect of 1 MiB": lambda d: d.offer(0, d.describe(0, (0, 16 * 65536, INDIRECT))),
        "loop in indirect": lambda d: indirect(d, table((0x4_0000, 1, WRITE | NEXT, 0))),
        "next out of indirect": lambda d: indirect(d, table((0x4_0000, 1, WRITE | NEXT, 1))),
        "no memory": lambda d: d.offer(0, d.describe(0, (0xFFFF_FFFF_FFFF_FFF0, 32, WRITE))),
        "no memory for a table": lambda d: d.offer(0, d.describe(0, (1 << 40, 16, INDIRECT))),
    }.items(),
    ids=lambda item: item[0],
)  # fmt: skip
def test_what_no_driver_may_write_breaks_the_device_until_reset(driver: Driver, wrong: tuple) -> None:
    driver.start(Feature.INDIRECT_DESC, size=8)
    wrong[1](driver)
    driver.kick(0)
    assert driver.status.needs_reset
    assert driver.isr == Isr.CONFIG
    assert driver.take(0) == []
    driver.set_index(0, 0)
    before = bytes(driver.wires.ram)
    driver.kick(0)
    assert bytes(driver.wires.ram) == before  # no more DMA
    driver.put_status(0x0F)
    assert driver.status.needs_reset  # only a reset clears it
    fresh = Driver(driver.device, driver.wires).start()
    assert fresh.ask(0, (), (4,)) == (b"\xa5" * 4, 4)


def raw(driver: Driver, *entries: tuple[int, int, int, int]) -> int:
    content = table(*entries)
    at = driver.rings[0].descriptors
    driver.wires.ram[at : at + len(content)] = content
    return 0


def loop_of(driver: Driver) -> int:
    return raw(driver, *((0x4_0000, 1, NEXT | WRITE, (n + 1) % 8) for n in range(8)))


def indirect(driver: Driver, content: bytes) -> None:
    driver.offer(0, driver.describe(0, (*driver.buffer(content), INDIRECT)))


def test_indirect_that_was_not_negotiated_breaks_it(driver: Driver) -> None:
    driver.start()
    indirect(driver, table((0x4_0000, 1, WRITE, 0)))
    driver.kick(0)
    assert driver.status.needs_reset


@pytest.mark.parametrize("where", ["descriptors", "available", "used"])
@pytest.mark.parametrize("address", [0xFFFF_FFFF_FFFF_F000, 0x8_0000_0000, 0x1_0001])
def test_rings_where_none_can_be(driver: Driver, where: str, address: int) -> None:
    driver.start()
    setattr(driver.device.virtio.queues[0], where, address)
    driver.add(0, (), (1,))
    driver.kick(0)
    assert driver.status.needs_reset


def test_a_driver_that_wants_no_interrupts_gets_none(driver: Driver) -> None:
    driver.start()
    driver.set_word(driver.rings[0].available, 1)
    driver.ask(0, (), (1,))
    assert (driver.isr, driver.wires.lines) == (0, [])
    driver.set_word(driver.rings[0].available, 0)
    driver.ask(0, (), (1,))
    assert driver.isr == Isr.QUEUE


def test_event_idx_interrupts_when_the_driver_said(driver: Driver) -> None:
    driver.start(Feature.EVENT_IDX)
    driver.used_event(0, 2)
    got = []
    for _ in range(5):
        driver.ask(0, (), (1,))
        got.append(driver.isr)
    assert got == [0, 0, 1, 0, 0]
    assert driver.avail_event(0) == 5  # notify when entry 5 is filled
    driver.used_event(0, 6)
    for _ in range(4):
        driver.add(0, (), (1,))
    driver.kick(0)  # 5 to 8 at once, 6 among them
    assert driver.isr == 1


def test_event_idx_does_not_look_at_the_flag(driver: Driver) -> None:
    driver.start(Feature.EVENT_IDX)
    driver.set_word(driver.rings[0].available, 1)
    driver.ask(0, (), (1,))
    assert driver.isr == 1


def test_a_notification_serves_no_more_than_the_ring_holds_and_the_rest_comes_later(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("virtproof.vmm.devices.virtio.device.STINT", 2 * rng.MOST)
    driver.start(size=8)
    for _ in range(5):
        driver.add(0, (), (rng.MOST,))
    driver.kick(0)
    assert len(driver.take(0)) == 2
    driver.kick(0)  # it is going on already
    assert driver.take(0) == []
    loop.poll()
    loop.poll()
    assert len(driver.take(0)) == 3


def test_a_reset_cancels_what_would_come_later(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("virtproof.vmm.devices.virtio.device.STINT", 1)
    driver.start(size=8)
    driver.add(0, (), (1,))
    driver.add(0, (), (1,))
    driver.kick(0)
    driver.put_status(0)
    before = bytes(driver.wires.ram)
    loop.poll()
    assert bytes(driver.wires.ram) == before


def test_without_bus_mastering_nothing_moves(driver: Driver) -> None:
    driver.start()
    driver.device.function.write_config(4, 2, 3)
    driver.add(0, (), (1,))
    driver.kick(0)
    assert driver.take(0) == []
    assert not driver.status.needs_reset
    driver.device.function.write_config(4, 2, 7)
    driver.kick(0)
    assert driver.take(0) == [(0, 1)]
