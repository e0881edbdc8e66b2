"""Registers and commands that need no rings.

BAR 0 has what a guest writes often: a mask for each interrupt, and the bells of the rings.  BAR 1 has the rest: the driver
chooses a revision, gives the address of an area that it shares with the adapter, and commands.  A command is written to
CMD, and reading CMD gives its result; what is no command gives 0.  Events are bits in the shared area, which the driver
clears through ECR.
"""

from __future__ import annotations

from virtproof.conformance.case import Case
from virtproof.conformance.device_script import ConfigRead, ConfigWrite, Fill, Interrupts, Load, Put, Store
from virtproof.conformance.packets import GUEST, plain
from virtproof.conformance.vmxnet3_driver import (
    ACTIVATE,
    DSAH,
    DSAL,
    ECR,
    FIRST_VECTOR,
    FUNCTION,
    GET_CONF_INTR,
    GET_DID_HI,
    GET_DID_LO,
    GET_LINK,
    GET_PERM_MAC_HI,
    GET_PERM_MAC_LO,
    GET_QUEUE_STATUS,
    GET_STATS,
    MACH,
    MACL,
    RESET,
    SHARED_ECR,
    UVRS,
    VRRS,
    activated,
    arrives,
    command,
    in_rx_ring,
    in_tx_ring,
    laid_out,
    link,
    locate,
    messages,
    no_rx_completion,
    rules,
    rx_completed,
    sent,
    tx_bell,
    unmask,
)
from virtproof.conformance.vmxnet3_layout import (
    OUTGOING,
    QUEUES,
    SHARED,
    rx_descriptors,
    rx_queue,
    tx_descriptor,
    tx_queue,
)

rule = rules("vmxnet3")
UP = (0x27100001, 0x03E80001)  # ten gigabits or one
OTHER = bytes.fromhex("0200000000AA")
LAST_VECTOR = 24
UNKNOWN = (0xF00D00FF, 0xCAFE0FFF, 0, 0xFFFF_FFFF)
BAD = 1 << 40  # no memory there


def half(address: bytes, high: bool) -> int:
    return int.from_bytes(address[4:] if high else address[:4], "little")


def window(bar: int, mask: int) -> tuple[ConfigWrite | ConfigRead, ...]:
    at = 0x10 + 4 * bar
    return ConfigWrite(FUNCTION, at, 4, 0xFFFF_FFFF), ConfigRead(FUNCTION, at, 4, mask)


# fmt: off
CASES: tuple[Case, ...] = (
    rule("vmxnet3.pci.identity", "15AD:07B0, revision 1, an Ethernet controller with windows of 4, 4 and 8 KiB", "PCI identity",
         ConfigRead(FUNCTION, 0x00, 4, 0x07B0_15AD), ConfigRead(FUNCTION, 0x08, 4, 0x0200_0001),
         ConfigRead(FUNCTION, 0x2C, 4, 0x07B0_15AD), ConfigRead(FUNCTION, 0x3D, 1, 1), ConfigWrite(FUNCTION, 0x04, 2, 0),
         window(0, 0xFFFF_F000), window(1, 0xFFFF_F000), window(2, 0xFFFF_E000), window(3, 0)),
    rule("vmxnet3.pci.msix25", "MSI-X has 25 vectors in BAR 2, its pending bits at 1000H", "PCI identity",
         ConfigRead(FUNCTION, 0x9C, 1, 0x11), ConfigRead(FUNCTION, 0x9E, 2, LAST_VECTOR),
         ConfigRead(FUNCTION, 0xA0, 4, 0x0000_0002), ConfigRead(FUNCTION, 0xA4, 4, 0x0000_1002),
         ConfigRead(FUNCTION, 0x84, 1, 0x05), ConfigRead(FUNCTION, 0x06, 2, 0x10, 0x10)),
    rule("vmxnet3.vrrs.read",   "VRRS says which revisions there are",   "VMXNET3_REG_VRRS", Load(VRRS, 4, 1, 1)),
    rule("vmxnet3.uvrs.read",   "UVRS says which versions of UPT there are", "VMXNET3_REG_UVRS", Load(UVRS, 4, 1)),
    rule("vmxnet3.vrrs.select", "Revision 1 is chosen and works",        "VMXNET3_REG_VRRS",
         Store(VRRS, 4, 1), Store(UVRS, 4, 1), Load(VRRS, 4, 1, 1), activated()),
    rule("vmxnet3.mac.perm",    "Two commands give the permanent address", "VMXNET3_CMD_GET_PERM_MAC_LO",
         command(GET_PERM_MAC_LO, half(GUEST, False)), command(GET_PERM_MAC_HI, half(GUEST, True))),
    rule("vmxnet3.mac.current", "MACL and MACH have the address that counts", "VMXNET3_REG_MACL",
         Load(MACL, 4, half(GUEST, False)), Load(MACH, 4, half(GUEST, True)),
         Store(MACL, 4, half(OTHER, False)), Store(MACH, 4, half(OTHER, True)),
         Load(MACL, 4, half(OTHER, False)), Load(MACH, 4, half(OTHER, True)),
         command(GET_PERM_MAC_LO, half(GUEST, False)),
         in_rx_ring(rx_descriptors(4)), activated(),
         arrives(plain(to=GUEST)), no_rx_completion(0), arrives(plain(to=OTHER)), rx_completed(0, 60)),
    rule("vmxnet3.mac.reset",   "RESET brings the permanent address back", "VMXNET3_CMD_RESET_DEV",
         Store(MACL, 4, half(OTHER, False)), Store(MACH, 4, half(OTHER, True)), command(RESET),
         Load(MACL, 4, half(GUEST, False)), Load(MACH, 4, half(GUEST, True)), priority=2),
    rule("vmxnet3.link.up",     "GET_LINK gives the speed, and that the link is up", "VMXNET3_CMD_GET_LINK",
         command(GET_LINK, UP)),
    rule("vmxnet3.link.down_event", "A link that goes is an event, with an interrupt", "VMXNET3_ECR_LINK",
         messages(), activated(), unmask(1), Load(SHARED_ECR, 4, 0), link(False),
         Load(SHARED_ECR, 4, 4), Interrupts(FIRST_VECTOR + 1, 1), command(GET_LINK, 0),
         Store(ECR, 4, 4), link(True), Load(SHARED_ECR, 4, 4), Interrupts(FIRST_VECTOR + 1, 2), command(GET_LINK, UP)),
    rule("vmxnet3.ecr.ack",     "Ones written to ECR clear events in the shared area", "VMXNET3_REG_ECR",
         activated(), link(False), Load(SHARED_ECR, 4, 4), Store(ECR, 4, 3), Load(SHARED_ECR, 4, 4),
         Store(ECR, 4, 4), Load(SHARED_ECR, 4, 0)),
    rule("vmxnet3.did",         "Two commands give the device and its revision", "VMXNET3_CMD_GET_DID_LO",
         command(GET_DID_LO, 0x07B0), command(GET_DID_HI, 1), priority=3),
    rule("vmxnet3.conf_intr",   "GET_CONF_INTR says which interrupts the driver may use", "VMXNET3_CMD_GET_CONF_INTR",
         command(GET_CONF_INTR, 0)),
    rule("vmxnet3.cmd.unknown", "What is no command gives 0 and does nothing", "VMXNET3_REG_CMD",
         command(GET_LINK, UP), *(command(number, 0) for number in UNKNOWN), command(GET_LINK, UP), priority=2),
    rule("vmxnet3.dsa.latch",   "The address of the shared area comes in two halves", "VMXNET3_REG_DSAL",
         laid_out(), command(ACTIVATE, (1, 2, 3)), Store(DSAL, 4, SHARED), Store(DSAH, 4, 1), command(ACTIVATE, (1, 2, 3)),
         Store(DSAL, 4, SHARED), Store(DSAH, 4, 0), command(ACTIVATE, 0)),
    rule("vmxnet3.dsa.zero_deactivates", "An address of 0 deactivates", "VMXNET3_REG_DSAL",
         in_tx_ring(tx_descriptor(), tx_descriptor()), in_rx_ring(rx_descriptors(1)), activated(), Store(DSAL, 4, 0),
         tx_bell(1), arrives(plain()), sent(), no_rx_completion(0), Load(SHARED_ECR, 4, 0),
         command(ACTIVATE, (1, 2, 3)), locate(), command(ACTIVATE), tx_bell(1), sent(bytes(60), bytes(60)), priority=2),
    rule("vmxnet3.stats.get",   "GET_STATS writes counters into the descriptors of the queues", "VMXNET3_CMD_GET_STATS",
         Put(OUTGOING, plain()), Put(OUTGOING + 0x800, plain(100, to=b"\xff" * 6)), in_rx_ring(rx_descriptors(1)), activated(),
         in_tx_ring(*[tx_descriptor()] * 3, tx_descriptor(OUTGOING + 0x800, 100)), tx_bell(4),
         arrives(plain(80), plain(), plain(to=b"\xff" * 6)),
         Load(QUEUES + 88 + 16, 8, 0), command(GET_STATS, None),
         *(Load(QUEUES + 88 + 8 * n, 8, value) for n, value in enumerate((0, 0, 3, 180, 0, 0, 1, 100, 0, 0))),
         *(Load(QUEUES + 256 + 88 + 8 * n, 8, value) for n, value in enumerate((0, 0, 1, 80, 0, 0, 0, 0, 2, 0))), priority=2),
    rule("vmxnet3.queue_status", "GET_QUEUE_STATUS writes which queues have stopped and why", "VMXNET3_CMD_GET_QUEUE_STATUS",
         in_tx_ring(tx_descriptor(BAD)), activated(queues=(tx_queue(), rx_queue())), tx_bell(1),
         Fill(QUEUES + 80, 8, 0x55, 1), Fill(QUEUES + 256 + 80, 8, 0x55, 1), command(GET_QUEUE_STATUS),
         Load(QUEUES + 80, 1, 1), Load(QUEUES + 84, 4, tuple(range(0x80000000, 0x80000008))),
         Load(QUEUES + 256 + 80, 1, 0), Load(QUEUES + 256 + 84, 4, 0), priority=2),
)
# fmt: on
