"""The PCI function of a virtio device: registers of both interfaces, capabilities, interrupts, saving."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from tests.vmm.virtio.driver import READY, Driver, loop
from virtproof.spec.virtio import Common, Feature, Legacy, Place, legacy_rings
from virtproof.vmm.devices.virtio.net import VirtioNet
from virtproof.vmm.devices.virtio.rng import VirtioRng
from virtproof.vmm.devices.virtio.transport import COMMON_AT, DEVICE_AT, LEGACY_BAR, NOTIFY_AT
from virtproof.vmm.network.loopback import Loopback

MAC = bytes.fromhex("525400112233")


@pytest.fixture
def net() -> Driver:
    return Driver(VirtioNet(MAC, Loopback(loop.after), loop.after))


def test_identity() -> None:
    for legacy, device, revision, subsystem in ((True, 0x1000, 0, 1), (False, 0x1041, 1, 0x1041)):
        identity = VirtioNet(MAC, Loopback(loop.after), loop.after, legacy=legacy).function.identity
        assert (identity.vendor, identity.device, identity.revision) == (0x1AF4, device, revision)
        assert (identity.subsystem, identity.class_code) == (subsystem, 0x020000)
    assert VirtioRng(loop.after).function.identity.device == 0x1005


def capabilities(driver: Driver) -> dict[int, int]:
    """Offset by type."""
    config, found = driver.device.function.read_config, {}
    at = config(0x34, 1)
    while at:
        if config(at, 1) == 9:
            found[config(at + 3, 1)] = at
        at = config(at + 1, 1)
    return found


def test_capabilities(net: Driver) -> None:
    config, found = net.device.function.read_config, capabilities(net)
    assert sorted(found) == [1, 2, 3, 4, 5]
    for kind, offset in ((1, COMMON_AT), (2, NOTIFY_AT), (4, DEVICE_AT)):
        assert (config(found[kind] + 4, 1), config(found[kind] + 8, 4)) == (4, offset)
    assert config(found[2] + 16, 4) == 4


def test_no_structure_is_empty() -> None:
    """Linux takes no device with a structure of length 0, and its notification addresses have to lie inside."""
    driver = Driver(VirtioRng(loop.after))
    config, found = driver.device.function.read_config, capabilities(driver)
    assert all(config(found[kind] + 12, 4) >= 1 for kind in (1, 2, 3, 4))
    assert config(found[2] + 12, 4) >= 2


def test_features_in_windows_of_32_bits(net: Driver) -> None:
    seen = []
    for select in (0, 1, 2, 0xFFFF_FFFF):
        net.put(Common.DEVICE_FEATURE_SELECT, select)
        seen.append(net.get(Common.DEVICE_FEATURE))
    assert seen[0] & 1 << 5
    assert seen[1:] == [1, 0, 0]
    net.put(Common.DRIVER_FEATURE_SELECT, 1)
    net.put(Common.DRIVER_FEATURE, 0xDEAD_BEEF)
    assert net.get(Common.DRIVER_FEATURE) == 0xDEAD_BEEF
    net.put(Common.DRIVER_FEATURE_SELECT, 2)
    net.put(Common.DRIVER_FEATURE, 1)
    assert net.get(Common.DRIVER_FEATURE) == 0


def test_fields_in_parts(net: Driver) -> None:
    bar = net.structures
    net.put(Common.QUEUE_SELECT, 1)
    bar.write(Common.QUEUE_DESC.offset + 4, 4, 0x1122_3344)
    bar.write(Common.QUEUE_DESC.offset + 1, 1, 0xAA)
    assert net.get(Common.QUEUE_DESC) == 0x1122_3344_0000_AA00
    assert bar.read(Common.QUEUE_DESC.offset + 3, 4) == 0x2233_4400
    assert bar.read(Common.QUEUE_SIZE.offset, 4) == 0xFFFF_0100
    assert bar.read(Common.DEVICE_FEATURE.offset, 2) == bar.read(Common.DEVICE_FEATURE.offset, 4) & 0xFFFF
    assert bar.read(59, 1) == bar.read(60, 4) == 0


def test_a_queue_that_is_not_there(net: Driver) -> None:
    net.put(Common.QUEUE_SELECT, 3)
    assert net.get(Common.QUEUE_SIZE) == 0
    net.put(Common.QUEUE_DESC, 0x1000)
    assert net.get(Common.QUEUE_DESC) == 0
    net.start()
    net.kick(3)
    net.kick(500)
    assert not net.status.needs_reset


@pytest.mark.parametrize("size", [0, 3, 512, 65535])
def test_bad_sizes_are_ignored(net: Driver, size: int) -> None:
    net.put(Common.QUEUE_SIZE, size)
    assert net.get(Common.QUEUE_SIZE) == 256


def test_a_queue_in_use_stays_as_it_is(net: Driver) -> None:
    net.start()
    net.put(Common.QUEUE_SELECT, 0)
    for place, value in ((Common.QUEUE_SIZE, 8), (Common.QUEUE_DESC, 0x7000), (Common.QUEUE_ENABLE, 0)):
        before = net.get(place)
        net.put(place, value)
        assert net.get(place) == before


@pytest.mark.parametrize(
    ("features", "taken"),
    [
        (Feature.VERSION_1, True),
        (0, False),
        (Feature.VERSION_1 | 1 << 50, False),
        (Feature.VERSION_1 | 1 << 27, False),
        (Feature.VERSION_1 | 1 << 18, False),  # CTRL_RX without CTRL_VQ
        (Feature.VERSION_1 | 1 << 18 | 1 << 17, True),
        (Feature.VERSION_1 | 1 << 11, False),  # HOST_TSO4 without CSUM
    ],
)
def test_features_ok(net: Driver, features: int, taken: bool) -> None:
    status = net.negotiate(features)
    assert status.features_ok == taken
    net.put(Common.DRIVER_FEATURE_SELECT, 1)
    net.put(Common.DRIVER_FEATURE, 1 if not taken else 0)
    assert net.get(Common.DRIVER_FEATURE) == 1  # too late once it is set


def test_nothing_before_driver_ok_and_everything_then(net: Driver) -> None:
    net.negotiate(Feature.VERSION_1)
    for number in range(3):
        net.set_up(number)
    net.add(1, (bytes(12 + 60),))
    before = bytes(net.wires.ram)
    net.kick(1)
    assert bytes(net.wires.ram) == before
    net.put(Common.STATUS, READY)
    assert net.take(1) == [(0, 0)]


def test_driver_ok_without_features_ok_starts_nothing(net: Driver) -> None:
    net.negotiate(0)
    net.set_up(0)
    net.set_up(1)
    net.put(Common.STATUS, 7)
    net.add(1, (bytes(72),))
    net.kick(1)
    assert net.take(1) == []


def test_isr_is_cleared_by_reading_and_lowers_the_line(net: Driver) -> None:
    net.start()
    net.add(1, (bytes(72),))
    net.kick(1)
    assert net.wires.line
    assert net.device.function.read_config(6, 2) & 8
    assert (net.isr, net.isr) == (1, 0)
    assert not net.wires.line


def test_messages_go_by_queue(net: Driver) -> None:
    function = net.device.function
    at = function.read_config(0x34, 1)
    while function.read_config(at, 1) != 0x11:
        at = function.read_config(at + 1, 1)
    messages = function._msix
    assert messages is not None
    for vector in range(4):
        for offset, value in ((0, 0xFEE0_0000), (4, 0), (8, 0x40 + vector), (12, 0)):
            messages.write_table(16 * vector + offset, 4, value)
    function.write_config(at + 2, 2, 0x8000)
    net.negotiate(Feature.VERSION_1)
    net.put(Common.CONFIG_VECTOR, 3)
    for number, vector in ((0, 99), (1, 2), (2, 0xFFFF)):
        net.set_up(number)
        net.put(Common.QUEUE_VECTOR, vector)
    assert net.get(Common.QUEUE_VECTOR) == 0xFFFF
    net.put(Common.STATUS, READY)
    net.add(1, (bytes(72),))
    net.kick(1)
    assert net.wires.messages == [(0xFEE0_0000, 0x42)]
    net.device.set_link(False)  # type: ignore[attr-defined]
    assert net.wires.messages[1:] == [(0xFEE0_0000, 0x43)]
    assert net.wires.lines == []
    assert net.isr == 2


def test_configuration_changes_have_a_generation(net: Driver) -> None:
    net.start()
    before = net.get(Common.GENERATION)
    net.device.set_link(False)  # type: ignore[attr-defined]
    assert net.get(Common.GENERATION) == before + 1
    assert (net.isr, net.config(6, 2)) == (2, 0)


def window(driver: Driver, bar: int, offset: int, length: int) -> int:
    """Point the window; return where its data are."""
    at, write = capabilities(driver)[5], driver.device.function.write_config
    write(at + 4, 1, bar)
    write(at + 8, 4, offset)
    write(at + 12, 4, length)
    return at + 16


def test_the_window_in_configuration_space(net: Driver) -> None:
    config, function = net.device.function.read_config, net.device.function
    data = window(net, 4, Common.NUM_QUEUES.offset, 2)
    assert config(data, 4) & 0xFFFF == 3
    data = window(net, 4, DEVICE_AT + 1, 1)
    assert config(data, 1) == MAC[1]
    data = window(net, 4, Common.QUEUE_SELECT.offset, 2)
    function.write_config(data, 4, 0xFFFF_0002)
    assert net.get(Common.QUEUE_SELECT) == 2


@pytest.mark.parametrize(
    ("bar", "offset", "length"),
    [(7, 0, 4), (1, 0, 4), (4, 0xFFFF_FFFF, 1), (4, 0x3FFE, 4), (4, 0, 3), (4, 0, 8), (4, 1, 2), (4, 0, 0)],
)
def test_a_window_to_nowhere(net: Driver, bar: int, offset: int, length: int) -> None:
    data = window(net, bar, offset, length)
    net.device.function.write_config(data, 4, 0x1234_5678)
    assert net.device.function.read_config(data, 4) == 0x1234_5678  # what was written, and no register
    assert net.get(Common.DEVICE_FEATURE_SELECT) == 0


class OldDriver:
    """The legacy interface of a device."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        device = next(bar for bar in driver.device.function.bars if bar.index == LEGACY_BAR).device
        assert device is not None
        self.ports = device

    def get(self, place: Place) -> int:
        return self.ports.read(place.offset, place.size)

    def put(self, place: Place, value: int) -> None:
        self.ports.write(place.offset, place.size, value)


def test_legacy_registers(net: Driver) -> None:
    old = OldDriver(net)
    assert old.get(Legacy.DEVICE_FEATURES) & (1 << 5 | 1 << 27) == 1 << 5 | 1 << 27
    old.put(Legacy.GUEST_FEATURES, 0xFFFF_FFFF)
    assert old.get(Legacy.GUEST_FEATURES) == old.get(Legacy.DEVICE_FEATURES)
    old.put(Legacy.QUEUE_SIZE, 8)
    assert old.get(Legacy.QUEUE_SIZE) == 256
    old.put(Legacy.QUEUE_ADDRESS, 0x10)
    assert old.get(Legacy.QUEUE_ADDRESS) == 0x10
    old.put(Legacy.QUEUE_SELECT, 9)
    assert (old.get(Legacy.QUEUE_SIZE), old.get(Legacy.QUEUE_ADDRESS)) == (0, 0)
    old.put(Legacy.STATUS, 0)
    old.put(Legacy.QUEUE_SELECT, 0)
    assert old.get(Legacy.QUEUE_ADDRESS) == 0
    assert bytes(old.ports.read(20 + n, 1) for n in range(6)) == MAC


def test_a_legacy_driver_sends(net: Driver) -> None:
    old = OldDriver(net)
    for status in (1, 3):
        old.put(Legacy.STATUS, status)
    old.put(Legacy.GUEST_FEATURES, 1 << 5)
    old.put(Legacy.QUEUE_SELECT, 1)
    old.put(Legacy.QUEUE_ADDRESS, 0x10)
    net.rings = [net.set_up(0), net.set_up(1)]
    net.rings[1].descriptors = 0x1_0000
    net.rings[1].available, net.rings[1].used = legacy_rings(0x1_0000, 256)
    old.put(Legacy.STATUS, 7)
    net.wires.ram[0x1_0000:0x1_4000] = bytes(0x4000)
    net.add(1, (bytes(10) + b"\x01" * 60,))
    sent: list[bytes] = []
    net.device._port.send = sent.append  # type: ignore[attr-defined]
    old.put(Legacy.QUEUE_NOTIFY, 1)
    assert sent == [b"\x01" * 60]
    assert (old.get(Legacy.ISR), old.get(Legacy.ISR)) == (1, 0)
    old.ports.write(20, 1, 0x56)
    assert old.ports.read(20, 1) == 0x56  # legacy drivers set the address so


def test_legacy_configuration_moves_behind_the_vectors(net: Driver) -> None:
    old, function = OldDriver(net), net.device.function
    at = function.read_config(0x34, 1)
    while function.read_config(at, 1) != 0x11:
        at = function.read_config(at + 1, 1)
    function.write_config(at + 2, 2, 0x8000)
    assert old.ports.read(24, 4) == struct.unpack("<I", MAC[:4])[0]
    old.put(Legacy.CONFIG_VECTOR, 1)
    old.put(Legacy.QUEUE_VECTOR, 77)
    assert (old.get(Legacy.CONFIG_VECTOR), old.get(Legacy.QUEUE_VECTOR)) == (1, 0xFFFF)
    function.write_config(at + 2, 2, 0)
    assert old.ports.read(20, 4) == struct.unpack("<I", MAC[:4])[0]


def test_power_on_reset_forgets_everything(net: Driver) -> None:
    net.start()
    fresh = VirtioNet(MAC, Loopback(loop.after), loop.after)
    net.device.reset()
    assert net.device.state() == fresh.state()


def test_saved_and_restored_it_goes_on(net: Driver) -> None:
    net.start(1 << 15 | Feature.EVENT_IDX | Feature.INDIRECT_DESC)
    net.add(0, (), (2000,))
    net.kick(0)
    for _ in range(3):
        net.add(1, (bytes(72),))
        net.kick(1)
    net.take(1)
    saved = json.loads(json.dumps([net.device.function.state(), net.device.state()]))
    other = VirtioNet(bytes(6), Loopback(loop.after), loop.after)
    other.function.connect(net.wires, net.wires)
    other.function.restore(saved[0])
    other.restore(saved[1])
    assert [other.function.state(), other.state()] == saved
    moved = Driver.__new__(Driver)
    moved.__dict__ |= net.__dict__ | {"device": other, "structures": other._transport}
    moved.add(1, (bytes(12) + b"\x77" * 60,))
    loop.poll()  # it looks for what was left
    assert moved.take(1) == [(3, 0)]
    loop.poll()
    assert moved.take(0) == [(0, 72)]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("virtio", "status"), 256),
        (("virtio", "status"), "no"),
        (("virtio", "accepted"), -1),
        (("virtio", "queues"), []),
        (("virtio", "queues", 0, "size"), 3),
        (("virtio", "queues", 0, "addresses"), [1, 2]),
        (("virtio", "queues", 0, "addresses"), [-1, 0, 0]),
        (("virtio", "queues", 0, "seen"), 65536),
        (("virtio", "queues", 0, "heads"), [0] * 257),
        (("virtio", "queues", 0, "heads"), [65536]),
        (("isr",), 99),
        (("selects",), [0, 0]),
        (("window",), "00"),
        (("mac",), "00"),
        (("filter", "modes"), [9]),
        (("filter", "vlans"), [4096]),
        (("filter", "unicast"), ["00"]),
    ],
)
def test_a_state_of_nothing_is_refused(net: Driver, path: tuple[Any, ...], value: Any) -> None:
    state = json.loads(json.dumps(net.device.state()))
    at = state
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    with pytest.raises((ValueError, TypeError, KeyError)):
        net.device.restore(state)
