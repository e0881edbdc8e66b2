"""VMXNET3 against a driver that means harm, or knows nothing.

Whatever a guest writes, the monitor survives, works no longer than a ring is long before others have their turn, and
touches no memory but the guest's.  What cannot be is refused by ACTIVATE, stops its queue, or is dropped and counted; and
after a reset all is well again.
"""

from __future__ import annotations

from collections.abc import Iterable

from virtproof.conformance.case import Case
from virtproof.conformance.device_script import Fill, Host, Load, Put, Step, Steps, Store
from virtproof.conformance.packets import BROADCAST, HEADERS, plain, tcp
from virtproof.conformance.vmxnet3_driver import (
    ACTIVATE,
    CMD,
    DSAH,
    DSAL,
    ECR,
    GET_LINK,
    GET_QUEUE_STATUS,
    GET_STATS,
    MESSAGES,
    PT,
    QUIESCE,
    RESET,
    RXPROD,
    RXPROD2,
    SHARED_ECR,
    TXPROD,
    UPDATE_FEATURE,
    UPDATE_MAC_FILTERS,
    UPDATE_RX_MODE,
    UPDATE_VLAN_FILTERS,
    VD,
    VRRS,
    Plugged,
    activated,
    arrives,
    command,
    in_rx_ring,
    in_tx_ring,
    laid_out,
    link,
    locate,
    no_rx_completion,
    no_tx_completion,
    refused,
    rules,
    rx_bell,
    rx_completed,
    sent,
    silent,
    tx_bell,
    tx_completed,
)
from virtproof.conformance.vmxnet3_layout import (
    BODIES,
    GROUPS,
    INCOMING,
    OUTGOING,
    QUEUES,
    RX_COMPLETIONS,
    RX_RING,
    RX_RING1,
    SHARED,
    TX_COMPLETIONS,
    TX_RING,
    rx_descriptor,
    rx_descriptors,
    rx_queue,
    shared,
    tx_descriptor,
    tx_queue,
)
from virtproof.guest_payloads.accesses import MEMORY
from virtproof.results import Check
from virtproof.spec.vmxnet3 import OffloadMode, QueueError, RxMode

rule = rules("hostile")
FAILED = tuple(range(1, 256))
ALL_ONES = 0xFFFF_FFFF
HOLE = 0xD000_0000  # nothing answers there
TOP = MEMORY
NOT_ALIGNED = QUEUES + 0x40
TX_ERRORS, RX_NO_BUFFER = QUEUES + 88 + 64, QUEUES + 256 + 88 + 64
FRAME = plain()
SEGMENT = tcp(bytes(200))
UPDATES = (UPDATE_RX_MODE, UPDATE_MAC_FILTERS, UPDATE_VLAN_FILTERS, UPDATE_FEATURE, GET_QUEUE_STATUS, GET_STATS)
EVERY_COMMAND = (*range(0xCAFE0000, 0xCAFE0012), *range(0xF00D0000, 0xF00D000E))


def well() -> Steps:
    """A reset brings everything back: a packet goes and one comes."""
    return (
        command(RESET, None), Fill(TX_RING, 512), Fill(RX_RING, 512),
        Put(0x3F0000, shared()), Put(0x3F1000, tx_queue() + rx_queue(completion_size=32)), Put(0x3F2000, plain(77)),
        Store(0x3F0000 + 40, 8, 0x3F1000), locate(0x3F0000), command(ACTIVATE),
        Store(TX_RING, 8, 0x3F2000), Store(TX_RING + 8, 4, 77 | 1 << 14), Store(TX_RING + 12, 4, 3 << 12), tx_bell(1),
        Host(lambda plugged: [Check("sent after a reset", "1", str(plugged.cable.sent[-1:].count(plain(77))),
                                    plugged.cable.sent[-1:] == [plain(77)])]),
        tx_completed(0), Store(RX_RING, 8, INCOMING), Store(RX_RING + 8, 4, 1 << 31 | 0x800), arrives(FRAME), rx_completed(0, 60),
    )  # fmt: skip


def stopped(error: int | tuple[int, ...], queue: int = 0) -> Steps:
    return Load(QUEUES + 256 * queue + 80, 1, 1), Load(QUEUES + 256 * queue + 84, 4, error)


ANY_ERROR = tuple(range(0x80000000, 0x80000008))


def each_refused(*tables: Iterable[bytes]) -> Steps:
    """Each of these tables of queues is refused; they lie side by side, for memory is written before the guest starts."""
    yield Put(SHARED, shared())
    for number, table in enumerate(tables):
        yield Put(QUEUES + 0x400 * number, b"".join(table))
        yield Store(SHARED + 40, 8, QUEUES + 0x400 * number), locate(), command(ACTIVATE, FAILED)
    yield silent()


def pages(count: int, seed: int = 0x2545F491) -> Iterable[tuple[int, int]]:
    """Numbers that look random, the same each time: where, and what."""
    for _ in range(count):
        seed = seed * 1103515245 + 12345 & 0xFFFF_FFFF
        where = seed >> 12
        seed = seed * 1103515245 + 12345 & 0xFFFF_FFFF
        yield where, seed


def random_commands(count: int) -> Steps:
    """Half of them are commands."""
    for where, what in pages(count):
        yield Store(CMD, 4, EVERY_COMMAND[where % len(EVERY_COMMAND)] if where & 1 else what)


def random_accesses(count: int) -> Steps:
    for where, what in pages(count, 0x1234567):
        base, size = (PT, VD)[where & 1], (1, 2, 4, 8)[where >> 1 & 3]
        at = base + (where >> 3 & 0xFFF & -size)
        near = VD + (where >> 3 & 0x40) if where & 0x8000 else at
        yield Load(near, 4) if where & 0x40000 and near != at else Store(at, size, what & (1 << 8 * size) - 1)


def flooded(count: int) -> Step:
    def flood(plugged: Plugged) -> Iterable[Check]:
        taken = sum(plugged.cable.receive(FRAME) for _ in range(count))
        yield Check("frames taken from the port", str(count), str(taken), taken == count)

    return Host(flood)


def at_most(count: int) -> Step:
    """So many frames have left, and no more."""
    return Host(
        lambda plugged: [
            Check("frames sent", f"at most {count}", str(len(plugged.cable.sent)), len(plugged.cable.sent) <= count)
        ]
    )


def stopped_at_once(register: int, value: int) -> Step:
    """A bell, and before what is left of its work goes on, a stop: nothing may go on later."""

    def act(plugged: Plugged) -> Iterable[Check]:
        machine, sent = plugged.board.machine, plugged.cable.sent
        machine.bus.mmio_write(TXPROD, 4, 0)
        yield Check("work is left", "True", str(0 < len(sent) < 4096), 0 < len(sent) < 4096)
        machine.bus.mmio_write(register, 4, value)
        before, memory = len(sent), machine.memory.read(SHARED, MEMORY - SHARED)
        for _ in range(4):
            machine.events.poll()
        yield Check("frames sent later", "0", str(len(sent) - before), len(sent) == before)
        same = machine.memory.read(SHARED, MEMORY - SHARED) == memory
        yield Check("memory as it was", "True", str(same), same)

    return Host(act)


def busy(register: int, value: int) -> Steps:
    return (
        command(RESET, None), Put(SHARED, shared()), Put(QUEUES, tx_queue(size=4096, completion_size=4096) + rx_queue()),
        Put(TX_RING, tx_descriptor() * 4096), locate(), command(ACTIVATE), stopped_at_once(register, value),
    )  # fmt: skip


# fmt: off
CASES: tuple[Case, ...] = (
    rule("hostile.vmxnet3.shared_oob", "A shared area outside memory is refused", "VMXNET3_CMD_ACTIVATE_DEV",
         *([locate(address), command(ACTIVATE, FAILED)] for address in (0xFFFF_FFFF_FFFF_F000, 0xFFFF_FFFF_FFFF_FFFF, HOLE, TOP, PT, 1 << 52)),
         silent(), well()),
    rule("hostile.vmxnet3.shared_straddle", "A shared area over the end of memory is refused", "VMXNET3_CMD_ACTIVATE_DEV",
         Put(TOP - 64, shared()[:64]), locate(TOP - 64), command(ACTIVATE, FAILED), locate(TOP - 719), command(ACTIVATE, FAILED),
         silent(), Put(TOP - 720, shared()), Put(QUEUES, tx_queue() + rx_queue()), locate(TOP - 720), command(ACTIVATE)),
    rule("hostile.vmxnet3.no_dsa", "Commands without a shared area do nothing", "VMXNET3_REG_CMD",
         Put(0, plain(64)[:64]), command(ACTIVATE, FAILED), *(command(number, (0, 1)) for number in (*UPDATES, QUIESCE)), silent(),
         Load(0, 8, int.from_bytes(plain()[:8], "little")), well()),
    rule("hostile.vmxnet3.queues_zero", "No queues are refused", "Vmxnet3_MiscConf, numTxQueues",
         refused(shared(tx=0)), Store(SHARED + 62, 2, 0x0001), command(ACTIVATE, FAILED), Store(SHARED + 62, 2, 0x0000), command(ACTIVATE, FAILED),
         silent(), Store(SHARED + 62, 2, 0x0101), command(ACTIVATE)),
    rule("hostile.vmxnet3.queues_255", "More queues than there can be are refused", "Vmxnet3_MiscConf, numTxQueues",
         Put(QUEUES + 0x1000, tx_queue() + rx_queue() * 17), refused(shared(tx=255, rx=255), (tx_queue(),) * 9 + (rx_queue(),)),
         *([Store(SHARED + 62, 1, tx), Store(SHARED + 63, 1, rx), Store(SHARED + 40, 8, at), command(ACTIVATE, FAILED)]
           for tx, rx, at in ((9, 1, QUEUES), (1, 17, QUEUES + 0x1000), (255, 1, QUEUES), (1, 255, QUEUES + 0x1000))),
         *(Store(TXPROD + 8 * n, 4, 1) for n in range(64)), silent()),
    rule("hostile.vmxnet3.mtu_bad", "An MTU that cannot be is refused, or another is taken", "Vmxnet3_MiscConf, mtu",
         laid_out(shared(mtu=0)), in_tx_ring(tx_descriptor(length=1514)), in_rx_ring(rx_descriptors(1)), locate(), command(ACTIVATE, (0, *FAILED)), tx_bell(1), arrives(plain(1514)),
         *([command(RESET, None), Store(SHARED + 56, 4, mtu), locate(), command(ACTIVATE, (0, *FAILED)), tx_bell(1)] for mtu in (1, ALL_ONES, 65536, 59, 9001)),
         at_most(6), well()),
    rule("hostile.vmxnet3.intr_idx", "Interrupts that are not there are refused, or never come", "Vmxnet3_IntrConf",
         laid_out(shared(event=25), (tx_queue(interrupt=255), rx_queue(interrupt=25))), in_tx_ring(tx_descriptor(1 << 40)), locate(),
         *([command(RESET, None), locate(), Store(SHARED + 82, 1, event), Store(QUEUES + 72, 1, tx), Store(QUEUES + 256 + 72, 1, rx),
            command(ACTIVATE, (0, *FAILED)), tx_bell(1), arrives(FRAME), link(False), link(True)] for event, tx, rx in ((25, 0, 0), (255, 255, 255), (0, 25, 0), (0, 0, 31), (0, 32, 64))),
         well()),
    rule("hostile.vmxnet3.ring_size_zero", "Rings without entries are refused", "VMXNET3_RING_SIZE_ALIGN",
         each_refused((tx_queue(size=0), rx_queue()), (tx_queue(completion_size=0), rx_queue()), (tx_queue(), rx_queue(size=0)), (tx_queue(), rx_queue(completion_size=0))),
         well()),
    rule("hostile.vmxnet3.ring_size_huge", "Rings longer than they can be are refused", "VMXNET3_TX_RING_MAX_SIZE",
         each_refused(*([tx_queue(size=n), rx_queue()] for n in (ALL_ONES, 4128, 1 << 31)), *([tx_queue(completion_size=n), rx_queue()] for n in (ALL_ONES, 1 << 28)),
                      *([tx_queue(), rx_queue(size=n)] for n in (ALL_ONES, 1 << 27)), *([tx_queue(), rx_queue(size1=n)] for n in (ALL_ONES, 4128)),
                      *([tx_queue(), rx_queue(completion_size=n)] for n in (ALL_ONES, 1 << 29))), well()),
    rule("hostile.vmxnet3.ring_unaligned", "Rings that are not aligned are refused, or work", "VMXNET3_RING_BA_ALIGN",
         Put(SHARED, shared()), *([Put(QUEUES + 0x400 * n, b"".join(table)), command(RESET, None), Store(SHARED + 40, 8, QUEUES + 0x400 * n), locate(),
                                   command(ACTIVATE, (0, *FAILED)), tx_bell(1), arrives(FRAME)]
                                  for n, table in enumerate(((tx_queue(ring=TX_RING + 1), rx_queue()), (tx_queue(completion=TX_COMPLETIONS + 8), rx_queue()),
                                                             (tx_queue(), rx_queue(ring=RX_RING + 511)), (tx_queue(), rx_queue(completion=RX_COMPLETIONS + 3))))), well(), priority=2),
    rule("hostile.vmxnet3.ring_in_mmio", "Rings where there is no memory stop, or are refused", "Vmxnet3_TxQueueConf",
         Put(SHARED, shared()), *([Put(QUEUES + 0x400 * n, b"".join(table)), command(RESET, None), Store(SHARED + 40, 8, QUEUES + 0x400 * n), locate(),
                                   command(ACTIVATE, (0, *FAILED)), tx_bell(1), rx_bell(1), arrives(FRAME), Load(VRRS, 4, 1)]
                                  for n, table in enumerate(((tx_queue(ring=PT), rx_queue(ring=PT)), (tx_queue(ring=HOLE), rx_queue(ring=HOLE)),
                                                             (tx_queue(completion=VD), rx_queue()), (tx_queue(), rx_queue(completion=MESSAGES)),
                                                             (tx_queue(ring=TOP - 256 & -512), rx_queue(ring=TOP - 512)), (tx_queue(ring=1 << 63), rx_queue(ring=(1 << 64) - 512))))),
         at_most(0), Load(MESSAGES + 12, 4, 1), well()),
    rule("hostile.vmxnet3.queuedesc_oob", "A table of queues outside memory is refused", "Vmxnet3_MiscConf, queueDescPA",
         Put(SHARED, shared()), *([Store(SHARED + 40, 8, at), locate(), command(ACTIVATE, FAILED)]
                                  for at in (TOP, TOP - 256, (1 << 64) - 128, 1 << 63, HOLE, PT, NOT_ALIGNED)),
         Put(NOT_ALIGNED, tx_queue() + rx_queue()), silent(), well()),
    rule("hostile.vmxnet3.tx_all_valid", "A packet without an end is looked for once round, and stops the queue", "VMXNET3_ERR_NOEOP",
         in_tx_ring(*[tx_descriptor(eop=0)] * 32), activated(), tx_bell(31), sent(), stopped(QueueError.NO_EOP), Load(SHARED_ECR, 4, 2),
         tx_bell(0), tx_bell(1), sent(), no_tx_completion(0), well()),
    rule("hostile.vmxnet3.tx_big_chain", "Packets in too many pieces, or too long, stop the queue or are dropped", "VMXNET3_ERR_BIG_PKT",
         in_tx_ring(*[tx_descriptor(eop=0)] * 16, tx_descriptor()), activated(), tx_bell(17), sent(), stopped(ANY_ERROR), command(RESET, None),
         Fill(TX_RING, 512), *(Store(TX_RING + 16 * n + 8, 4, 1 << 14) for n in range(5)), Store(TX_RING + 64 + 12, 4, 1 << 12), locate(), command(ACTIVATE), tx_bell(5),
         sent(), stopped(ANY_ERROR), Load(SHARED_ECR, 4, 2), well()),
    rule("hostile.vmxnet3.tx_bad_offload", "An offload that does not fit its packet drops it", "Vmxnet3_TxDesc, om",
         Put(OUTGOING, SEGMENT),
         in_tx_ring(*(tx_descriptor(length=len(SEGMENT), om=om, hlen=hlen, msscof=value) for om, hlen, value in (
             (OffloadMode.CHECKSUM, 34, len(SEGMENT) - 1), (OffloadMode.CHECKSUM, len(SEGMENT), 50), (OffloadMode.CHECKSUM, 1023, 16383),
             (OffloadMode.SEGMENTATION, HEADERS, 0), (OffloadMode.SEGMENTATION, 1023, 1000), (OffloadMode.SEGMENTATION, 0, 1000), (OffloadMode.SEGMENTATION, 33, 1),
             (OffloadMode.ENCAPSULATED, 34, 50))), tx_descriptor(length=13), tx_descriptor(length=len(SEGMENT))),
         activated(), tx_bell(10), sent(SEGMENT), *(tx_completed(n) for n in (0, 8, 9)), command(GET_STATS, None), Load(TX_ERRORS, 8, 9)),
    rule("hostile.vmxnet3.tx_prod_oob", "Bells with any number, of any queue, only mean: look", "VMXNET3_REG_TXPROD",
         in_tx_ring(tx_descriptor()), activated(), *(Store(TXPROD + 8 * n, 4, value) for n in (1, 7, 8, 15, 31, 63) for value in (0, 33, ALL_ONES)), sent(),
         *(Store(at + 8 * n, 4, ALL_ONES) for at in (RXPROD, RXPROD2) for n in (0, 1, 15, 16, 63)), tx_bell(ALL_ONES), sent(bytes(60)), tx_bell(33), tx_bell(4097), sent(bytes(60))),
    rule("hostile.vmxnet3.rx_body_where_head", "Heads where bodies belong, and bodies where heads do, are not used", "VMXNET3_RXD_BTYPE_HEAD",
         in_rx_ring(rx_descriptors(3, body=1), rx_descriptor(INCOMING + 0x4000, 128), rx_descriptors(1)), Put(RX_RING1, rx_descriptors(4, BODIES)),
         activated(queues=(tx_queue(), rx_queue(size1=32))), arrives(plain(1000)), no_rx_completion(0), arrives(plain(100)), rx_completed(0, 100, 3),
         Load(BODIES, 8, 0), arrives(plain(1000)), rx_completed(1, 1000, 4), well()),
    rule("hostile.vmxnet3.rx_len_zero", "Buffers of no length take nothing, and do not hold the adapter up", "Vmxnet3_RxDesc, len",
         in_rx_ring(*[rx_descriptor(INCOMING, 0)] * 32), Put(RX_RING1, rx_descriptor(BODIES, 0, body=1) * 32),
         activated(queues=(tx_queue(), rx_queue(size1=32))), arrives(FRAME, plain(9000), FRAME), no_rx_completion(0), Load(INCOMING, 8, 0), well()),
    rule("hostile.vmxnet3.comp_ring_full", "Completions that nobody reads are written over, and nothing beyond", "Vmxnet3_RxQueueConf, compRingSize",
         in_rx_ring(rx_descriptors(32)), Fill(RX_COMPLETIONS + 32 * 16, 64, 0x5555), Fill(RX_COMPLETIONS - 64, 64, 0x5555),
         activated(queues=(tx_queue(), rx_queue(completion_size=32))), flooded(40), rx_completed(31, 60),
         *([Store(RX_RING + 16 * n + 8, 4, 0x800)] for n in range(32)), flooded(100), rx_completed(0, 60, gen=0), rx_completed(31, 60, gen=0),
         Load(RX_COMPLETIONS + 32 * 16, 8, 0x5555), Load(RX_COMPLETIONS - 8, 8, 0x5555), command(GET_STATS, None), Load(RX_NO_BUFFER, 8, 8 + 68)),
    rule("hostile.vmxnet3.mfTable_huge", "A table of groups outside memory is an empty one", "Vmxnet3_RxFilterConf, mfTable",
         Put(GROUPS, plain()[:6]), in_rx_ring(rx_descriptors(2)), activated(shared(mode=RxMode.MULTICAST | RxMode.BROADCAST, group_bytes=0xFFFF, groups=(1 << 64) - 16)),
         *([Store(SHARED + 128, 8, at), command(UPDATE_MAC_FILTERS, None)] for at in (TOP - 6, HOLE, PT, (1 << 64) - 1, 1 << 52)),
         arrives(plain(to=b"\x01\x00\x5e\x00\x00\x01")), no_rx_completion(0), arrives(plain(to=BROADCAST)), rx_completed(0, 60)),
    rule("hostile.vmxnet3.reset_busy", "What stops while packets go does not go on later", "VMXNET3_CMD_RESET_DEV",
         busy(CMD, RESET), busy(CMD, QUIESCE), busy(DSAL, 0), well()),
    rule("hostile.vmxnet3.activate_twice_swap", "The area that was activated counts until the next time", "VMXNET3_REG_DSAL",
         in_tx_ring(tx_descriptor(), tx_descriptor()), activated(), Store(DSAL, 4, HOLE), Store(DSAH, 4, ALL_ONES), command(ACTIVATE, (0, *FAILED)),
         *(command(number, (0, *FAILED)) for number in UPDATES), tx_bell(2), link(False), Store(ECR, 4, ALL_ONES), at_most(2), Load(VRRS, 4, 1), link(True), well(), priority=2),
    rule("hostile.vmxnet3.cmd_fuzz", "Any number may be a command", "VMXNET3_REG_CMD",
         activated(), random_commands(1500), link(True), command(GET_LINK, (0x27100001, 0x03E80001)), well()),
    rule("hostile.vmxnet3.ecr_no_shared", "ECR without a shared area does nothing", "VMXNET3_REG_ECR",
         Fill(696, 4, 0x77, 1), *(Store(ECR, 4, value) for value in (0, 1, ALL_ONES)), Load(696, 4, 0x77777777), laid_out(), locate(), Store(ECR, 4, ALL_ONES), Load(SHARED_ECR, 4, 0), well()),
    rule("hostile.vmxnet3.bar_fuzz", "Any access to any register is survived", "BAR 0 and BAR 1",
         activated(), random_accesses(1500), well()),
)
# fmt: on
