"""The qtest protocol, as QEMU 7.2 speaks it: one command a line, one answer a line.

QEMU docs/devel/qtest.rst, "QTest Protocol".  Numbers are C's: decimal, 0x hexadecimal or 0 octal.

Commands: irq_intercept_in irq_intercept_out outb outw outl inb inw inl writeb writew writel writeq readb readw readl
readq read write b64read b64write memset endianness clock_step clock_set.

Omitted: set_irq_in, module_load, rtas; interception of anything but the lines of the interrupt controllers.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Protocol

SIZES = {"b": 1, "w": 2, "l": 4, "q": 8}
BULK = 64 << 20  # bytes that one command may move
LINE = 2 * BULK + 4096  # characters of a command
ADDRESSES = 1 << 64

_NUMBER = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|[0-9]+)\Z")


class Target(Protocol):
    """What commands are carried out on."""

    def read(self, address: int, length: int) -> bytes: ...
    def write(self, address: int, data: bytes) -> None: ...
    def pio_in(self, port: int, size: int) -> int: ...
    def pio_out(self, port: int, size: int, value: int) -> None: ...
    def step(self, ns: int | None) -> int: ...
    def set_clock(self, ns: int) -> int: ...
    def intercept(self) -> None: ...


class BadCommand(Exception):
    """A command that is refused; the text says why."""


class Commands:
    """Answers commands on ``target``; the answer has no newline, and there is always one."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._commands: dict[str, tuple[int, Callable[..., str]]] = {
            "irq_intercept_in": (1, self._intercept),
            "irq_intercept_out": (1, self._intercept),
            "endianness": (0, lambda: "OK little"),
            "read": (2, self._read),
            "write": (3, self._write),
            "b64read": (2, self._read64),
            "b64write": (3, self._write64),
            "memset": (3, self._memset),
            "clock_set": (1, self._clock_set),
        }
        for letter, size in SIZES.items():
            self._commands[f"read{letter}"] = (1, self._reader(size))
            self._commands[f"write{letter}"] = (2, self._writer(size))
            if size < 8:
                self._commands[f"in{letter}"] = (1, self._in(size))
                self._commands[f"out{letter}"] = (2, self._out(size))

    @property
    def names(self) -> tuple[str, ...]:
        """The commands that there are."""
        return (*self._commands, "clock_step")

    def answer(self, line: str) -> str:
        """Carry one command out."""
        words = line.split()
        try:
            if not words:
                raise BadCommand("an empty command")
            name, *arguments = words
            if name == "clock_step":
                return self._clock_step(arguments)
            if name not in self._commands:
                raise BadCommand(f"Unknown command '{name}'")
            count, command = self._commands[name]
            if len(arguments) != count:
                raise BadCommand(f"{name} takes {count} arguments, not {len(arguments)}")
            return command(*arguments)
        except BadCommand as bad:
            return f"FAIL {bad}"

    def _in(self, size: int) -> Callable[[str], str]:
        return lambda port: f"OK 0x{self._target.pio_in(_number(port) & 0xFFFF, size):04x}"

    def _out(self, size: int) -> Callable[[str, str], str]:
        def out(port: str, value: str) -> str:
            self._target.pio_out(_number(port) & 0xFFFF, size, _number(value) & (1 << 8 * size) - 1)
            return "OK"

        return out

    def _reader(self, size: int) -> Callable[[str], str]:
        return lambda at: f"OK 0x{int.from_bytes(self._target.read(_address(at, size), size), 'little'):016x}"

    def _writer(self, size: int) -> Callable[[str, str], str]:
        def write(at: str, value: str) -> str:
            number = _number(value) & (1 << 8 * size) - 1
            self._target.write(_address(at, size), number.to_bytes(size, "little"))
            return "OK"

        return write

    def _read(self, at: str, size: str) -> str:
        return f"OK 0x{self._bytes(at, size).hex()}"

    def _read64(self, at: str, size: str) -> str:
        return f"OK {base64.b64encode(self._bytes(at, size)).decode('ascii')}"

    def _write(self, at: str, size: str, data: str) -> str:
        length = _length(size)
        if not data.startswith("0x"):
            raise BadCommand("data begin with 0x")
        try:
            given = bytes.fromhex(data[2 : 2 + 2 * length])
        except ValueError:
            raise BadCommand("data are not hexadecimal") from None
        self._target.write(_address(at, length), given.ljust(length, b"\0"))
        return "OK"

    def _write64(self, at: str, size: str, data: str) -> str:
        length = _length(size)
        try:
            given = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            raise BadCommand("data are not base64") from None
        self._target.write(_address(at, length), given[:length].ljust(length, b"\0"))
        return "OK"

    def _memset(self, at: str, size: str, pattern: str) -> str:
        length = _length(size)
        self._target.write(_address(at, length), bytes((_number(pattern) & 0xFF,)) * length)
        return "OK"

    def _bytes(self, at: str, size: str) -> bytes:
        length = _length(size)
        return self._target.read(_address(at, length), length)

    def _clock_step(self, arguments: list[str]) -> str:
        if len(arguments) > 1:
            raise BadCommand("clock_step takes one argument at most")
        return f"OK {self._target.step(_duration(arguments[0]) if arguments else None)}"

    def _clock_set(self, ns: str) -> str:
        return f"OK {self._target.set_clock(_duration(ns))}"

    def _intercept(self, path: str) -> str:
        if not path.endswith("ioapic"):
            raise BadCommand(f"Unknown device '{path}': only the lines of the ioapic can be intercepted")
        self._target.intercept()
        return "OK"


def _number(text: str) -> int:
    if not _NUMBER.match(text) or len(text) > 24:
        raise BadCommand(f"not a number: '{text[:32]}'")
    digits = text.lstrip("-")
    base = 16 if digits[:2].lower() == "0x" else 8 if len(digits) > 1 and digits[0] == "0" else 10
    try:
        return int(text, base)
    except ValueError:
        raise BadCommand(f"not a number: '{text[:32]}'") from None


def _address(text: str, length: int) -> int:
    address = _number(text) % ADDRESSES
    if address + length > ADDRESSES:
        raise BadCommand("the range wraps round")
    return address


def _length(text: str) -> int:
    length = _number(text)
    if not 0 <= length <= BULK:
        raise BadCommand(f"{length} bytes; at most {BULK}")
    return length


def _duration(text: str) -> int:
    ns = _number(text)
    if not 0 <= ns < 1 << 62:
        raise BadCommand(f"not a duration: {ns}")
    return ns
