"""The table's layout, as the trampolines see it."""

import ctypes

from virtproof.guest_payloads import table


def defines() -> dict[str, int]:
    lines = (line.split(maxsplit=2) for line in table.c_header().splitlines())
    return {name: int(value, 0) for _, name, value in lines if not name.endswith(")")}


def test_stimulus_and_observation_are_a_kib_each() -> None:
    assert ctypes.sizeof(table.Stimulus) == ctypes.sizeof(table.Observation) == 1024
    assert defines()["ENTRY_SIZE"] == 2048


def test_the_header_has_offsets_from_the_start_of_an_entry() -> None:
    found = defines()
    assert found["STIM_GPR"] == 0
    assert found["STIM_RIP"] == 16 * 8
    assert found["OBS_GPR"] == 1024
    assert found["OBS_VECTOR"] == 1024 + 16 * 8
    assert found["SET_VALUE"] == 16


def test_a_full_table_ends_below_the_hole_of_video_memory() -> None:
    assert 0x20000 + table.CAPACITY * ctypes.sizeof(table.Entry) <= 0xA0000
