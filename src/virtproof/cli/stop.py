"""ctrl-C in two steps: the first ends the guests and keeps what was done, the second leaves at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from types import FrameType, TracebackType
from typing import Self, TypeVar

from virtproof.results import Outcome

T = TypeVar("T")

SHOW_CURSOR = b"\x1b[?25h"
SIGNALS = (signal.SIGINT, signal.SIGTERM)  # SIGTERM is how a CI cancels a job.


class StopRequest:
    """Whether somebody asked us to stop; a context manager, for the main thread only.

    Outside ``until_asked`` the first request is only remembered, so that it cannot tear a report apart.
    """

    def __init__(self) -> None:
        self.asked = False
        self._interruptible = False

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def until_asked(self, steps: Generator[T, None, None]) -> Iterator[T]:
        """Yield the steps, and close their source in the middle of one when asked to stop."""
        with closing(steps):
            try:
                while True:
                    self._interruptible = True  # first this, then the look: no request falls between the two
                    if self.asked:
                        return
                    step = next(steps, None)
                    self._interruptible = False
                    if step is None:
                        return
                    yield step
            except KeyboardInterrupt:
                return
            finally:
                self._interruptible = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            if sys.stderr.isatty():
                os.write(sys.stderr.fileno(), SHOW_CURSOR)  # the progress bar hid it
            os._exit(Outcome.INTERRUPTED.exit_code)  # workers die with us
        self.asked = True
        if self._interruptible:
            raise KeyboardInterrupt
