"""SCSI commands that mean harm, and guests that try to reach what is not theirs."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable, Iterator

from virtproof.conformance.case import Case, HostScript
from virtproof.conformance.device_script import Fill, Host, Load, Put, Steps, flat, walk
from virtproof.conformance.mpt_driver import (
    BUFFER,
    READ,
    SENSE,
    WRITE,
    alive,
    context,
    io,
    post,
    rules,
    started,
    told,
)
from virtproof.conformance.scsi_rig import SLOT, Rig, big_endian, read10, sector, unchanged, write10
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import Cite
from virtproof.spec.scsi import Status
from virtproof.vmm.board import Board
from virtproof.vmm.devices.lsi_mpt import LsiMpt
from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.disks.overlay import Overlay
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine
from virtproof.vmm.scsi import target
from virtproof.vmm.scsi.block import DiskUnit

ONES = 0xEEEE_EEEE_EEEE_EEEE
COMMANDS = 100_000
SEED = 1000

spc, sbc = (
    Cite(f"T10 {doc}", where)
    for doc, where in (("SPC-4", "4.3 The command descriptor block"), ("SBC-3", "5.13 READ (16)"))
)
lengths, parameters = Cite("T10 SPC-4", "4.3.5.6 Allocation length"), Cite("T10 SPC-4", "6.9 MODE SELECT (6)")
rule = rules("hostile")


def random_commands(rig: Rig) -> Iterable[Check]:
    """All operation codes with random fields go to every unit that there is and one that is not."""
    rng = random.Random(SEED)
    wrong = []
    places = [(units, lun) for units in rig.units.values() for lun in (*units, 9)]
    for n in range(COMMANDS):
        units, lun = rng.choice(places)
        length = rng.choice((0, 6, 10, 12, 16, 16, 16))
        cdb = bytes((n & 0xFF,)) + rng.choice((bytes(15), rng.randbytes(15), b"\xff" * 15, bytes(14) + b"\x08"))
        room = rng.choice((0, 36, 4096))
        done = target.execute(units, lun, cdb[:length], rng.randbytes(rng.choice((0, 8, 512))), room)
        if done.status not in (Status.GOOD, Status.CHECK_CONDITION) or len(done.data_in) > room:
            wrong.append(cdb.hex())
    yield Check(
        "commands that end otherwise than GOOD or CHECK CONDITION", "none", " ".join(wrong[:4]) or "none", not wrong
    )


def sense(key: int, asc: int) -> tuple[Load, ...]:
    return Load(SENSE + 2, 1, key), Load(SENSE + 12, 1, asc)


def refused(n: int, key: int, asc: int) -> Steps:
    """Request ``n``, which is told in frame ``n``, ends with these sense data."""
    return post(n), told(n, n, 0, scsi=2), sense(key, asc)


def unmap(*ranges: tuple[int, int]) -> bytes:
    body = b"".join(struct.pack(">QIxxxx", *each) for each in ranges)
    return struct.pack(">HHxxxx", len(body) + 6, len(body)) + body


def own_disk(disk: Overlay) -> Callable[[Machine], Board]:
    """A board with a controller whose only disk is this one."""

    def build(machine: Machine) -> Board:
        board = Board(machine)
        controller = LsiMpt({0: {0: DiskUnit(disk)}}, machine.after)
        board.add(controller, slot=SLOT)
        controller.function.place((0xC000, 0xE000_0000, 0xE010_0000))
        return board

    return build


def trespass(engine: Engine) -> Iterator[Check]:
    """Two guests, each with an overlay of one base, write all over what they can name."""
    content = b"".join(map(sector, range(64)))
    base = FileDisk.in_memory(content=content)
    disks = [Overlay.in_memory(base) for _ in range(2)]
    places = [(to, lun) for to in range(4) for lun in range(2)]
    for mark, disk in zip((b"guest A!", b"guest B!"), disks, strict=True):
        requests = (
            io(n, write10(8 * n, 8), 4096, WRITE, target=to, lun=bytes((0, lun)) + bytes(6))
            for n, (to, lun) in enumerate(places)
        )
        steps: Steps = (
            Put(BUFFER, mark * 512), *requests, io(8, read10(0, 16), 8192, READ), io(9, write10(64, 1), 512, WRITE), started(frames=16),
            post(0), context(0), post(*range(1, 10)), Load(BUFFER, 8, int.from_bytes(mark, "little")), Load(BUFFER + 4096, 8, 8 * 0x0001_0001_0001_0001),
        )  # fmt: skip
        yield from walk(engine, build=own_disk(disk), steps=tuple(flat(steps)), seconds=10.0)
    for name, mark, disk in zip("AB", (b"guest A!", b"guest B!"), disks, strict=True):
        found = disk.read(0, 64)
        yield Check(
            f"disk of guest {name}",
            mark.decode(),
            found[:8].decode(errors="replace"),
            found == mark * 512 + content[4096:],
        )
    yield Check(
        "the base", "unchanged", "unchanged" if base.read(0, 64) == content else "changed", base.read(0, 64) == content
    )


# fmt: off
CASES: tuple[Case, ...] = (
    rule("hostile.scsi.cdb_fuzz", "Random commands end with GOOD or CHECK CONDITION", spc, Host(random_commands), alive(), seconds=60.0),
    rule("hostile.scsi.len_overflow", "More blocks than there are, than fit, than anybody has room for", sbc,
        io(0, struct.pack(">BxQIxx", 0x88, 0, 0xFFFF_FFFF), 4096, READ), io(1, struct.pack(">BxQIxx", 0x88, (1 << 64) - 1, 2), 4096, READ),
        io(2, struct.pack(">BxQIxx", 0x88, 0, 0xFFFF_FFFF), 4096, READ, target=2), io(3, struct.pack(">BxQIxx", 0x8A, 0, 0xFFFF_FFFF), 4096, WRITE, target=2),
        started(), refused(0, 5, 0x21), refused(1, 5, 0x21), refused(2, 5, 0x24), refused(3, 5, 0x24), unchanged(), alive()),
    rule("hostile.scsi.write_same_huge", "WRITE SAME and UNMAP of huge ranges", Cite("T10 SBC-3", "5.43 WRITE SAME (16)"),
        Put(BUFFER, unmap((0, 0xFFFF_FFFF))), Put(BUFFER + 0x1000, unmap(*[(0, 0)] * 300)), Put(BUFFER + 0x3000, unmap((1 << 63, 1), (0, 1))),
        io(0, struct.pack(">BxQIxx", 0x93, 0, 0xFFFF_FFFF), 512, WRITE), io(1, bytes.fromhex("42 00 00 00 00 00 00 00 18 00"), 24, WRITE, target=2),
        io(2, struct.pack(">B6xHx", 0x42, 4808), 4808, WRITE, struct.pack("<II", 0xD500_0000 | 4808, BUFFER + 0x1000)),
        io(3, struct.pack(">B6xHx", 0x42, 40), 40, WRITE, struct.pack("<II", 0xD500_0000 | 40, BUFFER + 0x3000)),
        started(), refused(0, 5, 0x20), refused(1, 5, 0x26), refused(2, 5, 0x26), refused(3, 5, 0x21), unchanged(), alive(), priority=2),
    rule("hostile.scsi.alloc_len", "Allocation lengths of 4 GiB give what there is", lengths,
        Fill(BUFFER, 64, ONES), io(0, bytes.fromhex("a0 00 00 00 00 00 ffffffff 0000"), 24, READ), io(1, bytes.fromhex("9e10" + "00" * 8 + "ffffffff 0000"), 32, READ),
        started(), post(0), context(0), Load(BUFFER, 4, big_endian(16, 4)), Load(BUFFER + 24, 8, ONES), post(1), context(1),
        Load(BUFFER, 8, big_endian(8191, 8)), Load(BUFFER + 32, 8, ONES), alive()),
    rule("hostile.scsi.mode_select", "MODE SELECT with lengths and fields that are wrong", parameters,
        Put(BUFFER, bytes(4) + bytes.fromhex("0812") + bytes(18)), Put(BUFFER + 0x100, bytes.fromhex("00000008")), Put(BUFFER + 0x200, bytes.fromhex("00000000 08ff")),
        *(io(n, bytes.fromhex(cdb), length, WRITE, struct.pack("<II", 0xD500_0000 | length, BUFFER + at)) for n, (cdb, length, at) in enumerate((
            ("15 10 00 00 18 00", 24, 0), ("15 10 00 00 04 00", 4, 0x100), ("15 10 00 00 06 00", 6, 0x200), ("55 10 00 00 00 00 00 00 03 00", 3, 0),
            ("15 11 00 00 18 00", 24, 0)))),
        started(), refused(0, 5, 0x26), refused(1, 5, 0x1A), refused(2, 5, 0x1A), refused(3, 5, 0x1A), refused(4, 5, 0x24), alive(), priority=2),
    HostScript(id="hostile.scsi.two_guests", title="Two guests do not reach each other's disks, nor the base of both", area="hostile",
        cite=(Cite("T10 SAM-5", "4.6 SCSI domains"),), script=trespass, mode=Mode.LONG64, seconds=20.0),
)
# fmt: on
