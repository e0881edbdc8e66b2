"""What a network adapter is connected to: one end of a cable.

A frame is what IEEE 802.3, "MAC frame and packet specifications" calls the MAC frame without its check sequence:
destination, source, type and data.  Sending takes no time, and nothing is lost on the way but what a queue has no room
for.

Omitted: the padding to 60 bytes, which is the adapter's; pause frames, which are frames as any other here.
"""

from collections.abc import Callable
from typing import Protocol

HEADER = 14  # destination, source, type
SHORTEST = HEADER
LONGEST = 65536 + 18  # what segmentation has still to cut; with a VLAN tag

Receive = Callable[[bytes], bool]


class Port(Protocol):
    """One end of a cable, as an adapter sees it.

    A port calls what ``connect`` gave it from the event loop only, never from within ``send`` or ``ready``: an adapter
    need not be re-entrant.
    """

    def send(self, frame: bytes) -> None:
        """Take one frame of ``SHORTEST`` to ``LONGEST`` bytes; others are dropped.  Never waits, never raises."""
        ...

    def connect(self, receive: Receive) -> None:
        """Call ``receive`` with each frame that arrives.

        False means that the adapter has no room: the port keeps the frame, or drops it where it keeps too many, and
        offers no more until ``ready``.
        """
        ...

    def ready(self) -> None:
        """The adapter has room again."""
        ...
