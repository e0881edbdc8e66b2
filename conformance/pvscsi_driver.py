"""What a driver does to a PVSCSI, as steps of a device script: rings of one page each, requests in their order."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from virtproof.conformance.case import HostScript
from virtproof.conformance.device_script import ConfigWrite, Expected, Fill, Load, Put, Step, Steps, Store, script
from virtproof.conformance.scsi_rig import FUNCTION, rig
from virtproof.guest_payloads.accesses import FREE
from virtproof.spec import pvscsi
from virtproof.spec.cite import Cite
from virtproof.spec.pvscsi import Command, Flags, Request, SetupRings
from virtproof.vmm.devices.pvscsi import PvScsi

BAR = 0xE000_0000
STATE, REQUESTS, COMPLETIONS, SENSE, LIST = (FREE + page * 0x1000 for page in range(5))
SCATTERED = FREE + 0x8000  # further pages for rings
BUFFER = FREE + 0x1_0000
LATER = FREE + 0x3_0000  # what ``alive`` uses
DOORBELL = BAR + pvscsi.KICK_RW_IO
VECTOR = 0x51  # of messages
IN, OUT, SG = int(Flags.TO_HOST), int(Flags.TO_DEVICE), int(Flags.SG_LIST)
CONTEXT = 0x1122_3344_5566_7788

READY = bytes(6)
INQUIRY = bytes.fromhex("12 00 00 00 24 00")
BAD_LBA = bytes.fromhex("28 00 ffffffff 00 0001 00")

attached = rig(PvScsi, BAR)


def rules(area: str, priority: int = 1) -> Callable[..., HostScript]:
    """A maker of cases that walk ``steps``; ``where`` is the part of the header that has the rule."""

    def rule(id: str, title: str, where: str, *steps: Step | Steps, **more: Any) -> HostScript:  # noqa: A002
        cite = (Cite("VMware PVSCSI interface header (vmw_pvscsi.h)", where),)
        return script(id, title, area, cite, attached, *steps, **({"priority": priority} | more))

    return rule


def register(offset: int, expect: Expected = None) -> Load:
    return Load(BAR + offset, 4, expect)


def status(expect: int) -> Load:
    return register(pvscsi.COMMAND_STATUS, expect)


def command(number: int, data: bytes = b"", expect: Expected = 0) -> Steps:
    """Give a command with its arguments, and look how it ended."""
    dwords = (dword for (dword,) in struct.iter_unpack("<I", data))
    return (
        Store(BAR + pvscsi.COMMAND, 4, number),
        *(Store(BAR + pvscsi.COMMAND_DATA, 4, dword) for dword in dwords),
        register(pvscsi.COMMAND_STATUS, expect),
    )


def set_up(
    requests: tuple[int, ...] = (REQUESTS,),
    completions: tuple[int, ...] = (COMPLETIONS,),
    expect: Expected = 0,
    state: int = STATE,
    counts: tuple[int, int] | None = None,
) -> Steps:
    """Give the adapter its rings, by addresses of their pages."""
    number = counts or (len(requests), len(completions))
    pages = (tuple(page >> 12 for page in each) for each in (requests, completions))
    return command(Command.SETUP_RINGS, SetupRings(*number, state >> 12, *pages).pack(), expect)


def request(n: int, cdb: bytes, length: int = 0, flags: int = 0, at: int | None = None, **more: Any) -> Put:
    """Lay request ``n`` into its ring."""
    fields: dict[str, Any] = {
        "context": CONTEXT + n, "data": BUFFER, "length": length, "sense": SENSE, "sense_length": 18, "flags": flags,
        "cdb": cdb, "cdb_length": len(cdb), "lun": bytes(8),
    }  # fmt: skip
    return Put(REQUESTS + 128 * n if at is None else at, Request(**(fields | more)).pack())


def kick(produced: int) -> Steps:
    """Show the adapter so many requests."""
    return Store(STATE + pvscsi.REQ_PROD, 4, produced), Store(DOORBELL, 4, 0)


def indices(consumed: int, produced: int) -> Steps:
    """How far the adapter is in both rings."""
    return Load(STATE + pvscsi.REQ_CONS, 4, consumed), Load(STATE + pvscsi.CMP_PROD, 4, produced)


def completed(n: int, host: Expected = 0, scsi: Expected = 0, length: Expected = None, of: int | None = None) -> Steps:
    """Completion ``n`` is that of request ``of``, and says how it ended."""
    at = COMPLETIONS + 32 * n
    return (
        Load(at, 8, CONTEXT + (n if of is None else of)),
        Load(at + 8, 8, length),
        Load(at + 20, 2, host),
        Load(at + 22, 2, scsi),
    )


def done(
    cdb: bytes, length: int = 0, flags: int = 0, *, host: Expected = 0, scsi: Expected = 0, moved: Expected = None,
    **more: Any,
) -> Steps:  # fmt: skip
    """Set up, execute one request and look how it ended."""
    return (
        request(0, cdb, length, flags, **more), set_up(), kick(1), indices(1, 1), completed(0, host, scsi, moved),
    )  # fmt: skip


def elements(*rows: tuple[int, int, int], at: int = LIST) -> Put:
    return Put(at, b"".join(pvscsi.ELEMENT.pack(*row) for row in rows))


def alive() -> Steps:
    """Whatever was before: the adapter can be reset, and then works."""
    requests, completions, buffer = LATER, LATER + 0x1000, LATER + 0x2000
    return (
        command(Command.ADAPTER_RESET), Fill(STATE, 0x1000), request(0, INQUIRY, 36, IN, at=requests, data=buffer),
        set_up((requests,), (completions,)), kick(1), indices(1, 1), Load(completions, 8, CONTEXT),
        Load(completions + 8, 8, 36), Load(completions + 20, 4, 0),
        Load(buffer + 8, 8, int.from_bytes(b"VPROOF  ", "little")),
    )  # fmt: skip


def messages() -> Steps:
    """MSI is on."""
    at = pvscsi.MSI_OFFSET
    return (
        ConfigWrite(FUNCTION, at + 4, 4, 0xFEE0_0000), ConfigWrite(FUNCTION, at + 8, 4, 0),
        ConfigWrite(FUNCTION, at + 12, 2, VECTOR), ConfigWrite(FUNCTION, at + 2, 2, 1),
    )  # fmt: skip
