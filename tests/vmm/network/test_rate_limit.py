"""The token bucket, on a clock that stands still."""

import random

import pytest

from tests.vmm.network.conftest import Adapter, Bench, frame
from virtproof.vmm.network.loopback import Loopback
from virtproof.vmm.network.port import LONGEST, Receive
from virtproof.vmm.network.rate_limit import WAITING, RateLimit

RATE = 1_000_000
MS = 1_000_000


class Wire:
    """A port that remembers what was sent; the test delivers."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.receive: Receive = lambda frame: True

    def send(self, frame: bytes) -> None:
        self.sent.append(frame)

    def connect(self, receive: Receive) -> None:
        self.receive = receive

    def ready(self) -> None:
        raise AssertionError("the limit keeps its own queue")


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def limit(bench: Bench, wire: Wire) -> RateLimit:
    return RateLimit(wire, bench.loop.after, bench.clock.now, rate=RATE)


def spend(port: RateLimit) -> None:
    """Use the burst up."""
    port.send(bytes(LONGEST))


def test_a_burst_passes_at_once_and_then_the_rate_rules(bench: Bench, wire: Wire, limit: RateLimit) -> None:
    spend(limit)
    for n in range(10):
        limit.send(frame(n, 1000))
    assert len(wire.sent) == 1
    bench.pass_time(MS - 1)
    assert len(wire.sent) == 1
    bench.pass_time(1)
    assert wire.sent[1:] == [frame(0, 1000)]
    bench.pass_time(9 * MS)
    assert wire.sent[1:] == [frame(n, 1000) for n in range(10)]


def test_idle_time_fills_no_more_than_the_burst(bench: Bench, wire: Wire, limit: RateLimit) -> None:
    spend(limit)
    bench.pass_time(3600 * 1000 * MS)
    for n in range(200):
        limit.send(frame(n, 1000))
    assert len(wire.sent) == 1 + LONGEST // 1000


def test_frames_that_arrive_are_limited_as_well(bench: Bench, wire: Wire, limit: RateLimit) -> None:
    adapter = Adapter(limit)
    assert wire.receive(bytes(LONGEST))
    assert wire.receive(frame(1, 1000))
    bench.poll()
    assert len(adapter.received) == 1
    bench.pass_time(MS)
    assert len(adapter.received) == 2
    spend(limit)
    assert len(wire.sent) == 1  # the directions have a bucket each


def test_an_adapter_without_room_gets_the_frame_later(bench: Bench, wire: Wire, limit: RateLimit) -> None:
    adapter = Adapter(limit, room=0)
    wire.receive(frame(1))
    bench.poll()
    adapter.room = 1
    limit.ready()
    bench.poll()
    assert adapter.received == [frame(1)]


def test_what_waits_is_bounded(bench: Bench, wire: Wire, limit: RateLimit) -> None:
    spend(limit)
    for n in range(2 * WAITING // 1000):
        limit.send(frame(n, 1000))
    assert limit.dropped == 2 * WAITING // 1000 - WAITING // 1000
    bench.pass_time(10_000 * MS)
    bench.pass_time(10_000 * MS)
    assert len(wire.sent) > LONGEST // 1000


@pytest.mark.parametrize("rate", [0, -1])
def test_a_rate_is_positive(bench: Bench, wire: Wire, rate: int) -> None:
    with pytest.raises(ValueError, match="rate"):
        RateLimit(wire, bench.loop.after, bench.clock.now, rate=rate)


def test_what_is_no_frame_is_dropped(wire: Wire, limit: RateLimit) -> None:
    for size in (0, LONGEST + 1):
        limit.send(bytes(size))
    assert wire.sent == []
    assert limit.dropped == 2


@pytest.mark.parametrize("seed", range(5))
def test_no_more_than_burst_and_rate_passes_and_no_less_than_was_offered(bench: Bench, wire: Wire, seed: int) -> None:
    source = random.Random(seed)
    rate = source.choice((1_000, 77_777, 10_000_000))
    limit = RateLimit(wire, bench.loop.after, bench.clock.now, rate=rate)
    for _ in range(400):
        for _ in range(source.randrange(4)):
            limit.send(bytes(source.randrange(14, 2000)))
        bench.pass_time(source.randrange(20 * MS))
        passed = sum(map(len, wire.sent))
        assert passed * 1_000_000_000 <= LONGEST * 1_000_000_000 + rate * bench.clock.now()
    bench.pass_time(1000_000 * 1000 * MS)
    while bench.loop.waiting:
        bench.pass_time(1000_000 * 1000 * MS)
    assert not limit.dropped or rate == 1_000


def test_in_front_of_a_loopback(bench: Bench) -> None:
    adapter = Adapter(RateLimit(Loopback(bench.loop.after), bench.loop.after, bench.clock.now, rate=RATE))
    adapter.port.send(frame(5))
    bench.poll()
    assert adapter.received == [frame(5)]
