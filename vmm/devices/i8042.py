"""8042 keyboard controller with a keyboard nobody types on but ``type_keys``: spec/i8042.py names the document.

Omitted: an auxiliary device (its port passes its test, and what is sent there is not answered), scan codes (the host
gives those of set 1, as translation leaves them), key repeat, and the time that bytes take.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from virtproof.spec import i8042 as spec
from virtproof.spec.i8042 import Command, Control, Keyboard, OutputPort, Status

QUEUE = 16  # bytes that wait for the guest; more are lost
_WITH_ARGUMENT = (Keyboard.SET_LEDS, Keyboard.SCAN_CODE_SET, Keyboard.SET_RATE)
_ANSWERS = {
    Keyboard.ECHO: bytes([spec.ECHO]),
    Keyboard.IDENTIFY: bytes([spec.ACK]) + spec.KEYBOARD_ID,
    Keyboard.RESET: bytes([spec.ACK, spec.SELF_TEST_PASSED]),
}


class CommandPort:
    """Port 64H of a controller: written a command, read the status."""

    def __init__(self, controller: KeyboardController) -> None:
        self._controller = controller

    def read(self, offset: int, size: int) -> int:
        return self._controller.status

    def write(self, offset: int, size: int, value: int) -> None:
        self._controller.execute(value)


class KeyboardController:
    """The data port; ``command`` is the other.  ``keyboard`` and ``aux`` are IRQ 1 and 12, ``reset_machine`` the pulse.

    >>> controller = KeyboardController(lambda level: None, lambda level: None, reset_machine=lambda: None)
    >>> controller.command.write(0, 1, Command.TEST_CONTROLLER); hex(controller.read(0, 1))
    '0x55'
    """

    def __init__(
        self,
        keyboard: Callable[[bool], None],
        aux: Callable[[bool], None],
        reset_machine: Callable[[], None],
    ) -> None:
        self._lines = keyboard, aux
        self._reset_machine = reset_machine
        self._levels = [False, False]
        self.command = CommandPort(self)
        self._start()

    def _start(self) -> None:
        self._control = Control(0).but(system=1)
        self._output = OutputPort(0).but(run=1, a20=1)
        self._queue: deque[tuple[int, bool]] = deque()  # byte, and whether it is the auxiliary device's
        self._last = 0
        self._command: int | None = None  # that waits for its byte
        self._keyboard_command: int | None = None
        self._was_command = False

    def read(self, offset: int, size: int) -> int:
        if self._queue:
            self._last = self._queue.popleft()[0]
            self._update(fell=True)
        return self._last

    def write(self, offset: int, size: int, value: int) -> None:
        self._was_command = False
        if self._command is not None:
            command, self._command = self._command, None
            self._take_argument(command, value)
        else:
            self._to_keyboard(value)
        self._update()

    def execute(self, command: int) -> None:
        """Take a byte of the command port."""
        self._was_command, self._command = True, None
        self._execute(command)
        self._update()

    def type_keys(self, codes: bytes) -> None:
        """Scan codes arrive from the keyboard, unless the guest has disabled it."""
        if not self._control.keyboard_disabled:
            self._put(codes)
            self._update()

    def reset(self) -> None:
        self._start()
        self._update()

    def state(self) -> dict[str, Any]:
        return {
            "control": int(self._control),
            "output": int(self._output),
            "queue": [[byte, aux] for byte, aux in self._queue],
            "last": self._last,
            "commands": [self._command, self._keyboard_command],
            "was_command": self._was_command,
            "levels": list(self._levels),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        control, output, last = bytes((state["control"], state["output"], state["last"]))
        queue = [(bytes([byte])[0], bool(aux)) for byte, aux in state["queue"]]
        command, keyboard = (None if value is None else bytes([value])[0] for value in state["commands"])
        levels = [bool(level) for level in state["levels"]]
        if len(queue) > QUEUE or len(levels) != len(self._lines):
            raise ValueError(f"{len(queue)} bytes wait")
        self._control, self._output, self._last = Control(control), OutputPort(output), last
        self._queue, self._command, self._keyboard_command = deque(queue), command, keyboard
        self._was_command, self._levels = bool(state["was_command"]), levels

    @property
    def status(self) -> int:
        """The status register."""
        waits = bool(self._queue)
        return Status(0).but(
            output_full=waits,
            system=self._control.system,
            command=self._was_command,
            not_locked=1,
            aux_full=waits and self._queue[0][1],
        )

    def _execute(self, command: int) -> None:
        match command:
            case Command.READ_CONTROL:
                self._put([self._control])
            case Command.TEST_CONTROLLER:
                self._control = self._control.but(system=1)
                self._put([spec.CONTROLLER_TEST_PASSED])
            case Command.TEST_KEYBOARD | Command.TEST_AUX:
                self._put([spec.PORT_TEST_PASSED])
            case Command.DISABLE_KEYBOARD | Command.ENABLE_KEYBOARD:
                self._control = self._control.but(keyboard_disabled=command == Command.DISABLE_KEYBOARD)
            case Command.DISABLE_AUX | Command.ENABLE_AUX:
                self._control = self._control.but(aux_disabled=command == Command.DISABLE_AUX)
            case Command.READ_OUTPUT:
                aux = bool(self._queue) and self._queue[0][1]
                self._put([self._output.but(keyboard_full=bool(self._queue) and not aux, aux_full=aux)])
            case Command.A20_OFF | Command.A20_ON:
                self._output = self._output.but(a20=command == Command.A20_ON)
            case (
                Command.WRITE_CONTROL
                | Command.WRITE_OUTPUT
                | Command.WRITE_KEYBOARD_BUFFER
                | Command.WRITE_AUX_BUFFER
                | Command.WRITE_AUX
            ):
                self._command = command
            case _ if command >= Command.PULSE and not command & 1:
                self._reset_machine()

    def _take_argument(self, command: int, value: int) -> None:
        match command:
            case Command.WRITE_CONTROL:
                self._control = Control(value & Control.KNOWN)
            case Command.WRITE_OUTPUT:
                self._output = OutputPort(value).but(run=1)
                if not OutputPort(value).run:
                    self._reset_machine()
            case Command.WRITE_KEYBOARD_BUFFER:
                self._put([value])
            case Command.WRITE_AUX_BUFFER:
                self._put([value], aux=True)

    def _to_keyboard(self, value: int) -> None:
        self._control = self._control.but(keyboard_disabled=0)  # sending to it enables it
        if self._keyboard_command is not None:
            command, self._keyboard_command = self._keyboard_command, None
            wants_set = command == Keyboard.SCAN_CODE_SET and value == 0
            self._put([spec.ACK, 2] if wants_set else [spec.ACK])
        elif value in _WITH_ARGUMENT:
            self._keyboard_command = value
            self._put([spec.ACK])
        elif value in (Keyboard.ENABLE, Keyboard.DISABLE, Keyboard.DEFAULTS):
            self._put([spec.ACK])
        else:
            self._put(_ANSWERS.get(Keyboard(value), b"") if value in _ANSWERS else [spec.RESEND])

    def _put(self, data: bytes | list[int], *, aux: bool = False) -> None:
        for byte in data:
            if len(self._queue) < QUEUE:
                self._queue.append((int(byte), aux))

    def _update(self, *, fell: bool = False) -> None:
        """Drive the lines; after a byte was taken they fall, so that the next one is an edge of its own."""
        from_aux = self._queue[0][1] if self._queue else None
        wanted = (
            from_aux is False and self._control.keyboard_interrupt,
            from_aux is True and self._control.aux_interrupt,
        )
        for number, (line, level) in enumerate(zip(self._lines, wanted, strict=True)):
            if fell and level and self._levels[number]:
                line(False)
                self._levels[number] = False
            if level != self._levels[number]:
                self._levels[number] = level
                line(level)
