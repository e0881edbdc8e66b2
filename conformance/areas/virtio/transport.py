"""The PCI transport: identity, capabilities, registers, status, interrupt status, and the legacy interface.

A transitional device has ids from 1000H and a legacy interface in I/O ports, a modern one ids from 1040H.  Vendor
capabilities of types 1 to 5 say in which BAR its structures are; the fifth reaches them through configuration space.

The driver writes its status bit by bit: ACKNOWLEDGE 1, DRIVER 2, FEATURES_OK 8, DRIVER_OK 4.  FEATURES_OK reads 0 where
it has taken a feature that was not offered, or has left VERSION_1 out.  Nothing happens to queues before DRIVER_OK.
Writing 0 resets.  Reading ISR clears it and lowers the interrupt pin: bit 0 is a queue, bit 1 the configuration.
"""

from collections.abc import Iterator

from virtproof.conformance.case import Case
from virtproof.conformance.device_script import (
    ConfigRead,
    ConfigWrite,
    Handle,
    In,
    Interrupts,
    Load,
    Out,
    Pic,
    Poll,
    Step,
    Store,
    script,
)
from virtproof.conformance.virtio import (
    COMMON,
    CONFIG,
    FUNCTION,
    IN,
    ISR,
    MAC,
    MSIX,
    NOTIFY,
    PORTS,
    READY,
    VERSION_1,
    accept,
    act,
    blk,
    chain,
    data,
    done,
    elapse,
    family,
    get,
    isr,
    negotiate,
    net,
    notify,
    offer,
    out,
    put,
    rings,
    send,
    sent,
    set_up,
    shown,
    start,
    status,
    virtio,
)
from virtproof.spec.virtio import Common, Legacy, Place, legacy_rings
from virtproof.vmm.board import Board
from virtproof.vmm.devices.virtio.blk import VirtioBlk
from virtproof.vmm.devices.virtio.console import VirtioConsole
from virtproof.vmm.devices.virtio.net import VirtioNet
from virtproof.vmm.devices.virtio.rng import VirtioRng
from virtproof.vmm.devices.virtio.scsi import VirtioScsi
from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.machine import Machine
from virtproof.vmm.network.loopback import Loopback

structures = family("virtio", "'Virtio Structure PCI Capabilities'")
window = family("virtio", "'PCI configuration access capability'")
common = family("virtio", "'Common configuration structure layout'")
state = family("virtio", "'Device Status Field'")
initialization = family("virtio", "'Driver Requirements: Device Initialization'")
interrupt = family("virtio", "'ISR status capability'")
legacy = family("virtio", "'Legacy Interfaces: A Note on PCI Device Layout'")

MSIX_CAPABILITY, CAPABILITIES = 0x40, (0x4C, 0x5C, 0x6C, 0x7C, 0x90)
COMMON_CAPABILITY, ISR_CAPABILITY, DEVICE_CAPABILITY, NOTIFY_CAPABILITY, WINDOW = CAPABILITIES
SENT = bytes(range(60))
FRAME = bytes(12) + SENT
LOW_PIN = (ConfigWrite(1 << 3, 0x61, 1, 11), Pic(1 << 11 | 1 << 2, level=1 << 11))  # pin A of slot 2 is PIRQ B
LINE = 0x2B  # vector of line 11
IDENTITIES = (
    (1, 0x1000, 0x020000),
    (2, 0x1001, 0x010000),
    (3, 0x1003, 0x078000),
    (8, 0x1004, 0x010000),
    (4, 0x1005, 0x00FF00),
)


def many(machine: Machine) -> Board:
    """Each kind of device in a slot of its own from 2 on: function 0 is transitional, function 1 modern."""
    board, after = Board(machine), machine.after
    for number, old in enumerate((True, False)):
        disk = FileDisk.in_memory(sectors=8)
        kinds = (
            VirtioNet(MAC, Loopback(after), after, legacy=old),
            VirtioBlk(disk, after, legacy=old),
            VirtioConsole(lambda sent: None, after, legacy=old),
            VirtioScsi({}, after, legacy=old),
            VirtioRng(after, legacy=old),
        )
        for slot, device in enumerate(kinds, 2):
            board.add(device, slot=slot, number=number)
    return board


def identities() -> Iterator[Step]:
    for slot, (kind, device, class_code) in enumerate(IDENTITIES, 2):
        for function, identity, subsystem, revision in (
            (slot << 3, device, kind, 0),
            (slot << 3 | 1, 0x1040 + kind, 0x1040 + kind, 1),
        ):
            yield ConfigRead(function, 0x00, 4, identity << 16 | 0x1AF4)
            yield ConfigRead(function, 0x08, 4, class_code << 8 | revision)
            yield ConfigRead(function, 0x2C, 4, subsystem << 16 | 0x1AF4)


def legacy_in(place: Place, expect: int, mask: int = (1 << 64) - 1) -> In:
    return In(PORTS + place.offset, place.size, expect, mask)


def legacy_out(place: Place, value: int) -> Out:
    return Out(PORTS + place.offset, place.size, value)


def through_window(offset: int, length: int, bar: int = 4) -> tuple[Step, ...]:
    """Point the window at something."""
    return (
        ConfigWrite(FUNCTION, WINDOW + 4, 1, bar),
        ConfigWrite(FUNCTION, WINDOW + 8, 4, offset),
        ConfigWrite(FUNCTION, WINDOW + 12, 4, length),
    )


def message(vector: int, interrupt_vector: int) -> tuple[Step, ...]:
    """An entry of the MSI-X table, not masked."""
    at = MSIX + 16 * vector
    return Store(at, 4, 0xFEE0_0000), Store(at + 4, 4, 0), Store(at + 8, 4, interrupt_vector), Store(at + 12, 4, 0)


def legacy_start(*, features: int = 0, queue: int = 1) -> tuple[Step, ...]:
    """A legacy driver with one queue of 256 entries where the rings of queue 0 are."""
    return (
        legacy_out(Legacy.STATUS, 0), legacy_out(Legacy.STATUS, 1), legacy_out(Legacy.STATUS, 3),
        legacy_out(Legacy.GUEST_FEATURES, features), legacy_out(Legacy.QUEUE_SELECT, queue),
        legacy_out(Legacy.QUEUE_ADDRESS, rings(0)[0] >> 12), legacy_out(Legacy.STATUS, 7),
    )  # fmt: skip


def legacy_send(frame_at: int, length: int) -> tuple[Step, ...]:
    """Its first chain: one buffer; wait for the used ring behind the next boundary of 4 KiB."""
    available, used_ring = legacy_rings(rings(0)[0], 256)
    return (
        Store(rings(0)[0], 8, frame_at), Store(rings(0)[0] + 8, 4, length), Store(rings(0)[0] + 12, 4, 0),
        Store(available + 4, 2, 0), Store(available + 2, 2, 1), legacy_out(Legacy.QUEUE_NOTIFY, 1),
        Poll(used_ring + 2, 2, 0xFFFF, 1),
    )  # fmt: skip


TX = (data(0, FRAME), chain(1, 0, out(0, len(FRAME))))
ENABLE_MSIX = ConfigWrite(FUNCTION, MSIX_CAPABILITY + 2, 2, 0x8000)

# fmt: off
CASES: tuple[Case, ...] = (
    script("virtio.pci.ids", "Vendor, device, class, revision and subsystem of each kind", "virtio", (virtio("'PCI Device Discovery'"),), many, *identities()),
    structures("virtio.pci.caps", "Capabilities of all five types, each with its BAR and place", net,
        *(ConfigRead(FUNCTION, at, 1, 0x09) for at in CAPABILITIES),
        *(ConfigRead(FUNCTION, at + 3, 1, kind) for at, kind in zip(CAPABILITIES, (1, 3, 4, 2, 5), strict=True)),
        *(ConfigRead(FUNCTION, at + 4, 1, 4) for at in CAPABILITIES[:4]),
        *(ConfigRead(FUNCTION, at + 1, 1, following) for at, following in zip(CAPABILITIES, (*CAPABILITIES[1:], 0), strict=True)),
        *(ConfigRead(FUNCTION, at + 2, 1, length) for at, length in zip(CAPABILITIES, (16, 16, 16, 20, 20), strict=True)),
        ConfigRead(FUNCTION, COMMON_CAPABILITY + 8, 4, COMMON - 0xE000_0000), ConfigRead(FUNCTION, COMMON_CAPABILITY + 12, 4, 60),
        ConfigRead(FUNCTION, ISR_CAPABILITY + 8, 4, ISR - 0xE000_0000), ConfigRead(FUNCTION, DEVICE_CAPABILITY + 8, 4, CONFIG - 0xE000_0000),
        ConfigRead(FUNCTION, NOTIFY_CAPABILITY + 8, 4, NOTIFY - 0xE000_0000), ConfigRead(FUNCTION, NOTIFY_CAPABILITY + 16, 4, 4),
        ConfigRead(FUNCTION, 0x34, 1, MSIX_CAPABILITY), ConfigRead(FUNCTION, 0x06, 2, 0x10, 0x10)),
    window("virtio.pci.cfg_cap", "The window in configuration space reads and writes what it points at", net,
        through_window(Common.NUM_QUEUES.offset, 2), ConfigRead(FUNCTION, WINDOW + 16, 2, 3),
        through_window(CONFIG - 0xE000_0000, 4), ConfigRead(FUNCTION, WINDOW + 16, 4, int.from_bytes(MAC[:4], "little")),
        through_window(Common.QUEUE_SELECT.offset, 2), ConfigWrite(FUNCTION, WINDOW + 16, 2, 2), get(Common.QUEUE_SELECT, 2),
        through_window(Common.STATUS.offset, 1), ConfigWrite(FUNCTION, WINDOW + 16, 1, 1), status(1), priority=2),

    common("virtio.common.features_window", "Features are read in halves; there are two", net,
        put(Common.DEVICE_FEATURE_SELECT, 0), get(Common.DEVICE_FEATURE, 1 << 5 | 1 << 16, 1 << 5 | 1 << 16),
        put(Common.DEVICE_FEATURE_SELECT, 1), get(Common.DEVICE_FEATURE, 1),
        put(Common.DEVICE_FEATURE_SELECT, 2), get(Common.DEVICE_FEATURE, 0),
        put(Common.DEVICE_FEATURE_SELECT, 0xFFFF_FFFF), get(Common.DEVICE_FEATURE, 0)),
    common("virtio.common.driver_feature_readback", "What the driver takes reads back", net,
        accept(0x1234_5678_9ABC_DEF0), put(Common.DRIVER_FEATURE_SELECT, 0), get(Common.DRIVER_FEATURE, 0x9ABC_DEF0),
        put(Common.DRIVER_FEATURE_SELECT, 1), get(Common.DRIVER_FEATURE, 0x1234_5678),
        put(Common.DRIVER_FEATURE_SELECT, 2), get(Common.DRIVER_FEATURE, 0), priority=2),
    common("virtio.common.queue_defaults", "After reset queues have their greatest size, are off and have no vector", blk,
        get(Common.NUM_QUEUES, 1), get(Common.CONFIG_VECTOR, 0xFFFF),
        get(Common.QUEUE_SIZE, 256), get(Common.QUEUE_ENABLE, 0), get(Common.QUEUE_VECTOR, 0xFFFF), get(Common.QUEUE_NOTIFY_OFF, 0)),
    common("virtio.common.queue_absent", "A queue that is not there has size 0", net,
        get(Common.NUM_QUEUES, 3), *(step for number in (3, 100, 0xFFFF) for step in (
            *put(Common.QUEUE_SELECT, number), get(Common.QUEUE_SIZE, 0), *put(Common.QUEUE_SIZE, 8), get(Common.QUEUE_SIZE, 0)))),
    common("virtio.common.halves", "64-bit addresses are written as two halves, each in its place", net,
        *(step for place in (Common.QUEUE_DESC, Common.QUEUE_DRIVER, Common.QUEUE_DEVICE) for step in (
            Store(COMMON + place.offset, 4, 0x1111_2220), Store(COMMON + place.offset + 4, 4, 0x33), Load(COMMON + place.offset, 4, 0x1111_2220),
            Load(COMMON + place.offset + 4, 4, 0x33), Store(COMMON + place.offset, 4, 0), Load(COMMON + place.offset + 4, 4, 0x33)))),
    common("virtio.common.msix_vector", "A vector that is not there reads back as none", net,
        put(Common.CONFIG_VECTOR, 3), get(Common.CONFIG_VECTOR, 3), put(Common.CONFIG_VECTOR, 4), get(Common.CONFIG_VECTOR, 0xFFFF),
        put(Common.QUEUE_VECTOR, 1), get(Common.QUEUE_VECTOR, 1), put(Common.QUEUE_VECTOR, 99), get(Common.QUEUE_VECTOR, 0xFFFF)),

    state("virtio.status.reset", "Writing 0 resets the device, its queues and what was negotiated", net,
        start(1 << 5, queues=2), TX, send(1, 0), put(Common.STATUS, 0), status(0),
        put(Common.QUEUE_SELECT, 0), get(Common.QUEUE_ENABLE, 0), get(Common.QUEUE_DESC, 0), get(Common.QUEUE_SIZE, 256),
        put(Common.DRIVER_FEATURE_SELECT, 0), get(Common.DRIVER_FEATURE, 0), isr(0)),
    state("virtio.status.sequence", "Status bits add up and read back", net,
        put(Common.STATUS, 0), put(Common.STATUS, 1), status(1), put(Common.STATUS, 3), status(3), accept(VERSION_1),
        put(Common.STATUS, 0xB), status(0xB), put(Common.STATUS, 0xF), status(0xF), put(Common.STATUS, 0x8F), status(0x8F)),
    state("virtio.status.features_ok_reject", "FEATURES_OK stays 0 where a feature was taken that was not offered", net,
        negotiate(VERSION_1 | 1 << 50), status(3), negotiate(VERSION_1 | 1 << 18), status(3), negotiate(VERSION_1), status(0xB)),
    state("virtio.status.need_version1", "... and where VERSION_1 was left out", net,
        negotiate(0), status(3), negotiate(1 << 5), status(3), negotiate(VERSION_1 | 1 << 5), status(0xB)),
    initialization("virtio.status.no_dma_before_ok", "Nothing happens to a queue before DRIVER_OK", net,
        negotiate(VERSION_1), set_up(1), TX, offer(1, 0), notify(1), elapse(1), shown(1, 0), sent(), put(Common.STATUS, READY), notify(1), done(1, 1), sent(SENT)),

    interrupt("virtio.isr.read_clear", "Reading ISR clears it and lowers the interrupt line", net,
        LOW_PIN, Handle(LINE, (Load(ISR, 1), Store(IN, 4, 1))), start(queues=2), TX, send(1, 0), Interrupts(LINE, 1), Load(IN, 4, 1), isr(0),
        ConfigRead(FUNCTION, 6, 2, 0, 8), ConfigWrite(FUNCTION, 4, 2, 0x407), send(1, 0, at=1), ConfigRead(FUNCTION, 6, 2, 8, 8), isr(1), isr(0), ConfigRead(FUNCTION, 6, 2, 0, 8)),
    interrupt("virtio.isr.config_change", "A change of the configuration sets bit 1 and another generation", net,
        start(queues=2), get(Common.GENERATION, 0), isr(0), act(lambda rig: rig.device.set_link(False)), isr(2), isr(0), get(Common.GENERATION, 1), Load(CONFIG + 6, 2, 0)),
    interrupt("virtio.isr.messages", "With MSI-X each queue and the configuration have vectors of their own, and the pin is silent", net,
        LOW_PIN, Handle(LINE), Handle(0x41), Handle(0x42), message(0, 0x41), message(2, 0x42), ENABLE_MSIX,
        negotiate(VERSION_1), put(Common.CONFIG_VECTOR, 0), set_up(0), set_up(1), put(Common.QUEUE_VECTOR, 2), put(Common.STATUS, READY),
        TX, send(1, 0), Interrupts(0x42, 1), Interrupts(0x41, 0), act(lambda rig: rig.device.set_link(False)), Interrupts(0x41, 1), Interrupts(0x42, 1), Interrupts(LINE, 0)),

    family("virtio", "'Notification structure layout'")("virtio.notify.multiplier", "A queue is notified at its offset times the multiplier", net,
        start(queues=3), put(Common.QUEUE_SELECT, 1), get(Common.QUEUE_NOTIFY_OFF, 1), TX, offer(1, 0), Store(NOTIFY, 2, 1), Store(NOTIFY + 8, 2, 1),
        elapse(1), shown(1, 0), Store(NOTIFY + 4, 2, 1), done(1, 1), sent(SENT)),

    legacy("virtio.legacy.pfn", "A legacy queue lies at a page frame, its used ring on the next boundary of 4 KiB", net,
        data(0, bytes(10) + SENT), legacy_start(), legacy_in(Legacy.QUEUE_ADDRESS, rings(0)[0] >> 12), legacy_send(out(0, 0)[0], 70), sent(SENT),
        legacy_in(Legacy.ISR, 1), legacy_in(Legacy.ISR, 0), priority=2),
    legacy("virtio.legacy.qsize_ro", "The size of a legacy queue cannot be written, and is 256 at most", net,
        *(step for queue, size in ((0, 256), (1, 256), (2, 64), (3, 0)) for step in (
            legacy_out(Legacy.QUEUE_SELECT, queue), legacy_out(Legacy.QUEUE_SIZE, 8), legacy_in(Legacy.QUEUE_SIZE, size)))),
    legacy("virtio.legacy.status_reset", "Writing 0 to the legacy status takes the queues away", net,
        legacy_start(), legacy_in(Legacy.STATUS, 7), legacy_out(Legacy.STATUS, 0), legacy_in(Legacy.STATUS, 0),
        legacy_out(Legacy.QUEUE_SELECT, 1), legacy_in(Legacy.QUEUE_ADDRESS, 0), legacy_in(Legacy.GUEST_FEATURES, 0)),
    legacy("virtio.legacy.cfg_shift", "While MSI-X is enabled the legacy device configuration begins at 24, behind two vectors", net,
        In(PORTS + 20, 4, int.from_bytes(MAC[:4], "little")), ENABLE_MSIX, In(PORTS + 24, 4, int.from_bytes(MAC[:4], "little")),
        legacy_out(Legacy.CONFIG_VECTOR, 1), legacy_in(Legacy.CONFIG_VECTOR, 1), legacy_out(Legacy.QUEUE_VECTOR, 77), legacy_in(Legacy.QUEUE_VECTOR, 0xFFFF),
        ConfigWrite(FUNCTION, MSIX_CAPABILITY + 2, 2, 0), In(PORTS + 20, 4, int.from_bytes(MAC[:4], "little"))),
)
# fmt: on
