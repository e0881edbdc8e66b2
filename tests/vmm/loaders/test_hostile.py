"""Files that were changed at random: a loader refuses them, or lays out something that is sound."""

from __future__ import annotations

import random
from contextlib import suppress
from itertools import pairwise

import pytest

from tests.vmm.loaders.files import CODE, RAM, by_addresses, bzimage_file, elf_file, multiboot_header, pvh_note
from virtproof.spec.e820 import RangeType
from virtproof.vmm.loaders import detect
from virtproof.vmm.loaders.image import Image, Kernel, LoadError, Module
from virtproof.vmm.loaders.layout import memory_map

SEED, ROUNDS = 0x7F45_4C46, 3000
SEEDS = (
    elf_file(32, content=multiboot_header(3) + CODE[:64]),
    elf_file(64, content=CODE[:64], note=pvh_note()),
    elf_file(64, content=CODE[:64], segments=({}, {"p_paddr": 0x1000, "p_vaddr": 0x1000})),
    by_addresses(),
    bzimage_file(protected=CODE[:512]),
)
INTERESTING = (0, 1, 4, 0x7F, 0x80, 0xFF, 0x10)


def mutate(rng: random.Random, content: bytes) -> bytes:
    made = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        match rng.randrange(3):
            case 0:
                made[rng.randrange(len(made))] = rng.choice(INTERESTING)
            case 1:
                made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
            case 2:
                at, size = rng.randrange(len(made)), rng.choice((2, 4, 8))
                made[at : at + size] = rng.getrandbits(8 * size).to_bytes(size, "little")[: len(made) - at]
    return bytes(made[: rng.randrange(1, len(made) + 1)] if rng.random() < 0.1 else made)


def check(image: Image) -> None:
    """No piece leaves RAM or overlaps another, and the entry is in memory that was loaded."""
    ram = [row for row in memory_map(RAM) if row.type is RangeType.RAM]
    pieces = sorted(image.pieces, key=lambda piece: piece.address)
    for piece in pieces:
        assert len(piece.data) <= piece.size
        assert any(row.start <= piece.address and piece.end <= row.end for row in ram)
    for one, other in pairwise(pieces):
        assert one.end <= other.address
    assert any(piece.address <= image.registers.rip < piece.end for piece in pieces)


@pytest.mark.parametrize("number", range(len(SEEDS)))
@pytest.mark.parametrize("format_", ["auto", *detect.FORMATS])
def test_changed_files(number: int, format_: str) -> None:
    rng = random.Random(SEED + number)
    module = None if format_ in ("flat", "elf64") else Module("m", b"m")
    loaded = 0
    for _ in range(ROUNDS // 5):
        with suppress(LoadError):
            check(detect.load(Kernel("k", mutate(rng, SEEDS[number]), b"", module), RAM, format_))
            loaded += 1
    matching = {
        "auto": {0, 1, 3, 4},
        "flat": {0, 1, 2, 3, 4},
        "bzimage": {4},
        "multiboot": {0, 3},
        "pvh": {1},
        "elf64": {1, 2},
    }
    assert (loaded > 0) >= (number in matching[format_])  # else nothing but the refusals was tested
