"""virtio-scsi: a request names a LUN and has a CDB; the response has sense data, residual, status and a code of its own.

A LUN field is 1, the target, 40H, and the LUN.  Response codes are 0 where the unit has answered, 3 where the target is not
there.  The control queue manages tasks: 0 is "function complete".
"""

import struct

from virtproof.conformance.case import Case
from virtproof.conformance.device_script import Load
from virtproof.conformance.virtio import (
    BUFFER,
    CONFIG,
    CONTENT,
    IN,
    chain,
    content,
    data,
    family,
    into,
    out,
    scsi,
    send,
    start,
    used,
)
from virtproof.spec.virtio_scsi import CONTROL, REQUEST, Config

layout = family("virtio", "'SCSI Host Device', 'Device configuration layout'")
requests = family("virtio", "'SCSI Host Device', 'Device Operation: Request Queues'")
control = family("virtio", "'SCSI Host Device', 'Device Operation: controlq'")

RESPONSE = 108
SENSE_LENGTH, RESIDUAL, STATUS, CODE, SENSE, DATA = 0, 4, 10, 11, 12, RESPONSE  # in the response
INQUIRY = bytes((0x12, 0, 0, 0, 255, 0))
UNITS = bytes((1, 0, 0x40, 0)) + bytes(4)


def lun(target: int, number: int = 0) -> bytes:
    return bytes((1, target, 0x40 | number >> 8, number & 0xFF)) + bytes(4)


def command(
    at: int, cdb: bytes, where: bytes = UNITS, *, write: bytes = b"", room: int = 0, length: int
) -> tuple[object, ...]:
    """The request ``at``; its response and data lie in buffer ``at``."""
    return (
        data(at, struct.pack("<8sQBBB", where, at, 0, 0, 0) + cdb.ljust(32, b"\0") + write),
        chain(REQUEST, 2 * at, out(at, 51 + len(write)), into(at, RESPONSE + room)),
        send(REQUEST, 2 * at, at=at), used(REQUEST, at, 2 * at, length),
    )  # fmt: skip


def response(at: int, *, code: int = 0, status: int = 0, residual: int = 0, sense: int = 0) -> tuple[object, ...]:
    base = IN + BUFFER * at
    return Load(base + SENSE_LENGTH, 4, sense), Load(base + RESIDUAL, 4, residual), Load(base + STATUS, 1, status), Load(base + CODE, 1, code)  # fmt: skip


def manage(at: int, function: int, where: bytes, expect: int) -> tuple[object, ...]:
    """A task management function."""
    return (
        data(at, struct.pack("<II8sQ", 0, function, where, 7)), chain(CONTROL, 2 * at, out(at, 24), into(8 + at, 1)),
        send(CONTROL, 2 * at, at=at), content(8 + at, bytes([expect])),
    )  # fmt: skip


def read_10(sector: int, count: int) -> bytes:
    return struct.pack(">BBIBHB", 0x28, 0, sector, 0, count, 0)


# fmt: off
CASES: tuple[Case, ...] = (
    layout("virtio.scsi.cfg", "The configuration has its fields where the specification says", scsi,
        Load(CONFIG + Config.NUM_QUEUES, 4, 1), Load(CONFIG + Config.SEG_MAX, 4, 254), Load(CONFIG + Config.SENSE_SIZE, 4, 96), Load(CONFIG + Config.CDB_SIZE, 4, 32),
        Load(CONFIG + Config.EVENT_INFO_SIZE, 4, 16), Load(CONFIG + Config.MAX_CHANNEL, 2, 0), Load(CONFIG + Config.MAX_TARGET, 2, 255), Load(CONFIG + Config.MAX_LUN, 4, 16383)),
    requests("virtio.scsi.cmd", "INQUIRY and READ bring data and response 0", scsi, start(queues=3),
        command(0, INQUIRY, room=36, length=RESPONSE + 36), response(0), Load(IN + DATA, 4, 0x02_06_00_00), content(0, b"VPROOF  ", DATA + 8),
        command(1, read_10(5, 1), room=512, length=RESPONSE + 512), response(1), content(1, CONTENT[5 * 512 : 5 * 512 + 64], DATA),
        command(2, b"\x2a" + read_10(6, 1)[1:], write=b"w" * 512, length=RESPONSE), response(2), command(3, read_10(6, 1), room=512, length=RESPONSE + 512), content(3, b"w" * 64, DATA)),
    requests("virtio.scsi.bad_target", "A target that is not there is answered 3, at once", scsi, start(queues=3),
        command(0, INQUIRY, lun(200), room=36, length=RESPONSE), response(0, code=3, residual=36), command(1, INQUIRY, lun(1), room=36, length=RESPONSE), response(1, code=3, residual=36),
        command(2, INQUIRY, bytes(8), room=36, length=RESPONSE), response(2, code=3, residual=36), command(3, INQUIRY, room=36, length=RESPONSE + 36), response(3)),
    requests("virtio.scsi.sense", "CHECK CONDITION comes with its sense data", scsi, start(queues=3),
        command(0, read_10(999, 1), room=512, length=RESPONSE), response(0, status=2, residual=512, sense=18),
        Load(IN + SENSE, 1, 0x70), Load(IN + SENSE + 2, 1, 5), Load(IN + SENSE + 12, 1, 0x21), command(1, read_10(9, 1), room=512, length=RESPONSE + 512), response(1)),
    requests("virtio.scsi.resid", "A residual says how much less was moved", scsi, start(queues=3),
        command(0, INQUIRY, room=255, length=RESPONSE + 36), response(0, residual=255 - 36), command(1, read_10(5, 1), room=1024, length=RESPONSE + 512), response(1, residual=512)),
    requests("virtio.scsi.overrun", "Too little room for what the command brings is an overrun", scsi, start(queues=3),
        command(0, read_10(5, 2), room=512, length=RESPONSE + 512), response(0, code=1)),
    control("virtio.scsi.tmf", "Functions of task management complete; of others, or of nobody, they do not", scsi, start(queues=3),
        manage(0, 5, UNITS, 0), manage(1, 4, UNITS, 0), manage(2, 0, UNITS, 0), manage(3, 99, UNITS, 11), manage(4, 5, lun(7), 3), manage(5, 5, lun(0, 7), 12), priority=2),
)
# fmt: on
