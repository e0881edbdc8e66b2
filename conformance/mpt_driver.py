"""What a driver does to a Fusion-MPT controller, as steps of a device script."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import Any

from virtproof.conformance.case import HostScript
from virtproof.conformance.device_script import Expected, Fill, In, Load, Out, Put, Step, Steps, Store, script
from virtproof.conformance.scsi_rig import rig
from virtproof.guest_payloads.accesses import FREE
from virtproof.spec import fusion_mpt as mpt
from virtproof.spec.cite import Cite
from virtproof.spec.fusion_mpt import Function, ScsiIo, TaskMgmt
from virtproof.vmm.devices.lsi_mpt import LsiMpt

PORTS, BAR, DIAGNOSTIC_BAR = 0xC000, 0xE000_0000, 0xE010_0000
FRAMES, REPLIES, SENSE, CHAIN, PAGE = (FREE + page * 0x1000 for page in range(5))
BUFFER = FREE + 0x1_0000
CONTEXT = 0x0123_4500
VECTOR = 0x52
READ, WRITE = mpt.READ_CONTROL, mpt.WRITE_CONTROL
END = 0xD100_0000  # a simple element, the last in every respect
MORE = 0x1000_0000  # one that others follow

READY = bytes(6)
INQUIRY = bytes.fromhex("12 00 00 00 24 00")
BAD_LBA = bytes.fromhex("28 00 ffffffff 00 0001 00")

attached = rig(LsiMpt, PORTS, BAR, DIAGNOSTIC_BAR)
attached_sas = rig(partial(LsiMpt, model="sas1068"), PORTS, BAR, DIAGNOSTIC_BAR)


def mpi(where: str) -> Cite:
    return Cite("LSI Fusion-MPT MPI 1.5 interface", where)


def rules(area: str, priority: int = 1) -> Callable[..., HostScript]:
    """A maker of cases that walk ``steps``; ``where`` is a part of the interface, or a place of its own."""

    def rule(
        id: str,  # noqa: A002
        title: str,
        where: str | Cite,
        *steps: Step | Steps,
        build: Callable[..., Any] = attached,
        **more: Any,
    ) -> HostScript:
        cite = (where if isinstance(where, Cite) else mpi(where),)
        return script(id, title, area, cite, build, *steps, **({"priority": priority} | more))

    return rule


def put(offset: int, value: int) -> Store:
    return Store(BAR + offset, 4, value)


def get(offset: int, expect: Expected = None, mask: int = 0xFFFF_FFFF) -> Load:
    return Load(BAR + offset, 4, expect, mask)


def doorbell(expect: Expected, mask: int = 0xFFFF_FFFF) -> Load:
    return get(mpt.DOORBELL, expect, mask)


def state(expect: int) -> Load:
    return doorbell(expect << 28, 0xF000_0000)


def fault(code: int) -> Load:
    return doorbell(mpt.IocState.FAULT << 28 | code, 0xF000_FFFF)


RESET = put(mpt.DOORBELL, Function.MESSAGE_UNIT_RESET << 24)
ACKNOWLEDGE = put(mpt.HOST_INTERRUPT_STATUS, 0)
KEYS = tuple(put(mpt.WRITE_SEQUENCE, key) for key in (0xFF, *mpt.WRITE_KEYS))


def ask(message: bytes) -> Steps:
    """Send a message through the doorbell."""
    return (
        put(mpt.DOORBELL, Function.HANDSHAKE << 24 | len(message) // 4 << 16), ACKNOWLEDGE,
        *(put(mpt.DOORBELL, dword) for (dword,) in struct.iter_unpack("<I", message)),
    )  # fmt: skip


def answer(*halfwords: Expected) -> Steps:
    """Read its reply back to back, and end the handshake."""
    return (*(doorbell(each, 0xFFFF) for each in halfwords), ACKNOWLEDGE, ACKNOWLEDGE)


def fields(length: int, **known: int) -> tuple[Expected, ...]:
    """``length`` dwords of a reply as halfwords: those known by their offset (h14=...), and the others."""
    given = {int(name[1:], 16): value for name, value in known.items()}
    return tuple(given.get(2 * n) for n in range(2 * length))


def ioc_init(reply_size: int = 128, **more: int) -> bytes:
    said = {"who": 2, "devices": 16, "mfa": 0, "sense": 0} | more
    return struct.pack(
        "<BxBBBBBBIHxxII", said["who"], 0, Function.IOC_INIT, 0, said["devices"], 1, 0, CONTEXT, reply_size,
        said["mfa"], said["sense"],
    )  # fmt: skip


def started(reply_size: int = 128, frames: int = 8, **more: int) -> Steps:
    """The controller is operational, and has frames for its replies."""
    return (
        ask(ioc_init(reply_size, **more)), answer(*fields(5, h0E=0)), state(mpt.IocState.OPERATIONAL),
        *(put(mpt.REPLY_QUEUE, REPLIES + 128 * n) for n in range(frames)),
    )  # fmt: skip


def simple(address: int, length: int, flags: int = END) -> bytes:
    return struct.pack("<II", flags | length, address)


def wide(address: int, length: int, flags: int = END | 0x0200_0000) -> bytes:
    return struct.pack("<IQ", flags | length, address)


def chain(address: int, length: int) -> bytes:
    return struct.pack("<II", 0x3000_0000 | length, address)


def frame(n: int, content: bytes) -> Put:
    """Lay a message into request frame ``n``."""
    return Put(FRAMES + 128 * n, content.ljust(128, b"\0"))


def io(n: int, cdb: bytes, length: int = 0, control: int = 0, sgl: bytes = b"", **more: Any) -> Put:
    """Lay a SCSI IO request into frame ``n``."""
    said: dict[str, Any] = {
        "target": 0, "bus": 0, "chain_offset": 0, "function": 0, "cdb_length": len(cdb), "sense_length": 18,
        "msg_flags": 0, "context": CONTEXT + n, "lun": bytes(8), "control": control, "cdb": cdb.ljust(16, b"\0"),
        "length": length, "sense": SENSE,
    }  # fmt: skip
    outward = 0x0400_0000 if control == WRITE else 0
    return frame(n, ScsiIo(**(said | more)).pack() + (sgl or simple(BUFFER, length, END | outward)))


def manage(n: int, kind: int, target: int = 1, task: int = 0) -> Put:
    """Lay a task management request into frame ``n``."""
    return frame(n, TaskMgmt(target, 0, Function.SCSI_TASK_MGMT, kind, 0, CONTEXT + n, bytes(8), task).pack())


def post(*numbers: int) -> Steps:
    """Post frames."""
    return tuple(put(mpt.REQUEST_QUEUE, FRAMES + 128 * n) for n in numbers)


def context(n: int) -> Load:
    """The next reply is that all went well with request ``n``."""
    return get(mpt.REPLY_QUEUE, CONTEXT + n)


EMPTY = get(mpt.REPLY_QUEUE, mpt.EMPTY)


def told(at: int, n: int, status: Expected, scsi: Expected = None, moved: Expected = None) -> Steps:
    """The next reply is in reply frame ``at``, and says how request ``n`` ended."""
    where = REPLIES + 128 * at
    return (
        get(mpt.REPLY_QUEUE, mpt.ADDRESS_REPLY | where >> 1), Load(where + 8, 4, CONTEXT + n),
        Load(where + 14, 2, status), Load(where + 12, 1, scsi), Load(where + 20, 4, moved),
    )  # fmt: skip


def done(cdb: bytes, length: int = 0, control: int = 0, sgl: bytes = b"", **more: Any) -> Steps:
    """Start, and execute one request that goes well."""
    return io(0, cdb, length, control, sgl, **more), started(), post(0), context(0), EMPTY


def ended(
    cdb: bytes, length: int = 0, control: int = 0, sgl: bytes = b"", *, status: Expected, scsi: Expected = None,
    moved: Expected = None, **more: Any,
) -> Steps:  # fmt: skip
    """Start, and execute one request of which there is something to tell."""
    return io(0, cdb, length, control, sgl, **more), started(), post(0), told(0, 0, status, scsi, moved), EMPTY


def alive() -> Steps:
    """Whatever was before: the controller can be reset, and then works."""
    last = 31
    return (
        RESET, Fill(BUFFER, 64), io(last, INQUIRY, 36, READ), doorbell(0x1000_0000), started(), post(last),
        context(last), EMPTY, Load(BUFFER + 8, 8, int.from_bytes(b"VPROOF  ", "little")),
    )  # fmt: skip


def both(offset: int, expect: Expected) -> Steps:
    """A register reads the same through memory and through ports."""
    return get(offset, expect), In(PORTS + offset, 4, expect)


def out(offset: int, value: int) -> Out:
    return Out(PORTS + offset, 4, value)
