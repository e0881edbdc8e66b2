"""Frames on their way to an adapter: a queue with an end, which the event loop empties."""

from collections import deque

from virtproof.vmm.events import After
from virtproof.vmm.network.port import LONGEST, SHORTEST, Receive

FRAMES, BYTES = 1024, 4 << 20  # what may wait
BATCH = 64  # frames that are delivered before other work of the machine has its turn


class Inbox:
    """What an adapter is to receive; ``connect`` and ``ready`` are those of its port.

    ``dropped`` counts the frames that there was no room for, or nobody to take them, or that are no frames.
    """

    def __init__(self, after: After) -> None:
        self._after = after
        self._receive: Receive | None = None
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._due = self._refused = False
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def connect(self, receive: Receive) -> None:
        self._receive = receive

    def ready(self) -> None:
        self._refused = False
        self._schedule()

    def put(self, frame: bytes) -> None:
        """Queue a frame, or drop it."""
        room = len(self._waiting) < FRAMES and self._bytes + len(frame) <= BYTES
        if self._receive is None or not room or not SHORTEST <= len(frame) <= LONGEST:
            self.dropped += 1
            return
        self._waiting.append(frame)
        self._bytes += len(frame)
        self._schedule()

    def _schedule(self) -> None:
        if self._waiting and not self._due and not self._refused:
            self._due = True
            self._after(0, self._deliver)

    def _deliver(self) -> None:
        self._due = False
        for _ in range(min(BATCH, len(self._waiting))):
            frame = self._waiting[0]
            if self._receive is not None and not self._receive(frame):
                self._refused = True
                return
            self._waiting.popleft()
            self._bytes -= len(frame)
        self._schedule()
