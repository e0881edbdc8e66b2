"""Take the results that an image sends through a serial port."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable

from virtproof.lab.frames import TOTAL, Kind, Receiver
from virtproof.lab.image.deliver import PACKED
from virtproof.spec.fault import Fault

CHUNK = 1 << 16
REMEDY = "boot the image again, with nothing else that writes to this line, or deliver another way"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def receive(read: Callable[[int], bytes], where: str) -> dict[str, bytes]:
    """The files of one stream, by name.  ``read`` returns some bytes, none at the end.

    What comes in may be anything: raises ``Fault`` where it ends too early, is damaged, or names a file as nobody
    should.
    """
    receiver = Receiver(where)
    packed: dict[str, bytearray] = {}
    latest: bytearray | None = None
    try:
        while data := read(CHUNK):
            for kind, payload in receiver.feed(data):
                match kind:
                    case Kind.FILE:
                        name, _, content = payload.partition(b"\0")
                        latest = packed[_checked(os.fsdecode(name), where)] = bytearray(content)
                    case Kind.MORE if latest is not None:
                        latest += payload
                    case Kind.END:
                        return _unpacked(packed, where)
                    case _:
                        raise Fault(
                            f"read the results of {where}", f"a frame of kind {kind.name} makes no sense", REMEDY
                        )
    except Fault as fault:
        raise Fault(fault.tried, fault.saw, REMEDY) from fault
    raise Fault(
        f"read the results of {where}", f"the stream ended before the results did ({len(packed)} files)", REMEDY
    )


def _checked(name: str, where: str) -> str:
    if not _NAME.fullmatch(name) or not name.endswith(PACKED):
        raise Fault(f"read the results of {where}", f"{name!r} is no name of a result", REMEDY)
    return name


def _unpacked(packed: dict[str, bytearray], where: str) -> dict[str, bytes]:
    """Files by their own names: evidence.json.gz is one that is compressed by itself."""
    files = {}
    room = TOTAL
    for name, data in packed.items():
        if name.endswith(f".json{PACKED}") and name.startswith("evidence"):
            files[name] = bytes(data)
            continue
        inflater = zlib.decompressobj(wbits=31)
        try:
            content = inflater.decompress(bytes(data), room)
        except zlib.error as err:
            raise Fault(f"read the results of {where}", f"{name}: {err}", REMEDY) from err
        if not inflater.eof or len(content) > room:
            raise Fault(f"read the results of {where}", f"{name} is more than {TOTAL >> 20} MiB, or cut off", REMEDY)
        room = max(1, room - len(content))  # zero would mean: without limit
        files[name.removesuffix(PACKED)] = content
    return files
