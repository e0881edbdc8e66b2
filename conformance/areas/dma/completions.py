"""Each controller: what it moved is in memory before what says so, and that before the interrupt."""

from functools import partial

from virtproof.conformance import e1000, mpt_driver, virtio, vmxnet3_driver
from virtproof.conformance.case import Case
from virtproof.conformance.device_script import Put
from virtproof.conformance.dma_order import INTERRUPT, Place, in_order
from virtproof.conformance.packets import plain
from virtproof.conformance.scsi_rig import read10
from virtproof.conformance.vmxnet3_layout import (
    INCOMING,
    OUTGOING,
    RX_COMPLETIONS,
    TX_COMPLETIONS,
    rx_descriptors,
    tx_descriptor,
)
from virtproof.spec import fusion_mpt as mpt
from virtproof.spec.e1000 import IMS, TDT
from virtproof.vmm.pci.function import Function

adapter = partial(e1000.cases("'Receive Descriptor Status Field', 'Transmit Descriptor Status Field'"), area="dma")
paravirtual = vmxnet3_driver.rules("dma")
queue = virtio.family("dma", "'Supplying Used Buffers to the Driver' and 'The Virtqueue Used Ring'")
fusion = mpt_driver.rules("dma")

FRAME = e1000.frame(60)
TXDW, RXT0 = 0x01, 0x80
_, _, USED = virtio.rings(0)
READ_5 = bytes(8) + (5).to_bytes(8, "little")


def nic(rig: e1000.Rig | vmxnet3_driver.Plugged) -> Function:
    return rig.nic.function


def virtio_function(rig: virtio.Rig) -> Function:
    function: Function = rig.device.function
    return function


# fmt: off
CASES: tuple[Case, ...] = (
    adapter("dma.order.e1000_rx", "e1000: a frame, then its descriptor, then RXT0",
            e1000.write(IMS, RXT0), e1000.receiver(),
            in_order(nic, (Place("the frame", e1000.BUFFERS, 60), Place("DD", e1000.RX_RING + 12, 1), INTERRUPT), e1000.arrives(FRAME)),
            e1000.received(0, 60, 7), e1000.stored(0, FRAME)),
    adapter("dma.order.e1000_tx", "e1000: DD of a frame that was sent, then TXDW",
            e1000.write(IMS, TXDW), e1000.lay(e1000.legacy(FRAME, rs=1)), e1000.transmitter(),
            in_order(nic, (Place("DD", e1000.TX_RING + 12, 1), INTERRUPT), e1000.write(TDT, 1)), e1000.done(0), e1000.leaves(FRAME)),
    paravirtual("dma.order.vmxnet3_rx", "VMXNET3: a frame, then its completion, then the interrupt", "Vmxnet3_RxCompDesc",
         vmxnet3_driver.in_rx_ring(rx_descriptors(2)), vmxnet3_driver.activated(), vmxnet3_driver.unmask(0), vmxnet3_driver.rx_bell(2),
         in_order(nic, (Place("the frame", INCOMING, 60), Place("the completion", RX_COMPLETIONS, 16), INTERRUPT), vmxnet3_driver.arrives(plain(60))),
         vmxnet3_driver.rx_completed(0, 60), vmxnet3_driver.holds(INCOMING, plain(60))),
    paravirtual("dma.order.vmxnet3_tx", "VMXNET3: the completion of a frame that was sent, then the interrupt", "Vmxnet3_TxCompDesc",
         Put(OUTGOING, plain(60)), vmxnet3_driver.in_tx_ring(tx_descriptor()), vmxnet3_driver.activated(), vmxnet3_driver.unmask(0),
         in_order(nic, (Place("the completion", TX_COMPLETIONS, 16), INTERRUPT), vmxnet3_driver.tx_bell(1)),
         vmxnet3_driver.sent(plain(60)), vmxnet3_driver.tx_completed(0)),
    queue("dma.order.virtio", "virtio: data, then the entry of the used ring, then its index, then the interrupt", virtio.blk,
          virtio.data(0, READ_5), virtio.chain(0, 0, virtio.out(0, 16), virtio.into(0, 512), virtio.into(1, 1)), virtio.start(),
          in_order(virtio_function, (Place("the data", virtio.IN, 512), Place("the entry", USED + 4, 8), Place("the index", USED + 2, 2), INTERRUPT), virtio.send(0, 0)),
          virtio.used(0, 0, 0, 513), virtio.content(0, virtio.CONTENT[5 * 512 : 6 * 512]), virtio.isr(1)),
    fusion("dma.order.lsi", "Fusion-MPT: data, then the interrupt", "SCSI IO",
            mpt_driver.io(0, read10(2, 1), 512, mpt_driver.READ), mpt_driver.started(), mpt_driver.put(mpt.HOST_INTERRUPT_MASK, 0),
            in_order(lambda rig: rig.controller.function, (Place("the data", mpt_driver.BUFFER, 512), INTERRUPT), mpt_driver.post(0)),
            mpt_driver.context(0), mpt_driver.EMPTY),
    fusion("dma.order.lsi_error", "Fusion-MPT: sense data, then the reply, then the interrupt", "SCSI IO error reply",
            mpt_driver.io(0, mpt_driver.BAD_LBA, 512, mpt_driver.READ), mpt_driver.started(), mpt_driver.put(mpt.HOST_INTERRUPT_MASK, 0),
            in_order(lambda rig: rig.controller.function, (Place("the sense data", mpt_driver.SENSE, 18), Place("the reply", mpt_driver.REPLIES, 20), INTERRUPT), mpt_driver.post(0)),
            mpt_driver.told(0, 0, 0, scsi=2, moved=0), mpt_driver.EMPTY),
)
# fmt: on
