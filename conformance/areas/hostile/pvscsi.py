"""PVSCSI against a driver that means harm, or knows nothing.

Rings, indices, lists and lengths are lies; the adapter answers with a status, or not at all, touches nothing but what it
was given, and works again after a reset.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable
from functools import partial

from virtproof.conformance.case import Case
from virtproof.conformance.device_script import Fill, Host, Load, Put, Store
from virtproof.conformance.pvscsi_driver import (
    BAD_LBA,
    BAR,
    BUFFER,
    COMPLETIONS,
    IN,
    LIST,
    OUT,
    READY,
    REQUESTS,
    SENSE,
    SG,
    STATE,
    alive,
    command,
    completed,
    done,
    elements,
    indices,
    kick,
    register,
    request,
    rules,
    set_up,
)
from virtproof.conformance.scsi_rig import SLOW, Rig, bounded, driver_of, elapse, read10, unchanged, write10
from virtproof.guest_payloads.accesses import MEMORY
from virtproof.results import Check
from virtproof.spec import pvscsi
from virtproof.spec.cite import Cite
from virtproof.spec.pvscsi import FAILED, Command
from virtproof.vmm.devices.pvscsi import PvScsi

rule = rules("hostile")
driver = partial(
    driver_of("hostile", "pvscsi", Cite("VMware PVSCSI interface header (vmw_pvscsi.h)", "Registers")), PvScsi
)
second = rules("hostile", priority=2)

RINGS, KICK, REQUEST, ELEMENT = "RingsState", "KICK", "RingReqDesc", "SGElement"
HOLE = 0xD000_0000  # nobody answers there
ONES = 0xEEEE_EEEE_EEEE_EEEE
SEED = 10


def producer_runs(rig: Rig) -> Iterable[Check]:
    """The producer index grows whenever the adapter looks at it, as another processor could make it."""
    memory, function = rig.machine.memory, rig.controller.function
    original, reads = function.dma_read, [0]

    def racing(gpa: int, length: int) -> bytes:
        if gpa == STATE:
            reads[0] += 1
            (now,) = struct.unpack("<I", memory.read(STATE, 4))
            memory.write(STATE, struct.pack("<I", now + 1))
            memory.write(STATE + pvscsi.CMP_CONS, memory.read(STATE + pvscsi.CMP_PROD, 4))
        return original(gpa, length)

    function.dma_read = racing  # type: ignore[method-assign]
    rig.controller.write(pvscsi.KICK_RW_IO, 4, 0)  # type: ignore[attr-defined]
    function.dma_read = original  # type: ignore[method-assign]
    (taken,) = struct.unpack("<I", memory.read(STATE + pvscsi.REQ_CONS, 4))
    yield Check("requests taken before others have their turn", "at most 64", str(taken), 0 < taken <= 64)


def random_accesses() -> tuple[Store | Load, ...]:
    """Of all sizes and to all places of the BAR; registers that matter more often than they would be met by chance."""
    rng, steps = random.Random(SEED), []
    known = (0, 4, 8, pvscsi.INTR_STATUS, pvscsi.INTR_MASK, pvscsi.KICK_NON_RW_IO, pvscsi.KICK_RW_IO, pvscsi.DEBUG)
    for _ in range(2000):
        size = rng.choice((1, 2, 4, 8))
        offset = rng.choice((rng.choice(known), rng.randrange(pvscsi.BAR_SIZE - 8)))
        value = rng.choice((0, 1, 3, 4, 5, 6, 7, 8, 0xFFFF_FFFF, STATE >> 12, rng.getrandbits(32)))
        steps.append(Store(BAR + offset, size, value) if rng.random() < 0.8 else Load(BAR + offset, size))
    return tuple(steps)


# fmt: off
CASES: tuple[Case, ...] = (
    rule("hostile.pvscsi.kick_before_setup", "A kick without rings is ignored", KICK,
        request(0, READY), kick(1), Store(BAR + pvscsi.KICK_NON_RW_IO, 4, 0), indices(0, 0), register(pvscsi.INTR_STATUS, 0), alive()),
    rule("hostile.pvscsi.setup_zero_pages", "Rings of no page are refused", "SETUP_RINGS",
        set_up(counts=(0, 1), expect=FAILED), request(0, READY), kick(1), indices(0, 0), set_up(counts=(1, 0), expect=FAILED), kick(1),
        indices(0, 0), alive()),
    rule("hostile.pvscsi.setup_33_pages", "Rings of more than 32 pages are refused", "SETUP_RINGS",
        *((set_up(counts=counts, expect=FAILED), request(0, READY), kick(1), indices(0, 0))
          for counts in ((33, 1), (1, 33), (0xFFFF_FFFF, 1), (1, 0xFFFF_FFFF))), alive()),
    rule("hostile.pvscsi.setup_not_pow2", "Rings whose size is no power of two are refused", "SETUP_RINGS",
        *((set_up(counts=counts, expect=FAILED), request(0, READY), kick(1), indices(0, 0)) for counts in ((3, 1), (1, 3))), alive()),
    rule("hostile.pvscsi.setup_ppn_oob", "Rings outside memory move nothing", "SETUP_RINGS",
        set_up(state=HOLE, expect=FAILED), set_up(state=1 << 63, expect=FAILED), set_up((1 << 63,), expect=FAILED),
        request(0, READY), set_up((HOLE,)), kick(1), indices(0, 0), set_up((REQUESTS,), (HOLE,)), kick(1), indices(0, 0), alive()),
    rule("hostile.pvscsi.prod_jump", "A producer index that no ring could hold is not followed", RINGS,
        request(0, READY), set_up(), kick(1 << 31), bounded(), Load(STATE + pvscsi.CMP_PROD, 4, tuple(range(33))),
        Load(COMPLETIONS + 32 * 32, 8, 0), alive()),
    rule("hostile.pvscsi.prod_race", "A producer index that keeps running does not keep the adapter busy", KICK,
        request(0, READY), set_up(), Host(producer_runs), bounded(), alive()),
    rule("hostile.pvscsi.cons_tamper", "The adapter's own indices are not read from memory", RINGS,
        request(0, READY), request(1, READY), set_up(), kick(1), Store(STATE + pvscsi.REQ_CONS, 4, 0x1234),
        Store(STATE + pvscsi.CMP_PROD, 4, 0x5678), Store(STATE + pvscsi.REQ_LOG2, 4, 31), Store(STATE + pvscsi.CMP_LOG2, 4, 31),
        kick(2), indices(2, 2), completed(1), alive()),
    rule("hostile.pvscsi.cmp_overflow", "Completions that were not read are not overwritten", "RingCmpDesc",
        *(request(n, READY) for n in range(32)), set_up(), *(kick(n) for n in range(4, 164, 4)), bounded(),
        indices(128, 128), completed(0), completed(127, of=31), Store(STATE + pvscsi.CMP_CONS, 4, 128), kick(160), bounded(),
        indices(160, 160), alive()),
    rule("hostile.pvscsi.sg_loop", "Lists without an end are given up", ELEMENT,
        Fill(BUFFER, 1024, ONES), elements((LIST, 0, 1)), elements((0, 0, 0), (0, 0, 0), at=LIST + 0x800),
        elements((BUFFER, 0, 0), (LIST + 0xC00, 0, 1), at=LIST + 0xC00), request(0, read10(0, 2), 1024, IN | SG, data=LIST),
        request(1, read10(0, 2), 1024, IN | SG, data=LIST + 0x800), request(2, write10(0, 2), 1024, OUT | SG, data=LIST + 0xC00),
        set_up(), kick(3), indices(3, 3), completed(0, 0x27), completed(1, 0x27), completed(2, 0x27), Load(BUFFER, 8, ONES),
        unchanged(), alive()),
    rule("hostile.pvscsi.sg_short", "A list with less than the request says is not read beyond", ELEMENT,
        Fill(BUFFER, 2048, ONES), elements((BUFFER, 512, 0), (0, 0, 0)), request(0, read10(0, 2), 1024, IN | SG, data=LIST),
        request(1, write10(0, 2), 1024, OUT | SG, data=LIST), set_up(), kick(2), completed(0, (0x12, 0x0C), length=512),
        completed(1, (0x12, 0x0C)), Load(BUFFER + 512, 8, ONES), unchanged(), alive()),
    rule("hostile.pvscsi.datalen_huge", "A length that cannot be is an error", REQUEST,
        *(request(n, read10(0, 2), length, IN) for n, length in enumerate((1 << 63, (1 << 64) - 1, 1 << 32, (16 << 20) + 1))),
        set_up(), kick(4), bounded(), indices(4, 4), *(completed(n, 0x27) for n in range(4)), alive()),
    rule("hostile.pvscsi.dir_conflict", "Directions that contradict the command or each other", REQUEST,
        Fill(BUFFER, 1024, ONES), request(0, read10(0, 2), 1024, OUT), request(1, write10(0, 2), 1024, IN),
        request(2, read10(0, 2), 1024, IN | OUT), set_up(), kick(3), completed(0, 0x1D), completed(1, 0x1D), completed(2, 0x1D),
        Load(BUFFER, 8, ONES), unchanged(), alive()),
    rule("hostile.pvscsi.sense_oob", "Sense data for nowhere are dropped", REQUEST,
        Fill(SENSE, 64, ONES), request(0, BAD_LBA, 512, IN, sense=HOLE, sense_length=0xFFFF_FFFF),
        request(1, BAD_LBA, 512, IN, sense=MEMORY - 4), request(2, BAD_LBA, 512, IN, sense=(1 << 64) - 4),
        request(3, BAD_LBA, 512, IN, sense_length=0xFFFF_FFFF), set_up(), kick(4), *(completed(n, 0, 2) for n in range(4)),
        Load(COMPLETIONS + 16, 4, 0), Load(COMPLETIONS + 3 * 32 + 16, 4, 18), Load(SENSE + 18, 4, 0xEEEE_EEEE), alive()),
    second("hostile.pvscsi.oob_cdb_flag", "A CDB out of band is refused", REQUEST,
        done(READY, 0, 2, host=0x27), alive()),
    rule("hostile.pvscsi.cmd_data_overflow", "Arguments that no command waits for are ignored", "Commands",
        *(Store(BAR + pvscsi.COMMAND_DATA, 4, n) for n in range(200)), register(pvscsi.COMMAND_STATUS, 0),
        command(15, bytes(64), FAILED), command(Command.SETUP_RINGS, b"\xff" * 600, FAILED), alive()),
    rule("hostile.pvscsi.reset_inflight", "Nothing is written after a reset, whatever was on its way", "ADAPTER_RESET",
        Fill(BUFFER, 1024, ONES), request(0, read10(0, 1), 512, IN, target=1), request(1, read10(0, 1), 512, IN, target=1),
        set_up(), kick(2), indices(2, 0), command(Command.ADAPTER_RESET), elapse(10 * SLOW), bounded(), indices(2, 0),
        Load(COMPLETIONS, 8, 0), Load(BUFFER, 8, ONES), register(pvscsi.INTR_STATUS, 0), alive()),
    second("hostile.pvscsi.abort_wild", "Aborting what is not there succeeds and does nothing", "ABORT_CMD",
        request(0, READY), set_up(), command(Command.ABORT_CMD, b"\xff" * 16), indices(0, 0), kick(1),
        command(Command.ABORT_CMD, bytes(16)), indices(1, 1), alive()),
    driver("hostile.pvscsi.bar_fuzz", "Random accesses across the whole BAR", "random_accesses", (1,), 100_000, seconds=60.0),
    rule("hostile.pvscsi.bar_fuzz.rests", "Random accesses to all of the registers", "Registers",
        request(0, READY), set_up(), random_accesses(), bounded(), alive(), seconds=30.0),
    rule("hostile.pvscsi.data_oob", "Data for nowhere: an error, and the others go on", REQUEST,
        request(0, read10(0, 2), 1024, IN, data=HOLE), request(1, write10(0, 2), 1024, OUT, data=MEMORY - 512),
        request(2, read10(0, 2), 1024, IN | SG, data=HOLE), request(3, READY), set_up(), kick(4), completed(0, 0x20),
        completed(1, 0x20), completed(2, 0x20), completed(3), unchanged(), alive()),
    rule("hostile.pvscsi.ring_overlap", "Rings that lie over each other", "SETUP_RINGS",
        Put(STATE, bytes(4096)), set_up((STATE,), (STATE,)), kick(1), bounded(), kick(8), bounded(), alive()),
)
# fmt: on
