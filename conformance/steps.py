"""Port accesses as steps: a row that drives a device and reads like its data sheet.

``**steps(outb(IER, 0xFF), inb(IER, 0x0F))`` gives a row of 64-bit mode its code and what must be observed: what each
IN brought, judged and reported step by step.  Acts of the host stand between the steps like steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from virtproof.conformance.case import Act, At, Elapse, Expect, Insn, Part, Receive
from virtproof.spec.guest_protocol import HOST_PORT

RESULTS, ROOM = At("kernel_data"), 128  # where the answers go, and the bytes that a signed 8-bit displacement reaches
REGISTER = {1: "al", 2: "ax", 4: "eax"}
POINTER = {1: "byte", 2: "word", 4: "dword"}
OPERAND_SIZE = {1: "", 2: "66 ", 4: ""}  # prefix
LETTER = {1: "b", 2: "w", 4: "l"}


@dataclass(frozen=True, slots=True)
class Out:
    """OUT of ``size`` bytes."""

    size: int
    port: int
    value: int


@dataclass(frozen=True, slots=True)
class In:
    """IN of ``size`` bytes, which must bring ``value`` where ``mask`` has bits; whatever it likes if that is None."""

    size: int
    port: int
    value: int | None
    mask: int

    def __str__(self) -> str:
        return f"in{LETTER[self.size]}({self.port:#x})"


Step = Out | In | Act


# fmt: off
def outb(port: int, value: int) -> Out:                                          return Out(1, port, value)
def outw(port: int, value: int) -> Out:                                          return Out(2, port, value)
def outl(port: int, value: int) -> Out:                                          return Out(4, port, value)
def inb(port: int, expect: int | None = None, mask: int = 0xFF) -> In:           return In(1, port, expect, mask)
def inw(port: int, expect: int | None = None, mask: int = 0xFFFF) -> In:         return In(2, port, expect, mask)
def inl(port: int, expect: int | None = None, mask: int = 0xFFFF_FFFF) -> In:    return In(4, port, expect, mask)
# fmt: on


def steps(*sequence: Step, **expect: Any) -> dict[str, Any]:
    """The fields of a row in 64-bit mode that takes these steps.

    RAX and RDX end as 0; every other register must keep its value.  ``expect`` adds to what is expected.  Raises
    ValueError where a sequence reads more than there is room for.
    """
    code: list[Insn] = []
    words: dict[At, tuple[Part, ...]] = {}
    acts: list[Act] = []
    port: int | None = None
    room = 0  # taken by answers so far
    for number, step in enumerate(sequence, 1):
        access: Out | In
        if isinstance(step, Receive | Elapse):
            access = Out(1, HOST_PORT, len(acts))
            acts.append(step)
        else:
            access = step
        if access.port != port:
            port = access.port
            code.append(_immediate("66 ba", 2, "dx", port))
        if isinstance(access, Out):
            code += _out(access)
            continue
        code.append(Insn(OPERAND_SIZE[access.size] + ("ec" if access.size == 1 else "ed"), f"in {_a(access)}, dx"))
        if access.value is not None:
            at = -(-room // access.size) * access.size
            room = at + access.size
            if room > ROOM:
                raise ValueError(f"step {number} reads more than {ROOM} bytes in all")
            code.append(_store(access, at))
            word = RESULTS + at // 8 * 8
            part = Part(f"step {number}, {access}", at % 8, access.size, access.value, access.mask)
            words[word] = (*words.get(word, ()), part)
    code += Insn("31 c0", "xor eax, eax"), Insn("31 d2", "xor edx, edx")
    return {
        "code": tuple(code),
        "regs": {"rdi": RESULTS},
        "expect": Expect(regs={"rax": 0, "rdx": 0}, memory=words, **expect),
        "acts": tuple(acts),
    }


def _a(access: Out | In) -> str:
    return REGISTER[access.size]


def _immediate(opcode: str, size: int, register: str, value: int) -> Insn:
    shown = f"{value:#x}" if value > 9 else str(value)
    return Insn(f"{opcode} {value.to_bytes(size, 'little').hex(' ')}", f"mov {register}, {shown}")


def _out(access: Out) -> Iterator[Insn]:
    size, prefix = access.size, OPERAND_SIZE[access.size]
    yield _immediate(prefix + ("b0" if size == 1 else "b8"), size, _a(access), access.value)
    yield Insn(prefix + ("ee" if size == 1 else "ef"), f"out dx, {_a(access)}")


def _store(access: In, at: int) -> Insn:
    opcode = OPERAND_SIZE[access.size] + ("88" if access.size == 1 else "89")
    where = f"rdi + {at:#x}" if at > 9 else f"rdi + {at}" if at else "rdi"
    return Insn(f"{opcode} 47 {at:02x}", f"mov {POINTER[access.size]} ptr [{where}], {_a(access)}")
