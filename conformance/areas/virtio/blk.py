"""virtio-blk: a request is a header of type and sector, data, and a status byte that the device writes.

Types are IN 0, OUT 1, FLUSH 4 and GET_ID 8; the status is 0, 1 (an error) or 2 (unknown type).
"""

from functools import partial

from virtproof.conformance.case import Case
from virtproof.conformance.device_script import Fill, Load
from virtproof.conformance.virtio import (
    BUFFER,
    CONFIG,
    CONTENT,
    IN,
    SECTORS,
    SERIAL,
    blk,
    chain,
    content,
    data,
    family,
    get,
    into,
    out,
    put,
    seen,
    send,
    start,
    used,
)
from virtproof.spec.virtio import Common
from virtproof.spec.virtio_blk import Config, Feature, RequestType

layout = family("virtio", "'Block Device', 'Device configuration layout'")
operation = family("virtio", "'Block Device', 'Device Operation'")

read_only = partial(blk, read_only=True)
WRITTEN = bytes(n * 5 & 0xFF for n in range(512))


def header(kind: int, sector: int = 0) -> bytes:
    return kind.to_bytes(4, "little") + bytes(4) + sector.to_bytes(8, "little")


def request(
    at: int, kind: int, sector: int, *, write: bytes = b"", room: int = 0, status: int, length: int
) -> tuple[object, ...]:
    """The request ``at``: header, data of either direction, and what its status and its used length must be."""
    elements = (
        [out(2 * at, 16)]
        + [out(2 * at + 1, len(write))] * bool(write)
        + [into(2 * at, room)] * bool(room)
        + [into(2 * at + 1, 1)]
    )
    return (
        data(2 * at, header(kind, sector)), data(2 * at + 1, write), Fill(IN + BUFFER * (2 * at + 1), 8, 0xEE), chain(0, 4 * at, *elements),
        send(0, 4 * at, at=at), used(0, at, 4 * at, length), content(2 * at + 1, bytes([status])),
    )  # fmt: skip


def sectors(number: int, expect: bytes) -> tuple[object, ...]:
    """Both ends of what was read."""
    return content(number, expect[:32]), content(number, expect[-32:], len(expect) - 32)


# fmt: off
CASES: tuple[Case, ...] = (
    layout("virtio.blk.capacity", "The capacity counts sectors of 512 bytes", blk, Load(CONFIG + Config.CAPACITY, 4, SECTORS), Load(CONFIG + Config.CAPACITY + 4, 4, 0)),
    layout("virtio.blk.blk_size", "Blocks have 512 bytes, and a request a bounded number of segments", blk, Load(CONFIG + Config.BLK_SIZE, 4, 512), Load(CONFIG + Config.SEG_MAX, 4, 254)),
    operation("virtio.blk.read", "IN brings sectors and status 0", blk, start(),
        request(0, RequestType.IN, 0, room=512, status=0, length=513), sectors(0, CONTENT[:512]),
        request(1, RequestType.IN, 62, room=1024, status=0, length=1025), sectors(2, CONTENT[62 * 512 :])),
    operation("virtio.blk.write", "OUT stores sectors", blk, start(),
        request(0, RequestType.OUT, 7, write=WRITTEN, status=0, length=1), request(1, RequestType.IN, 7, room=512, status=0, length=513), sectors(2, WRITTEN),
        request(2, RequestType.IN, 8, room=512, status=0, length=513), sectors(4, CONTENT[8 * 512 : 9 * 512]), seen("host", lambda rig: rig.end.read(7, 1) == WRITTEN, True)),
    operation("virtio.blk.flush", "FLUSH is answered when what was written is stable", blk, start(Feature.FLUSH),
        request(0, RequestType.OUT, 7, write=WRITTEN, status=0, length=1), seen("not yet", lambda rig: rig.end.log, ["write 7"]),
        request(1, RequestType.FLUSH, 0, status=0, length=1), seen("then", lambda rig: rig.end.log, ["write 7", "flush"])),
    operation("virtio.blk.get_id", "GET_ID tells a name of 20 bytes", blk, start(),
        request(0, RequestType.GET_ID, 0, room=20, status=0, length=21), content(0, SERIAL.encode().ljust(20, b"\0")), priority=2),
    operation("virtio.blk.unsupp", "A type that there is not is answered 2", blk, start(),
        request(0, 99, 0, status=2, length=1), request(1, 99, 0, write=WRITTEN, status=2, length=1), request(2, RequestType.IN, 3, room=512, status=0, length=513), sectors(4, CONTENT[3 * 512 : 4 * 512])),
    operation("virtio.blk.oob", "A sector behind the end is an error, and so is a request that reaches over it", blk, start(), Fill(IN, 1024, 0x5555),
        request(0, RequestType.IN, SECTORS, room=512, status=1, length=0), content(0, (0x5555).to_bytes(8, "little")),
        request(1, RequestType.IN, SECTORS - 1, room=1024, status=1, length=0), request(2, RequestType.OUT, SECTORS, write=WRITTEN, status=1, length=1),
        request(3, RequestType.IN, SECTORS - 1, room=512, status=0, length=513)),
    operation("virtio.blk.ro", "A read-only disk says so, and writing is an error", read_only,
        put(Common.DEVICE_FEATURE_SELECT, 0), get(Common.DEVICE_FEATURE, Feature.RO, Feature.RO | Feature.DISCARD), start(Feature.RO),
        request(0, RequestType.OUT, 7, write=WRITTEN, status=1, length=1), request(1, RequestType.IN, 7, room=512, status=0, length=513), sectors(2, CONTENT[7 * 512 : 8 * 512]), priority=2),
)
# fmt: on
