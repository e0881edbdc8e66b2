"""The little of instruction decoding that the engine needs: prefixes, opcode, and which operand ModRM names."""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

from virtproof.vmm.engines.software.cpu import CS, DS, ES, FS, GS, RBP, RSP, SS, Cpu

OPERAND_SIZE, ADDRESS_SIZE, LOCK, REPNE, REP = 0x66, 0x67, 0xF0, 0xF2, 0xF3
_SEGMENTS = {0x26: ES, 0x2E: CS, 0x36: SS, 0x3E: DS, 0x64: FS, 0x65: GS}
PREFIXES = frozenset((OPERAND_SIZE, ADDRESS_SIZE, LOCK, REPNE, REP, *_SEGMENTS))


class Instruction(NamedTuple):
    """``opcode`` has 0F00H added for the two-byte map; ``length`` reaches to its end; ``code`` may reach further."""

    code: bytes
    prefixes: frozenset[int]
    segment: int | None
    rex: int
    opcode: int
    length: int

    @property
    def modrm(self) -> int:
        return self.code[self.length] if self.length < len(self.code) else 0


def decode(code: bytes, bits: int) -> Instruction | None:
    """Decode prefixes and opcode; None where the bytes end too early."""
    at, rex = 0, 0
    prefixes: set[int] = set()
    segment = None
    while at < len(code) and code[at] in PREFIXES:
        prefixes.add(code[at])
        segment = _SEGMENTS.get(code[at], segment)
        at += 1
    if bits == 64 and at < len(code) and code[at] & 0xF0 == 0x40:
        rex = code[at]
        at += 1
    if at >= len(code):
        return None
    opcode = code[at]
    at += 1
    if opcode == 0x0F:
        if at >= len(code):
            return None
        opcode = 0x0F00 | code[at]
        at += 1
    return Instruction(code, frozenset(prefixes), segment, rex, opcode, at)


class Operand(NamedTuple):
    """An operand in memory: the segment register and the linear address."""

    segment: int
    address: int


def operand(cpu: Cpu, insn: Instruction) -> Operand | None:
    """Return the memory operand that ModRM names; None where it names a register."""
    modrm, bits = insn.modrm, cpu.code_bits
    mod, rm = modrm >> 6, modrm & 7
    if mod == 3:
        return None
    size = {64: 32 if ADDRESS_SIZE in insn.prefixes else 64, 32: 32, 16: 16}[bits]
    if bits != 64 and ADDRESS_SIZE in insn.prefixes:
        size = 48 - bits
    if size == 16:
        offset, segment = _address16(cpu, insn, mod, rm)
    else:
        offset, segment = _address32(cpu, insn, mod, rm)
    if insn.segment is not None and (bits != 64 or insn.segment in (FS, GS)):
        segment = insn.segment
    return Operand(segment, cpu.linear(segment, offset & (1 << size) - 1))


# Opcodes that LOCK may come before when they write memory, with the values of ModRM.reg.
_ANY = range(8)
_LOCKABLE: dict[int, Container[int]] = {
    **{first + n: _ANY for first in (0x00, 0x08, 0x10, 0x18, 0x20, 0x28, 0x30) for n in (0, 1)},
    **dict.fromkeys((0x80, 0x81, 0x82, 0x83), range(7)),
    **dict.fromkeys((0x86, 0x87, 0x0FAB, 0x0FB3, 0x0FBB, 0x0FB0, 0x0FB1, 0x0FC0, 0x0FC1), _ANY),
    **dict.fromkeys((0xF6, 0xF7), (2, 3)),
    **dict.fromkeys((0xFE, 0xFF), (0, 1)),
    0x0FBA: (5, 6, 7),
    0x0FC7: (1,),
}


def may_lock(insn: Instruction) -> bool:
    """May LOCK come before it?  Intel SDM vol. 2, "LOCK"."""
    return insn.modrm >> 6 != 3 and (insn.modrm >> 3 & 7) in _LOCKABLE.get(insn.opcode, ())


def _signed(code: bytes, at: int, size: int) -> int:
    return int.from_bytes(code[at : at + size], "little", signed=True)


def _address16(cpu: Cpu, insn: Instruction, mod: int, rm: int) -> tuple[int, int]:
    regs, at = cpu.state.regs, insn.length + 1
    if mod == 0 and rm == 6:
        return _signed(insn.code, at, 2), DS
    bases = ((3, 6), (3, 7), (5, 6), (5, 7), (6,), (7,), (5,), (3,))[rm]
    offset = sum(regs[number] for number in bases)
    offset += _signed(insn.code, at, mod) if mod else 0
    return offset, SS if 5 in bases else DS


def _address32(cpu: Cpu, insn: Instruction, mod: int, rm: int) -> tuple[int, int]:
    regs, at = cpu.state.regs, insn.length + 1
    base: int | None = rm | (insn.rex & 1) << 3
    offset = 0
    if rm == 4:
        sib = insn.code[at] if at < len(insn.code) else 0
        at += 1
        index = sib >> 3 & 7 | (insn.rex & 2) << 2
        if index != 4:
            offset += regs[index] << (sib >> 6)
        base = sib & 7 | (insn.rex & 1) << 3
        if sib & 7 == 5 and mod == 0:
            base = None
    elif rm == 5 and mod == 0:
        base = None
    if base is None:
        offset += _signed(insn.code, at, 4)
        at += 4
        if rm == 5 and cpu.code_bits == 64:
            offset += cpu.state.rip + at  # of an instruction without an immediate operand
    else:
        offset += regs[base]
        size = {0: 0, 1: 1, 2: 4}[mod]
        offset += _signed(insn.code, at, size) if size else 0
    return offset, SS if base in (RSP, RBP) else DS
