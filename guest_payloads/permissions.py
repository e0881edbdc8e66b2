"""Boots ``permissions.c``: accesses to one linear address under many combinations of entries and control bits.

The host makes the page tables, for each kind of paging the same way: memory one to one in pages of 4 KiB, and a table
of each level for the address of the access alone, whose entries the guest writes anew for each combination.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from virtproof.guest_payloads import images
from virtproof.guest_payloads.combination import COMBINATIONS, LEVELS, Argument, Combination
from virtproof.guest_payloads.images import Image
from virtproof.guest_payloads.trampoline import INITIAL, Initial, Mode, start_state
from virtproof.spec.guest_protocol import REPORT_PORT, REPORT_PORTS, Event
from virtproof.spec.x86.control import Cr4
from virtproof.spec.x86.walk import FIVE_LEVEL, FOUR_LEVEL, PAE, TWO_LEVEL, TWO_LEVEL_PSE, UNPAGED, Paging
from virtproof.vmm.devices.report import ReportPort
from virtproof.vmm.engine import Engine
from virtproof.vmm.exits import Exit, Timeout
from virtproof.vmm.machine import Machine
from virtproof.vmm.registers import Registers, SpecialRegisters

PAGE = 0x1000
CELL = 0x7128  # physical address that every translation leads to: all frames begin at 0 or with its page
FRAME = CELL & ~(PAGE - 1)
CONTENTS = 0x00CF_F300_0000_FFC3  # what lies there: a user's data segment, which begins with RET
P, W, U = 1, 2, 4


class Setting(NamedTuple):
    """How a guest with a kind of paging starts, and the linear address of the access, whose indices differ by level."""

    mode: Mode
    linear: int


SETTINGS = {
    UNPAGED: Setting(Mode.PROT32, CELL),
    TWO_LEVEL: Setting(Mode.PSE32, 256 << 22 | CELL),
    TWO_LEVEL_PSE: Setting(Mode.PSE32, 256 << 22 | CELL),
    PAE: Setting(Mode.PAE32, 1 << 30 | CELL),
    FOUR_LEVEL: Setting(Mode.LONG64, 1 << 39 | 2 << 30 | CELL),
    FIVE_LEVEL: Setting(Mode.LONG64, 1 << 48 | 3 << 39 | 2 << 30 | CELL),
}


class Tables(NamedTuple):
    """Page tables: their bytes, and from the top down the entries for the access, and the tables that these are in."""

    data: bytes
    places: tuple[int, ...]
    tables: tuple[int, ...]


def image_of(paging: Paging) -> Image:
    """The payload, as code of the width that the paging goes with."""
    return images.load("permissions64" if paging.long else "permissions32")


def initial(paging: Paging) -> Initial:
    """Control registers before the first combination."""
    start = INITIAL[SETTINGS[paging].mode]
    return start._replace(cr4=start.cr4.but(la57=1)) if paging is FIVE_LEVEL else start


def tables(paging: Paging, memory: int) -> Tables:
    """Tables that map ``memory`` bytes from 0, for the supervisor but for the payload's two pages for users."""
    image = image_of(paging)
    base, made = image["tables"], [bytearray(PAGE) for _ in paging.levels]  # the first ones: those of the access
    linear = SETTINGS[paging].linear

    def at(address: int, level: int) -> int:
        shift, bits, *_ = paging.levels[level]
        return paging.width * (address >> shift & (1 << bits) - 1)

    def put(table: int, offset: int, entry: int) -> None:
        made[table][offset : offset + paging.width] = entry.to_bytes(paging.width, "little")

    for address in range(0, memory if paging.levels else 0, PAGE):
        table, last = 0, len(paging.levels) - 1
        for level in range(last):
            offset = at(address, level)
            entry = int.from_bytes(made[table][offset : offset + paging.width], "little")
            if not entry:
                made.append(bytearray(PAGE))
                entry = base + PAGE * (len(made) - 1) | (P if paging is PAE and level == 0 else P | W | U)
                put(table, offset, entry)
            table = (entry - base) // PAGE
        user = U if image["user_first"] <= address < image["user_last"] else 0
        put(table, at(address, last), address | P | W | user)
    own = tuple(base + PAGE * level for level in range(len(paging.levels)))
    places = tuple(table + at(linear, level) for level, table in enumerate(own))
    return Tables(b"".join(made), places, own)


def state(paging: Paging, reset: SpecialRegisters) -> SpecialRegisters:
    """The special registers with which the payload is entered."""
    started = start_state(SETTINGS[paging].mode, image_of(paging), reset)
    return replace(started, cr4=started.cr4 | Cr4.la57.mask) if paging is FIVE_LEVEL else started


def pieces(
    paging: Paging, combinations: Sequence[Combination], *, segments: bool = False, console: int = 0
) -> dict[int, bytes]:
    """What has to lie in memory, by address.  ``segments``: some of the accesses load a segment register."""
    image, made = image_of(paging), tables(paging, memory_of(combinations))
    words = [0] * (Argument.PLACES + LEVELS)
    linear = SETTINGS[paging].linear
    words[: Argument.PLACES] = len(combinations), linear, CELL, CONTENTS, linear if segments else 0, console
    words[Argument.PLACES : Argument.PLACES + len(made.places)] = made.places
    return {
        image["image"]: image.data,
        image["arguments"]: struct.pack(f"<{len(words)}Q", *words),
        **({image["tables"]: made.data} if made.data else {}),
        COMBINATIONS: b"".join(map(bytes, combinations)),
    }


def memory_of(combinations: Sequence[Combination]) -> int:
    """Bytes of RAM that a guest needs."""
    return COMBINATIONS + ctypes.sizeof(Combination) * len(combinations) + PAGE - 1 & ~(PAGE - 1)


class Ran(NamedTuple):
    """The combinations as the guest left them; those it did not come to have the vector ``AHEAD``."""

    combinations: tuple[Combination, ...]
    done: bool
    end: Exit | Timeout
    fault: int | None  # vector of an exception in the payload itself


def run(
    engine: Engine, paging: Paging, combinations: Sequence[Combination], *, seconds: float, segments: bool = False
) -> Ran:
    """Run all combinations in one guest.  Raises Fault where the engine fails."""
    finished: list[tuple[Event, int]] = []

    def on_event(event: Event, argument: int) -> None:
        if event in (Event.DONE, Event.FAULT):
            finished.append((event, argument))
            machine.stop()

    with Machine(engine, ram=memory_of(combinations), cpuid=engine.supported_cpuid()) as machine:
        machine.bus.add_ports(REPORT_PORT, REPORT_PORTS, ReportPort(on_event), "guest protocol")
        for address, data in pieces(paging, combinations, segments=segments).items():
            machine.memory.load(address, data)
        machine.vcpu.set_special_registers(state(paging, machine.vcpu.special_registers()))
        image = image_of(paging)
        machine.vcpu.set_registers(Registers(rip=image["entry"], rsp=image["stack_top"]))
        end = machine.run(seconds)
        event, argument = finished[0] if finished else (None, 0)
        left = machine.memory.read(COMBINATIONS, ctypes.sizeof(Combination) * len(combinations))
    return Ran(parse(left), event is Event.DONE, end, argument if event is Event.FAULT else None)


def parse(left: bytes) -> tuple[Combination, ...]:
    """The combinations that lie in memory."""
    size = ctypes.sizeof(Combination)
    return tuple(Combination.from_buffer_copy(left, at) for at in range(0, len(left) - size + 1, size))
