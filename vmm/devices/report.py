"""The port through which a payload reports: spec/guest_protocol.py.

Only an aligned doubleword written to the first port is an event.  Anything else is junk: counted, and the first few
kept for the evidence, because a guest that goes astray is what this device is for.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from virtproof.spec.guest_protocol import VERSION, Event, Report

JUNK_KEPT = 8


@dataclass
class ReportPort:
    """Four ports; hands each event to ``on_event(event, argument)`` while the guest waits.

    >>> port = ReportPort(on_event=print)
    >>> port.write(0, 4, 3 << 24 | 17)
    3 17
    """

    on_event: Callable[[Event, int], None]

    junk_count: int = 0
    junk: list[tuple[int, int, int]] = field(default_factory=list)  # (offset, size, value), the first JUNK_KEPT

    def read(self, offset: int, size: int) -> int:
        return VERSION >> 8 * offset & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        report = Report(value)
        if offset == 0 and size == 4 and report.event in _EVENTS:
            self.on_event(Event(report.event), report.argument)
            return
        self.junk_count += 1
        if len(self.junk) < JUNK_KEPT:
            self.junk.append((offset, size, value))


_EVENTS = frozenset(Event)
