"""The model of the walk, on tables written out here; tests/conformance/test_walk_model.py compares it with rows."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from virtproof.spec.x86.paging import PaePde, Page1G, Page2M, Page4K, Pde4M, Table64
from virtproof.spec.x86.walk import (
    FIVE_LEVEL,
    FOUR_LEVEL,
    PAE,
    TWO_LEVEL,
    TWO_LEVEL_PSE,
    UNPAGED,
    Access,
    Control,
    Page,
    PageFault,
    Paging,
    after,
    walk,
)

PML4, PDPT, PD, PT, FRAME = 0x1000, 0x2000, 0x3000, 0x4000, 0x5000
OPEN = 7  # present, writable, user
ADDRESS = 0x0000_0080_4060_7123  # indices 1, 1, 3, 7
READ, USUAL = Access(), Control()
TABLES = {PML4 + 8: PDPT | OPEN, PDPT + 8: PD | OPEN, PD + 3 * 8: PT | OPEN, PT + 7 * 8: FRAME | OPEN}


def walked(
    tables: Mapping[int, int],
    access: Access = READ,
    control: Control = USUAL,
    address: int = ADDRESS,
) -> Page | PageFault:
    return walk(lambda at: tables.get(at, 0), PML4, address, access, control)


def test_four_levels_lead_to_the_byte() -> None:
    page = walked(TABLES)
    assert isinstance(page, Page)
    assert (page.physical, page.size) == (FRAME + 0x123, 0x1000)
    assert (page.write, page.user, page.execute) == (True, True, True)
    assert [at for at, _ in page.entries] == list(TABLES)


@pytest.mark.parametrize(
    ("at", "entry", "physical", "size"),
    [
        (PD + 3 * 8, 0x4000_0000 | Page2M.ps.mask | OPEN, 0x4000_7123, 1 << 21),
        (PDPT + 8, 0x8000_0000 | Page1G.ps.mask | OPEN, 0x8060_7123, 1 << 30),
    ],
)
def test_a_large_page_ends_the_walk(at: int, entry: int, physical: int, size: int) -> None:
    page = walked({**TABLES, at: entry})
    assert isinstance(page, Page)
    assert (page.physical, page.size) == (physical, size)


def test_bit_12_of_a_large_page_is_pat_and_no_address() -> None:
    page = walked({**TABLES, PD + 3 * 8: 0x4000_0000 | Page2M.ps.mask | Page2M.pat.mask | OPEN})
    assert isinstance(page, Page)
    assert page.physical == 0x4000_7123


def test_every_level_must_grant() -> None:
    for at, entry in TABLES.items():
        page = walked({**TABLES, at: entry & ~(Table64.rw.mask | Table64.us.mask) | Table64.xd.mask})
        assert isinstance(page, Page)
        assert (page.write, page.user, page.execute) == (False, False, False)


def test_an_access_marks_all_entries_and_a_write_the_leaf() -> None:
    page = walked(TABLES)
    assert isinstance(page, Page)
    read = {at: value | Table64.a.mask for at, value in TABLES.items()}
    assert after(page, READ) == read
    assert after(page, Access(write=True)) == {**read, PT + 7 * 8: FRAME | OPEN | Page4K.a.mask | Page4K.d.mask}


def test_without_gigabyte_pages_ps_of_a_pdpte_is_reserved() -> None:
    tables = {**TABLES, PDPT + 8: Page1G.ps.mask | OPEN}
    assert isinstance(walked(tables), Page)
    assert walked(tables, control=Control(gigabyte_pages=False)) == PageFault(0b1001)  # type: ignore[arg-type]


def test_an_address_that_is_not_canonical_is_not_walked() -> None:
    with pytest.raises(ValueError, match="0x800000000000 is not canonical"):
        walked(TABLES, address=1 << 47)


def fault(result: Page | PageFault) -> int:
    assert isinstance(result, PageFault)
    return int(result.error_code)


# The other kinds of paging.

USER, WRITE, FETCH = Access(user=True), Access(write=True), Access(fetch=True)
TOP, SECOND, THIRD = 0x1000, 0x2000, 0x3000
LINEAR = 0x4040_7123  # 257, 7 in two levels; 1, 2, 7 in PAE paging
TWO = {TOP + 4 * 257: SECOND | OPEN, SECOND + 4 * 7: FRAME | OPEN}
THREE = {TOP + 8: SECOND | 1, SECOND + 8 * 2: THIRD | OPEN, THIRD + 8 * 7: FRAME | OPEN}


def legacy(
    tables: Mapping[int, int], paging: Paging, access: Access = READ, control: Control = USUAL, linear: int = LINEAR
) -> Page | PageFault:
    return walk(lambda at: tables.get(at, 0), TOP, linear, access, control, paging)


def test_without_paging_an_address_is_physical_and_open() -> None:
    for access in (READ, WRITE, FETCH, USER):
        page = legacy({}, UNPAGED, access, Control(smep=True, smap=True))
        assert isinstance(page, Page)
        assert page.physical == LINEAR
        assert after(page, access) == {}


@pytest.mark.parametrize(("paging", "tables"), [(TWO_LEVEL, TWO), (TWO_LEVEL_PSE, TWO), (PAE, THREE)])
def test_other_levels_lead_to_the_byte(paging: Paging, tables: Mapping[int, int]) -> None:
    page = legacy(tables, paging)
    assert isinstance(page, Page)
    assert (page.physical, page.size) == (FRAME + 0x123, 0x1000)
    assert [at for at, _ in page.entries] == list(tables)
    assert (page.write, page.user, page.execute) == (True, True, True)


def test_the_first_four_gigabytes_have_four_pdptes_anywhere_below_4_gib() -> None:
    page = walk({0x1020 + 8: SECOND | 1, **THREE}.__getitem__, 0x1020, LINEAR, paging=PAE)
    assert isinstance(page, Page)


def test_entries_of_pae_paging_reach_beyond_4_gib() -> None:
    page = legacy({**THREE, THIRD + 8 * 7: 0x12_3456_7000 | OPEN}, PAE)
    assert isinstance(page, Page)
    assert page.physical == 0x12_3456_7123


def test_ps_counts_with_cr4_pse_only() -> None:
    tables = {**TWO, TOP + 4 * 257: SECOND | 0x80 | OPEN}
    small = legacy(tables, TWO_LEVEL)
    large = legacy({TOP + 4 * 257: 0x0080_0000 | 0x80 | OPEN}, TWO_LEVEL_PSE)
    assert isinstance(small, Page)
    assert small.size == 0x1000
    assert isinstance(large, Page)
    assert (large.physical, large.size) == (0x0080_7123, 4 << 20)


def test_pse_36_holds_address_bits_39_to_32() -> None:
    entry = Pde4M(0x0080_0000 | 0x80 | OPEN).but(high=0x12)
    page = legacy({TOP + 4 * 257: entry}, TWO_LEVEL_PSE)
    assert isinstance(page, Page)
    assert page.physical == 0x12_0080_7123
    assert fault(legacy({TOP + 4 * 257: entry}, TWO_LEVEL_PSE, control=Control(physical_bits=36))) == 0b1001
    assert fault(legacy({TOP + 4 * 257: entry | 1 << 21}, TWO_LEVEL_PSE)) == 0b1001


def test_two_levels_have_no_execute_disable() -> None:
    assert fault(legacy({}, TWO_LEVEL, FETCH)) == 0
    assert fault(legacy({}, TWO_LEVEL, FETCH, Control(smep=True))) == 0b1_0000
    assert fault(legacy({}, PAE, FETCH)) == 0b1_0000
    assert fault(legacy({}, PAE, FETCH, Control(nxe=False))) == 0


def test_a_pdpte_of_pae_paging_has_no_rights_and_is_not_marked() -> None:
    page = legacy(THREE, PAE, WRITE._replace(user=True))
    assert isinstance(page, Page)
    assert after(page, WRITE)[TOP + 8] == SECOND | 1


@pytest.mark.parametrize("bit", [52, 62])
def test_pae_paging_reserves_what_four_levels_ignore(bit: int) -> None:
    tables = {**THREE, SECOND + 8 * 2: THIRD | OPEN | 1 << bit}
    assert fault(legacy(tables, PAE)) == 0b1001
    assert PaePde(1 << bit).reserved
    assert isinstance(walked({**TABLES, PD + 3 * 8: PT | OPEN | 1 << bit}), Page)


def test_nx_is_reserved_while_nxe_is_clear() -> None:
    tables = {**TABLES, PT + 7 * 8: FRAME | OPEN | Table64.xd.mask}
    assert fault(walked(tables, FETCH)) == 0b1_0001
    assert fault(walked(tables, FETCH, Control(nxe=False))) == 0b1001
    assert fault(walked(tables, FETCH, Control(nxe=False, smep=True))) == 0b1_1001


def test_five_levels() -> None:
    linear = 3 << 48 | ADDRESS
    tables = {0x9000 + 3 * 8: PML4 | OPEN, **TABLES}
    page = walk(tables.__getitem__, 0x9000, linear, paging=FIVE_LEVEL)
    assert isinstance(page, Page)
    assert [at for at, _ in page.entries] == list(tables)
    with pytest.raises(ValueError, match="not canonical"):
        walk(tables.__getitem__, 0x9000, linear, paging=FOUR_LEVEL)
    reserved = walk({**tables, 0x9000 + 3 * 8: PML4 | OPEN | 0x80}.__getitem__, 0x9000, linear, paging=FIVE_LEVEL)
    assert fault(reserved) == 0b1001


# Who may.

PAGE_OF = {(us, rw): {**TABLES, PT + 7 * 8: FRAME | 1 | rw << 1 | us << 2} for us in (0, 1) for rw in (0, 1)}


@pytest.mark.parametrize(
    ("us", "rw", "access", "control", "code"),
    [
        (0, 1, USER, Control(), 0b101),
        (1, 0, WRITE._replace(user=True), Control(wp=False), 0b111),
        (0, 0, WRITE, Control(), 0b011),
        (1, 1, FETCH, Control(smep=True), 0b1_0001),
        (1, 1, READ, Control(smap=True), 0b001),
        (1, 1, WRITE, Control(smap=True, wp=False), 0b011),
        (1, 1, Access(implicit=True), Control(smap=True, ac=True), 0b001),
        (1, 1, Access(implicit=True, user=True), Control(smap=True), 0b001),
    ],
)
def test_who_is_refused(us: int, rw: int, access: Access, control: Control, code: int) -> None:
    assert fault(walked(PAGE_OF[us, rw], access, control)) == code


@pytest.mark.parametrize(
    ("us", "rw", "access", "control"),
    [
        (1, 0, USER, Control(smap=True, smep=True)),
        (0, 0, WRITE, Control(wp=False)),
        (1, 1, READ, Control(smap=True, ac=True)),
        (1, 1, FETCH, Control(smap=True)),
        (0, 1, FETCH, Control(smep=True)),
        (0, 0, Access(implicit=True, user=True), Control(smap=True)),
    ],
)
def test_who_is_not(us: int, rw: int, access: Access, control: Control) -> None:
    assert isinstance(walked(PAGE_OF[us, rw], access, control), Page)


# Protection keys.

AD5, WD5 = 1 << 10, 2 << 10
KEYED = {us: {**TABLES, PT + 7 * 8: FRAME | 3 | us << 2 | 5 << 59} for us in (0, 1)}


@pytest.mark.parametrize(
    ("us", "access", "control", "code"),
    [
        (1, READ, Control(pke=True, pkru=AD5), 0b10_0001),
        (1, USER, Control(pke=True, pkru=AD5), 0b10_0101),
        (1, WRITE, Control(pke=True, pkru=WD5), 0b10_0011),
        (1, WRITE._replace(user=True), Control(pke=True, pkru=WD5, wp=False), 0b10_0111),
        (0, READ, Control(pks=True, pkrs=AD5), 0b10_0001),
        (0, WRITE, Control(pks=True, pkrs=WD5), 0b10_0011),
        (1, READ, Control(pke=True, pkru=AD5, smap=True), 0b10_0001),  # PK is set whatever else refuses
    ],
)
def test_a_key_refuses(us: int, access: Access, control: Control, code: int) -> None:
    assert fault(walked(KEYED[us], access, control)) == code


@pytest.mark.parametrize(
    ("us", "access", "control"),
    [
        (1, FETCH, Control(pke=True, pkru=AD5)),
        (1, WRITE, Control(pke=True, pkru=WD5, wp=False)),
        (1, READ, Control(pke=True, pkru=WD5)),
        (1, READ, Control(pkru=AD5)),
        (1, READ, Control(pke=True, pkru=~(3 << 10) & 0xFFFF_FFFF)),
        (1, READ, Control(pks=True, pkrs=AD5)),
        (0, READ, Control(pke=True, pkru=AD5)),
    ],
)
def test_a_key_does_not_refuse(us: int, access: Access, control: Control) -> None:
    assert isinstance(walked(KEYED[us], access, control), Page)


def test_a_reserved_bit_comes_before_the_key() -> None:
    tables = {**KEYED[1], PD + 3 * 8: PT | OPEN | 1 << 51}
    assert fault(walked(tables, control=Control(pke=True, pkru=AD5, physical_bits=48))) == 0b1001
