"""The guest's serial port on our standard streams: bytes as they are, in both directions."""

from __future__ import annotations

import os
import signal
import stat
import termios
import tty
from contextlib import suppress
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self

from virtproof.cli.output import Output
from virtproof.cli.screen import say

if TYPE_CHECKING:
    from virtproof.vmm.devices.serial import Serial
    from virtproof.vmm.events import EventLoop

SIGNALS = (signal.SIGTERM, signal.SIGHUP)  # SIGINT is Python's own


class Console:
    """Standard input without line editing and echo while the guest runs; ctrl-C stays ours.

    A context manager, for the main thread.  Every way out but SIGKILL restores the terminal.
    """

    def __init__(self, stdin: int = 0, stdout: int = 1) -> None:
        self._in, self._output = stdin, Output(stdout)
        self._before: list[int | list[bytes | int]] | None = None

    def __enter__(self) -> Self:
        self._handlers = [(number, signal.signal(number, _interrupt)) for number in SIGNALS]
        if _is_our_terminal(self._in):
            self._before = termios.tcgetattr(self._in)
            tty.setcbreak(self._in)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        lost = self._output.close()
        if self._before is not None:
            with suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(self._in, termios.TCSADRAIN, self._before)
        for number, handler in self._handlers:
            signal.signal(number, handler)
        if lost:
            say(f"virtproof: {lost} bytes of the guest's output are lost: nobody has read them", err=True)

    def transmit(self, byte: int) -> None:
        """Pass on one byte of the guest, and never wait.  Raises OSError where stdout is lost."""
        self._output.put(byte)

    def feed(self, serial: Serial, events: EventLoop) -> None:
        """Hand ``serial`` what comes from a terminal, pipe or socket, as fast as it can take it.

        The loop raises OSError where stdout is lost, as ``transmit``.
        """
        events.add_reader(self._output.trouble, self._output.check)
        if not _can_be_waited_for(self._in):
            return

        def receive() -> None:
            room = serial.room
            if not room:
                return
            try:
                data = os.read(self._in, room)
            except BlockingIOError:
                return
            except OSError:  # the terminal hung up
                data = b""
            if data:
                serial.receive(data)
            else:
                events.remove_reader(self._in)

        events.add_reader(self._in, receive)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _is_our_terminal(fd: int) -> bool:
    """A job in the background must not touch the terminal: it would be stopped."""
    try:
        return os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False


def _can_be_waited_for(fd: int) -> bool:
    try:
        mode = os.fstat(fd).st_mode
    except OSError:  # closed
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or _is_our_terminal(fd)
