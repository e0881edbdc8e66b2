"""The queue in front of an adapter, by the plug that has nothing else."""

from tests.vmm.network.conftest import Adapter, Bench, frame
from virtproof.vmm.network.inbox import BATCH, BYTES, FRAMES
from virtproof.vmm.network.loopback import Loopback
from virtproof.vmm.network.port import LONGEST


def test_what_is_sent_comes_back_in_order_and_not_from_within_send(bench: Bench) -> None:
    adapter = Adapter(Loopback(bench.loop.after))
    sent = [frame(n) for n in range(3 * BATCH + 1)]
    for one in sent:
        adapter.port.send(one)
    assert adapter.received == []
    bench.poll(1)
    assert adapter.received == sent[:BATCH]  # other work has its turn
    bench.poll()
    assert adapter.received == sent


def test_an_adapter_without_room_gets_the_frame_later(bench: Bench) -> None:
    adapter = Adapter(Loopback(bench.loop.after), room=2)
    for n in range(4):
        adapter.port.send(frame(n))
    bench.poll()
    assert adapter.received == [frame(0), frame(1)]
    assert not bench.loop.waiting  # nobody asks again and again
    adapter.room = 1
    bench.poll()
    assert len(adapter.received) == 2
    adapter.port.ready()
    assert len(adapter.received) == 2  # not from within ready
    bench.poll()
    assert adapter.received == [frame(n) for n in range(3)]
    adapter.port.send(frame(9))
    bench.poll()
    assert len(adapter.received) == 3
    adapter.room = 9
    adapter.port.ready()
    bench.poll()
    assert adapter.received == [frame(n) for n in (0, 1, 2, 3, 9)]


def test_frames_that_wait_are_bounded_in_number_and_in_bytes(bench: Bench) -> None:
    port = Loopback(bench.loop.after)
    adapter = Adapter(port, room=0)
    for n in range(FRAMES + 10):
        port.send(frame(n))
    assert port.dropped == 10
    adapter.room = 1 << 30
    port.ready()
    bench.poll(FRAMES)
    assert adapter.received == [frame(n) for n in range(FRAMES)]
    for n in range(FRAMES):
        port.send(frame(n, LONGEST))
    bench.poll(FRAMES)
    assert len(adapter.received) == FRAMES + BYTES // LONGEST


def test_what_is_no_frame_is_dropped(bench: Bench) -> None:
    adapter = Adapter(port := Loopback(bench.loop.after))
    for size in (0, 13, LONGEST + 1):
        port.send(bytes(size))
    bench.poll()
    assert adapter.received == []
    assert port.dropped == 3
    for size in (14, LONGEST):
        port.send(bytes(size))
    bench.poll()
    assert [len(one) for one in adapter.received] == [14, LONGEST]


def test_nobody_there(bench: Bench) -> None:
    port = Loopback(bench.loop.after)
    port.send(frame())
    port.ready()
    bench.poll()
    assert port.dropped == 1
