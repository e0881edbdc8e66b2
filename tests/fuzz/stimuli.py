"""Random stimuli: what no one who writes cases would think of.

They are made of plausible parts (prefixes, opcodes of all maps, ModR/M bytes, registers that point somewhere or not,
flags that matter), so that most of them get past the decoder.  The same seed and number make the same stimulus.
"""

from __future__ import annotations

from random import Random

from virtproof.conformance.case import At, Expect, Insn, Row, Set, Value, cr0, cr4, dr, msr
from virtproof.conformance.encode import SELECTORS, visible
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import Cite
from virtproof.spec.x86.control import Cr0, Cr4
from virtproof.spec.x86.flags import Rflags

MOST_CODE = 60  # bytes
PREFIXES = bytes.fromhex("66 67 f0 f2 f3 26 2e 36 3e 64 65")
ESCAPES = (b"", b"", b"\x0f", b"\x0f", b"\x0f\x38", b"\x0f\x3a")
VALUES = (
    0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0x7FFF_FFFF_FFFF,
    0x8000_0000_0000, 0xFFFF_8000_0000_0000, 0x7FFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF,
    0x9_FFF0, 0xA_0000, 0xFEE0_0000,
)  # fmt: skip
PLACES = ("kernel_data", "kernel_code", "kernel_stack_top", "table")
FLAGS = int(Rflags(0).but(cf=1, pf=1, af=1, zf=1, sf=1, tf=1, if_=1, df=1, of=1, iopl=3, nt=1, rf=1, ac=1, id=1))
MSRS = (0x10, 0x1B, 0x174, 0x175, 0x176, 0x1A0, 0x277, 0xC000_0080, 0xC000_0081, 0xC000_0082, 0xC000_0084, 0xC000_0100)
_MODES = sorted(SELECTORS)
_CITE = Cite("virtproof", "random")


def random_row(seed: int, number: int) -> Row:
    """The stimulus of that number, as a row that expects nothing."""
    chance = Random(f"{seed}:{number}")
    mode, ring = chance.choice(_MODES)
    code: list[Insn] = []
    while not code or (chance.random() < 0.6 and sum(len(insn.code) for insn in code) < MOST_CODE - 15):
        code.append(Insn(_instruction(chance, mode).hex(" "), "random"))
    return Row(
        id=f"random.{seed}.{number}",
        title="a random stimulus",
        area="random",
        mode=mode,
        cite=(_CITE,),
        ring=ring,
        code=tuple(code),
        expect=Expect(keeps=False),
        regs={name: _value(chance) for name in visible(mode) if name != "rsp" or chance.random() < 0.1},
        flags=0x2 | (chance.getrandbits(22) & FLAGS if chance.random() < 0.5 else 0),
        sets=tuple(_set(chance) for _ in range(chance.choice((0, 0, 0, 1, 1, 2)))),
    )


def _instruction(chance: Random, mode: Mode) -> bytes:
    if chance.random() < 0.1:
        return chance.randbytes(chance.randint(1, 15))
    made = bytes(chance.choice(PREFIXES) for _ in range(chance.choice((0, 0, 0, 0, 1, 1, 2, 4))))
    if mode is Mode.LONG64 and chance.random() < 0.5:
        made += bytes([0x40 | chance.getrandbits(4)])
    made += chance.choice(ESCAPES) + chance.randbytes(1)
    if chance.random() < 0.8:
        made += bytes([chance.getrandbits(8) | (0xC0 if chance.random() < 0.3 else 0)])
        made += chance.choice((b"", b"", bytes(1), bytes(4), chance.randbytes(1), chance.randbytes(5)))
    return (made + chance.choice((b"", b"", bytes(4), chance.randbytes(1), chance.randbytes(4))))[:15]


def _value(chance: Random) -> Value:
    kind = chance.random()
    if kind < 0.4:
        return At(chance.choice(PLACES), chance.choice((0, 0, 1, 8, 0xFF8, 0xFFF, -1)))
    return chance.choice(VALUES) if kind < 0.8 else chance.getrandbits(64)


def _set(chance: Random) -> Set:
    bit = 1 << chance.randrange(32)
    match chance.randrange(4):
        case 0:
            return cr0(on=bit & ~int(Cr0(0).but(pe=1, pg=1)))
        case 1:
            return cr4(on=bit & 0xFF_FFFF, off=int(Cr4(0).but(pse=1)))
        case 2:
            return dr(
                chance.choice((0, 1, 2, 3, 7)), At("kernel_data") if chance.random() < 0.5 else chance.getrandbits(32)
            )
        case _:
            return msr(chance.choice(MSRS), chance.choice((0, 1, bit, chance.getrandbits(64))))
