"""The switch: who hears what."""

import threading

import pytest

from tests.vmm.network.conftest import Adapter, Bench, frame
from virtproof.vmm.events import EventLoop
from virtproof.vmm.network import switch as module
from virtproof.vmm.network.inbox import BYTES, FRAMES
from virtproof.vmm.network.port import LONGEST
from virtproof.vmm.network.switch import Switch

ALL = b"\xff" * 6


def mac(n: int) -> bytes:
    return b"\x02\0\0\0" + n.to_bytes(2, "big")


@pytest.fixture
def plug(bench: Bench):
    switch = Switch()

    def plug(segment: str = "", room: int = 1 << 30) -> Adapter:
        return Adapter(switch.port(bench.loop, bench.loop.after, segment=segment), room)

    return plug


def test_unknown_and_group_addresses_go_everywhere_but_back(bench: Bench, plug) -> None:
    one, two, three = plug(), plug(), plug()
    for to in (mac(9), ALL, b"\x01\0\x5e\0\0\1"):
        one.port.send(frame(to=to, source=mac(1)))
    bench.poll()
    assert [len(a.received) for a in (one, two, three)] == [0, 3, 3]


def test_an_address_is_learnt_from_what_it_sends_and_moves_with_it(bench: Bench, plug) -> None:
    one, two, three = plug(), plug(), plug()
    two.port.send(frame(source=mac(2)))
    bench.poll()
    one.port.send(frame(1, to=mac(2)))
    bench.poll()
    assert [len(a.received) for a in (one, two, three)] == [1, 1, 1]
    three.port.send(frame(source=mac(2)))
    one.port.send(frame(2, to=mac(2)))
    bench.poll()
    assert three.received[-1] == frame(2, to=mac(2))
    assert frame(2, to=mac(2)) not in two.received


def test_a_frame_to_an_address_behind_its_own_port_goes_nowhere(bench: Bench, plug) -> None:
    one, two = plug(), plug()
    one.port.send(frame(source=mac(1)))
    one.port.send(frame(to=mac(1), source=mac(3)))
    bench.poll()
    assert [len(one.received), len(two.received)] == [0, 1]


def test_a_group_address_is_never_learnt(bench: Bench, plug) -> None:
    one, two, three = plug(), plug(), plug()
    one.port.send(frame(source=ALL))
    two.port.send(frame(to=ALL))
    bench.poll()
    assert [len(a.received) for a in (one, two, three)] == [1, 1, 2]


def test_segments_do_not_hear_each_other(bench: Bench, plug) -> None:
    red, red2, blue, blue2 = plug("red"), plug("red"), plug("blue"), plug("blue")
    red.port.send(frame(source=mac(1)))
    blue.port.send(frame(source=mac(2)))
    blue2.port.send(frame(source=mac(1)))  # an address of the other segment, taken as one's own
    red2.port.send(frame(to=mac(2), source=mac(6)))
    red2.port.send((ALL + mac(5) + b"\x81\0\0\5").ljust(60, b"\0"))
    bench.poll()
    assert [len(a.received) for a in (red, red2, blue, blue2)] == [2, 1, 1, 1]
    red2.port.send(frame(3, to=mac(1), source=mac(6)))
    bench.poll()
    assert red.received[-1] == frame(3, to=mac(1), source=mac(6))
    assert len(blue2.received) == 1


def test_the_table_is_bounded_and_forgets_the_oldest(bench: Bench, plug, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ADDRESSES", 3)
    one, two, three = plug(), plug(), plug()
    for n in (1, 2, 3, 1, 4):
        one.port.send(frame(source=mac(n)))
    bench.poll()
    del three.received[:]
    for n in (1, 2, 3, 4):
        two.port.send(frame(n, to=mac(n), source=ALL))
    bench.poll()
    assert three.received == [frame(2, to=mac(2), source=ALL)]


def test_queues_are_bounded(bench: Bench, plug) -> None:
    one, two = plug(), plug()
    for n in range(FRAMES + 5):
        one.port.send(frame(n))
    assert two.port.dropped == 5
    bench.poll(FRAMES)
    assert len(two.received) == FRAMES
    for n in range(FRAMES):
        one.port.send(frame(n, LONGEST))
    bench.poll(FRAMES)
    assert len(two.received) == FRAMES + BYTES // LONGEST


def test_an_adapter_without_room_holds_up_nobody_else(bench: Bench, plug) -> None:
    one, full, three = plug(), plug(room=0), plug()
    for n in range(2 * FRAMES):
        one.port.send(frame(n))
        bench.poll(2)
    assert len(three.received) == 2 * FRAMES
    full.room = 1 << 30
    full.port.ready()
    bench.poll(FRAMES)
    assert full.received == [frame(n) for n in range(FRAMES)]


def test_a_port_that_is_closed_is_forgotten(bench: Bench, plug) -> None:
    one, two, three = plug(), plug(), plug()
    two.port.send(frame(source=mac(2)))
    bench.poll()
    two.port.close()
    two.port.close()
    one.port.send(frame(7, to=mac(2)))
    two.port.send(frame(8))
    bench.poll()
    assert two.received == []
    assert three.received[1:] == [frame(7, to=mac(2))]


@pytest.mark.parametrize("size", [0, 13, LONGEST + 1])
def test_what_is_no_frame_is_dropped(bench: Bench, plug, size: int) -> None:
    one, two = plug(), plug()
    one.port.send(bytes(size))
    bench.poll()
    assert two.received == []


def test_machines_on_two_threads(bench: Bench) -> None:
    """Each loop delivers on its own thread, whatever thread has sent."""
    switch, wanted = Switch(), 500
    here = Adapter(switch.port(bench.loop, bench.loop.after))
    seen: set[int] = set()

    def other() -> None:
        with EventLoop() as loop:
            there = Adapter(port := switch.port(loop, loop.after))
            started.set()
            while len(there.received) < wanted:
                loop.poll(100_000_000)
                for one in there.received[len(there.received) - 1 :]:
                    port.send(one)
            seen.add(len(there.received))
            port.close()

    started = threading.Event()
    thread = threading.Thread(target=other)
    thread.start()
    assert started.wait(60)
    for n in range(wanted):
        here.port.send(frame(n))
    thread.join(60)
    assert seen == {wanted}
    bench.poll()
    assert here.received
