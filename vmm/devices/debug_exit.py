"""isa-debug-exit: a port by which a test kernel ends the machine and says how it went (spec/pc_testdev.py)."""

from collections.abc import Callable


class DebugExit:
    """Four ports; hands the exit status of a write to ``on_exit``, which must stop the guest.  Reads give 0.

    >>> DebugExit(on_exit=print).write(0, 4, 0x10)
    33
    """

    def __init__(self, on_exit: Callable[[int], None]) -> None:
        self._on_exit = on_exit

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        self._on_exit((value << 1 | 1) & 0xFF)
