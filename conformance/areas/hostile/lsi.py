"""Fusion-MPT against a driver that means harm, or knows nothing.

Frames, lists, lengths and handshakes are lies; the controller answers with a status or goes into FAULT, touches nothing
but what it was given, and works again after a reset.
"""

from __future__ import annotations

import random
import struct
from functools import partial

from virtproof.conformance.areas.scsi_lsi.pages import config, refused
from virtproof.conformance.case import Case
from virtproof.conformance.device_script import Fill, Load, Put, Store
from virtproof.conformance.mpt_driver import (
    ACKNOWLEDGE,
    BAD_LBA,
    BAR,
    BUFFER,
    CHAIN,
    CONTEXT,
    DIAGNOSTIC_BAR,
    EMPTY,
    FRAMES,
    MORE,
    PAGE,
    READ,
    READY,
    REPLIES,
    RESET,
    SENSE,
    WRITE,
    alive,
    answer,
    ask,
    attached_sas,
    chain,
    context,
    doorbell,
    ended,
    fault,
    fields,
    frame,
    get,
    io,
    ioc_init,
    manage,
    mpi,
    out,
    post,
    put,
    rules,
    simple,
    started,
    state,
    told,
)
from virtproof.conformance.scsi_rig import SLOW, bounded, driver_of, elapse, read10, unchanged, write10
from virtproof.guest_payloads.accesses import MEMORY
from virtproof.spec import fusion_mpt as mpt
from virtproof.spec.fusion_mpt import ConfigAction, IocState, IocStatus, PageType, TaskType
from virtproof.vmm.devices.lsi_mpt import LsiMpt

rule = rules("hostile")
driver = partial(driver_of("hostile", "mpt", mpi("System interface")), LsiMpt)
second = rules("hostile", priority=2)

REQUEST, REPLY, HANDSHAKE, IO, SGE = "Request FIFO", "Reply FIFO", "Handshake", "SCSI IO", "Chain element"
HOLE = 0xD000_0000  # nobody answers there
ONES = 0xEEEE_EEEE_EEEE_EEEE
SEED = 13


def random_accesses() -> tuple[Store | Load, ...]:
    """Of all sizes and to all places of the BARs; registers more often than they would be met by chance."""
    rng, steps = random.Random(SEED), []
    known = (0, 4, 8, 0x30, 0x34, 0x40, 0x44, 0x10, 0x14)
    for _ in range(2000):
        size = rng.choice((1, 2, 4, 8))
        base = rng.choice((BAR, BAR, BAR, DIAGNOSTIC_BAR))
        offset = rng.choice((rng.choice(known), rng.choice(known), rng.randrange(mpt.MEMORY_SIZE - 8)))
        value = rng.choice(
            (0, 4, 0x4203_0000, 0x4000_0000, 0x42FF_0000, FRAMES, HOLE, 0xFFFF_FFFF, rng.getrandbits(32))
        )
        steps.append(Store(base + offset, size, value) if rng.random() < 0.8 else Load(base + offset, size))
    return tuple(steps)


# fmt: off
CASES: tuple[Case, ...] = (
    rule("hostile.lsi.req_addr_oob", "A request outside memory is a fault", REQUEST,
        started(), put(mpt.REQUEST_QUEUE, HOLE), state(IocState.FAULT), alive(), put(mpt.REQUEST_QUEUE, 0xFFFF_FFFC), state(IocState.FAULT), alive()),
    rule("hostile.lsi.req_when_ready", "So is one before IOCInit, and after it none is taken", "IOC state",
        io(0, READY), post(0), fault(IocStatus.INVALID_STATE), post(0, 0), EMPTY, put(mpt.DOORBELL, 0x4206_0000),
        doorbell(0, 0x0800_0000), alive()),
    rule("hostile.lsi.req_fifo_flood", "Requests beyond what can wait are a fault", REQUEST,
        io(0, read10(0, 1), 512, READ, target=1), started(), *(post(0) for _ in range(mpt.DEPTH)), state(IocState.OPERATIONAL), post(0),
        fault(IocStatus.INSUFFICIENT_RESOURCES), *(post(0) for _ in range(872)), elapse(SLOW), bounded(), alive(), seconds=30.0),
    rule("hostile.lsi.replyfree_flood", "Reply frames beyond the depth of the FIFO are a fault", REPLY,
        started(frames=mpt.DEPTH), state(IocState.OPERATIONAL), put(mpt.REPLY_QUEUE, REPLIES), fault(IocStatus.INSUFFICIENT_RESOURCES),
        *(put(mpt.REPLY_QUEUE, REPLIES) for _ in range(872)), alive()),
    rule("hostile.lsi.replies_flood", "So are replies that nobody takes", REPLY,
        io(0, READY), started(), *(post(0) for _ in range(mpt.DEPTH)), state(IocState.OPERATIONAL), post(0), fault(IocStatus.INSUFFICIENT_RESOURCES),
        alive()),
    rule("hostile.lsi.no_reply_frames", "An error without a frame to tell it is a fault", REPLY,
        Fill(REPLIES, 128, ONES), io(0, READY, target=5), started(frames=0), post(0), fault(IocStatus.INSUFFICIENT_RESOURCES), EMPTY,
        Load(REPLIES, 8, ONES), alive()),
    rule("hostile.lsi.reply_oob", "A reply frame for nowhere is dropped", "Address reply",
        io(0, READY, target=5), started(frames=0), put(mpt.REPLY_QUEUE, HOLE), put(mpt.REPLY_QUEUE, MEMORY - 4), put(mpt.REPLY_QUEUE, REPLIES),
        post(0, 0), EMPTY, post(0), told(0, 0, 0x43), alive()),
    rule("hostile.lsi.handshake_255", "The longest handshake, about nothing", HANDSHAKE,
        ask(b"\xff" * 4 * 255), answer(*fields(5, h02=0xFF05, h0E=1)), doorbell(0x1000_0000), ask(ioc_init().ljust(1020, b"\xff")),
        answer(*fields(5, h0E=0)), state(IocState.OPERATIONAL), alive()),
    rule("hostile.lsi.handshake_zero", "A handshake about no dword is none", HANDSHAKE,
        put(mpt.DOORBELL, 0x4200_0000), doorbell(0x1000_0000), put(mpt.DOORBELL, 0x4200_0000), doorbell(0x1000_0000),
        get(mpt.HOST_INTERRUPT_STATUS, 0), alive()),
    rule("hostile.lsi.handshake_short", "A message shorter than it should be has zeros for the rest", HANDSHAKE,
        ask(b"\x02\0\0\x02"), answer(*fields(5, h00=2, h0E=7)), state(IocState.READY), alive()),
    rule("hostile.lsi.handshake_reset", "A message unit reset in the middle of a handshake", "Message Unit Reset",
        put(mpt.DOORBELL, 0x4206_0000), *(put(mpt.DOORBELL, n) for n in (2, 0, 3)), RESET, doorbell(0x1000_0000),
        get(mpt.HOST_INTERRUPT_STATUS, 0), alive()),
    rule("hostile.lsi.db_overread", "Behind a reply are zeros", HANDSHAKE,
        ask(ioc_init()), *(doorbell(None) for _ in range(10)), *(doorbell(0, 0xFFFF) for _ in range(100)), ACKNOWLEDGE,
        doorbell(0x2200_0000), alive()),
    rule("hostile.lsi.bad_function", "A function that is unknown", "IOCStatus",
        frame(0, b"\0\0\0\xff\0\0\0\0" + struct.pack("<I", CONTEXT)), started(), post(0), told(0, 0, 1), state(IocState.OPERATIONAL), alive()),
    rule("hostile.lsi.sge_chain_loop", "A chain to itself is given up", SGE,
        Fill(BUFFER, 1024, ONES), Put(CHAIN, chain(CHAIN, 8)), Put(CHAIN + 0x100, simple(BUFFER, 4, MORE) + chain(CHAIN + 0x100, 16)),
        io(0, read10(0, 2), 1024, READ, chain(CHAIN, 8)), io(1, read10(0, 2), 1024, READ, chain(CHAIN + 0x100, 16)), started(), post(0, 1),
        told(0, 0, 3), told(1, 1, 3), Load(BUFFER, 8, ONES), alive()),
    rule("hostile.lsi.chain_oob", "A chain to nowhere", SGE,
        io(0, write10(0, 2), 1024, WRITE, chain(HOLE, 16)), io(1, write10(0, 2), 1024, WRITE, chain(CHAIN, 0)), started(), post(0, 1),
        told(0, 0, 0x46), told(1, 1, 3), unchanged(), alive()),
    rule("hostile.lsi.sge_zero_len", "Elements of no bytes without an end", "Simple element",
        Put(CHAIN, simple(0, 0, MORE) * 500 + chain(CHAIN, 8 * 501)), io(0, read10(0, 2), 1024, READ, simple(0, 0, MORE) * 10),
        io(1, read10(0, 2), 1024, READ, chain(CHAIN, 8 * 501)), started(), post(0, 1), told(0, 0, 3), told(1, 1, 3), alive()),
    rule("hostile.lsi.sge_len_mismatch", "Lists that are shorter or longer than the data", IO,
        Fill(BUFFER, 2048, ONES), io(0, read10(0, 2), 1024, READ, simple(BUFFER, 512)), io(1, read10(0, 2), 512, READ, simple(BUFFER, 2048)),
        io(2, write10(0, 2), 1024, WRITE, simple(BUFFER, 512)), started(), post(0, 1, 2), told(0, 0, (3, 0x44, 0x45)), told(1, 1, 0x44),
        told(2, 2, 3), Load(BUFFER + 512, 8, ONES), unchanged(), alive()),
    rule("hostile.lsi.datalen_4g", "Four gigabytes are refused", IO, ended(read10(0, 2), 0xFFFF_FFFF, READ, simple(BUFFER, 512), status=7), alive()),
    second("hostile.lsi.cdb_len", "CDBs of no and of 255 bytes", IO,
        io(0, READY, cdb_length=0), io(1, READY, cdb_length=255), started(), post(0, 1), told(0, 0, 0, scsi=2), context(1), alive()),
    rule("hostile.lsi.sense_oob", "Sense data for nowhere are dropped, and never longer than they are", IO,
        Fill(SENSE, 64, ONES), io(0, BAD_LBA, 512, READ, sense=HOLE), io(1, BAD_LBA, 512, READ, sense=MEMORY - 4, sense_length=255),
        io(2, BAD_LBA, 512, READ, sense_length=255), started(), post(0, 1, 2), *(told(n, n, 0, scsi=2) for n in range(3)),
        Load(REPLIES + 13, 1, 2), Load(REPLIES + 256 + 13, 1, 1), Load(REPLIES + 256 + 24, 4, 18), Load(SENSE + 18, 4, 0xEEEE_EEEE), alive()),
    rule("hostile.lsi.config_len_lie", "A page goes no further than its buffer, nor than itself", "Config",
        Fill(PAGE, 512, ONES), started(), config(ConfigAction.READ_CURRENT, PageType.SCSI_PORT, 2, size=6), answer(*fields(6, h0E=0)),
        Load(PAGE + 6, 2, 0xEEEE), config(ConfigAction.READ_CURRENT, PageType.SCSI_PORT, 0, size=0xFF_FFFF), answer(*fields(6, h0E=0)),
        Load(PAGE + 12, 4, 0xEEEE_EEEE), alive()),
    second("hostile.lsi.config_write", "A page that cannot be changed, or not so", "Config",
        started(), refused(IocStatus.CONFIG_CANT_COMMIT, ConfigAction.WRITE_CURRENT, PageType.SCSI_PORT, 0),
        refused(IocStatus.CONFIG_CANT_COMMIT, ConfigAction.WRITE_NVRAM, PageType.MANUFACTURING, 0),
        refused(IocStatus.CONFIG_INVALID_DATA, ConfigAction.WRITE_CURRENT, PageType.SCSI_DEVICE, 1, 0, 8), alive()),
    second("hostile.lsi.config_sas", "SAS pages of phys and devices that are not", "Config",
        started(), *(refused(IocStatus.CONFIG_INVALID_PAGE, ConfigAction.READ_CURRENT, PageType.EXTENDED, 0, address, 256, ext)
                     for ext, address in ((PageType.SAS_PHY, 8), (PageType.SAS_PHY, 0xFFFF_FFFF), (PageType.SAS_DEVICE, 0xFFFF_FFFF), (PageType.SAS_DEVICE, 0x2000_0000))),
        build=attached_sas),
    rule("hostile.lsi.tm_self", "Aborting twice, and what is done, counts nothing", "SCSI Task Management",
        io(0, read10(0, 1), 512, READ, target=1), io(1, READY), manage(2, TaskType.ABORT_TASK, task=CONTEXT), manage(3, TaskType.ABORT_TASK, task=CONTEXT),
        manage(4, TaskType.ABORT_TASK, target=0, task=CONTEXT + 1), manage(5, TaskType.ABORT_TASK, task=CONTEXT + 5), started(), post(0, 1), context(1),
        post(2, 3, 4, 5), told(0, 0, 0x48), told(1, 2, 0, moved=1), told(2, 3, 0, moved=0), told(3, 4, 0, moved=0), told(4, 5, 0, moved=0), EMPTY,
        elapse(10 * SLOW), EMPTY, alive()),
    rule("hostile.lsi.reset_inflight", "Nothing is written after a reset, whatever was on its way", "Message Unit Reset",
        Fill(BUFFER, 512, ONES), io(0, read10(0, 1), 512, READ, target=1), io(1, read10(0, 1), 512, READ, target=1), started(), post(0, 1), RESET,
        elapse(10 * SLOW), bounded(), EMPTY, Load(BUFFER, 8, ONES), get(mpt.HOST_INTERRUPT_STATUS, 0), alive()),
    driver("hostile.lsi.bar_fuzz", "Random accesses to the registers", "random_accesses", (1,), 100_000, seconds=60.0),
    rule("hostile.lsi.bar_fuzz.rests", "Random accesses to all of the registers", "System interface",
        io(0, READY), started(), random_accesses(), *(out(4 * n, 0x4203_0000 + n) for n in range(64)), bounded(), RESET, alive(), seconds=30.0),
    rule("hostile.lsi.data_oob", "Data for nowhere: an error, and the others go on", IO,
        io(0, read10(0, 2), 1024, READ, simple(HOLE, 1024)), io(1, write10(0, 2), 1024, WRITE, simple(MEMORY - 512, 1024)), io(2, READY), started(),
        post(0, 1, 2), told(0, 0, 0x46), told(1, 1, 0x46), context(2), unchanged(), alive()),
    rule("hostile.lsi.io_width", "Ports and registers by bytes and words", "System interface",
        Store(BAR + mpt.HOST_INTERRUPT_MASK, 1, 0), get(mpt.HOST_INTERRUPT_MASK, 9), Load(BAR + mpt.HOST_INTERRUPT_MASK, 1, 9),
        Load(BAR + mpt.DOORBELL + 2, 2, 0x1000), Load(BAR + mpt.REPLY_QUEUE + 2, 2, 0), Store(BAR + mpt.REQUEST_QUEUE, 8, 0), alive()),
)
# fmt: on
