"""An adapter that takes as many frames as it has room for, and a loop whose time stands still."""

import pytest

from virtproof.vmm.events import EventLoop, ManualClock
from virtproof.vmm.network.port import Port


class Adapter:
    """What is at the end of a cable."""

    def __init__(self, port: Port, room: int = 1 << 30) -> None:
        self.port, self.room = port, room
        self.received: list[bytes] = []
        port.connect(self.receive)

    def receive(self, frame: bytes) -> bool:
        if self.room == 0:
            return False
        self.room -= 1
        self.received.append(frame)
        return True


class Bench:
    """A loop with a clock of its own."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.loop = EventLoop(self.clock)

    def poll(self, times: int = 8) -> None:
        for _ in range(times):
            self.loop.poll()

    def pass_time(self, ns: int) -> None:
        self.clock.advance(ns)
        self.poll()


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.loop.close()


def frame(number: int = 0, size: int = 60, to: bytes = b"\xff" * 6, source: bytes = b"\x02\0\0\0\0\1") -> bytes:
    return (to + source + b"\x88\xb5" + number.to_bytes(4, "big")).ljust(size, b"\0")
