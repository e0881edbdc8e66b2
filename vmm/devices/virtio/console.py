"""virtio-console: VIRTIO 1.2, "Console Device", one port.

Omitted: further ports, the size of the screen, emergency writes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from virtproof.spec import virtio_console as spec
from virtproof.spec.virtio import DeviceId
from virtproof.vmm.devices.virtio.queue import Chain, Queue
from virtproof.vmm.devices.virtio.transport import PciPersonality
from virtproof.vmm.events import After

QUEUE_SIZE = 64
LONGEST = 64 << 10  # bytes of one buffer that are sent, and bytes that wait for buffers


class VirtioConsole(PciPersonality):
    """``transmit`` gets what the guest writes."""

    kind = DeviceId.CONSOLE
    queue_sizes = QUEUE_SIZE, QUEUE_SIZE
    inputs = frozenset({spec.RECEIVE})

    def __init__(self, transmit: Callable[[bytes], None], after: After, *, legacy: bool = True) -> None:
        self._transmit = transmit
        self._waiting = bytearray()
        super().__init__(after, legacy=legacy)

    @property
    def room(self) -> int:
        """How many bytes ``receive`` takes without losing any."""
        return LONGEST - len(self._waiting)

    def receive(self, data: bytes) -> None:
        """Bytes arrive for the guest; what there is no room for is lost."""
        self._waiting += data[: self.room]
        self._deliver()

    def serve(self, queue: int, chain: Chain) -> int:
        self._transmit(chain.read(0, LONGEST))
        return 0

    def refilled(self, queue: int) -> None:
        self._deliver()

    def state(self) -> dict[str, Any]:
        return super().state() | {"waiting": self._waiting.hex()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        waiting = bytearray.fromhex(state["waiting"])
        if len(waiting) > LONGEST:
            raise ValueError(f"{len(waiting)} bytes wait")
        super().restore(state)
        self._waiting = waiting

    def _deliver(self) -> None:
        def put(queue: Queue) -> bool:
            for _ in range(queue.size):
                chain = queue.pop() if self._waiting else None
                if chain is None:
                    break
                length = chain.write(bytes(self._waiting[: chain.to_write]))
                del self._waiting[:length]
                queue.push(chain, length)
            return True

        self.virtio.give(spec.RECEIVE, put)
