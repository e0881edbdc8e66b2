"""PVSCSI: identity, commands, rings and how they are set up."""

from __future__ import annotations

import struct

from virtproof.conformance.case import Case
from virtproof.conformance.device_script import ConfigRead, ConfigWrite, Fill, Host, Load, Store
from virtproof.conformance.pvscsi_driver import (
    BAR,
    BUFFER,
    CONTEXT,
    IN,
    READY,
    SCATTERED,
    STATE,
    command,
    completed,
    indices,
    kick,
    request,
    rules,
    set_up,
    status,
)
from virtproof.conformance.scsi_rig import FUNCTION, SLOW, Rig, elapse, read10
from virtproof.spec import pvscsi
from virtproof.spec.pvscsi import FAILED, NOT_ENOUGH_DATA, Command

EIGHT = tuple(SCATTERED + 0x1000 * n for n in range(8))
NEXT_EIGHT = tuple(page + 0x8000 for page in EIGHT)

rule = rules("scsi_pvscsi")
second = rules("scsi_pvscsi", priority=2)

INDEX = 0xFFFF_FFFF
NEAR = INDEX - 3


def near_the_end(rig: Rig) -> None:
    """The adapter has executed nearly 2^32 requests, as a snapshot of one could say."""
    controller = rig.controller
    saved = controller.state()
    controller.restore(saved | {"rings": saved["rings"] | {"consumed": NEAR, "produced": NEAR}})
    rig.elapse(0)


# Requests 0 and 1 wait for the slow disk; each is told by its context.
WAITING = (
    request(0, read10(0, 1), 512, IN, target=1), request(1, read10(0, 1), 512, IN, target=1), set_up(), kick(2),
    indices(2, 0),
)  # fmt: skip

# fmt: off
CASES: tuple[Case, ...] = (
    rule("pvscsi.pci.identity", "15AD:07C0 revision 2, a SCSI controller with 32 KiB of registers", "PCI identity",
        ConfigRead(FUNCTION, 0x00, 4, 0x07C0_15AD), ConfigRead(FUNCTION, 0x08, 4, 0x0100_0002),
        ConfigRead(FUNCTION, 0x2C, 4, 0x07C0_15AD), ConfigWrite(FUNCTION, 0x10, 4, 0xFFFF_FFFF),
        ConfigRead(FUNCTION, 0x10, 4, 0xFFFF_8000), ConfigRead(FUNCTION, 0x3D, 1, 1)),
    rule("pvscsi.status.reset", "COMMAND_STATUS is 0 after reset", "Commands", status(0)),
    rule("pvscsi.cmd.not_enough", "The status says that data are missing", "Commands",
        command(Command.SETUP_RINGS, b"", NOT_ENOUGH_DATA), command(Command.RESET_DEVICE, bytes(8), NOT_ENOUGH_DATA)),
    rule("pvscsi.cmd.unknown", "A command that is unknown fails at once", "Commands",
        *(command(number, b"", FAILED) for number in (0, 2, 9, 15, 0xFFFF_FFFF))),
    rule("pvscsi.cmd.msg_ring_probe", "The status right after SETUP_MSG_RING tells whether there is one", "SETUP_MSG_RING",
        command(Command.SETUP_MSG_RING, b"", (FAILED, 34, NOT_ENOUGH_DATA))),
    rule("pvscsi.cmd.callthreshold_probe", "SETUP_REQCALLTHRESHOLD fails where it is not supported", "REQCALLTHRESHOLD",
        command(Command.SETUP_REQCALLTHRESHOLD, b"", FAILED)),
    rule("pvscsi.cmd.adapter_reset", "ADAPTER_RESET aborts everything and forgets the rings", "ADAPTER_RESET",
        WAITING, command(Command.ADAPTER_RESET), Fill(STATE, 24), kick(3), elapse(10 * SLOW), indices(0, 0)),
    second("pvscsi.cmd.new_cmd_discards", "A new command discards the data of one that was incomplete", "Commands",
        command(Command.SETUP_RINGS, b"\xff" * 20, NOT_ENOUGH_DATA), command(Command.RESET_DEVICE, struct.pack("<I8x", 0)),
        command(Command.SETUP_RINGS, b"\xff" * 20, NOT_ENOUGH_DATA), command(Command.ADAPTER_RESET)),
    rule("pvscsi.setup.one_page", "SETUP_RINGS writes sizes and indices of rings of one page", "SETUP_RINGS",
        Fill(STATE, 32, 0xEEEE_EEEE_EEEE_EEEE), set_up(), Load(STATE, 8, 0), Load(STATE + 8, 8, 5),
        Load(STATE + 16, 8, 7 << 32)),
    rule("pvscsi.setup.eight_pages", "The same of eight pages", "SETUP_RINGS",
        Fill(STATE, 32, 0xEEEE_EEEE_EEEE_EEEE), set_up(EIGHT, NEXT_EIGHT), Load(STATE, 8, 0), Load(STATE + 8, 8, 8),
        Load(STATE + 16, 8, 10 << 32)),
    rule("pvscsi.setup.noncontig", "Pages of a ring lie where they want", "SETUP_RINGS",
        *(request(n, READY, at=SCATTERED + 0x3000 + 128 * n) for n in range(32)),
        request(32, READY, at=SCATTERED), set_up((SCATTERED + 0x3000, SCATTERED)), kick(32), kick(33), indices(33, 33),
        completed(0), completed(31), completed(32)),
    second("pvscsi.idx.wrap", "Indices run on where the rings begin anew", "RingsState",
        *(request(n, READY) for n in range(32)), set_up(),
        *((Store(STATE + pvscsi.CMP_CONS, 4, n), kick(n + 1)) for n in range(136)),
        indices(136, 136), completed(7, of=135 % 32), Load(STATE + pvscsi.REQ_PROD, 4, 136)),
    second("pvscsi.idx.wrap.32_bits", "... and through 2^32", "RingsState",
        *(request(n, READY) for n in range(32)), set_up(), Store(STATE + pvscsi.REQ_PROD, 4, NEAR),
        Store(STATE + pvscsi.CMP_CONS, 4, NEAR), Host(near_the_end), kick(NEAR + 2), indices(NEAR + 2, NEAR + 2), completed(NEAR % 128, of=NEAR % 32), completed((NEAR + 1) % 128, of=(NEAR + 1) % 32),
        *((Store(STATE + pvscsi.CMP_CONS, 4, NEAR + n & INDEX), kick(NEAR + n + 1 & INDEX),
           indices(NEAR + n + 1 & INDEX, NEAR + n + 1 & INDEX), completed((NEAR + n) % 128, of=(NEAR + n) % 32)) for n in range(2, 8)),
        kick(4 + 32), indices(36, 36), completed(35, of=3)),
    second("pvscsi.abort", "ABORT_CMD completes a request that waits, and only that", "ABORT_CMD",
        WAITING, command(Command.ABORT_CMD, struct.pack("<QII", CONTEXT + 1, 1, 0)), indices(2, 1), completed(0, 0x26, of=1),
        elapse(10 * SLOW), indices(2, 2), completed(1, 0, of=0)),
    second("pvscsi.reset_bus", "RESET_BUS completes what waits with that status", "RESET_BUS",
        WAITING, command(Command.RESET_BUS), indices(2, 2), completed(0, 0x25), completed(1, 0x25), elapse(10 * SLOW),
        indices(2, 2)),
    second("pvscsi.reset_device", "RESET_DEVICE of a target that is not there fails", "RESET_DEVICE",
        WAITING, command(Command.RESET_DEVICE, struct.pack("<I8x", 9), FAILED), indices(2, 0),
        command(Command.RESET_DEVICE, struct.pack("<I8x", 0)), indices(2, 0),
        command(Command.RESET_DEVICE, struct.pack("<I8x", 1)), indices(2, 2), completed(0, 0x25)),
    second("pvscsi.status.narrow", "A register that is none reads 0, and a narrow write changes nothing", "Registers",
        Load(BAR + 0x7FFC, 4, 0), Store(BAR + pvscsi.INTR_MASK, 1, 0xF), Load(BAR + pvscsi.INTR_MASK, 4, 0), Load(BUFFER, 4, 0)),
)
# fmt: on
