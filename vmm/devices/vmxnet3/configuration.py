"""What the driver has laid out in memory when it activates the adapter: read once, checked, and made into queues."""

from dataclasses import dataclass

from virtproof.spec import vmxnet3 as spec
from virtproof.spec.vmxnet3 import RxQueueConf, Shared, TxQueueConf
from virtproof.vmm.devices.vmxnet3.rx import RxQueue
from virtproof.vmm.devices.vmxnet3.tx import TxQueue
from virtproof.vmm.network.port import Port
from virtproof.vmm.pci.function import Function


class ConfigurationError(Exception):
    """The driver asks for what there is not."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The shared area, and where it and the descriptors of the queues lie."""

    address: int
    shared: Shared
    tx: tuple[TxQueueConf, ...]
    rx: tuple[RxQueueConf, ...]

    @classmethod
    def read(cls, function: Function, address: int) -> "Configuration":
        """Raises ConfigurationError, and DmaError where something is not in memory."""
        shared = Shared.unpack(function.dma_read(address, spec.SHARED_SIZE))
        if shared.magic != spec.MAGIC:
            raise ConfigurationError(f"magic {shared.magic:#x}")
        _within("queues that transmit", shared.tx_queues, 1, spec.TX_QUEUES)
        _within("queues that receive", shared.rx_queues, 1, spec.RX_QUEUES)
        _interrupt(shared.event_interrupt)
        if shared.queues % spec.QUEUE_ALIGN:
            raise ConfigurationError(f"the table of queues at {shared.queues:#x}")
        count = shared.tx_queues + shared.rx_queues
        table = function.dma_read(shared.queues, count * spec.QUEUE_SIZE)
        each = [table[at : at + spec.QUEUE_SIZE] for at in range(0, len(table), spec.QUEUE_SIZE)]
        tx = tuple(TxQueueConf.unpack(one) for one in each[: shared.tx_queues])
        rx = tuple(RxQueueConf.unpack(one) for one in each[shared.tx_queues :])
        found = cls(address, shared, tx, rx)
        found.check()
        return found

    def check(self) -> None:
        """Raises ConfigurationError where a queue is not as it may be."""
        for tx in self.tx:
            _interrupt(tx.interrupt)
            _ring(tx.ring, tx.size, spec.TX_RING_MAX, spec.RING_UNIT)
            _ring(tx.completion, tx.completion_size, spec.TX_COMPLETION_MAX)
        for rx in self.rx:
            _interrupt(rx.interrupt)
            _ring(rx.ring0, rx.size0, spec.RX_RING_MAX, spec.RING_UNIT)
            _ring(rx.completion, rx.completion_size, spec.RX_COMPLETION_MAX)
            if rx.size1:
                _ring(rx.ring1, rx.size1, spec.RX_RING_MAX, spec.RING_UNIT)

    def queue(self, number: int) -> int:
        """Address of a descriptor in the table of queues: first those that transmit."""
        return self.shared.queues + number * spec.QUEUE_SIZE

    def queues(self, function: Function, port: Port) -> tuple[list[TxQueue], list[RxQueue]]:
        shared, sent = self.shared, len(self.tx)
        return (
            [TxQueue(function, port, conf, self.queue(number)) for number, conf in enumerate(self.tx)],
            [
                RxQueue(
                    function,
                    conf,
                    self.queue(sent + number),
                    number=number,
                    queues=len(self.rx),
                    pieces=shared.max_rx_pieces,
                    features=shared.features,
                )
                for number, conf in enumerate(self.rx)
            ],
        )


def _within(what: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ConfigurationError(f"{value} {what}")


def _interrupt(number: int) -> None:
    _within("as the number of an interrupt", number, 0, spec.INTERRUPTS - 1)


def _ring(address: int, size: int, most: int, unit: int = 1) -> None:
    _within("entries of a ring", size, unit, most)
    if size % unit or address % spec.RING_ALIGN:
        raise ConfigurationError(f"a ring of {size} entries at {address:#x}")
