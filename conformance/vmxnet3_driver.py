"""What a driver does to a VMXNET3, as steps of a device script."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from virtproof.conformance.cable import Cable
from virtproof.conformance.case import HostScript
from virtproof.conformance.device_script import ConfigWrite, Handle, Host, Load, Put, Step, Steps, Store, script
from virtproof.conformance.packets import GUEST
from virtproof.conformance.vmxnet3_layout import (
    QUEUES,
    RX_COMPLETIONS,
    RX_RING,
    SHARED,
    TX_COMPLETIONS,
    TX_RING,
    rx_queue,
    shared,
    tx_queue,
)
from virtproof.results import Check
from virtproof.spec.cite import Cite
from virtproof.vmm.board import Board
from virtproof.vmm.devices.vmxnet3.adapter import Vmxnet3
from virtproof.vmm.machine import Machine

SLOT = 3
FUNCTION = SLOT << 3
PT, VD, MESSAGES = 0xE000_0000, 0xE000_1000, 0xE000_2000  # where the BARs are placed
VRRS, UVRS, DSAL, DSAH, CMD, MACL, MACH, ICR, ECR = (VD + offset for offset in range(0, 0x48, 8))
IMR, TXPROD, RXPROD, RXPROD2 = PT, PT + 0x600, PT + 0x800, PT + 0xA00
SHARED_ECR, SHARED_CONTROL = SHARED + 696, SHARED + 108
GEN = 1 << 31
FIRST_VECTOR = 0x50  # of messages: interrupt n of the adapter is this one and n
MSIX_CONTROL = 0x9E

# fmt: off
(ACTIVATE, QUIESCE, RESET, UPDATE_RX_MODE, UPDATE_MAC_FILTERS, UPDATE_VLAN_FILTERS,
 UPDATE_RSSIDT, UPDATE_IML, UPDATE_PMCFG, UPDATE_FEATURE) = range(0xCAFE0000, 0xCAFE000A)
(GET_QUEUE_STATUS, GET_STATS, GET_LINK, GET_PERM_MAC_LO, GET_PERM_MAC_HI, GET_DID_LO, GET_DID_HI,
 GET_EXTRA, GET_CONF_INTR) = range(0xF00D0000, 0xF00D0009)
# fmt: on


@dataclass(frozen=True, slots=True)
class Plugged:
    """A board with one adapter."""

    board: Board
    nic: Vmxnet3
    cable: Cable


def plugged(machine: Machine) -> Plugged:
    board, cable = Board(machine), Cable()
    nic = Vmxnet3(GUEST, cable, machine.after)
    board.add(nic, slot=SLOT)
    nic.function.place((PT, VD, MESSAGES))
    return Plugged(board, nic, cable)


def rules(area: str, priority: int = 1) -> Callable[..., HostScript]:
    """A maker of cases that walk ``steps``; ``where`` is the part of the header that has the rule."""

    def rule(id: str, title: str, where: str, *steps: Step | Steps, **more: Any) -> HostScript:  # noqa: A002
        cite = (Cite("VMXNET3 interface header (vmxnet3_defs.h)", where),)
        return script(id, title, area, cite, plugged, *steps, **({"priority": priority} | more))

    return rule


def command(number: int, expect: int | tuple[int, ...] | None = 0) -> Steps:
    """Give a command and read its result."""
    return Store(CMD, 4, number), Load(CMD, 4, expect)


def locate(address: int = SHARED) -> Steps:
    return Store(DSAL, 4, address & 0xFFFF_FFFF), Store(DSAH, 4, address >> 32)


def laid_out(area: bytes | None = None, queues: Iterable[bytes] | None = None) -> Steps:
    """The shared area and the table of queues are in memory."""
    table = (tx_queue(), rx_queue()) if queues is None else tuple(queues)
    return Put(SHARED, shared() if area is None else area), Put(QUEUES, b"".join(table))


def activated(
    area: bytes | None = None, queues: Iterable[bytes] | None = None, expect: int | tuple[int, ...] = 0
) -> Steps:
    return laid_out(area, queues), locate(), command(ACTIVATE, expect)


def refused(area: bytes | None = None, queues: Iterable[bytes] | None = None) -> Steps:
    """It does not become active, and is well: bells do nothing, and it becomes active when all is right."""
    return (
        laid_out(area, queues), locate(),
        Store(CMD, 4, ACTIVATE), Load(CMD, 4, tuple(range(1, 256))), silent(),
    )  # fmt: skip


def silent() -> Steps:
    """Bells move nothing, and what arrives goes nowhere."""

    def hear(plugged: Plugged) -> Iterable[Check]:
        before = len(plugged.cable.sent)
        taken = plugged.cable.receive(b"\xff" * 64)
        yield Check("frames sent", "0", str(before), before == 0)
        yield Check("a frame that arrives is taken from the port", "True", str(taken), taken)

    return Store(TXPROD, 4, 1), Store(RXPROD, 4, 1), Host(hear), Load(VRRS, 4, 1)


def tx_bell(value: int, queue: int = 0) -> Step:
    return Store(TXPROD + 8 * queue, 4, value)


def rx_bell(value: int, queue: int = 0) -> Step:
    return Store(RXPROD + 8 * queue, 4, value)


def in_tx_ring(*descriptors: bytes, at: int = 0) -> Step:
    return Put(TX_RING + 16 * at, b"".join(descriptors))


def in_rx_ring(*descriptors: bytes, at: int = 0) -> Step:
    return Put(RX_RING + 16 * at, b"".join(descriptors))


def sent(*frames: bytes) -> Step:
    """Exactly these frames have left."""
    return Host(lambda plugged: plugged.cable.checks(*frames))


def arrives(*frames: bytes) -> Step:
    """Frames come from the cable."""

    def deliver(plugged: Plugged) -> None:
        for frame in frames:
            plugged.cable.receive(frame)

    return Host(deliver)


def link(up: bool) -> Step:
    return Host(lambda plugged: plugged.nic.set_link(up))


def tx_completed(number: int, index: int | None = None, *, gen: int = 1) -> Steps:
    """Completion ``number`` names the descriptor ``index``; nothing else is in it."""
    at = TX_COMPLETIONS + 16 * number
    return Load(at, 4, number if index is None else index, 0xFFF), Load(at + 12, 4, gen << 31)


def no_tx_completion(number: int, *, gen: int = 0) -> Step:
    return Load(TX_COMPLETIONS + 16 * number + 12, 4, gen << 31)


SOP, EOP = 1 << 15, 1 << 14


def rx_completed(
    number: int, length: int, index: int | None = None, *, ends: int = SOP | EOP, ring: int = 0, gen: int = 1
) -> Steps:
    """Completion ``number``: index, ends and queue, its length without flags, its type and generation."""
    at = RX_COMPLETIONS + 16 * number
    first = (number if index is None else index) | ends | ring << 16
    return (
        Load(at, 4, first, 0x03FF_CFFF),
        Load(at + 8, 4, length, 0x7FFF),
        Load(at + 12, 4, gen << 31 | 3 << 24, 0xFF00_0000),
    )


def no_rx_completion(number: int) -> Step:
    return Load(RX_COMPLETIONS + 16 * number + 12, 4, 0)


def holds(address: int, data: bytes) -> Steps:
    """Guest memory has these bytes, as the guest reads them."""
    words = (data[at : at + 8] for at in range(0, len(data), 8))
    return tuple(
        Load(address + 8 * n, 8, int.from_bytes(word, "little"), (1 << 8 * len(word)) - 1)
        for n, word in enumerate(words)
    )


def messages(count: int = 2) -> Steps:
    """MSI-X is on, and interrupt n comes as vector ``FIRST_VECTOR`` + n, which is handled."""
    table = (
        Store(MESSAGES + 16 * n + at, 4, value)
        for n in range(count)
        for at, value in ((0, 0xFEE0_0000), (4, 0), (8, FIRST_VECTOR + n), (12, 0))
    )
    handled = (Handle(FIRST_VECTOR + n) for n in range(count))
    return *table, ConfigWrite(FUNCTION, MSIX_CONTROL, 2, 0x8000), *handled


def unmask(number: int) -> Step:
    return Store(IMR + 8 * number, 4, 0)


def mask(number: int) -> Step:
    return Store(IMR + 8 * number, 4, 1)
