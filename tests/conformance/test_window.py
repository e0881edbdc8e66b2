"""The window's entries, host memory for slots, and the making of host scripts from rows."""

from __future__ import annotations

import os

import pytest

from virtproof.conformance.areas.second_level import dirty_log, slots
from virtproof.conformance.case import At, HostScript, Insn, Row, completes
from virtproof.conformance.features import physical_bits
from virtproof.conformance.guest import hosted
from virtproof.conformance.host_memory import Mapping
from virtproof.conformance.window import FRAME, page, page_1g, page_2m, pde, pml4e, pte, table
from virtproof.guest_payloads import images
from virtproof.guest_payloads.trampoline import Mode
from virtproof.kvm import CpuidEntry
from virtproof.spec.cite import linux


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        (page(0x5000), 0x5003),
        (page(0x5000, present=False, user=True), 0x5006),
        (page(0x5000, write=False, nx=True), 0x8000_0000_0000_5001),
        (page(0x5000, accessed=True, dirty=True, global_=True), 0x5163),
        (page(0x5000, also=1 << 51), 0x0008_0000_0000_5003),
        (page_2m(0x20_0000, user=True), 0x20_0087),
        (page_1g(0x4000_0000), 0x4000_0083),
        (table(0x6000), 0x6007),
        (table(0x6000, user=False, accessed=True), 0x6023),
        (page(), At("frame", 3)),
        (page(FRAME + 0x1000, nx=True), At("frame", 0x8000_0000_0000_1003)),
    ],
)
def test_an_entry_is_frame_and_flags(entry: int | At, value: int | At) -> None:
    assert entry == value


def test_entries_lie_where_the_walk_looks() -> None:
    assert pte(3) == At("window_pt", 24)
    assert pde(511) == At("window_pd", 4088)
    assert pml4e() == At("pml4", 8)


def test_the_gate_of_page_faults_fits_where_the_code_lies() -> None:
    """``caught_by`` writes bits 31:16 of the handler's address as a constant."""
    script = (images.HERE / images.RECIPES["long64"].linker_script).read_text()
    assert "kernel_code      = 0x15000" in script


def test_a_row_with_a_host_keeps_what_the_case_says() -> None:
    row = Row(
        id="x.y", title="t", area="a", mode=Mode.LONG64, cite=(linux("x", "y"),), priority=2, requires=("nx",),
        seconds=7.0, code=(Insn("90", "nop"),), expect=completes(),
    )  # fmt: skip
    case = hosted(row)
    assert isinstance(case, HostScript)
    assert (case.id, case.title, case.area, case.mode, case.cite) == (row.id, row.title, row.area, row.mode, row.cite)
    assert (case.priority, case.requires, case.seconds) == (2, ("nx",), 7.0)


def test_a_mapping_is_the_file_it_maps() -> None:
    fd = os.memfd_create("test")
    try:
        os.ftruncate(fd, 0x1000)
        with Mapping(0x1000, fd) as mapping:
            mapping.pages[0x10] = 0x42
            assert os.pread(fd, 1, 0x10) == b"\x42"
            assert mapping.address % 0x1000 == 0
    finally:
        os.close(fd)


class _Offers:
    def __init__(self, *entries: CpuidEntry) -> None:
        self._entries = entries

    def supported_cpuid(self) -> tuple[CpuidEntry, ...]:
        return self._entries


def test_physical_addresses_are_as_wide_as_the_engine_says() -> None:
    said = CpuidEntry(0x8000_0008, 0, 0, 0x3028, 0, 0, 0)
    assert physical_bits(_Offers(said)) == 40  # type: ignore[arg-type]
    assert physical_bits(_Offers()) == 36  # type: ignore[arg-type]


def test_the_fold_of_the_edit_loop_sees_the_order() -> None:
    assert slots._folded(1, 1, 2) == 1 << 5
    assert slots._folded(2, 1, 2) == ((1 << 5) + 2) << 5
    assert slots._folded(1000, 1, 2) != slots._folded(1000, 2, 1)


def test_pages_of_a_log_are_shown_short() -> None:
    assert dirty_log._show(frozenset()) == "none"
    assert dirty_log._show(frozenset({5, 3})) == "2: 3 5"
    assert dirty_log._show(frozenset(range(9))) == "9: 0 1 2 3 4 5 6 7 ..."
