"""Token buckets, and disks behind them."""

from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.disks.rate import RateLimit
from virtproof.vmm.events import ManualClock
from virtproof.vmm.token_bucket import TokenBucket

SECOND = 1_000_000_000


def test_a_burst_is_free_and_the_rest_costs_time() -> None:
    bucket = TokenBucket(rate=100, burst=50, now=ManualClock().now)
    assert [bucket.take(25), bucket.take(25), bucket.take(1), bucket.take(99)] == [0, 0, SECOND // 100, SECOND]


def test_tokens_come_back_but_no_more_than_the_burst() -> None:
    clock = ManualClock()
    bucket = TokenBucket(rate=100, burst=50, now=clock.now)
    bucket.take(50)
    clock.advance(SECOND // 4)
    assert bucket.take(25) == 0
    assert bucket.take(1) > 0
    clock.advance(1000 * SECOND)
    assert bucket.take(50) == 0
    assert bucket.take(1) > 0


def test_who_waits_as_told_gets_the_rate() -> None:
    clock = ManualClock()
    bucket = TokenBucket(rate=1_000_000, burst=4096, now=clock.now)
    for _ in range(1000):
        clock.advance(bucket.take(4096))
    assert abs(clock.now() - (1000 * 4096 - 4096) * 1000) < 1000 * 1000


def test_a_request_costs_its_bytes_or_the_smallest() -> None:
    clock = ManualClock()
    disk = RateLimit(FileDisk.in_memory(64), rate=1 << 20, burst=1 << 20, clock=clock, smallest=4096)
    assert disk.delay(1 << 20) == 0
    assert disk.delay(0) == 4096 * SECOND >> 20
    clock.advance(2 * SECOND)
    assert disk.delay(1 << 20) == 0


def test_the_disk_behind_is_the_same() -> None:
    inner = FileDisk.in_memory(64)
    disk = RateLimit(inner, 1, 1, ManualClock())
    disk.write(5, b"y" * 512)
    disk.flush()
    assert inner.read(5, 1) == disk.read(5, 1) == b"y" * 512
    disk.discard(5, 1)
    assert inner.read(5, 1) == bytes(512)
    assert (disk.sectors, disk.read_only) == (64, False)


def test_two_disks_have_two_slices() -> None:
    clock = ManualClock()
    one, other = (RateLimit(FileDisk.in_memory(64), 4096, 4096, clock) for _ in range(2))
    assert [one.delay(4096), one.delay(4096), other.delay(4096)] == [0, SECOND, 0]
