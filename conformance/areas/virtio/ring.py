"""Split virtqueues: descriptors, the available ring by which the driver offers chains, the used ring that gives them back.

An entry of the used ring has the head of the chain and the number of bytes written to it.  Indices run free, modulo 2^16.
A chain may lie in an indirect table, and its parts may be cut as the driver likes.  The driver says when it wants to be
interrupted: by a flag, or with EVENT_IDX by the number of the entry; the device says so for notifications.
"""

from virtproof.conformance.case import Case
from virtproof.conformance.device_script import Fill, Put
from virtproof.conformance.virtio import (
    CONTENT,
    IN,
    INDIRECT,
    NEXT,
    OUT,
    WRITE,
    act,
    avail_event,
    avail_flags,
    blk,
    chain,
    content,
    data,
    descriptors,
    done,
    elapse,
    family,
    into,
    isr,
    net,
    notify,
    offer,
    out,
    rng,
    send,
    sent,
    shown,
    slow_blk,
    start,
    table,
    used,
    used_event,
)
from virtproof.spec.virtio import Feature

used_ring = family("virtio", "'The Virtqueue Used Ring'")
available_ring = family("virtio", "'The Virtqueue Available Ring'")
indirect = family("virtio", "'Indirect Descriptors'")
suppression = family("virtio", "'Used Buffer Notification Suppression'")
events = family("virtio", "'Available Buffer Notification Suppression' and 'Used Buffer Notification Suppression'")
framing = family("virtio", "'Message Framing'")


def read(sector: int) -> bytes:
    return bytes(8) + sector.to_bytes(8, "little")


SENT = bytes(range(60))
READ_5, READ_6 = data(0, read(5)), data(1, read(6))
TABLES = OUT + 0x8000


def sector(number: int) -> bytes:
    return CONTENT[512 * number : 512 * number + 512]


# fmt: off
CASES: tuple[Case, ...] = (
    used_ring("virtio.ring.used_len", "The used length counts the bytes written: data and status", blk,
        READ_5, chain(0, 0, out(0, 16), into(0, 512), into(1, 1)), Fill(IN + 0x2000, 8, 0xFF), start(), send(0, 0), used(0, 0, 0, 513),
        content(0, sector(5)), content(1, b"\0"), isr(1)),
    used_ring("virtio.ring.order_out_of_order", "The used ring has the heads of chains, in the order in which they end", slow_blk,
        READ_5, READ_6, chain(0, 5, out(0, 16), into(0, 513)), chain(0, 2, out(1, 16), into(1, 513)), start(),
        offer(0, 5, 2), notify(0), shown(0, 0), elapse(500), shown(0, 0), act(lambda rig: setattr(rig.end, "_delay", 100)),
        offer(0, 2, at=2), notify(0), elapse(100), used(0, 0, 2, 513), shown(0, 1), elapse(400), used(0, 1, 5, 513), used(0, 2, 2, 513), shown(0, 3),
        content(0, sector(5)), content(1, sector(6)), priority=2),
    available_ring("virtio.ring.many", "A notification serves every chain that is offered", blk,
        READ_5, *(chain(0, 2 * n, out(0, 16), into(n, 513)) for n in range(6)), start(), offer(0, 0, 4, 2, 10, 8, 6), notify(0), done(0, 6),
        *(used(0, n, head, 513) for n, head in enumerate((0, 4, 2, 10, 8, 6)))),
    indirect("virtio.ring.indirect", "A chain in an indirect table, alone or behind other descriptors", blk,
        READ_5, READ_6,
        Put(TABLES, table((OUT, 16, NEXT, 2), (IN + 512, 1, WRITE, 0), (IN, 512, NEXT | WRITE, 1))),
        Put(TABLES + 0x100, table((IN + 0x2000, 512, NEXT | WRITE, 1), (IN + 0x2000 + 512, 1, WRITE, 0))),
        descriptors(0, 0, (TABLES, 48, INDIRECT, 0)),
        descriptors(0, 3, (OUT + 0x2000, 16, NEXT, 4), (TABLES + 0x100, 32, INDIRECT, 0)),
        start(Feature.INDIRECT_DESC), send(0, 0, 3), used(0, 0, 0, 513), used(0, 1, 3, 513), content(0, sector(5) + b"\0"), content(1, sector(6) + b"\0")),
    events("virtio.ring.event_idx", "With EVENT_IDX interrupts and notifications come at the entry that is named", rng,
        *(chain(0, n, into(n % 4, 8)) for n in range(8)), start(Feature.EVENT_IDX), used_event(0, 2), avail_flags(0, 1), avail_event(0, 0),
        send(0, 0), isr(0), send(0, 1, at=1), isr(0), avail_event(0, 2), send(0, 2, at=2), isr(1), send(0, 3, at=3), isr(0), avail_event(0, 4),
        used_event(0, 6), send(0, 4, 5, 6, 7, at=4), isr(1)),
    suppression("virtio.ring.no_interrupt", "A driver that sets NO_INTERRUPT gets none", rng,
        chain(0, 0, into(0, 8)), start(), avail_flags(0, 1), send(0, 0), isr(0), avail_flags(0, 0), send(0, 0, at=1), isr(1)),
    framing("virtio.ring.any_layout", "A header may be cut in pieces, and data lie with it", blk,
        READ_5, chain(0, 0, (OUT, 8, 0), (OUT + 8, 3, 0), (OUT + 11, 5, 0), (IN, 100, WRITE), (IN + 100, 413, WRITE)), start(), send(0, 0),
        used(0, 0, 0, 513), content(0, sector(5) + b"\0"),
        data(4, bytes.fromhex("01000000 00000000 0900000000000000") + b"w" * 512), chain(0, 8, out(4, 528), into(1, 1)), send(0, 8, at=1), used(0, 1, 8, 1),
        data(6, read(9)), chain(0, 12, out(6, 16), into(2, 513)), send(0, 12, at=2), content(2, b"w" * 512 + b"\0")),
    framing("virtio.ring.any_layout_net", "... so may the header of a frame", net,
        data(0, bytes(12) + SENT), chain(1, 0, (OUT, 8, 0), (OUT + 8, 14, 0), (OUT + 22, 50, 0)), start(queues=2), send(1, 0), sent(SENT)),
)
# fmt: on
