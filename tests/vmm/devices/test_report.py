"""The report port: events, junk, version."""

import random

from virtproof.spec.guest_protocol import VERSION, Event, Report
from virtproof.vmm.devices.report import JUNK_KEPT, ReportPort


def test_events_reach_their_receiver() -> None:
    seen: list[tuple[Event, int]] = []
    port = ReportPort(on_event=lambda event, argument: seen.append((event, argument)))
    for event in Event:
        port.write(0, 4, Report(0).but(event=event, argument=0xFFFFFF))
    assert seen == [(event, 0xFFFFFF) for event in Event]
    assert port.junk_count == 0


def test_the_layout_is_the_one_payloads_are_written_for() -> None:
    assert Report(0).but(event=Event.DONE, argument=17) == 3 << 24 | 17
    assert [e.value for e in Event] == [1, 2, 3, 4, 5]


def test_the_version_can_be_read_in_any_size() -> None:
    port = ReportPort(on_event=lambda event, argument: None)
    assert port.read(0, 4) == port.read(0, 2) == port.read(0, 1) == VERSION
    assert port.read(1, 1) == port.read(2, 2) == 0


def test_junk_is_counted_and_only_the_first_is_kept() -> None:
    seen: list[int] = []
    port = ReportPort(on_event=lambda event, argument: seen.append(argument))
    port.write(0, 4, 0)
    port.write(0, 4, 0xFF << 24)
    port.write(0, 1, 3)
    port.write(2, 2, 0x0300)
    assert seen == []
    assert port.junk == [(0, 4, 0), (0, 4, 0xFF << 24), (0, 1, 3), (2, 2, 0x0300)]
    rng = random.Random(5650)
    for _ in range(20_000):
        port.write(rng.randrange(4), rng.choice((1, 2)), rng.getrandbits(16))
        port.write(0, 4, rng.getrandbits(32))
    assert len(port.junk) == JUNK_KEPT
    assert port.junk_count + len(seen) == 40_004
