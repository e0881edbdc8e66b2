"""Interrupts: each queue and the events have one of 25, which can be masked; they are messages, or share the pin.

A driver that lets the adapter mask interrupts for it unmasks each by writing 0 to its IMR, whatever IMR held.  A bit in
the shared area, which the driver changes without saying so, switches all interrupts off.
"""

from __future__ import annotations

from virtproof.conformance.case import Case
from virtproof.conformance.device_script import ConfigRead, ConfigWrite, Handle, Interrupts, Load, Pic, Steps, Store
from virtproof.conformance.packets import plain
from virtproof.conformance.vmxnet3_driver import (
    FIRST_VECTOR,
    FUNCTION,
    ICR,
    IMR,
    SHARED_CONTROL,
    activated,
    arrives,
    in_rx_ring,
    in_tx_ring,
    mask,
    messages,
    rules,
    rx_completed,
    tx_bell,
    tx_completed,
    unmask,
)
from virtproof.conformance.vmxnet3_layout import TX_RING, rx_descriptors, rx_queue, shared, tx_descriptor, tx_queue

rule = rules("vmxnet3")
QUEUE, EVENTS, RECEIVING = FIRST_VECTOR, FIRST_VECTOR + 1, FIRST_VECTOR + 2
QUEUES = (tx_queue(), rx_queue(interrupt=2))
BRIDGE, PIRQ_C_ROUTE, IRQ = 1 << 3, 0x62, 10  # pin A of device 3 is the board's third line
PIN = 0x20 + IRQ
INTERRUPT_PENDING = 1 << 3  # of the status register


def packet(n: int) -> Steps:
    """Packet n is given away and sent."""
    return Store(TX_RING + 16 * n + 8, 4, 60 | 1 << 14), tx_bell(n + 1), tx_completed(n)


def to_pic(*handler: Load | Store) -> Steps:
    return ConfigWrite(BRIDGE, PIRQ_C_ROUTE, 1, IRQ), Pic(1 << IRQ, 1 << IRQ), Handle(PIN, handler)


IDLE = in_tx_ring(*[tx_descriptor(gen=0)] * 8)

# fmt: off
CASES: tuple[Case, ...] = (
    rule("vmxnet3.irq.tx", "A completion comes with the interrupt of its queue", "Vmxnet3_TxQueueConf, intrIdx",
         IDLE, messages(3), in_rx_ring(rx_descriptors(2)), activated(shared(interrupts=3), QUEUES), unmask(0), unmask(1), unmask(2),
         packet(0), Interrupts(QUEUE, 1), packet(1), Interrupts(QUEUE, 2), Interrupts(RECEIVING, 0),
         arrives(plain()), rx_completed(0, 60), Interrupts(RECEIVING, 1), Interrupts(EVENTS, 0), Load(ICR, 4, 0)),
    rule("vmxnet3.irq.masked", "What is masked comes when it is unmasked, once", "VMXNET3_REG_IMR",
         IDLE, messages(), activated(), packet(0), packet(1), Interrupts(QUEUE, 0), unmask(1), Interrupts(QUEUE, 0),
         unmask(0), Interrupts(QUEUE, 1), mask(0), unmask(0), Interrupts(QUEUE, 1), mask(0), packet(2), Interrupts(QUEUE, 1),
         unmask(0), Interrupts(QUEUE, 2)),
    rule("vmxnet3.irq.automask", "An interrupt masks itself, until 0 is written to its IMR", "Vmxnet3_IntrConf, autoMask",
         IDLE, messages(), activated(shared(auto_mask=1)), unmask(0), packet(0), Interrupts(QUEUE, 1), Load(IMR, 4, 1),
         packet(1), packet(2), Interrupts(QUEUE, 1), unmask(0), Interrupts(QUEUE, 2), unmask(0), Load(IMR, 4, 0), Interrupts(QUEUE, 2)),
    rule("vmxnet3.irq.intx_icr", "By the pin: reading ICR gives 1 once, and the pin falls", "VMXNET3_REG_ICR",
         IDLE, activated(), Load(ICR, 4, 0), unmask(0), packet(0), ConfigRead(FUNCTION, 0x06, 2, INTERRUPT_PENDING, INTERRUPT_PENDING),
         Load(ICR, 4, 1), ConfigRead(FUNCTION, 0x06, 2, 0, INTERRUPT_PENDING), Load(ICR, 4, 0),
         to_pic(Load(ICR, 4)), packet(1), Interrupts(PIN, 1), packet(2), Interrupts(PIN, 2), Load(ICR, 4, 0), Interrupts(PIN, 2), priority=2),
    rule("vmxnet3.irq.intx_automask", "By the pin an interrupt masks itself when ICR is read", "Vmxnet3_IntrConf, autoMask",
         IDLE, activated(shared(auto_mask=1)), unmask(0), packet(0), Load(IMR, 4, 0), Load(ICR, 4, 1), Load(IMR, 4, 1), packet(1), Load(ICR, 4, 0),
         unmask(0), Load(ICR, 4, 1), priority=3),
    rule("vmxnet3.irq.disable_all", "A bit in the shared area switches all interrupts off", "VMXNET3_IC_DISABLE_ALL",
         IDLE, messages(), activated(shared(control=1)), unmask(0), packet(0), packet(1), Interrupts(QUEUE, 0),
         Store(SHARED_CONTROL, 4, 0), packet(2), Interrupts(QUEUE, 1), Store(SHARED_CONTROL, 4, 1), packet(3), Interrupts(QUEUE, 1)),
)
# fmt: on
