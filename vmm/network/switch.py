"""A switch between guests: IEEE 802.1Q, "The Forwarding Process" and "The Learning Process", without its protocols.

Its ports belong to segments, between which nothing is forwarded: each is a broadcast domain of its own, however its
frames are tagged.

Omitted: ageing (a table that is full forgets the address that was heard longest ago), spanning trees, and VLANs beyond
the segments: tagged frames are forwarded by their addresses.
"""

import os
from collections import OrderedDict, deque
from threading import Lock

from virtproof.vmm.events import After, EventLoop
from virtproof.vmm.network.inbox import BYTES, FRAMES, Inbox
from virtproof.vmm.network.port import LONGEST, SHORTEST, Receive

ADDRESSES = 4096  # in the table of a segment
GROUP = 0x01  # in the first byte of an address: multicast or broadcast


class Switch:
    """Segments by name, each with its ports and its table of addresses.

    Machines on different threads may share one.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._segments: dict[str, list[SwitchPort]] = {}
        self._homes: dict[str, OrderedDict[bytes, SwitchPort]] = {}

    def port(self, events: EventLoop, after: After, *, segment: str = "") -> "SwitchPort":
        """Make a port for an adapter of the machine whose loop and ``after`` these are."""
        port = SwitchPort(self, events, after, segment)
        with self._lock:
            self._segments.setdefault(segment, []).append(port)
            self._homes.setdefault(segment, OrderedDict())
        return port

    def _forward(self, source: "SwitchPort", frame: bytes) -> None:
        destination, sender = frame[:6], frame[6:12]
        with self._lock:
            homes = self._homes[source.segment]
            if not sender[0] & GROUP:
                homes[sender] = source
                homes.move_to_end(sender)
                if len(homes) > ADDRESSES:
                    homes.popitem(last=False)
            home = None if destination[0] & GROUP else homes.get(destination)
            ports = list(self._segments[source.segment]) if home is None else [home]
        for port in ports:
            if port is not source:
                port.offer(frame)

    def _remove(self, port: "SwitchPort") -> None:
        with self._lock:
            ports, homes = self._segments[port.segment], self._homes[port.segment]
            if port in ports:
                ports.remove(port)
            for address in [address for address, home in homes.items() if home is port]:
                del homes[address]


class SwitchPort:
    """One port, made by ``Switch.port``.  Close it before its machine."""

    def __init__(self, switch: Switch, events: EventLoop, after: After, segment: str) -> None:
        self.segment = segment
        self._switch, self._events = switch, events
        self._inbox = Inbox(after)
        self._lock = Lock()
        self._arrived: deque[bytes] = deque()  # from other threads; _bytes long
        self._bytes = 0
        self._lost = 0
        self._closed = False
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        events.add_reader(self._bell, self._take)

    @property
    def dropped(self) -> int:
        """Frames for this port that were lost because too many were waiting already."""
        return self._lost + self._inbox.dropped

    def send(self, frame: bytes) -> None:
        if not self._closed and SHORTEST <= len(frame) <= LONGEST:
            self._switch._forward(self, frame)

    def connect(self, receive: Receive) -> None:
        self._inbox.connect(receive)

    def ready(self) -> None:
        self._inbox.ready()

    def offer(self, frame: bytes) -> None:
        """Take a frame for the adapter; any thread may call it."""
        with self._lock:
            if self._closed or len(self._arrived) >= FRAMES or self._bytes + len(frame) > BYTES:
                self._lost += 1
                return
            if not self._arrived:
                os.eventfd_write(self._bell, 1)
            self._arrived.append(frame)
            self._bytes += len(frame)

    def close(self) -> None:
        """Pull the plug."""
        self._switch._remove(self)
        with self._lock:
            if not self._closed:
                self._closed = True
                self._events.remove_reader(self._bell)
                os.close(self._bell)

    def _take(self) -> None:
        with self._lock:
            os.eventfd_read(self._bell)
            arrived = list(self._arrived)
            self._arrived.clear()
            self._bytes = 0
        for frame in arrived:
            self._inbox.put(frame)
