"""The ELF writer, read back by another hand: field by field as the ABI lays them out, and by binutils."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from virtproof.guest_payloads import elf32

DATA = bytes(range(200))
MADE = elf32.executable(0x100000, DATA, 0x10000C, {"entry": 0x1000, "stimulus": 0x15000})


def words(offset: int, count: int) -> tuple[int, ...]:
    return struct.unpack_from(f"<{count}I", MADE, offset)


def test_header_says_an_executable_for_a_386() -> None:
    assert MADE[:7] == b"\x7fELF\x01\x01\x01"
    assert struct.unpack_from("<HH", MADE, 16) == (2, 3)
    assert words(20, 2) == (1, 0x10000C)


def test_the_segment_is_the_data_at_its_physical_address() -> None:
    at = words(28, 1)[0]
    kind, offset, virtual, physical, in_file, in_memory, flags, alignment = words(at, 8)
    assert (kind, virtual, physical, in_file, in_memory, flags) == (1, 0x100000, 0x100000, 200, 200, 7)
    assert MADE[offset : offset + in_file] == DATA
    assert offset % alignment == virtual % alignment


def test_a_boot_loader_finds_its_header() -> None:
    """Multiboot Specification 0.6.96, "The layout of Multiboot header": in the first 8192 bytes, aligned to 4."""
    assert words(words(28, 1)[0], 2)[1] % 4 == 0
    assert words(words(28, 1)[0], 2)[1] < 8192 - 200


@pytest.mark.skipif(shutil.which("nm") is None, reason="no binutils")
def test_binutils_read_it(tmp_path: Path) -> None:
    file = tmp_path / "a.elf"
    file.write_bytes(MADE)
    symbols = subprocess.run(["nm", str(file)], capture_output=True, text=True, check=True)
    assert symbols.stdout.split() == ["00001000", "A", "entry", "00015000", "A", "stimulus"]
    assert symbols.stderr == ""
    checked = subprocess.run(["readelf", "-hlSW", str(file)], capture_output=True, text=True, check=True)
    assert checked.stderr == ""
