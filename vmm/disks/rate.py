"""A rate limit per disk: the slice of a shared medium that one guest gets."""

from virtproof.vmm.disks.disk import Disk
from virtproof.vmm.events import Clock

SECOND = 1_000_000_000  # nanoseconds


class TokenBucket:
    """``rate`` tokens a second, at most ``burst`` saved; what is taken beyond them is a debt that has to be waited for.

    >>> from virtproof.vmm.events import ManualClock
    >>> bucket = TokenBucket(rate=1000, burst=10, clock=ManualClock())
    >>> bucket.take(10), bucket.take(5)
    (0, 5000000)
    """

    def __init__(self, rate: int, burst: int, clock: Clock) -> None:
        if rate <= 0 or burst <= 0:
            raise ValueError(f"rate {rate}, burst {burst}: both have to be positive")
        self._rate, self._burst, self._clock = rate, burst, clock
        self._at = clock.now()
        self._level = burst * SECOND  # in tokens x nanoseconds: integers do not drift

    def take(self, tokens: int) -> int:
        """Take them, and return the nanoseconds until they are there."""
        now = self._clock.now()
        self._level = min(self._level + (now - self._at) * self._rate, self._burst * SECOND) - tokens * SECOND
        self._at = now
        return max(0, -(self._level // self._rate))


class RateLimit:
    """A disk that transfers ``rate`` bytes a second, ``burst`` bytes of them at once.

    A request costs its bytes, and at least ``smallest`` of them: an endless row of tiny ones is work too.
    """

    def __init__(self, disk: Disk, rate: int, burst: int, clock: Clock, *, smallest: int = 4096) -> None:
        self._disk, self._smallest = disk, smallest
        self._bucket = TokenBucket(rate, burst, clock)
        self.sectors, self.read_only = disk.sectors, disk.read_only
        self.read, self.write, self.flush = disk.read, disk.write, disk.flush
        self.discard, self.close = disk.discard, disk.close

    def delay(self, length: int) -> int:
        return max(self._disk.delay(length), self._bucket.take(max(length, self._smallest)))
