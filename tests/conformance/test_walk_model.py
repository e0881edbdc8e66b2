"""The model of the walk against the expectations of every row that it can speak about."""

from __future__ import annotations

import pytest

from virtproof.conformance.areas.paging import accessed_dirty, entries, large, permissions
from virtproof.conformance.case import At, Row, Value
from virtproof.conformance.window import FETCH, VA, WRITE
from virtproof.guest_payloads.table import SetKind
from virtproof.guest_payloads.trampoline import INITIAL, Mode
from virtproof.spec.x86.control import Cr0, Cr4, Efer
from virtproof.spec.x86.flags import Rflags
from virtproof.spec.x86.walk import Access, Control, Page, PageFault, after, walk

OPEN = 7  # present, writable, user

# Single reads, writes and fetches whose tables are written by sets.

SYMBOLS = {
    "pml4": 0x10_0000,
    "pdpt": 0x11_0000,
    "window_pdpt": 0x12_0000,
    "window_pd": 0x13_0000,
    "window_pt": 0x14_0000,
    "frame": 0x15_0000,
}


def _number(value: Value) -> int:
    return SYMBOLS[value.symbol] + value.offset if isinstance(value, At) else value


def _modelled(row: Row) -> Page | PageFault:
    """The row's last instruction, as the model has it."""
    cr0, cr4, efer = INITIAL[row.mode]
    memory = {
        SYMBOLS["pml4"] + 8: SYMBOLS["window_pdpt"] | OPEN,
        SYMBOLS["window_pdpt"]: SYMBOLS["window_pd"] | OPEN,
        SYMBOLS["window_pd"]: SYMBOLS["window_pt"] | OPEN,
    }
    for change in row.sets:
        match change.kind:
            case SetKind.MEM64:
                memory[_number(change.address)] = _number(change.value)
            case SetKind.CR0:
                cr0 = Cr0(cr0 & ~change.clear | change.set_bits)
            case SetKind.CR4:
                cr4 = Cr4(cr4 & ~change.clear | change.set_bits)
            case SetKind.MSR:
                efer = Efer(_number(change.value))
            case _:
                pytest.fail(f"{row.id}: the model does not know {change}")
    touch = row.code[-1]
    return walk(
        lambda at: memory.get(at, 0),
        SYMBOLS["pml4"],
        _number(row.regs["rbx"]),
        Access(write=touch is WRITE, fetch=touch is FETCH, user=row.ring == 3),
        Control(cr0.wp, cr4.smep, cr4.smap, efer.nxe, Rflags(row.flags).ac, physical_bits=48),
    )


SINGLE = [
    case
    for module in (permissions, entries, large)
    for case in module.CASES
    if isinstance(case, Row) and case.mode is Mode.LONG64 and len(case.code) == 1
]
MARKING = [
    case
    for case in accessed_dirty.CASES
    if len(case.code) == 1 and case.expect.vector is None and case.id != "pg.ad.a_page_cross"
]


@pytest.mark.parametrize("row", SINGLE, ids=lambda row: row.id)
def test_the_model_agrees_with_the_row(row: Row) -> None:
    result = _modelled(row)
    if row.expect.vector is None:
        assert isinstance(result, Page)
    else:
        assert result == PageFault(row.expect.error_code)  # type: ignore[arg-type]


@pytest.mark.parametrize("row", MARKING, ids=lambda row: row.id)
def test_the_model_marks_what_the_row_expects(row: Row) -> None:
    page = _modelled(row)
    assert isinstance(page, Page)
    write = row.code[0].text.split()[1] != "rax," and row.code[0] is not FETCH
    marked = after(page, Access(write=write, fetch=row.code[0] is FETCH))
    assert marked == {_number(at): _number(value) for at, value in row.expect.memory.items()}


def test_the_rows_are_many_enough_to_mean_something() -> None:
    assert len(SINGLE) > 90
    assert len(MARKING) >= 7
    assert VA % 0x1000  # CR2 must be exact to the byte
