"""A row as the trampoline's table has it."""

from __future__ import annotations

from virtproof.conformance.case import At, Insn, Row, Set, Value
from virtproof.guest_payloads.images import Image
from virtproof.guest_payloads.table import CODE_SIZE, GPRS, PEEKS, SETS, Entry, SetKind
from virtproof.guest_payloads.trampoline import INITIAL, Mode
from virtproof.spec.fault import Fault
from virtproof.spec.x86.flags import Rflags

END = Insn("0f 0b", "ud2")  # behind the code: #UD at its address means that the code completed

# CS, SS and DS by mode and ring: the GDT of the trampolines.  Virtual-8086 mode is at CPL 3 always.
_FLAT32 = {0: (0x08, 0x10, 0x10), 1: (0x89, 0x91, 0x91), 2: (0x9A, 0xA2, 0xA2), 3: (0x23, 0x2B, 0x2B)}
# fmt: off
_LEVELS = {
    Mode.REAL16:   {0: (0, 0, 0)},
    Mode.VM86:     {3: (0, 0, 0)},
    Mode.PROT16:   {0: (0x68, 0x70, 0x70), 3: (0x7B, 0x83, 0x83)},
    Mode.PROT32:   _FLAT32,
    Mode.PSE32:    _FLAT32,
    Mode.PAE32:    _FLAT32,
    Mode.COMPAT32: {0: (0x18, 0x10, 0x10), 3: (0x23, 0x2B, 0x2B)},
    Mode.LONG64:   _FLAT32 | {3: (0x33, 0x2B, 0x2B)},
}
# fmt: on
SELECTORS = {(mode, ring): segments for mode, levels in _LEVELS.items() for ring, segments in levels.items()}


def visible(mode: Mode) -> tuple[str, ...]:
    """The registers that an observation shows: outside 64-bit mode R8 to R15 are out of reach."""
    return GPRS if mode is Mode.LONG64 else GPRS[:8]


def resolve(value: Value, image: Image) -> int:
    """The number behind a value.  Raises KeyError for a symbol that the image does not have."""
    return image[value.symbol] + value.offset if isinstance(value, At) else value


def code_address(row: Row, image: Image) -> int:
    """Where the row's first instruction runs."""
    return image["user_code" if row.ring == 3 else "kernel_code"]


def registers(row: Row, image: Image) -> dict[str, int]:
    """Every general register as the stimulus starts, in their order: what the row says, else what tells them apart."""
    names = visible(row.mode)
    pattern = 0x0101_0101_0101_0101 if row.mode is Mode.LONG64 else 0x0101_0101
    start = {name: pattern * (n + 1) for n, name in enumerate(names)}
    start["rsp"] = image["user_stack_top" if row.ring == 3 else "kernel_stack_top"]
    start.update((name, resolve(value, image)) for name, value in row.regs.items() if name in start)
    return start


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
    for n, value in enumerate(registers(row, image).values()):
        s.gpr[n] = value & 0xFFFF_FFFF_FFFF_FFFF
    s.rip = s.code_address = code_address(row, image)
    s.rflags = row.flags | (Rflags.vm.mask if row.mode is Mode.VM86 else 0)
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
