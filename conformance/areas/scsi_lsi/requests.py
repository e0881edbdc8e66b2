"""Fusion-MPT: SCSI IO requests, their lists of buffers and how they end."""

from __future__ import annotations

from virtproof.conformance.case import Case
from virtproof.conformance.device_script import Fill, Load, Put
from virtproof.conformance.mpt_driver import (
    BAD_LBA,
    BUFFER,
    CHAIN,
    EMPTY,
    END,
    INQUIRY,
    MORE,
    READ,
    READY,
    SENSE,
    WRITE,
    chain,
    context,
    done,
    ended,
    io,
    post,
    rules,
    simple,
    started,
    told,
    wide,
)
from virtproof.conformance.scsi_rig import holds, on_disk, read10, sector, unchanged, write10

rule = rules("scsi_lsi")

ONES = 0xEEEE_EEEE_EEEE_EEEE
SEGMENTS, PER_CHAIN = 128, 8


def scattered() -> tuple[Put, ...]:
    """Chains of 8 elements of 64 bytes each, 128 in all, to every other 64 bytes from BUFFER on."""
    chains = []
    for n in range(0, SEGMENTS, PER_CHAIN):
        last = n + PER_CHAIN == SEGMENTS
        rows = [simple(BUFFER + 128 * at, 64, MORE) for at in range(n, n + PER_CHAIN)]
        if last:
            rows[-1] = simple(BUFFER + 128 * (SEGMENTS - 1), 64, END)
        else:
            rows.append(chain(CHAIN + 16 * (n + PER_CHAIN), 8 * (PER_CHAIN + 1)))
        chains.append(Put(CHAIN + 16 * n, b"".join(rows)))
    return tuple(chains)


# fmt: off
CASES: tuple[Case, ...] = (
    rule("lsi.io.inquiry", "INQUIRY into one simple element, as SeaBIOS asks", "SCSI IO",
        Fill(BUFFER, 64, ONES), done(INQUIRY, 36, READ, cdb_length=16), Load(BUFFER, 1, 0), Load(BUFFER + 4, 1, 31),
        Load(BUFFER + 8, 8, int.from_bytes(b"VPROOF  ", "little")), Load(BUFFER + 36, 4, 0xEEEE_EEEE)),
    rule("lsi.io.read", "READ (10) fills the buffer", "SCSI IO",
        Fill(BUFFER, 2048, ONES), done(read10(2, 2), 1024, READ), holds(BUFFER, sector(2)[:8]), holds(BUFFER + 504, sector(2)[:8] + sector(3)[:8]),
        holds(BUFFER + 1016, sector(3)[:8]), Load(BUFFER + 1024, 8, ONES)),
    rule("lsi.io.write", "WRITE (10) stores the buffer", "SCSI IO",
        Put(BUFFER, b"written!" * 128), done(write10(2, 2), 1024, WRITE), on_disk(1, sector(1) + b"written!" * 128 + sector(4))),
    rule("lsi.io.check_condition", "CHECK CONDITION writes sense data and says so", "SCSI IO error reply",
        Fill(SENSE, 64, ONES), ended(BAD_LBA, 512, READ, status=0, scsi=2, moved=0), Load(0x20_1000 + 13, 1, 1), Load(0x20_1000 + 24, 4, 18),
        Load(SENSE, 1, 0x70), Load(SENSE + 2, 1, 5), Load(SENSE + 12, 2, 0x0021), Load(SENSE + 18, 4, 0xEEEE_EEEE)),
    rule("lsi.io.underrun", "Less data than asked for: underrun, and how much came", "IOCStatus",
        ended(bytes.fromhex("12 00 00 00 ff 00"), 255, READ, status=0x45, scsi=0, moved=36)),
    rule("lsi.io.overrun", "More data than asked for: overrun, and a write stores nothing", "IOCStatus",
        Fill(BUFFER, 1024, ONES), io(0, read10(2, 2), 512, READ), io(1, write10(2, 2), 512, WRITE), started(), post(0, 1),
        told(0, 0, 0x44, moved=512), told(1, 1, 0x44, moved=0), Load(BUFFER + 512, 8, ONES), unchanged(), refs=("lsi.io.underrun",)),
    rule("lsi.io.chain", "Chains are followed, to 128 pieces", "Chain element",
        Fill(BUFFER, 128 * SEGMENTS, ONES), scattered(), done(read10(2, 16), 8192, READ, chain(CHAIN, 8 * (PER_CHAIN + 1))),
        holds(BUFFER, sector(2)[:8]), Load(BUFFER + 64, 8, ONES), holds(BUFFER + 128 * 8, sector(3)[:8]),
        holds(BUFFER + 128 * 127 + 56, sector(17)[:8]), Load(BUFFER + 128 * 127 + 64, 8, ONES)),
    rule("lsi.io.sge64", "Simple elements of 64 bits", "Simple element",
        Fill(BUFFER, 0x2000, ONES), io(0, read10(2, 1), 512, READ, wide(BUFFER, 512)),
        io(1, read10(3, 1), 512, READ, wide(1 << 32 | BUFFER, 512)),
        io(2, read10(4, 2), 1024, READ, wide(BUFFER + 0x1000, 512, MORE | 0x0200_0000) + simple(BUFFER + 0x1800, 512)), started(), post(0, 1, 2),
        context(0), told(0, 1, 0x46), context(2), EMPTY, holds(BUFFER, sector(2)[:8]), holds(BUFFER + 0x1000, sector(4)[:8]),
        holds(BUFFER + 0x1800, sector(5)[:8])),
    rule("lsi.io.lun", "The LUN says which unit of a target", "SCSI IO",
        Put(BUFFER, b"written!" * 64), io(0, write10(0, 1), 512, WRITE, lun=b"\0\1" + bytes(6)), io(1, READY, lun=b"\0\1" + bytes(6)),
        started(), post(0, 1), told(0, 0, 0, scsi=2), Load(SENSE + 2, 1, 7), context(1), unchanged(), refs=("lsi.io.write",)),
)
# fmt: on
