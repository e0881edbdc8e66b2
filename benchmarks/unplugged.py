"""What the benchmarks of device models connect them to: guest memory without a VM, and wires that lead nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from virtproof.vmm.memory import GuestMemory
from virtproof.vmm.network.port import Receive
from virtproof.vmm.qtest.system import Slots


class Unplugged:
    """A port, an interrupt pin and messages; ``receive`` is what the adapter takes frames by."""

    receive: Receive

    def send(self, frame: bytes) -> None: ...
    def connect(self, receive: Receive) -> None:
        self.receive = receive

    def ready(self) -> None: ...
    def set_intx(self, level: bool) -> None: ...
    def send_msi(self, address: int, data: int) -> None: ...


@contextmanager
def guest_memory(size: int) -> Iterator[GuestMemory]:
    """Memory from address 0 on, reached through a slot as in a machine."""
    with GuestMemory(Slots()) as memory:
        memory.add(0, size)
        yield memory
