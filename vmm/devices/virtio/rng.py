"""virtio-rng: VIRTIO 1.2, "Entropy Device"."""

from __future__ import annotations

import os
from collections.abc import Callable

from virtproof.spec.virtio import DeviceId
from virtproof.vmm.devices.virtio.queue import Chain
from virtproof.vmm.devices.virtio.transport import PciPersonality
from virtproof.vmm.events import After

MOST = 4096  # bytes for one request, whatever its room


class VirtioRng(PciPersonality):
    """Fills requests from ``source``, which makes that many random bytes."""

    kind = DeviceId.ENTROPY
    queue_sizes = (64,)

    def __init__(self, after: After, *, source: Callable[[int], bytes] = os.urandom, legacy: bool = True) -> None:
        self._source = source
        super().__init__(after, legacy=legacy)

    def serve(self, queue: int, chain: Chain) -> int:
        return chain.write(self._source(min(chain.to_write, MOST)))
