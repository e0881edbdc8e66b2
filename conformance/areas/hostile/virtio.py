"""Virtio devices whose driver does what no driver may do.

Where the rings or a chain make no sense the device sets DEVICE_NEEDS_RESET, says so by a configuration interrupt, and
touches no queue any more; a reset makes it work again.  Where only a request makes no sense, it fails or is dropped.
"""

import random
import struct

from virtproof.conformance.areas.virtio.net import CONTROLS, FRAME
from virtproof.conformance.areas.virtio.transport import WINDOW, through_window
from virtproof.conformance.case import Case
from virtproof.conformance.device_script import ConfigRead, ConfigWrite, Fill, Load, Put, Store
from virtproof.conformance.virtio import (
    BROKEN,
    BUFFER,
    COMMON,
    CONTENT,
    FUNCTION,
    IN,
    INDIRECT,
    NEXT,
    NOTIFY,
    OUT,
    READY,
    RINGS,
    SIZE,
    VERSION_1,
    WRITE,
    Element,
    act,
    blk,
    chain,
    content,
    data,
    descriptors,
    done,
    elapse,
    family,
    get,
    into,
    isr,
    negotiate,
    net,
    notify,
    offer,
    out,
    put,
    rings,
    rng,
    scsi,
    seen,
    send,
    sent,
    shown,
    slow_blk,
    start,
    status,
    table,
    used,
)
from virtproof.spec.virtio import Common, Feature
from virtproof.spec.virtio_net import CONTROL, TRANSMIT
from virtproof.spec.virtio_net import Feature as NetFeature
from virtproof.spec.virtio_scsi import EVENT, REQUEST
from virtproof.spec.virtio_scsi import Feature as ScsiFeature
from virtproof.vmm.devices.virtio.rng import MOST

table_rules = family("hostile", "'The Virtqueue Descriptor Table'")
available_rules = family("hostile", "'The Virtqueue Available Ring'")
indirect_rules = family("hostile", "'Indirect Descriptors'")
framing = family("hostile", "'Message Framing'")
queues = family("hostile", "'Split Virtqueues'")
common = family("hostile", "'Common configuration structure layout'")
reset = family("hostile", "'Device Reset'")
state = family("hostile", "'Device Status Field'")
window = family("hostile", "'PCI configuration access capability'")
block = family("hostile", "'Block Device', 'Device Operation'")
transmission = family("hostile", "'Packet Transmission'")
control = family("hostile", "'Control Virtqueue'")
requests = family("hostile", "'SCSI Host Device', 'Device Operation: Request Queues'")
events = family("hostile", "'SCSI Host Device', 'Device Operation: eventq'")
entropy = family("hostile", "'Entropy Device', 'Device Operation'")

ON = Feature.INDIRECT_DESC
TABLES = OUT + 0x8000
MMIO = 0xFEE0_0000
NOWHERE = (MMIO, 0x40_0000, 0xFFFF_FFFF_FFFF_FFF0, 0x000F_FFFF_FFFF_F000)  # the local APIC, behind RAM, wrapping
RANDOM = random.Random(9)
JUNK = tuple(RANDOM.randrange(256) for _ in range(200))


def read(sector: int) -> bytes:
    return bytes(8) + sector.to_bytes(8, "little")


GOOD = (data(7, read(3)), chain(0, 12, out(7, 16), into(7, 513)))


def fresh() -> tuple[object, ...]:
    """The device reset, and the rings of its first queue as a driver begins with them."""
    _, available, used_ring = rings(0)
    return put(Common.STATUS, 0), status(0), Fill(available, 0x40, 0), Fill(used_ring, 0x90, 0)


def works() -> tuple[object, ...]:
    """After a reset a good request is served; for devices of ``blk``."""
    good = used(0, 0, 12, 513), content(7, CONTENT[3 * 512 : 3 * 512 + 32]), status(READY)
    return fresh(), GOOD, start(), send(0, 12), good, fresh()


def breaks(*offering: object) -> tuple[object, ...]:
    """What the driver offers breaks the device: it uses nothing, says so, and can be reset."""
    return (
        start(ON),
        offering,
        notify(0),
        elapse(1),
        status(BROKEN),
        isr(2),
        shown(0, 0),
        notify(0),
        shown(0, 0),
        works(),
    )


def each(*offerings: tuple[object, ...]) -> tuple[object, ...]:
    """Several that do."""
    return tuple(breaks(offering) for offering in offerings)


def rings_at(place: int) -> tuple[object, ...]:
    """Each of the three rings in turn at a place where it cannot be."""
    return tuple(
        (
            negotiate(VERSION_1), *put(Common.QUEUE_SELECT, 0), *put(Common.QUEUE_SIZE, SIZE),
            *(put(field, place if field is wrong else at) for field, at in zip(RING_FIELDS, rings(0), strict=True)),
            put(Common.QUEUE_ENABLE, 1), put(Common.STATUS, READY), offer(0, 12), notify(0), elapse(1), status(BROKEN), fresh(),
        )
        for wrong in RING_FIELDS
    )  # fmt: skip


RING_FIELDS = (Common.QUEUE_DESC, Common.QUEUE_DRIVER, Common.QUEUE_DEVICE)


def fails(at: int, request: bytes, *elements: Element, code: int = 1) -> tuple[object, ...]:
    """A request ``at`` that is answered with an error, its status byte in buffer 15."""
    return (
        data(at, request), chain(0, 4 * at, *elements, into(15, 1)), Fill(IN + BUFFER * 15, 8, 0xEE), send(0, 4 * at, at=at), content(15, bytes([code])), status(READY),
    )  # fmt: skip


def reads(at: int, address: int, length: int) -> tuple[object, ...]:
    return fails(at, read(1), out(at, 16), (address, length, WRITE))


def goes_out(at: int, header: bytes, frame: bytes = FRAME) -> tuple[object, ...]:
    """A frame ``at`` with a header of 12 bytes."""
    content = header.ljust(12, b"\0") + frame
    return (
        data(at % 8, content),
        chain(TRANSMIT, at % SIZE, out(at % 8, len(content))),
        send(TRANSMIT, at % SIZE, at=at),
    )


def gso(flags: int, kind: int, length: int, size: int, begin: int, offset: int) -> bytes:
    return struct.pack("<BBHHHH", flags, kind, length, size, begin, offset)


SENSELESS = (
    gso(1, 1, 54, 0, 34, 16), gso(1, 1, 54, 1, 0xFFFF, 16), gso(1, 4, 0xFFFF, 1, 34, 16), gso(1, 0x7F, 54, 100, 34, 16), gso(0, 1, 54, 100, 34, 16),
    gso(1, 0, 0, 0, 0xFFFF, 0xFFFF), gso(1, 0, 0, 0, 59, 16),
)  # fmt: skip

# fmt: off
CASES: tuple[Case, ...] = (
    table_rules("hostile.virtio.desc_loop", "A chain that loops", blk, breaks(descriptors(0, 0, (OUT, 1, NEXT, 0)), offer(0, 0)),
        *(breaks(descriptors(0, 1, (OUT, 1, NEXT, 2), (OUT, 1, NEXT, 1)), offer(0, 1)),)),
    table_rules("hostile.virtio.desc_next_oob", "A chain that leads out of the table", blk,
        descriptors(0, 0, (OUT, 16, NEXT, 0xFFFF), (OUT, 16, NEXT, SIZE)), each((offer(0, 0),), (offer(0, 1),))),
    available_rules("hostile.virtio.head_oob", "A head that is not in the table", blk, each((offer(0, 0xFFFF),), (offer(0, SIZE),))),
    available_rules("hostile.virtio.avail_jump", "An index that is further ahead than the ring is long", blk,
        *(breaks(Store(rings(0)[1] + 2, 2, index)) for index in (1000, SIZE + 1, 0xFFFF)), seen("requests", lambda rig: rig.end.log, ["read 3"] * 3)),
    indirect_rules("hostile.virtio.indirect_nested", "An indirect table in an indirect table", blk,
        Put(TABLES, table((OUT, 16, NEXT, 1), (TABLES, 32, INDIRECT, 0))), descriptors(0, 0, (TABLES, 32, INDIRECT, 0)), breaks(offer(0, 0))),
    indirect_rules("hostile.virtio.indirect_badlen", "An indirect table of a length that is none, or of a MiB", blk,
        descriptors(0, 0, *((TABLES, length, INDIRECT, 0) for length in (0, 15, 16 * 65536, 0xFFFF_FFF0))), each(*((offer(0, head),) for head in range(4)))),
    indirect_rules("hostile.virtio.indirect_and_next", "An indirect table with a next descriptor", blk,
        Put(TABLES, table((OUT, 16, 0, 0))), descriptors(0, 0, (TABLES, 16, INDIRECT | NEXT, 1), (IN, 1, WRITE, 0)), breaks(offer(0, 0)), priority=2),
    framing("hostile.virtio.write_then_read", "Something to read behind something to write", blk,
        chain(0, 0, out(0, 16), into(0, 1), out(1, 16)), breaks(offer(0, 0)), priority=2),
    table_rules("hostile.virtio.len_4g", "A buffer of 4 GiB", blk, start(), reads(0, IN, 0xFFFF_FFFF), reads(1, IN, 0xFFFF_FE00),
        fails(2, b"\1" + read(1)[1:], out(2, 16), (OUT, 0xFFFF_FE00, 0)), seen("requests", lambda rig: rig.end.log, []), works()),
    table_rules("hostile.virtio.addr_oob", "A buffer where no memory is", blk, start(), *(reads(n, address, 512) for n, address in enumerate(NOWHERE[:3])), works(),
        start(), chain(0, 14, out(1, 16), (MMIO, 1, WRITE)), offer(0, 14), notify(0), elapse(1), status(BROKEN)),
    table_rules("hostile.virtio.addr_oob_rng", "... for a device that has no status to give", rng, start(), chain(0, 0, (MMIO, 64, WRITE)), offer(0, 0), notify(0), elapse(1), status(BROKEN), isr(2)),
    queues("hostile.virtio.ring_oob", "Rings where no memory is, or not aligned", blk, GOOD, *(rings_at(place) for place in (*NOWHERE, RINGS + 0x801, COMMON)), works()),
    common("hostile.virtio.qsize_bad", "A queue size that is none", blk,
        *(step for size in (0, 3, 65535, 512) for step in (*put(Common.QUEUE_SIZE, size), get(Common.QUEUE_SIZE, 256))), put(Common.QUEUE_SIZE, 8), put(Common.QUEUE_SIZE, 0), get(Common.QUEUE_SIZE, 8), works()),
    common("hostile.virtio.notify_bad", "A notification of a queue that is not there or not enabled", blk,
        Store(NOTIFY + 2000, 2, 500), notify(0), negotiate(VERSION_1), put(Common.STATUS, READY), notify(0), *(Store(NOTIFY + 4 * queue, 2, queue) for queue in (1, 500, 1023)),
        elapse(1), status(READY), isr(0), works()),
    reset("hostile.virtio.reset_inflight", "A reset while a request is under way: nothing is written any more", slow_blk,
        GOOD, start(), offer(0, 12), notify(0), shown(0, 0), put(Common.STATUS, 0), status(0), Fill(IN + 7 * BUFFER, 64, 0x77), elapse(5000),
        shown(0, 0), content(7, (0x77).to_bytes(8, "little")), isr(0), seen("requests", lambda rig: rig.end.log, [])),
    state("hostile.virtio.status_fuzz", "Any status, in any order", blk, GOOD, start(), *(put(Common.STATUS, value) for value in JUNK), elapse(1), works(), priority=2),
    window("hostile.virtio.cfgcap_oob", "The window in configuration space points to nothing", blk,
        *(step for bar, offset, length in ((7, 0, 4), (5, 0, 4), (1, 0, 4), (4, 0xFFFF_FFFF, 1), (4, 0xFFFF_FFFC, 4), (4, 0x4000, 4), (4, 0, 3), (4, 0, 8), (4, 2, 4), (4, 0, 0)) for step in (
            *through_window(offset, length, bar), ConfigWrite(FUNCTION, WINDOW + 16, 4, 0x55), ConfigRead(FUNCTION, WINDOW + 16, 4, (0, 0x55)), get(Common.DEVICE_FEATURE_SELECT, 0))), works()),
    block("hostile.virtio.blk_status_missing", "A request without a status byte, or with a short header", blk,
        data(0, read(1)), chain(0, 0, out(0, 16)), chain(0, 1, out(0, 15), into(0, 513)), chain(0, 3, into(0, 513)), each((offer(0, 0),), (offer(0, 1),), (offer(0, 3),))),
    block("hostile.virtio.blk_unaligned_len", "Data that are no whole sectors", blk, start(), reads(0, IN, 100), reads(1, IN, 513),
        fails(2, b"\1" + read(1)[1:], out(2, 16), out(3, 100)), seen("requests", lambda rig: rig.end.log, []), works()),
    block("hostile.virtio.blk_sector_wrap", "A sector number that would wrap", blk, start(),
        fails(0, read((1 << 64) - 1), out(0, 16), into(0, 1024)), fails(1, read(1 << 55), out(1, 16), into(0, 512)), fails(2, b"\1" + read((1 << 64) - 1)[1:], out(2, 16), into(0, 0)), works()),
    transmission("hostile.virtio.net_hdr_short", "A frame that is shorter than its header", net, start(queues=2),
        *((data(at, bytes(20)), chain(TRANSMIT, at, out(at, length)), send(TRANSMIT, at, at=at)) for at, length in enumerate((0, 4, 11, 12, 25))), sent(), status(READY),
        goes_out(5, bytes(12)), sent(FRAME)),
    transmission("hostile.virtio.net_gso_bad", "Offloads that make no sense", net, start(NetFeature.CSUM | NetFeature.HOST_TSO4 | NetFeature.HOST_TSO6, queues=2),
        *(goes_out(at, header) for at, header in enumerate(SENSELESS)), sent(), status(READY), goes_out(7, bytes(12)), sent(FRAME)),
    control("hostile.virtio.net_ctrl_len", "A table of 4 G addresses", net, start(CONTROLS, queues=3),
        *((data(at, command), chain(CONTROL, 2 * at, out(at, len(command)), into(at, 1)), send(CONTROL, 2 * at, at=at), content(at, b"\1")) for at, command in enumerate((
            b"\1\0" + b"\xff" * 4, b"\1\0" + b"\xff" * 4 + bytes(60), b"\1\0" + bytes(4) + b"\xff" * 4, b"\1\0\1\0\0\0" + bytes(5)))), status(READY)),
    requests("hostile.virtio.scsi_short_req", "A request that is shorter than its header, or a response that has no room", scsi,
        data(0, bytes(64)), chain(REQUEST, 0, out(0, 50), into(0, 108)), chain(REQUEST, 2, out(0, 51), into(0, 107)),
        *((start(queues=3), offer(REQUEST, head), notify(REQUEST), elapse(1), status(BROKEN), isr(2), put(Common.STATUS, 0), Fill(rings(REQUEST)[1], 0x40, 0)) for head in (0, 2))),
    events("hostile.virtio.scsi_event_flood", "Events while the driver gives no buffers: it is told that it has missed some", scsi,
        chain(EVENT, 0, into(0, 16)), chain(EVENT, 1, into(1, 16)), start(ScsiFeature.HOTPLUG, queues=3), act(lambda rig: [rig.device.plug(9, {}) for _ in range(1000)]),
        seen("what is kept", lambda rig: len(str(rig.device.state())) < 4000, True), offer(EVENT, 0), notify(EVENT), done(EVENT, 1), used(EVENT, 0, 0, 16), Load(IN, 4, 0x8000_0000),
        offer(EVENT, 1, at=1), notify(EVENT), elapse(1), shown(EVENT, 1), act(lambda rig: rig.device.unplug(9)), done(EVENT, 2), content(1, bytes((1, 0, 0, 0, 1, 9, 0, 0))), priority=2),
    entropy("hostile.virtio.rng_huge", "4 GiB of random bytes", rng, start(), chain(0, 0, (IN, 0xFFFF_FFFF, WRITE)), send(0, 0), used(0, 0, 0, MOST), status(READY)),
)
# fmt: on
