"""Controllers write in the wrong order: all of it arrives, but what says that it is there comes first."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from tests.mutants.mutant import How, of
from virtproof.conformance import e1000, mpt_driver, pvscsi_driver, virtio
from virtproof.conformance.vmxnet3_layout import INCOMING, RX_COMPLETIONS, TX_COMPLETIONS
from virtproof.spec.pvscsi import CMP_PROD
from virtproof.vmm.pci.function import Function

order = of("dma", "pvscsi.cmp.*")
_, _, USED = virtio.rings(0)
DD, SENT = e1000.RX_RING + 12, e1000.TX_RING + 12
SHOWN = pvscsi_driver.STATE + CMP_PROD


def late(address: int, behind: int | None = None) -> How:
    """What is written to ``address`` arrives behind what is written to ``behind``, or else behind the interrupt."""

    def how() -> AbstractContextManager[Any]:
        held: list[tuple[int, bytes]] = []
        write, pin, message = Function.dma_write, Function.set_intx, Function.send_message

        def release(self: Function) -> None:
            while held:
                write(self, *held.pop(0))

        def dma_write(self: Function, gpa: int, data: bytes) -> None:
            if gpa <= address < gpa + len(data):
                held.append((gpa, bytes(data)))
                return
            write(self, gpa, data)
            if behind is not None and gpa <= behind < gpa + len(data):
                release(self)

        def set_intx(self: Function, level: bool) -> None:
            pin(self, level)
            if level:
                release(self)

        def send_message(self: Function, vector: int = 0) -> bool:
            sent = message(self, vector)
            if sent:
                release(self)
            return sent

        return patch.multiple(Function, dma_write=dma_write, set_intx=set_intx, send_message=send_message)

    return how


# fmt: off
MUTANTS = (
    order("order.e1000_frame",     "DD comes before the frame",                    late(e1000.BUFFERS, DD),             "dma.order.e1000_rx"),
    order("order.e1000_received",  "RXT0 comes before DD",                         late(DD),                            "dma.order.e1000_rx"),
    order("order.e1000_sent",      "TXDW comes before DD",                         late(SENT),                          "dma.order.e1000_tx"),
    order("order.vmxnet3_frame",   "The completion comes before the frame",        late(INCOMING, RX_COMPLETIONS),      "dma.order.vmxnet3_rx"),
    order("order.vmxnet3_received", "The interrupt comes before the completion",   late(RX_COMPLETIONS),                "dma.order.vmxnet3_rx"),
    order("order.vmxnet3_sent",    "... so for a frame that was sent",             late(TX_COMPLETIONS),                "dma.order.vmxnet3_tx"),
    order("order.virtio_data",     "The entry of the used ring comes before data", late(virtio.IN, USED + 4),           "dma.order.virtio"),
    order("order.virtio_entry",    "The index comes before the entry",             late(USED + 4, USED + 2),            "dma.order.virtio"),
    order("order.virtio_index",    "The interrupt comes before the index",         late(USED + 2),                      "dma.order.virtio"),
    order("order.lsi_data",        "The interrupt comes before data",              late(mpt_driver.BUFFER),             "dma.order.lsi"),
    order("order.lsi_sense",       "The reply comes before sense data",            late(mpt_driver.SENSE, mpt_driver.REPLIES), "dma.order.lsi_error"),
    order("order.lsi_reply",       "The interrupt comes before the reply",         late(mpt_driver.REPLIES),            "dma.order.lsi_error"),
    order("order.pvscsi_data",     "The completion comes before data",             late(pvscsi_driver.BUFFER, pvscsi_driver.COMPLETIONS), "pvscsi.cmp.order"),
    order("order.pvscsi_completion", "cmpProdIdx comes before the completion",     late(pvscsi_driver.COMPLETIONS, SHOWN), "pvscsi.cmp.order"),
    order("order.pvscsi_early",    "cmpProdIdx and interrupt come before the completion", late(pvscsi_driver.COMPLETIONS), "pvscsi.cmp.order"),
    order("order.pvscsi_index",    "The interrupt comes before cmpProdIdx",        late(SHOWN),                         "pvscsi.cmp.order"),
)
# fmt: on
