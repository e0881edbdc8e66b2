"""An observation against what a row expects, field by field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from virtproof.conformance.case import Part, Row, Value
from virtproof.conformance.encode import END, code_address, offsets, registers, resolve
from virtproof.guest_payloads.images import Image
from virtproof.guest_payloads.table import Observation
from virtproof.guest_payloads.trampoline import Access, Mode
from virtproof.results import Check
from virtproof.spec.x86.exception import Vector


def compare(row: Row, image: Image, seen: Observation, accesses: Sequence[Access]) -> tuple[Check, ...]:
    """Every judged field, the ones that agree included."""
    return (*_exception(row, image, seen), *_state(row, image, seen), *_accesses(row, accesses))


def completed(row: Row, image: Image, seen: Observation) -> bool:
    """Did the code run to its end?"""
    return bool(seen.vector == Vector.UD and seen.rip == code_address(row, image) + offsets(row)[-1])


def _exception(row: Row, image: Image, seen: Observation) -> Iterator[Check]:
    want = row.expect
    start, at = code_address(row, image), offsets(row)
    done = completed(row, image, seen)
    saw = "completes" if done else f"{mnemonic(seen.vector)} at {_place(seen.rip - start, at)}"
    if want.vector is None:
        yield Check("exception", "completes", saw, done)
        if not done:
            return
        if row.mode is not Mode.REAL16:
            yield from _bits("RFLAGS", want.flags_set, want.flags_clear, seen.rflags)
    else:
        # A #UD that is expected right where the code ends cannot be told from completing: no row does that.
        yield Check("exception", mnemonic(want.vector), saw, seen.vector == want.vector and not done)
        if done or seen.vector != want.vector:
            return
        if want.rip is not None:
            yield _number("saved RIP", resolve(want.rip, image), seen.rip)
        elif want.at is not None:
            index = want.at % len(row.code)
            yield _number("saved RIP", start + at[index + want.past], seen.rip)
        if want.error_code is not None and row.mode is not Mode.REAL16:
            yield _number("error code", want.error_code, seen.error_code)
        if row.mode is not Mode.REAL16:  # the FLAGS image has 16 bits there
            yield from _bits("saved RFLAGS", want.flags_set, want.flags_clear, seen.rflags)
        if want.dr6_set is not None:
            yield from _bits("DR6", want.dr6_set, want.dr6_clear, seen.dr6)
    optional: tuple[tuple[str, Value | None, int], ...] = (
        ("CR2", want.cr2, seen.cr2),
        ("saved CS", want.cs, seen.cs),
        ("saved SS", want.ss, seen.ss),
        ("saved RSP", want.rsp, seen.rsp),
        ("handler's SS", want.handler_ss, seen.handler_ss),
        ("frame address", want.frame, seen.frame),
    )
    yield from (_number(name, resolve(value, image), saw) for name, value, saw in optional if value is not None)
    yield from _bits("handler's RFLAGS", want.handler_flags_set, want.handler_flags_clear, seen.handler_rflags)


def _state(row: Row, image: Image, seen: Observation) -> Iterator[Check]:
    want = row.expect
    mask = 0xFFFF_FFFF_FFFF_FFFF if row.mode is Mode.LONG64 else 0xFFFF_FFFF
    for (name, value), saw in zip(registers(row, image).items(), seen.gpr, strict=False):
        if want.keeps or name in want.regs:
            yield _number(name, resolve(want.regs.get(name, value), image) & mask, saw & mask)
    for n, (address, word) in enumerate(want.memory.items()):
        if isinstance(word, tuple):
            yield from (_part(part, seen.peeked[n]) for part in word)
        else:
            where = f"memory at {address.symbol}+{address.offset:#x}"
            yield _number(where, resolve(word, image) & 0xFFFF_FFFF_FFFF_FFFF, seen.peeked[n])


def _accesses(row: Row, accesses: Sequence[Access]) -> Iterator[Check]:
    want = row.expect.accesses
    if want is not None:
        expected, observed = ("; ".join(map(str, list_)) or "none" for list_ in (want, accesses))
        yield Check("accesses at the monitor", expected, observed, tuple(accesses) == want)


def mnemonic(vector: int) -> str:
    """``#PF``, or the number of a vector without a name."""
    return Vector(vector).mnemonic if vector in Vector.__members__.values() else f"vector {vector}"


def _place(offset: int, at: Sequence[int]) -> str:
    """A saved instruction pointer in terms of the code."""
    if offset in at[:-1]:
        return f"instruction {at.index(offset) + 1} of {len(at) - 1}"
    if 0 <= offset <= at[-1] + len(END.code):
        return f"byte {offset} of the code"
    return f"the code {'+' if offset > 0 else '-'} {abs(offset):#x}"


def _number(name: str, want: int, saw: int) -> Check:
    return Check(name, f"{want:#x}", f"{saw:#x}", want == saw)


def _part(part: Part, word: int) -> Check:
    mask = part.mask & (1 << 8 * part.size) - 1
    return _number(part.name, part.value & mask, word >> 8 * part.offset & mask)


def _bits(name: str, on: int, off: int, saw: int) -> Iterator[Check]:
    if on:
        yield Check(f"{name} bits set", f"{on:#x}", f"{saw & on:#x}", saw & on == on)
    if off:
        yield Check(f"{name} bits clear", f"{off:#x}", f"{~saw & off:#x}", saw & off == 0)
