"""The qtest protocol: what each command answers, and that nothing a line holds is more than an error."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virtproof.vmm.qtest.protocol import BULK, Commands


class Target:
    """Memory of 4 KiB, ports that hold what was written, a clock."""

    def __init__(self) -> None:
        self.memory = bytearray(4096)
        self.ports: dict[int, int] = {}
        self.now = 0
        self.intercepted = False

    def read(self, address: int, length: int) -> bytes:
        return bytes(self.memory[address : address + length]).ljust(length, b"\xff")

    def write(self, address: int, data: bytes) -> None:
        if address + len(data) <= len(self.memory):
            self.memory[address : address + len(data)] = data

    def pio_in(self, port: int, size: int) -> int:
        return self.ports.get(port, (1 << 8 * size) - 1)

    def pio_out(self, port: int, size: int, value: int) -> None:
        self.ports[port] = value

    def step(self, ns: int | None) -> int:
        self.now += 7 if ns is None else ns
        return self.now

    def set_clock(self, ns: int) -> int:
        self.now = ns
        return self.now

    def intercept(self) -> None:
        self.intercepted = True


@pytest.fixture
def target() -> Target:
    return Target()


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("outb 0x70 0x1ff", "OK"),
        ("inw 0x80", "OK 0xffff"),
        ("writel 0x10 0x04030201", "OK"),
        ("readq 0", "OK 0x0000000000000000"),
        ("write 0x20 4 0x0a0b", "OK"),
        ("read 0xffe 4", "OK 0x0000ffff"),
        ("b64write 0 3 AQID", "OK"),
        ("b64read 0 3", "OK AAAA"),
        ("memset 010 0x2 0xaa", "OK"),
        ("endianness", "OK little"),
        ("clock_step", "OK 7"),
        ("clock_step 100", "OK 100"),
        ("clock_set 1000", "OK 1000"),
        ("irq_intercept_in ioapic", "OK"),
        ("bogus", "FAIL Unknown command 'bogus'"),
        ("readb", "FAIL readb takes 1 arguments, not 0"),
        ("readb x", "FAIL not a number: 'x'"),
        ("readb 09", "FAIL not a number: '09'"),
        (f"read 0 {BULK + 1}", f"FAIL {BULK + 1} bytes; at most {BULK}"),
        ("read 0xffffffffffffffff 2", "FAIL the range wraps round"),
        ("write 0 2 zz", "FAIL data begin with 0x"),
        ("write 0 2 0xzz", "FAIL data are not hexadecimal"),
        ("b64write 0 2 *", "FAIL data are not base64"),
        ("clock_step -1", "FAIL not a duration: -1"),
        (
            "irq_intercept_in i8259",
            "FAIL Unknown device 'i8259': only the lines of the ioapic can be intercepted",
        ),
    ],
)
def test_a_command_is_answered(target: Target, line: str, answer: str) -> None:
    assert Commands(target).answer(line) == answer


def test_commands_reach_ports_and_memory(target: Target) -> None:
    commands = Commands(target)
    for line in (
        "outb 0x70 0x1ff",
        "writel 16 0x04030201",
        "write 0x20 4 0x0a0b",
        "b64write 0 3 AQID",
        "memset 010 2 170",
    ):
        assert commands.answer(line) == "OK"
    assert target.ports == {0x70: 0xFF}
    assert target.memory[:0x24] == b"\1\2\3\0\0\0\0\0\xaa\xaa\0\0\0\0\0\0\1\2\3\4".ljust(0x20, b"\0") + b"\x0a\x0b\0\0"


words = st.one_of(
    st.sampled_from(Commands(Target()).names),
    st.integers(-(1 << 66), 1 << 66).map(str),
    st.integers(0, 1 << 66).map(hex),
    st.text(max_size=8),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(words, max_size=5).map(" ".join))
def test_any_line_has_one_answer(line: str) -> None:
    answer = Commands(Target()).answer(line)
    assert answer.startswith(("OK", "FAIL "))
    assert len(answer) < 200 or "read" in line
