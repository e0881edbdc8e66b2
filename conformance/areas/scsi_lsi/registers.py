"""Fusion-MPT: identity, doorbell and handshake, FIFOs, interrupts, resets."""

from __future__ import annotations

from virtproof.conformance.case import Case
from virtproof.conformance.device_script import ConfigRead, ConfigWrite, Fill, Handle, In, Interrupts, Load, Store
from virtproof.conformance.mpt_driver import (
    ACKNOWLEDGE,
    BAR,
    CONTEXT,
    EMPTY,
    FRAMES,
    KEYS,
    PORTS,
    READ,
    READY,
    REPLIES,
    RESET,
    VECTOR,
    answer,
    ask,
    attached_sas,
    both,
    context,
    done,
    doorbell,
    ended,
    fault,
    fields,
    get,
    io,
    ioc_init,
    manage,
    out,
    post,
    put,
    rules,
    started,
    state,
    told,
)
from virtproof.conformance.scsi_rig import FUNCTION, SLOW, elapse, read10
from virtproof.spec import fusion_mpt as mpt
from virtproof.spec.fusion_mpt import Function, IocState, TaskMgmt, TaskType

rule = rules("scsi_lsi")
second = rules("scsi_lsi", priority=2)

DB, HANDSHAKE, STATUS, MASK = "Doorbell", "Handshake", "HostInterruptStatus", "HostInterruptMask"
PENDING = 0x8  # the interrupt bit of the PCI status register
ONES = 0xEEEE_EEEE_EEEE_EEEE

FACTS, PORT, ENABLE = (bytes((0, 0, 0, function)) + bytes(8) for function in (3, 5, 6))
EVENTS = bytes((1, 0, 0, Function.EVENT_NOTIFICATION)) + bytes(4) + (CONTEXT + 1).to_bytes(4, "little")

# Requests 0 and 1 wait for the slow disk.
WAITING = (
    io(0, read10(0, 1), 512, READ, target=1),
    io(1, read10(0, 1), 512, READ, target=1),
    started(),
    post(0, 1),
    EMPTY,
)


def bar_masks(io_mask: int, *memory: int) -> tuple[ConfigWrite | ConfigRead, ...]:
    masks = enumerate((io_mask, *memory))
    return tuple(
        step
        for n, mask in masks
        for step in (
            ConfigWrite(FUNCTION, 0x10 + 4 * n, 4, 0xFFFF_FFFF), ConfigRead(FUNCTION, 0x10 + 4 * n, 4, mask),
        )
    )  # fmt: skip


# fmt: off
CASES: tuple[Case, ...] = (
    rule("lsi.pci.identity_1030", "1000:0030, a SCSI controller with 256 ports and memory", "PCI identity",
        ConfigRead(FUNCTION, 0, 4, 0x0030_1000), ConfigRead(FUNCTION, 8, 4, 0x0100_0001), ConfigRead(FUNCTION, 0x2C, 4, 0x1976_15AD),
        ConfigRead(FUNCTION, 0x3D, 1, 1), bar_masks(0xFFFF_FF01, 0xFFFF_C000, 0xFFFF_0000)),
    rule("lsi.pci.identity_1068", "1000:0054, the same for SAS", "PCI identity",
        ConfigRead(FUNCTION, 0, 4, 0x0054_1000), ConfigRead(FUNCTION, 8, 4, 0x0100_0000), ConfigRead(FUNCTION, 0x2C, 4, 0x8000_1000),
        bar_masks(0xFFFF_FF01, 0xFFFF_C000, 0xFFFF_0000), build=attached_sas),
    rule("lsi.db.reset_state", "The doorbell says READY after reset", DB, In(PORTS, 4, 0x1000_0000), doorbell(0x1000_0000)),
    rule("lsi.db.message_unit_reset", "A message unit reset gives READY and empties the FIFOs", "Message Unit Reset",
        io(0, READY), started(), post(0), get(mpt.HOST_INTERRUPT_STATUS, 8), out(mpt.DOORBELL, 0x4000_0000), doorbell(0x1000_0000),
        get(mpt.HOST_INTERRUPT_STATUS, 0), EMPTY, started(frames=1), io(1, READY, target=5), post(1), told(0, 1, 0x43), EMPTY),
    second("lsi.db.whoinit", "The doorbell says who initialized the controller", DB,
        ask(ioc_init()), doorbell(0x2A00_0000, 0xFFFF_0000), answer(*(None,) * 9), doorbell(0x2200_0000)),
    rule("lsi.db.handshake_active", "A handshake is active from its command on", HANDSHAKE,
        put(mpt.DOORBELL, 0x4203_0000), doorbell(0x1800_0000), get(mpt.HOST_INTERRUPT_STATUS, 1), ACKNOWLEDGE,
        get(mpt.HOST_INTERRUPT_STATUS, 0)),
    rule("lsi.db.reply_16bit", "A reply comes in halfwords", HANDSHAKE,
        ask(ioc_init()), answer(0x0002, 0x0205, 0x1000, 0x0001, CONTEXT & 0xFFFF, CONTEXT >> 16, 0, 0, 0, 0)),
    rule("lsi.db.linux_int_ack", "An acknowledgement between halfwords keeps the stream", HANDSHAKE,
        ask(ioc_init()), *((get(mpt.HOST_INTERRUPT_STATUS, 1, 1), doorbell(each, 0xFFFF), ACKNOWLEDGE)
                           for each in (0x0002, 0x0205, 0x1000, 0x0001, CONTEXT & 0xFFFF, CONTEXT >> 16, 0, 0, 0, 0)),
        get(mpt.HOST_INTERRUPT_STATUS, 1), ACKNOWLEDGE, get(mpt.HOST_INTERRUPT_STATUS, 0)),
    rule("lsi.db.end_handshake", "The acknowledgement after the last halfword ends the handshake", HANDSHAKE,
        ask(FACTS), *(doorbell(None) for _ in range(40)), ACKNOWLEDGE, doorbell(0x1000_0000)),
    rule("lsi.mask.reset", "Both interrupts are masked after reset", MASK, In(PORTS + mpt.HOST_INTERRUPT_MASK, 4, 9)),
    rule("lsi.mask.bits", "Bits 0 and 3 of the mask can be written", MASK,
        put(mpt.HOST_INTERRUPT_MASK, 0), get(mpt.HOST_INTERRUPT_MASK, 0), put(mpt.HOST_INTERRUPT_MASK, 0xFFFF_FFFF),
        get(mpt.HOST_INTERRUPT_MASK, 9)),
    rule("lsi.istatus.reply_bit", "Bit 3 says that replies wait", STATUS,
        io(0, READY), started(), get(mpt.HOST_INTERRUPT_STATUS, 0, 8), post(0, 0), get(mpt.HOST_INTERRUPT_STATUS, 8, 8), context(0),
        get(mpt.HOST_INTERRUPT_STATUS, 8, 8), ACKNOWLEDGE, get(mpt.HOST_INTERRUPT_STATUS, 8, 8)),
    rule("lsi.replyq.empty", "An empty reply FIFO gives all ones, and bit 3 is clear", "Reply FIFO",
        EMPTY, io(0, READY), started(), post(0), context(0), EMPTY, get(mpt.HOST_INTERRUPT_STATUS, 0, 8)),
    rule("lsi.replyq.turbo", "What went well posts its context", "Context reply", done(READY)),
    rule("lsi.replyq.address", "What did not posts where its reply is", "Address reply",
        io(0, READY, target=5), started(), post(0), get(mpt.REPLY_QUEUE, 0x8000_0000 | REPLIES >> 1), Load(REPLIES, 1, 5),
        Load(REPLIES + 2, 2, 0x0008), Load(REPLIES + 14, 2, 0x43)),
    rule("lsi.reply.clip_size", "A reply is written as far as ReplyFrameSize", "IOCInit ReplyFrameSize",
        Fill(REPLIES, 64, ONES), io(0, READY, target=5), started(reply_size=4), post(0), get(mpt.REPLY_QUEUE, 0x8000_0000 | REPLIES >> 1),
        Load(REPLIES, 4, 0x0008_0005), Load(REPLIES + 4, 4, 0xEEEE_EEEE), Load(REPLIES + 8, 8, ONES)),
    rule("lsi.irq.intx", "The pin is high for what is pending and not masked", MASK,
        io(0, READY), started(), post(0), ConfigRead(FUNCTION, 6, 2, 0, PENDING), put(mpt.HOST_INTERRUPT_MASK, 1),
        ConfigRead(FUNCTION, 6, 2, PENDING, PENDING), context(0), ConfigRead(FUNCTION, 6, 2, 0, PENDING),
        put(mpt.HOST_INTERRUPT_MASK, 8), put(mpt.DOORBELL, 0x4203_0000), ConfigRead(FUNCTION, 6, 2, PENDING, PENDING)),
    rule("lsi.irq.msi", "A message when replies begin to wait", MASK,
        Handle(VECTOR), ConfigWrite(FUNCTION, 0x44, 4, 0xFEE0_0000), ConfigWrite(FUNCTION, 0x4C, 2, VECTOR),
        ConfigWrite(FUNCTION, 0x42, 2, 1), io(0, READY), started(), put(mpt.HOST_INTERRUPT_MASK, 1), post(0), Interrupts(VECTOR, 1),
        context(0), EMPTY, post(0), Interrupts(VECTOR, 2), ConfigRead(FUNCTION, 6, 2, PENDING, PENDING)),
    rule("lsi.iocfacts.fields", "IOCFacts has 20 dwords about the controller", "IOCFacts",
        ask(FACTS), answer(*fields(20, h00=0x0105, h02=0x0314, h0E=0, h14=0x0022, h18=0x0080, h1A=0x0020, h1E=0x0104, h24=0x0080, h26=1, h2E=0x0110))),
    rule("lsi.portfacts.type", "The port is parallel SCSI with id 7, or SAS", "PortFacts",
        ask(PORT), answer(*fields(10, h02=0x050A, h0E=0, h14=0x0100, h16=16, h18=7, h1A=8))),
    rule("lsi.portfacts.sas", "The port of a SAS1068 is SAS", "PortFacts",
        ask(PORT), answer(*fields(10, h02=0x050A, h0E=0, h14=0x3000, h16=16, h1A=8)), build=attached_sas, refs=("lsi.portfacts.type",)),
    rule("lsi.iocinit.operational", "IOCInit makes a controller that is READY operational", "IOCInit",
        state(IocState.READY), started(), state(IocState.OPERATIONAL), ask(ioc_init()), answer(*fields(5, h0E=8)),
        state(IocState.OPERATIONAL)),
    rule("lsi.portenable", "PortEnable succeeds for port 0", "PortEnable",
        started(), ask(ENABLE), answer(*fields(5, h02=0x0605, h0E=0)), ask(ENABLE[:6] + b"\1" + ENABLE[7:]), answer(*fields(5, h0E=7))),
    rule("lsi.event_notify", "EventNotification is answered through the FIFO, with more to come", "EventNotification",
        Store(FRAMES, 8, int.from_bytes(EVENTS[:8], "little")), Store(FRAMES + 8, 4, CONTEXT + 1), started(), post(0),
        get(mpt.REPLY_QUEUE, 0x8000_0000 | REPLIES >> 1), Load(REPLIES + 2, 2, 0x0708), Load(REPLIES + 7, 1, 0x80),
        Load(REPLIES + 8, 4, CONTEXT + 1), Load(REPLIES + 14, 2, 0), Load(REPLIES + 20, 4, 0x0A), Load(REPLIES + 28, 4, 1)),
    second("lsi.tm.abort", "Aborting a task: terminated first, then told; an unknown one counts 0", "SCSI Task Management",
        WAITING, manage(2, TaskType.ABORT_TASK, task=CONTEXT + 1), manage(3, TaskType.ABORT_TASK, task=0x7777), post(2, 3),
        told(0, 1, 0x48), told(1, 2, 0, moved=1), told(2, 3, 0, moved=0), elapse(10 * SLOW), context(0), EMPTY),
    second("lsi.tm.target_reset", "A target reset terminates what the target has", "SCSI Task Management",
        WAITING, io(4, READY), manage(2, TaskType.TARGET_RESET, target=0), manage(3, TaskType.TARGET_RESET), post(2),
        told(0, 2, 0, moved=0), EMPTY, post(3), told(1, 0, 0x48), told(2, 1, 0x48), told(3, 3, 0, moved=2), elapse(10 * SLOW), EMPTY,
        post(4), context(4)),
    second("lsi.tm.bus_reset", "A bus reset terminates everything", "SCSI Task Management",
        WAITING, manage(2, TaskType.RESET_BUS), post(2), told(0, 0, 0x48), told(1, 1, 0x48), told(2, 2, 0, moved=2), elapse(10 * SLOW), EMPTY),
    second("lsi.tm.by_handshake", "Task management by a handshake: its end is announced, its reply is in the FIFO", HANDSHAKE,
        started(), ask(TaskMgmt(0, 0, Function.SCSI_TASK_MGMT, TaskType.RESET_BUS, 0, CONTEXT + 3, bytes(8), 0).pack()),
        get(mpt.HOST_INTERRUPT_STATUS, 9, 9), ACKNOWLEDGE, get(mpt.HOST_INTERRUPT_STATUS, 8, 9), doorbell(0x2200_0000), told(0, 3, 0, moved=0),
        refs=("lsi.tm.bus_reset",)),
    second("lsi.diag.wrseq", "The keys allow writes to the diagnostic register", "WriteSequence",
        get(mpt.DIAGNOSTIC, 0), put(mpt.DIAGNOSTIC, 4), KEYS[:-1], get(mpt.DIAGNOSTIC, 0), put(mpt.WRITE_SEQUENCE, 0xD), get(mpt.DIAGNOSTIC, 0x80),
        put(mpt.WRITE_SEQUENCE, 0xFF), get(mpt.DIAGNOSTIC, 0)),
    second("lsi.diag.reset_adapter", "RESET_ADAPTER resets everything", "Diagnostic",
        started(), put(mpt.HOST_INTERRUPT_MASK, 0), put(mpt.DIAGNOSTIC, 4), state(IocState.OPERATIONAL), KEYS, put(mpt.DIAGNOSTIC, 4),
        doorbell(0x1000_0000), get(mpt.HOST_INTERRUPT_MASK, 9)),
    rule("lsi.mem_io_same", "Memory and ports have the same registers", "System interface",
        both(mpt.DOORBELL, 0x1000_0000), both(mpt.HOST_INTERRUPT_MASK, 9), out(mpt.HOST_INTERRUPT_MASK, 1), both(mpt.HOST_INTERRUPT_MASK, 1),
        Store(BAR + mpt.HOST_INTERRUPT_MASK, 4, 8), both(mpt.HOST_INTERRUPT_MASK, 8), both(mpt.REPLY_QUEUE, mpt.EMPTY)),
    rule("lsi.io.no_device", "A target that is not there: IOCStatus 0043H", "IOCStatus", ended(READY, target=5, status=0x43)),
    rule("lsi.io.no_bus", "Nor another bus, nor a target beyond the last", "IOCStatus",
        io(0, READY, bus=1), io(1, READY, target=16), started(), post(0, 1), told(0, 0, 0x41), told(1, 1, 0x42),
        refs=("lsi.io.no_device",)),
    rule("lsi.db.fault", "A request before IOCInit is a fault, which a message unit reset ends", DB,
        io(0, READY), post(0), fault(8), RESET, doorbell(0x1000_0000)),
)
# fmt: on
