"""How much a guest may use of what others use too: a bucket that fills at a rate and holds so much at most.

RFC 2697, "A Single Rate Three Color Marker", "Metering".
"""

from collections.abc import Callable

SECOND = 1_000_000_000  # nanoseconds


class TokenBucket:
    """``rate`` tokens a second, at most ``burst`` saved; what is taken beyond them is a debt that has to be waited for.

    >>> bucket = TokenBucket(rate=1000, burst=10, now=lambda: 0)
    >>> bucket.until(10), bucket.take(10), bucket.take(5), bucket.until(1)
    (0, 0, 5000000, 6000000)

    Raises ValueError where one of them is not positive.
    """

    def __init__(self, rate: int, burst: int, now: Callable[[], int]) -> None:
        if rate <= 0 or burst <= 0:
            raise ValueError(f"rate {rate}, burst {burst}: both have to be positive")
        self._rate, self._burst, self._now = rate, burst, now
        self._at = now()
        self._level = burst * SECOND  # in tokens x nanoseconds: integers do not drift

    def until(self, tokens: int) -> int:
        """In how many nanoseconds so many tokens are there, as many as the bucket holds at most."""
        now = self._now()
        self._level = min(self._level + (now - self._at) * self._rate, self._burst * SECOND)
        self._at = now
        return max(0, -((self._level - tokens * SECOND) // self._rate))

    def take(self, tokens: int) -> int:
        """Take them, and return the nanoseconds until they are there."""
        wait = self.until(tokens)
        self._level -= tokens * SECOND
        return wait
