"""Frames and page sizes from files in /proc: made-up ones, hostile ones, and those of this host."""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from virtproof.conformance import host_pages
from virtproof.conformance.areas.second_level.chain import in_words, mapped_by
from virtproof.conformance.host_memory import Mapping
from virtproof.conformance.host_pages import (
    COMPOUND_HEAD,
    COMPOUND_TAIL,
    FRAMES,
    LARGE_PAGE,
    PAGE,
    PRESENT,
    SWAPPED,
    TRANSPARENT,
    area,
    frame,
    size,
)
from virtproof.probes.fact import Unknown

AT = 3 * LARGE_PAGE  # of the mapping in question
GIB = 1 << 30


def smaps(*, page: int = 4, rss: int = 4096, anonymous: int = 0, shared: int = 0, file: int = 0) -> str:
    """Three mappings, the second at ``AT``; all in KiB."""

    def one(low: int, high: int, page: int, rss: int, *large: int) -> str:
        names = ("AnonHugePages", "ShmemPmdMapped", "FilePmdMapped")
        sizes = {"Size": high - low >> 10, "KernelPageSize": page, "MMUPageSize": page, "Rss": rss}
        sizes |= dict(zip(names, large, strict=True))
        lines = "".join(f"{name + ':':<16}{value:8} kB\n" for name, value in sizes.items())
        return f"{low:08x}-{high:08x} rw-p 00000000 00:00 0    [anon: 0-9 ]\n{lines}VmFlags: rd wr mr\n"

    return (
        one(0x1000, 0x3000, 1 << 20, 8, 0, 0, 0)
        + one(AT, AT + 2 * LARGE_PAGE, page, rss, anonymous, shared, file)
        + one(AT + 2 * LARGE_PAGE, AT + 3 * LARGE_PAGE, 4, 2048, 2048, 0, 0)
    )


def make(proc: Path, text: str = "", entry: int | None = None, flags: dict[int, int] | None = None) -> Path:
    """A /proc: ``entry`` is the pagemap's for the page at ``AT``, ``flags`` are of frames."""
    (proc / "self").mkdir(exist_ok=True)
    if text:
        (proc / "self/smaps").write_text(text)
    if entry is not None:
        with (proc / "self/pagemap").open("wb") as pagemap:
            pagemap.seek(AT // PAGE * 8)
            pagemap.write(struct.pack("<Q", entry))
    if flags is not None:
        with (proc / "kpageflags").open("wb") as table:
            for number, value in flags.items():
                table.seek(8 * number)
                table.write(struct.pack("<Q", value))
    return proc


@pytest.mark.parametrize(
    ("sizes", "want"),
    [
        ({}, PAGE),
        ({"page": 2048}, LARGE_PAGE),
        ({"page": 1 << 20}, GIB),
        ({"rss": 2048, "anonymous": 2048}, LARGE_PAGE),
        ({"rss": 4096, "shared": 4096}, LARGE_PAGE),
        ({"rss": 4096, "shared": 2048, "file": 2048}, LARGE_PAGE),
    ],
)
def test_a_mapping_of_one_kind_tells_the_size_of_each_page(sizes: dict[str, int], want: int, tmp_path: Path) -> None:
    assert size(AT + 5, make(tmp_path, smaps(**sizes))) == want


HEAD, TAIL = COMPOUND_HEAD | TRANSPARENT, COMPOUND_TAIL | TRANSPARENT
LARGE = {FRAMES: HEAD} | dict.fromkeys(range(FRAMES + 1, 2 * FRAMES), TAIL)
SIXTEENS = {n: TAIL if n % 16 else HEAD for n in range(FRAMES, 2 * FRAMES)}


@pytest.mark.parametrize(
    ("flags", "want"),
    [(LARGE, LARGE_PAGE), (SIXTEENS, PAGE), (LARGE | {FRAMES + 7: 0}, PAGE), (LARGE | {2 * FRAMES - 1: HEAD}, PAGE)],
    ids=["large", "many of 64 KiB", "not compound", "the last is another's"],
)
def test_in_a_mapping_of_both_kinds_the_frame_tells(flags: dict[int, int], want: int, tmp_path: Path) -> None:
    proc = make(tmp_path, smaps(anonymous=2048), PRESENT | FRAMES + 7, flags)
    assert size(AT, proc) == want


def test_a_frame_is_told(tmp_path: Path) -> None:
    proc = make(tmp_path, entry=PRESENT | 1 << 61 | 1 << 55 | 0x1234)
    assert frame(AT + 0xFFF, proc) == 0x1234


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (0, "no page is there"),
        (SWAPPED | 99, "swapped out"),
        (PRESENT | 1 << 61, "CAP_SYS_ADMIN"),
        (None, "pagemap: No such file"),
    ],
)
def test_a_frame_that_is_not_told_is_unknown(entry: int | None, reason: str, tmp_path: Path) -> None:
    found = frame(AT, make(tmp_path, entry=entry))
    assert isinstance(found, Unknown)
    assert reason in found.reason


def test_a_pagemap_that_ends_early_is_unknown(tmp_path: Path) -> None:
    proc = make(tmp_path, entry=PRESENT | 5)
    with (proc / "self/pagemap").open("rb+") as pagemap:
        pagemap.truncate(AT // PAGE * 8 + 3)
    assert frame(AT, proc) == Unknown("pagemap gives 3 of 8 bytes")
    assert frame((1 << 64) - 1, proc) == Unknown("pagemap gives 0 of 8 bytes")
    assert isinstance(frame(1 << 90, proc), Unknown)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "smaps: No such file"),
        ("nothing of the kind\n", "no mapping there"),
        (smaps().replace("KernelPageSize", "KernelPageSlze"), "does not tell"),
        (smaps(page=0), "does not tell"),
        (smaps(page=12), "does not tell"),
        (smaps().replace("Rss:", "Rsz:"), "does not tell"),
        (smaps()[:200], "no mapping there"),
    ],
)
def test_a_mapping_that_is_not_told_is_unknown(text: str, reason: str, tmp_path: Path) -> None:
    found = size(AT, make(tmp_path, text))
    assert isinstance(found, Unknown)
    assert reason in found.reason


def test_both_kinds_without_flags_are_unknown(tmp_path: Path) -> None:
    proc = make(tmp_path, smaps(anonymous=2048), PRESENT | 7)
    assert size(AT, proc) == Unknown("kpageflags: No such file or directory")
    make(tmp_path, flags=dict.fromkeys(range(9), HEAD))
    assert size(AT, proc) == Unknown("kpageflags gives 72 of 4096 bytes")
    make(tmp_path, entry=PRESENT)
    assert "CAP_SYS_ADMIN" in in_words(size(AT, proc))


LINES = r"([0-9a-f]{1,17}-[0-9a-f]{1,17} \n(\w+: +\d{1,20} kB\n){0,4}){1,3}"


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    text=st.binary(max_size=200) | st.from_regex(LINES).map(str.encode),
    entries=st.binary(max_size=64),
    address=st.integers(0, 8 * PAGE),
)
def test_no_content_is_too_odd(text: bytes, entries: bytes, address: int, tmp_path: Path) -> None:
    (tmp_path / "self").mkdir(exist_ok=True)
    (tmp_path / "self/smaps").write_bytes(text)
    for name in ("self/pagemap", "kpageflags"):
        (tmp_path / name).write_bytes(entries)
    for found in (size(address, tmp_path), frame(address, tmp_path)):
        assert isinstance(found, Unknown) or found > 0
    assert isinstance(area(address, tmp_path), (Unknown, host_pages.Area))


def test_this_host_tells_of_memory_that_was_used() -> None:
    with Mapping(2 * PAGE) as mapping:
        ctypes.memset(mapping.address, 1, 1)
        assert size(mapping.address) in (PAGE, LARGE_PAGE)
        found = frame(mapping.address)
    assert isinstance(found, Unknown) or found > 0


COUNTS = {"pages_4k": 10, "pages_2m": 1, "pages_1g": 0}


@pytest.mark.parametrize(
    ("after", "want"),
    [
        ({"pages_4k": 11}, PAGE),
        ({"pages_4k": 18}, PAGE),
        ({"pages_2m": 2, "pages_4k": 9}, LARGE_PAGE),
        ({"pages_1g": 1}, GIB),
        ({}, Unknown("KVM mapped nothing for it that was not there before")),
        ({"pages_4k": 12, "pages_2m": 2}, Unknown("meanwhile KVM mapped 2 of 4 KiB and 1 of 2 MiB")),
        ({"pages_1g": [1, 2]}, Unknown("KVM has no counter pages_1g")),
    ],
)
def test_what_kvm_mapped_is_the_counter_that_grew(after: dict[str, object], want: int | Unknown) -> None:
    assert mapped_by(COUNTS, COUNTS | after) == want


def test_sizes_in_words() -> None:
    assert [in_words(one) for one in (PAGE, LARGE_PAGE, GIB)] == ["4 KiB", "2 MiB", "1 GiB"]
    assert in_words(Unknown("nobody says")) == "unknown: nobody says"
