"""A rate limit per disk: the slice of a shared medium that one guest gets."""

from virtproof.vmm.disks.disk import Disk
from virtproof.vmm.events import Clock
from virtproof.vmm.token_bucket import TokenBucket


class RateLimit:
    """A disk that transfers ``rate`` bytes a second, ``burst`` bytes of them at once.

    A request costs its bytes, and at least ``smallest`` of them: an endless row of tiny ones is work too.
    """

    def __init__(self, disk: Disk, rate: int, burst: int, clock: Clock, *, smallest: int = 4096) -> None:
        self._disk, self._smallest = disk, smallest
        self._bucket = TokenBucket(rate, burst, clock.now)
        self.sectors, self.read_only = disk.sectors, disk.read_only
        self.read, self.write, self.flush = disk.read, disk.write, disk.flush
        self.discard, self.close = disk.discard, disk.close

    def delay(self, length: int) -> int:
        return max(self._disk.delay(length), self._bucket.take(max(length, self._smallest)))
