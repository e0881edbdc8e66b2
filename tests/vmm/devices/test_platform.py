"""The ISA side of a PC: what cases do not see.  State, reset, and values that no guest writes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.vmm.pc_parts import Parts
from virtproof.spec import mc146818
from virtproof.spec.mc146818 import Cell
from virtproof.vmm.devices import debug_console, fw_cfg
from virtproof.vmm.devices.fw_cfg import FwCfg
from virtproof.vmm.platform import cmos

NAMES = (
    "rtc", "pm", "keyboard", "fast_a20", "reset_port", "apm", "firmware_log", "fw_cfg", "fw_cfg_dma",
)  # fmt: skip
SECOND = 1_000_000_000


def used() -> Parts:
    """One whose every device has been touched."""
    parts = Parts(files={"opt/a": b"abc"})
    out = parts.bus.pio_out
    for cell, value in ((Cell.SECONDS_ALARM, 5), (0x40, 0x77), (Cell.B, 0x72)):
        out(0x70, 1, cell)
        out(0x71, 1, value)
    parts.elapse(SECOND * 3 // 2)
    for port, size, value in (
        (0x64, 1, 0xAA), (0x92, 1, 2), (0xCF9, 1, 2), (0xB3, 1, 9), (0x402, 1, 65), (0x510, 2, 0x20), (0x514, 4, 5),
    ):  # fmt: skip
        out(port, size, value)
    parts.bus.pio_in(0x511, 1)
    parts.platform.pm.function.write_config(0x40, 4, 0x600)
    parts.platform.pm.function.write_config(0x80, 1, 1)
    out(0x602, 2, 0x100)
    parts.platform.pm.press_power_button()
    return parts


@pytest.mark.parametrize("name", NAMES)
def test_state_goes_through_json_into_another_device(name: str) -> None:
    state = getattr(used().platform, name).state()
    fresh = getattr(Parts(files={"opt/a": b"abc"}).platform, name)
    assert fresh.state() != state
    fresh.restore(json.loads(json.dumps(state)))
    assert fresh.state() == state


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong", [None, -1, 1 << 70, "x", [], [300, 0], {}])
def test_a_wrong_state_is_refused_or_taken_whole(name: str, wrong: Any) -> None:
    state = getattr(used().platform, name).state()
    for field in state:
        device = getattr(Parts().platform, name)
        try:
            device.restore(state | {field: wrong})
        except (ValueError, TypeError, KeyError):
            continue
        json.dumps(device.state())


def test_reset_keeps_the_time_and_the_memory_of_the_clock() -> None:
    parts = used()
    parts.platform.reset()
    state = parts.platform.rtc.state()
    assert bytes.fromhex(state["cells"])[0x40] == 0x77
    assert state["registers"] == [0x26, 0x02, 0]
    assert state["phase"] == SECOND // 2
    assert not parts.levels[mc146818.IRQ]


def test_reset_lets_every_line_go_and_forgets_what_waits() -> None:
    parts = used()
    parts.platform.reset()
    parts.platform.board.reset()
    assert not any(parts.levels.values())
    assert parts.bus.pio_in(0x64, 1) & 1 == 0
    assert parts.bus.pio_in(0x608, 4) == 0xFFFF_FFFF
    assert [parts.bus.pio_in(port, 1) for port in (0x92, 0xCF9, 0xB3)] == [0, 0, 0]


def test_the_clock_goes_round_after_the_last_year() -> None:
    parts = Parts()
    for cell, value in ((Cell.B, 0x82), (Cell.CENTURY, 0x99), (Cell.YEAR, 0x99), (Cell.MONTH, 0x12), (Cell.B, 2)):
        parts.platform.rtc.write(0, 1, cell)
        parts.platform.rtc.write(1, 1, value)
    parts.elapse(400 * 86400 * SECOND)
    parts.platform.rtc.write(0, 1, Cell.CENTURY)
    assert parts.platform.rtc.read(1, 1) in (0x99, 0x00)


def test_a_divider_that_is_held_stops_the_clock_and_starts_it_in_the_middle_of_a_second() -> None:
    parts = Parts()
    rtc = parts.platform.rtc

    def cell(index: int, value: int | None = None) -> int:
        rtc.write(0, 1, index)
        if value is not None:
            rtc.write(1, 1, value)
        return rtc.read(1, 1)

    cell(Cell.A, 0x76)
    parts.elapse(10 * SECOND)
    assert cell(Cell.SECONDS) == 0
    cell(Cell.A, 0x26)
    parts.elapse(SECOND * 499 // 1000)
    assert cell(Cell.SECONDS) == 0
    parts.elapse(SECOND // 1000)
    assert cell(Cell.SECONDS) == 1


def test_memory_in_the_clock() -> None:
    assert cmos(1 << 20, 1)[Cell.EXTENDED_MEMORY] == 0
    assert cmos(5 << 30, 4)[Cell.OTHER_PROCESSORS] == 3
    assert cmos(5 << 30, 1)[Cell.HIGH_MEMORY + 1] == 0x80


def test_a_log_keeps_its_end() -> None:
    console = debug_console.DebugConsole()
    for _ in range(2 * debug_console.LIMIT + 10):
        console.write(0, 1, ord("a"))
    console.write(0, 1, ord("b"))
    assert debug_console.LIMIT <= len(console.text) <= 2 * debug_console.LIMIT
    assert console.text.endswith("ab")


def test_files_have_keys_in_the_order_of_their_names() -> None:
    device = FwCfg({}, {"b": b"22", "a": b"1"})
    device.select(0x19)
    directory = device.take(4 + 2 * 64)
    assert directory[:4] == b"\0\0\0\2"
    assert directory[4:12] == b"\0\0\0\1\0\x20\0\0"
    assert directory[12:14] == b"a\0"
    device.select(0x21)
    assert device.take(4) == b"22\0\0"


def test_a_name_that_does_not_fit_the_directory_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 55 bytes"):
        FwCfg({}, {"x" * 56: b""})


def test_a_long_access_to_an_item_is_carried_out_in_pieces() -> None:
    parts = Parts(files={"opt/a": bytes(range(256)) * 1024})
    parts.memory.write(0x1000, b"\0\x20\0\x0a" + (256 << 10).to_bytes(4) + (0x2000).to_bytes(8))
    parts.bus.pio_out(0x518, 4, int.from_bytes((0x1000).to_bytes(4), "little"))
    assert parts.memory.read(0x2000, 256 << 10) == bytes(range(256)) * 1024
    assert parts.memory.read(0x1000, 4) == bytes(4)
    assert fw_cfg.CHUNK < 256 << 10
