"""The comparer must see each thing that a host can get wrong: one observation that is right, and then spoilt."""

# ruff: noqa: E501 -- a table with one line a mistake

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from virtproof.conformance.case import RF, At, Expect, Insn, Row, completes, faults, traps
from virtproof.conformance.compare import compare, completed
from virtproof.conformance.encode import code_address, offsets, registers, resolve
from virtproof.guest_payloads.images import Image
from virtproof.guest_payloads.table import GPRS, Observation
from virtproof.guest_payloads.trampoline import Access, Mode
from virtproof.spec.cite import sdm
from virtproof.spec.x86.exception import Vector

SYMBOLS = {
    "kernel_code": 0x15000,
    "kernel_stack_top": 0x14FF8,
    "kernel_data": 0x16000,
    "user_code": 0x1C000,
    "user_stack_top": 0x1E000,
}
IMAGE = Image("none", b"", SYMBOLS)
PORT = Access("pio", 0x80, 1, True, 0x5A)


def row(expect: Expect, mode: Mode = Mode.LONG64) -> Row:
    """A NOP, then one more instruction, which is the one that traps."""
    code = (Insn("90", "nop"), Insn("0f 30", "wrmsr"))
    return Row(id="a.b", title="t", area="a", mode=mode, cite=(sdm("1", "x"),), code=code, expect=expect)


@dataclass
class Seen:
    observation: Observation
    accesses: list[Access] = field(default_factory=list)


def as_expected(case: Row) -> Seen:
    """What a host that does everything right shows."""
    want, at = case.expect, offsets(case)
    seen = Observation()
    for name, value in (registers(case, IMAGE) | dict(want.regs)).items():
        seen.gpr[GPRS.index(name)] = resolve(value, IMAGE)
    seen.vector, seen.rip = Vector.UD, code_address(case, IMAGE) + at[-1]
    seen.rflags = 2 | want.flags_set
    if want.vector is not None:
        seen.vector, seen.error_code = want.vector, want.error_code or 0
        seen.rip = code_address(case, IMAGE) + at[1 + want.past]
    if want.rip is not None:
        seen.rip = resolve(want.rip, IMAGE)
    seen.dr6 = want.dr6_set or 0
    seen.handler_rflags = 2 | want.handler_flags_set
    for name in ("cr2", "cs", "ss", "rsp", "handler_ss", "frame"):
        setattr(seen, name, resolve(getattr(want, name) or 0, IMAGE))
    for n, word in enumerate(want.memory.values()):
        seen.peeked[n] = resolve(word, IMAGE)
    return Seen(seen, list(want.accesses or ()))


def wrong(case: Row, seen: Seen) -> list[str]:
    return [check.field for check in compare(case, IMAGE, seen.observation, seen.accesses) if not check.ok]


FAULT = row(
    faults(
        Vector.PF, 2, cr2=0x1234, cs=0x08, ss=0x10, rsp=0x14FF8, handler_ss=0x10, frame=At("kernel_stack_top", -40),
        handler_flags_set=0x40000, handler_flags_clear=0x300, flags_clear=0x40, accesses=(PORT,),
        memory={At("kernel_data"): 7, At("kernel_data", 8): At("kernel_code")},
    )
)  # fmt: skip
DEBUG = row(traps(Vector.DB, dr6_set=0x4001, dr6_clear=0x200E))
COMPLETES = row(completes(regs={"rax": 0x99}, memory={At("kernel_data"): 7}, accesses=()))


def put(name: str, value: int) -> Callable[[Seen], None]:
    return lambda seen: setattr(seen.observation, name, value)


def add(name: str, more: int) -> Callable[[Seen], None]:
    return lambda seen: setattr(seen.observation, name, getattr(seen.observation, name) + more)


def register(name: str) -> Callable[[Seen], None]:
    def flip(seen: Seen) -> None:
        seen.observation.gpr[GPRS.index(name)] ^= 1 << 63

    return flip


def word(n: int) -> Callable[[Seen], None]:
    def flip(seen: Seen) -> None:
        seen.observation.peeked[n] ^= 1 << 63

    return flip


def accesses(*instead: Access) -> Callable[[Seen], None]:
    return lambda seen: seen.accesses.__setitem__(slice(None), instead)


def complete(seen: Seen) -> None:
    seen.observation.vector, seen.observation.rip = Vector.UD, 0x15003


# fmt: off
SPOILT = (
    # case    what is wrong                          how                                       the check that fails
    (FAULT,     "another vector",                      put("vector", Vector.GP),                 "exception"),
    (FAULT,     "a vector without a name",             put("vector", 0x80),                      "exception"),
    (FAULT,     "no exception at all",                 complete,                                 "exception"),
    (FAULT,     "another error code",                  put("error_code", 0),                     "error code"),
    (FAULT,     "high bits in the error code",         add("error_code", 1 << 32),               "error code"),
    (FAULT,     "the next instruction's RIP",          add("rip", 2),                            "saved RIP"),
    (FAULT,     "the previous instruction's RIP",      add("rip", -1),                           "saved RIP"),
    (FAULT,     "RF clear",                            put("rflags", 2),                         "saved RFLAGS bits set"),
    (FAULT,     "a flag set that must be clear",       add("rflags", 0x40),                      "saved RFLAGS bits clear"),
    (FAULT,     "CR2 of another address",              add("cr2", 1),                            "CR2"),
    (FAULT,     "another CS",                          put("cs", 0x33),                          "saved CS"),
    (FAULT,     "another SS",                          put("ss", 0),                             "saved SS"),
    (FAULT,     "another RSP in the frame",            add("rsp", -8),                           "saved RSP"),
    (FAULT,     "another SS in the handler",           put("handler_ss", 0),                     "handler's SS"),
    (FAULT,     "the frame elsewhere",                 add("frame", 8),                          "frame address"),
    (FAULT,     "a flag lost in the handler",          put("handler_rflags", 2),                 "handler's RFLAGS bits set"),
    (FAULT,     "IF set in the handler",               add("handler_rflags", 0x200),             "handler's RFLAGS bits clear"),
    (FAULT,     "RAX changed",                         register("rax"),                          "rax"),
    (FAULT,     "RSP changed",                         register("rsp"),                          "rsp"),
    (FAULT,     "R15 changed",                         register("r15"),                          "r15"),
    (FAULT,     "memory changed",                      word(0),                                  "memory at kernel_data+0x0"),
    (FAULT,     "another address in memory",           word(1),                                  "memory at kernel_data+0x8"),
    (FAULT,     "no access",                           accesses(),                               "accesses at the monitor"),
    (FAULT,     "an access twice",                     accesses(PORT, PORT),                     "accesses at the monitor"),
    (FAULT,     "an access of another size",           accesses(PORT._replace(size=2)),          "accesses at the monitor"),
    (FAULT,     "an access with another value",        accesses(PORT._replace(value=0)),         "accesses at the monitor"),
    (FAULT,     "a read for a write",                  accesses(PORT._replace(is_write=False)),  "accesses at the monitor"),
    (FAULT,     "memory for a port",                   accesses(PORT._replace(kind="mmio")),     "accesses at the monitor"),
    (DEBUG,     "a trap's RIP on the instruction",     add("rip", -2),                           "saved RIP"),
    (DEBUG,     "RF set by a trap",                    add("rflags", RF),                        "saved RFLAGS bits clear"),
    (DEBUG,     "a condition missing in DR6",          put("dr6", 0x4000),                       "DR6 bits set"),
    (DEBUG,     "a condition too much in DR6",         put("dr6", 0x4003),                       "DR6 bits clear"),
    (COMPLETES, "an exception",                        put("vector", Vector.GP),                 "exception"),
    (COMPLETES, "#UD of the code itself",              put("rip", 0x15001),                      "exception"),
    (COMPLETES, "a result that is wrong",              register("rax"),                          "rax"),
    (COMPLETES, "a register that is not a result",     register("rbx"),                          "rbx"),
    (COMPLETES, "memory",                              word(0),                                  "memory at kernel_data+0x0"),
    (COMPLETES, "an access where none may be",         accesses(PORT),                           "accesses at the monitor"),
)
# fmt: on


@pytest.mark.parametrize("case", [FAULT, DEBUG, COMPLETES], ids=["fault", "trap", "completes"])
def test_a_right_observation_passes(case: Row) -> None:
    assert wrong(case, as_expected(case)) == []


@pytest.mark.parametrize(("case", "what", "spoil", "check"), SPOILT, ids=[what for _, what, _, _ in SPOILT])
def test_a_wrong_observation_fails(case: Row, what: str, spoil: Callable[[Seen], None], check: str) -> None:
    seen = as_expected(case)
    spoil(seen)
    assert check in wrong(case, seen)


@pytest.mark.parametrize("name", [name for name in GPRS if name != "rax"])
def test_every_register_is_kept(name: str) -> None:
    seen = as_expected(COMPLETES)
    register(name)(seen)
    assert wrong(COMPLETES, seen) == [name]


def test_only_named_registers_are_judged_where_the_others_need_not_be_kept() -> None:
    case = row(replace(COMPLETES.expect, keeps=False))
    seen = as_expected(case)
    register("rbx")(seen)
    assert wrong(case, seen) == []
    register("rax")(seen)
    assert wrong(case, seen) == ["rax"]


def test_an_instruction_pointer_that_is_undefined_is_not_judged() -> None:
    case = row(Expect(vector=Vector.DF, error_code=0, at=None))
    seen = as_expected(row(replace(case.expect, at=-1)))
    add("rip", 0x100)(seen)
    assert wrong(case, seen) == []
    put("error_code", 8)(seen)
    assert wrong(case, seen) == ["error code"]


def test_an_outright_instruction_pointer_is_judged() -> None:
    case = row(faults(Vector.GP, 0, rip=0x15001))
    seen = as_expected(case)
    assert wrong(case, seen) == []
    add("rip", 1)(seen)
    assert wrong(case, seen) == ["saved RIP"]


def test_narrow_modes_judge_the_low_halves_and_eight_registers() -> None:
    case = row(faults(Vector.GP, 0), Mode.PROT32)
    seen = as_expected(case)
    register("r8")(seen)
    assert wrong(case, seen) == []
    seen.observation.gpr[GPRS.index("rbx")] ^= 1
    assert wrong(case, seen) == ["rbx"]


def test_real_mode_has_neither_error_codes_nor_wide_flags() -> None:
    case = row(faults(Vector.GP, 0), Mode.REAL16)
    seen = as_expected(case)
    put("error_code", 8)(seen)
    put("rflags", 2)(seen)
    assert wrong(case, seen) == []


def test_completing_is_the_ud2_behind_the_code_and_nothing_else() -> None:
    seen = as_expected(COMPLETES).observation
    assert completed(COMPLETES, IMAGE, seen)
    seen.rip -= 2
    assert not completed(COMPLETES, IMAGE, seen)
    seen.rip, seen.vector = seen.rip + 2, Vector.GP
    assert not completed(COMPLETES, IMAGE, seen)
