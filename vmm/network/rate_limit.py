"""How many bytes a second an adapter may send and receive: a token bucket for each direction.

What exceeds the bucket waits here, and is dropped where too much waits.
"""

from collections import deque
from collections.abc import Callable

from virtproof.vmm.events import After
from virtproof.vmm.network.inbox import Inbox
from virtproof.vmm.network.port import LONGEST, Port, Receive
from virtproof.vmm.token_bucket import TokenBucket

WAITING = 1 << 20  # bytes that may wait for their turn, in each direction


class RateLimit:
    """A port in front of a port: ``rate`` bytes a second pass in each direction, and up to ``burst`` at once.

    Frames count with their headers, without preamble and gap.  The burst is at least the longest frame, which could
    never pass otherwise.  ``after`` and ``now`` are the machine's, so that a guest cannot outrun its limit by stopping
    the clock of its own.

    Raises ValueError where the rate is not positive.
    """

    def __init__(self, port: Port, after: After, now: Callable[[], int], *, rate: int, burst: int = LONGEST) -> None:
        if rate < 1:
            raise ValueError(f"a rate of {rate} bytes a second")
        burst = max(burst, LONGEST)
        self._port, self._inbox = port, Inbox(after)
        self._sending = _Direction(port.send, after, TokenBucket(rate, burst, now))
        self._receiving = _Direction(self._inbox.put, after, TokenBucket(rate, burst, now))

    @property
    def dropped(self) -> int:
        """Frames that had no room to wait, in both directions."""
        return self._sending.dropped + self._receiving.dropped + self._inbox.dropped

    def send(self, frame: bytes) -> None:
        self._sending.put(frame)

    def connect(self, receive: Receive) -> None:
        def arrived(frame: bytes) -> bool:
            self._receiving.put(frame)
            return True

        self._inbox.connect(receive)
        self._port.connect(arrived)

    def ready(self) -> None:
        self._inbox.ready()


class _Direction:
    """Frames that wait for their tokens, one for each byte."""

    def __init__(self, forward: Callable[[bytes], None], after: After, bucket: TokenBucket) -> None:
        self._forward, self._after, self._bucket = forward, after, bucket
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self._due = False
        self.dropped = 0

    def put(self, frame: bytes) -> None:
        if not 0 < len(frame) <= LONGEST or self._bytes + len(frame) > WAITING:
            self.dropped += 1
            return
        self._queue.append(frame)
        self._bytes += len(frame)
        if not self._due:
            self._pass()

    def _pass(self) -> None:
        """Let go what there are tokens for, and come back when there are enough for the next."""
        self._due = False
        while self._queue:
            wait = self._bucket.until(len(self._queue[0]))
            if wait:
                self._due = True
                self._after(wait, self._pass)
                return
            frame = self._queue.popleft()
            self._bucket.take(len(frame))
            self._bytes -= len(frame)
            self._forward(frame)
