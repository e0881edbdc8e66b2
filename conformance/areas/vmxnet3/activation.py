"""From the shared area to rings that run, and back.

ACTIVATE reads the shared area and the table of queues, clears the completion rings, and says 0; where something cannot
be, it says something else, and the adapter stays as it was.  QUIESCE stops all that moves; RESET also masks all
interrupts and forgets the shared area.
"""

from __future__ import annotations

from virtproof.conformance.case import Case
from virtproof.conformance.device_script import Fill, Load, Put, Store
from virtproof.conformance.packets import plain
from virtproof.conformance.vmxnet3_driver import (
    ACTIVATE,
    IMR,
    QUIESCE,
    RESET,
    activated,
    arrives,
    command,
    in_rx_ring,
    in_tx_ring,
    laid_out,
    locate,
    no_rx_completion,
    no_tx_completion,
    refused,
    rules,
    rx_completed,
    sent,
    tx_bell,
    tx_completed,
    unmask,
)
from virtproof.conformance.vmxnet3_layout import (
    OUTGOING,
    QUEUES,
    RX_COMPLETIONS,
    RX_RING,
    SHARED,
    TX_COMPLETIONS,
    TX_RING,
    rx_descriptors,
    rx_queue,
    shared,
    tx_descriptor,
    tx_queue,
)
from virtproof.spec.vmxnet3 import MAGIC

rule = rules("vmxnet3")
FAILED = tuple(range(1, 256))
IPXE = (tx_queue(size=32, completion_size=32), rx_queue(size=32, size1=0, completion_size=32, ring1=0))
EIGHT = rx_descriptors(8)  # buffers that iPXE keeps in the ring

# fmt: off
CASES: tuple[Case, ...] = (
    rule("vmxnet3.activate.ok", "ACTIVATE gives 0 where all is right", "VMXNET3_CMD_ACTIVATE_DEV",
         activated(), in_tx_ring(tx_descriptor()), tx_bell(1), sent(bytes(60))),
    rule("vmxnet3.activate.bad_magic", "A wrong magic is refused, and the right one works then", "VMXNET3_REV1_MAGIC",
         in_tx_ring(tx_descriptor()), refused(shared(magic=0)),
         Store(SHARED, 4, MAGIC), command(ACTIVATE), tx_bell(1), sent(bytes(60))),
    rule("vmxnet3.activate.clears_comp", "No completion is there before the first", "VMXNET3_CMD_ACTIVATE_DEV",
         Fill(TX_COMPLETIONS, 32 * 16, (1 << 64) - 1), Fill(RX_COMPLETIONS, 64 * 16, (1 << 64) - 1), activated(),
         *(no_tx_completion(n) for n in (0, 1, 31)), *(no_rx_completion(n) for n in (0, 1, 63)),
         Load(TX_COMPLETIONS + 32 * 16, 8, 0), priority=2),
    rule("vmxnet3.activate.tx_threshold", "ACTIVATE writes how many packets may wait for the bell", "Vmxnet3_TxQueueCtrl",
         activated(), Load(QUEUES + 4, 4, (1, 2, 4, 8, 16, 32)), priority=2),
    rule("vmxnet3.activate.idempotent", "ACTIVATE of what is active leaves the rings where they are", "VMXNET3_CMD_ACTIVATE_DEV",
         in_tx_ring(*[tx_descriptor()] * 2, tx_descriptor(OUTGOING + 0x800)), Put(OUTGOING + 0x800, plain()), in_rx_ring(rx_descriptors(2)),
         activated(), Store(TX_RING + 32 + 8, 4, 60), tx_bell(2), arrives(plain()), sent(bytes(60), bytes(60)),
         command(ACTIVATE), tx_completed(1), Store(TX_RING + 32 + 8, 4, 60 | 1 << 14), tx_bell(3), arrives(plain()),
         sent(bytes(60), bytes(60), plain()), tx_completed(2), rx_completed(1, 60), priority=2),
    rule("vmxnet3.quiesce", "QUIESCE stops what moves, until it is active again", "VMXNET3_CMD_QUIESCE_DEV",
         in_tx_ring(tx_descriptor()), in_rx_ring(rx_descriptors(1)), activated(), unmask(0), command(QUIESCE, None),
         tx_bell(1), arrives(plain()), sent(), no_tx_completion(0), no_rx_completion(0), Load(IMR, 4, 0),
         command(ACTIVATE), tx_bell(1), arrives(plain()), sent(bytes(60)), tx_completed(0), rx_completed(0, 60)),
    rule("vmxnet3.reset", "RESET masks all interrupts and forgets the shared area", "VMXNET3_CMD_RESET_DEV",
         in_tx_ring(tx_descriptor()), activated(), unmask(0), unmask(24), Load(IMR, 4, 0), command(RESET, None),
         Load(IMR, 4, 1), Load(IMR + 24 * 8, 4, 1), tx_bell(1), sent(), command(ACTIVATE, FAILED),
         locate(), command(ACTIVATE), tx_bell(1), sent(bytes(60))),
    rule("vmxnet3.imr.reset", "Interrupts are masked at first, each for itself", "VMXNET3_REG_IMR",
         *(Load(IMR + 8 * n, 4, 1) for n in (0, 1, 24)), Store(IMR + 8, 4, 0),
         Load(IMR, 4, 1), Load(IMR + 8, 4, 0), Load(IMR + 16, 4, 1), Store(IMR + 8, 4, 1), Load(IMR + 8, 4, 1)),
    rule("vmxnet3.ring.sizes32", "Rings of 32 entries are enough, and ring 1 may be absent", "VMXNET3_RING_SIZE_ALIGN",
         Put(OUTGOING, plain()), laid_out(shared(interrupts=1, event=0, control=1, mode=0x0B), IPXE), locate(), command(ACTIVATE),
         Put(RX_RING, EIGHT), in_tx_ring(*[tx_descriptor()] * 32), tx_bell(0), sent(*[plain()] * 32), tx_completed(31),
         arrives(*(plain(seed=n) for n in range(8)), plain()), rx_completed(7, 60), no_rx_completion(8)),
)
# fmt: on
