"""What disks and CD-ROMs answer: the primary and block commands, through a 53C1030."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any

from virtproof.conformance.case import Case, HostScript
from virtproof.conformance.device_script import Fill, Host, Load, Put, Steps
from virtproof.conformance.mpt_driver import (
    BUFFER,
    INQUIRY,
    READ,
    READY,
    REPLIES,
    SENSE,
    WRITE,
    context,
    done,
    ended,
    io,
    post,
    rules,
    started,
    told,
)
from virtproof.conformance.scsi_rig import (
    BIG,
    CD_BLOCKS,
    SECTORS,
    Rig,
    big_endian,
    holds,
    on_disk,
    read10,
    sector,
    unchanged,
    write10,
)
from virtproof.results import Check
from virtproof.spec.cite import Cite

ONES = 0xEEEE_EEEE_EEEE_EEEE
DISK_3TB, CD = 2, 3  # targets


def standard(doc: str) -> Callable[..., HostScript]:
    def rule(id: str, title: str, where: str, *steps: Any, **more: Any) -> HostScript:  # noqa: A002
        return rules("scsi_lsi")(id, title, Cite(f"T10 {doc}", where), *steps, **more)

    return rule


spc, sbc, mmc = standard("SPC-4"), standard("SBC-3"), standard("MMC-6")


def sense(key: int, asc: int, ascq: int = 0) -> Steps:
    """The sense data that were written."""
    return Load(SENSE + 2, 1, key), Load(SENSE + 12, 1, asc), Load(SENSE + 13, 1, ascq)


def failed(cdb: bytes, key: int, asc: int, length: int = 0, control: int = 0, **more: Any) -> Steps:
    """The command ends with CHECK CONDITION and these sense data."""
    return ended(cdb, length, control, status=0, scsi=2, moved=0, **more), sense(key, asc)


def flushes(rig: Rig) -> Iterable[Check]:
    yield Check("flushes of the disk", "1", str(rig.disk.flushes), rig.disk.flushes == 1)


def cdb(text: str) -> bytes:
    return bytes.fromhex(text)


def read16(first: int, count: int) -> bytes:
    return struct.pack(">BxQIxx", 0x88, first, count)


def write16(first: int, count: int) -> bytes:
    return struct.pack(">BxQIxx", 0x8A, first, count)


CAPACITY_10, CAPACITY_16 = cdb("25" + "00" * 9), cdb("9e10" + "00" * 11 + "20 0000")
REPORT_LUNS = cdb("a0 00 00 00 00 00 00000040 0000")

# fmt: off
CASES: tuple[Case, ...] = (
    spc("scsi.inquiry.min", "INQUIRY gives 36 bytes about a disk", "6.6 INQUIRY",
        done(INQUIRY, 36, READ), Load(BUFFER, 1, 0), Load(BUFFER + 2, 1, (5, 6)), Load(BUFFER + 3, 1, 2, mask=0xF), Load(BUFFER + 4, 1, 31)),
    spc("scsi.inquiry.trunc", "The allocation length cuts data without an error", "4.3.5.6 Allocation length",
        Fill(BUFFER, 64, ONES), done(cdb("12 00 00 00 05 00"), 5, READ), Load(BUFFER + 4, 4, 0xEEEE_EE1F)),
    spc("scsi.inquiry.lun_absent", "INQUIRY to a LUN that a target does not have gives 7FH", "6.6.2 Standard INQUIRY data",
        done(INQUIRY, 36, READ, lun=b"\0\3" + bytes(6)), Load(BUFFER, 1, 0x7F)),
    spc("scsi.inquiry.lun_absent.command", "Other commands to it fail", "4.5.6 Sense key and additional sense code definitions",
        failed(READY, 5, 0x25, lun=b"\0\3" + bytes(6)), refs=("scsi.inquiry.lun_absent",)),
    spc("scsi.vpd.pages", "VPD page 0 lists the pages, which are there", "7.8 Vital product data parameters",
        io(0, cdb("12 01 00 00 ff 00"), 255, READ), io(1, cdb("12 01 80 00 0a 00"), 10, READ, b""), io(2, cdb("12 01 83 00 ff 00"), 255, READ),
        io(3, cdb("12 01 7f 00 ff 00"), 255, READ), started(), post(0), told(0, 0, 0x45), Load(BUFFER, 4, big_endian(0x0000_0006, 4)),
        Load(BUFFER + 4, 4, big_endian(0x0080_83B0, 4)), post(1), context(1), Load(BUFFER, 4, big_endian(0x0080_0006, 4)),
        Load(BUFFER + 4, 4, int.from_bytes(b"disk", "little")), post(2), told(1, 2, 0x45),
        Load(BUFFER, 2, 0x8300), Load(BUFFER + 4, 4, big_endian(0x0201_000E, 4)), post(3), told(2, 3, 0, scsi=2), sense(5, 0x24), priority=2),
    spc("scsi.tur", "TEST UNIT READY", "6.47 TEST UNIT READY", done(READY)),
    sbc("scsi.readcap10", "READ CAPACITY (10): last block and 512", "5.15 READ CAPACITY (10)",
        done(CAPACITY_10, 8, READ), Load(BUFFER, 4, big_endian(SECTORS - 1, 4)), Load(BUFFER + 4, 4, big_endian(512, 4))),
    sbc("scsi.readcap10_big", "More than 2 TiB: FFFFFFFFH", "5.15 READ CAPACITY (10)",
        done(CAPACITY_10, 8, READ, target=DISK_3TB), Load(BUFFER, 4, 0xFFFF_FFFF), Load(BUFFER + 4, 4, big_endian(512, 4)), priority=2),
    sbc("scsi.readcap16", "READ CAPACITY (16): 64 bits", "5.16 READ CAPACITY (16)",
        done(CAPACITY_16, 32, READ, target=DISK_3TB), Load(BUFFER, 8, big_endian(BIG - 1, 8)), Load(BUFFER + 8, 4, big_endian(512, 4))),
    sbc("scsi.rw6_zero", "READ (6) of 0 blocks means 256", "5.10 READ (6)",
        Fill(BUFFER, 0x20200, ONES), done(cdb("08 00 00 00 00 00"), 256 * 512, READ), holds(BUFFER + 512, sector(1)[:8]),
        Load(BUFFER + 255 * 512, 8, 0), Load(BUFFER + 256 * 512, 8, ONES), priority=2),
    sbc("scsi.rw10_zero", "READ and WRITE (10) of 0 blocks move nothing", "5.11 READ (10)",
        Fill(BUFFER, 512, ONES), io(0, read10(0, 0)), io(1, write10(0, 0)), started(), post(0, 1), context(0), context(1), Load(BUFFER, 8, ONES),
        unchanged(), priority=2),
    sbc("scsi.rw16", "READ and WRITE (16)", "5.13 READ (16)",
        Put(BUFFER, b"written!" * 64), io(0, write16(5, 1), 512, WRITE), io(1, read16(4, 2), 1024, READ), started(), post(0, 1), context(0), context(1),
        on_disk(4, sector(4) + b"written!" * 64 + sector(6)), holds(BUFFER, sector(4)[:8]), holds(BUFFER + 512, b"written!")),
    sbc("scsi.rw16.far", "Beyond 2 TiB too", "5.13 READ (16)",
        Put(BUFFER, b"far away" * 64), io(0, write16(BIG - 1, 1), 512, WRITE, target=DISK_3TB), io(1, read16(BIG - 2, 2), 1024, READ, target=DISK_3TB),
        started(), post(0, 1), context(0), context(1), Load(BUFFER, 8, 0), holds(BUFFER + 512, b"far away"), refs=("scsi.rw16",)),
    sbc("scsi.lba_range", "A block beyond the end: 5/21/00", "4.6 Short and long LBAs",
        failed(read10(SECTORS, 1), 5, 0x21, 512, READ)),
    sbc("scsi.lba_range.across", "So for the last block and one more, and writes", "4.6 Short and long LBAs",
        io(0, read10(SECTORS - 1, 2), 1024, READ), io(1, write10(SECTORS - 1, 2), 1024, WRITE), io(2, write16(1 << 63, 1), 512, WRITE),
        io(3, read10(SECTORS - 1, 1), 512, READ), started(), post(0), told(0, 0, 0, scsi=2), sense(5, 0x21), post(1), told(1, 1, 0, scsi=2),
        sense(5, 0x21), post(2), told(2, 2, 0, scsi=2), sense(5, 0x21), post(3), context(3), unchanged(), refs=("scsi.lba_range",)),
    spc("scsi.bad_opcode", "An unknown operation code: 5/20/00", "4.5.6 Sense key and additional sense code definitions",
        failed(cdb("c0" + "00" * 15), 5, 0x20)),
    spc("scsi.bad_field", "A field that is wrong: 5/24/00", "4.5.6 Sense key and additional sense code definitions",
        failed(cdb("12 00 80 00 24 00"), 5, 0x24, 36, READ)),
    spc("scsi.report_luns", "REPORT LUNS: 8 bytes for each", "6.33 REPORT LUNS",
        io(0, REPORT_LUNS, 64, READ), io(1, cdb("a0 00 00 00 00 00 00000010 0000"), 16, READ, target=DISK_3TB), started(), post(0),
        told(0, 0, 0x45, moved=24), Load(BUFFER, 4, big_endian(16, 4)), Load(BUFFER + 8, 8, 0), Load(BUFFER + 16, 8, 0x0100), post(1), context(1),
        Load(BUFFER, 4, big_endian(8, 4)), Load(BUFFER + 8, 8, 0)),
    spc("scsi.mode_sense", "MODE SENSE (6) and (10), page 08H and all pages", "6.11 MODE SENSE (6)",
        io(0, cdb("1a 00 08 00 20 00"), 32, READ), io(1, cdb("5a 08 3f 00 00 00 00 00 1c 00"), 28, READ), started(), post(0), context(0),
        Load(BUFFER, 4, big_endian(0x1F00_1008, 4)), Load(BUFFER + 4, 8, big_endian(SECTORS << 32 | 512, 8)), Load(BUFFER + 12, 2, 0x1208),
        Load(BUFFER + 14, 1, 4), post(1), context(1), Load(BUFFER, 8, big_endian(0x001A_0010_0000_0000, 8)), Load(BUFFER + 8, 2, 0x1208)),
    spc("scsi.mode_sense.protected", "A write-protected disk says so, and is not written", "6.11 MODE SENSE (6)",
        io(0, cdb("1a 08 3f 00 04 00"), 4, READ, lun=b"\0\1" + bytes(6)), io(1, write10(0, 1), 512, WRITE, lun=b"\0\1" + bytes(6)), started(), post(0),
        context(0), Load(BUFFER + 2, 1, 0x80, mask=0x80), post(1), told(0, 1, 0, scsi=2), sense(7, 0x27), refs=("scsi.mode_sense",)),
    sbc("scsi.sync_cache", "SYNCHRONIZE CACHE flushes", "5.22 SYNCHRONIZE CACHE (10)", done(cdb("35" + "00" * 9)), Host(flushes)),
    spc("scsi.request_sense", "After autosense REQUEST SENSE has nothing to tell", "6.39 REQUEST SENSE",
        io(0, cdb("c0" + "00" * 15)), io(1, cdb("03 00 00 00 12 00"), 18, READ), started(), post(0, 1), told(0, 0, 0, scsi=2), context(1),
        Load(BUFFER, 8, big_endian(0x7000_0000_0000_000A, 8)), Load(BUFFER + 8, 8, 0)),
    sbc("scsi.sync_cache.unmap", "UNMAP gives blocks back, which read as zeros", "5.28 UNMAP",
        Put(BUFFER, cdb("0016 0010 00000000 0000000000000008 00000004 00000000")), io(0, cdb("42 00 00 00 00 00 00 00 18 00"), 24, WRITE),
        started(), post(0), context(0), on_disk(7, sector(7) + bytes(2048) + sector(12))),
    mmc("scsi.tur.cdrom", "A CD-ROM has blocks of 2048 bytes, and is not written", "6.21 READ (10)",
        io(0, INQUIRY, 36, READ, target=CD), io(1, CAPACITY_10, 8, READ, target=CD), io(2, read10(3, 1), 2048, READ, target=CD),
        io(3, write10(3, 1), 2048, WRITE, target=CD), started(), post(0), context(0), Load(BUFFER, 2, 0x8005), post(1), context(1),
        Load(BUFFER, 8, big_endian((CD_BLOCKS - 1) << 32 | 2048, 8)), post(2), context(2), holds(BUFFER + 2040, b"\3" * 8), post(3),
        told(0, 3, 0, scsi=2), sense(5, 0x20), Load(REPLIES + 12, 1, 2)),
)
# fmt: on
