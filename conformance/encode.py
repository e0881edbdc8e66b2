"""A row as the trampoline's table has it."""

from __future__ import annotations

from virtproof.conformance.case import At, Insn, Row, Set, Value
from virtproof.guest_payloads.images import Image
from virtproof.guest_payloads.table import CODE_SIZE, GPRS, PEEKS, SETS, Entry, SetKind
from virtproof.guest_payloads.trampoline import INITIAL, Mode
from virtproof.spec.fault import Fault

END = Insn("0f 0b", "ud2")  # behind the code: #UD at its address means that the code completed

# Registers of 64, 32 and 16-bit trampolines that an observation shows.
VISIBLE = {Mode.LONG64: GPRS, Mode.PROT32: GPRS[:8], Mode.PAE32: GPRS[:8], Mode.REAL16: GPRS[:8]}

# CS, SS and DS by mode and ring: the GDT of the trampolines.
SELECTORS = {
    (Mode.LONG64, 0): (0x08, 0x10, 0x10),
    (Mode.LONG64, 3): (0x33, 0x2B, 0x2B),
    (Mode.PROT32, 0): (0x08, 0x10, 0x10),
    (Mode.PROT32, 3): (0x23, 0x2B, 0x2B),
    (Mode.PAE32, 0): (0x08, 0x10, 0x10),
    (Mode.PAE32, 3): (0x23, 0x2B, 0x2B),
    (Mode.REAL16, 0): (0, 0, 0),
}


def resolve(value: Value, image: Image) -> int:
    """The number behind a value.  Raises KeyError for a symbol that the image does not have."""
    return image[value.symbol] + value.offset if isinstance(value, At) else value


def code_address(row: Row, image: Image) -> int:
    """Where the row's first instruction runs."""
    return image["user_code" if row.ring == 3 else "kernel_code"]


def registers(row: Row, image: Image) -> dict[str, int]:
    """Every general register as the stimulus starts: what the row says, else a pattern that tells them apart."""
    wide = row.mode is Mode.LONG64
    start = {name: (0x0101_0101_0101_0101 if wide else 0x0101_0101) * (n + 1) for n, name in enumerate(GPRS)}
    start["rsp"] = image["user_stack_top" if row.ring == 3 else "kernel_stack_top"]
    start.update((name, resolve(value, image)) for name, value in row.regs.items())
    return {name: start[name] for name in VISIBLE[row.mode]}


def offsets(row: Row) -> list[int]:
    """The offset of each instruction of the code, and of its end."""
    at = [0]
    for insn in row.code:
        at.append(at[-1] + len(insn.code))
    return at


def encode(row: Row, image: Image) -> Entry:
    """The table entry.  Raises Fault where the row is larger than the table allows."""
    code = b"".join(insn.code for insn in (*row.code, END))
    memory = row.expect.memory
    for what, have, limit in (
        ("bytes of code", len(code), CODE_SIZE),
        ("sets", len(row.sets), SETS),
        ("memory words", len(memory), PEEKS),
    ):
        if have > limit:
            raise Fault(f"encoding the case {row.id}", f"{have} {what}, the table holds {limit}", "split the case")
    entry = Entry()
    s = entry.stimulus
    for name, value in registers(row, image).items():
        s.gpr[GPRS.index(name)] = value & 0xFFFF_FFFF_FFFF_FFFF
    s.rip = s.code_address = code_address(row, image)
    s.rflags = row.flags
    s.cs, s.ss, s.ds = SELECTORS[row.mode, row.ring]
    s.code_length = len(code)
    s.code[: len(code)] = code
    s.set_count, s.peek_count = len(row.sets), len(memory)
    for slot, wanted in zip(s.sets, row.sets, strict=False):
        slot.kind, slot.index = wanted.kind, wanted.index
        slot.address, slot.value = resolve(wanted.address, image), _value(wanted, row.mode, image)
    for n, address in enumerate(memory):
        s.peeks[n] = resolve(address, image)
    return entry


def _value(wanted: Set, mode: Mode, image: Image) -> int:
    match wanted.kind:
        case SetKind.CR0:
            return INITIAL[mode].cr0 & ~wanted.clear | wanted.set_bits
        case SetKind.CR4:
            return INITIAL[mode].cr4 & ~wanted.clear | wanted.set_bits
        case _:
            return resolve(wanted.value, image)
