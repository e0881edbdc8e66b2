"""How the software engine's processor is made wrong: the few places by which everything it does goes.

Unicorn carries out most instructions itself.  They are seen before they run, so that something else can be done in
their place (``instead``), or something besides when they have run (``after``); what they refuse passes by
``exceptions``, and all that is delivered by ``delivered``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

from tests.mutants.mutant import How, wrapped
from virtproof.guest_payloads import images
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.x86.exception import Vector
from virtproof.vmm.engines.software import execution
from virtproof.vmm.engines.software.cpu import Cpu
from virtproof.vmm.engines.software.decode import Instruction, operand
from virtproof.vmm.engines.software.delivery import Delivery, Event
from virtproof.vmm.engines.software.execution import Execution
from virtproof.vmm.engines.software.linear import Raised

Where = Callable[[Execution, Instruction], bool]
Act = Callable[[Execution, Instruction], Any]


# ---- where


def anywhere(run: Execution, insn: Instruction) -> bool:
    return True


def stimulus(run: Execution, insn: Instruction) -> bool:
    """In the code of a row, not in what walks the table."""
    return run._words.address >> 12 in _stimuli()


def outer(run: Execution, insn: Instruction) -> bool:
    """Above ring 0."""
    return run._cpu.protected and run._cpu.cpl > 0


_PAGES: set[int] = set()


def _stimuli() -> set[int]:
    if not _PAGES:
        for mode in Mode:
            symbols = images.load(mode.value).symbols
            _PAGES.update(symbols[name] >> 12 for name in ("kernel_code", "user_code") if name in symbols)
    return _PAGES


# ---- instructions


def instead(codes: str, act: Act, where: Where = anywhere) -> How:
    """``act`` is done in place of each instruction.  ``codes``: "f4", "0f 01 /2", "0f 01 f8", several after "|"."""

    def see(original: Any, run: Execution, insn: Instruction | None, matches: Where) -> None:
        if insn is not None and run._todo is None and matches(run, insn):
            run._note(partial(run._instead, partial(act, run, insn)))
        else:
            original(run, insn)

    return _seeing(codes, see, where)


def after(codes: str, change: Act, where: Where = anywhere) -> How:
    """``change`` is done when such an instruction has run without a fault."""
    ran: dict[int, Callable[[], Any]] = {}

    def see(original: Any, run: Execution, insn: Instruction | None, matches: Where) -> None:
        seen = insn is not None and run._todo is None and matches(run, insn)
        original(run, insn)
        if seen and insn is not None:
            ran[id(run)] = partial(change, run, insn)
            run._stop_soon()

    def step(original: Any, run: Execution) -> Any:
        ran.pop(id(run), None)  # of one that raised something
        return original(run)

    def hits(original: Any, run: Execution) -> Any:
        ran.pop(id(run), lambda: None)()
        return original(run)

    return both(_seeing(codes, see, where), wrapped(Execution, "_step", step), wrapped(Execution, "_hits", hits))


def _seeing(codes: str, see: Callable[..., None], where: Where) -> How:
    wanted = [_parse(code) for code in codes.split("|")]
    sites = b"|".join(re.escape(code) for code, _, _ in wanted)

    def matches(run: Execution, insn: Instruction) -> bool:
        for code, number, modrm in wanted:
            opcode = int.from_bytes(code, "big")
            if insn.opcode == opcode and number in (None, insn.modrm >> 3 & 7) and modrm in (None, insn.modrm):
                return where(run, insn)
        return False

    @contextmanager
    def how() -> Iterator[None]:
        with ExitStack() as stack:
            for name in ("SITES", "SITES_OUTER"):
                more = re.compile(getattr(execution, name).pattern + b"|" + sites, re.DOTALL)
                stack.enter_context(patch.object(execution, name, more))
            original = Execution._see
            stack.enter_context(patch.object(Execution, "_see", lambda run, insn: see(original, run, insn, matches)))
            yield

    return how


def _parse(code: str) -> tuple[bytes, int | None, int | None]:
    """Opcode, ModRM.reg, ModRM."""
    text, _, number = code.partition("/")
    opcode = bytes.fromhex(text)
    if opcode[0] == 0x0F and len(opcode) == 3:
        return opcode[:2], None, opcode[2]
    return opcode, int(number) if number else None, None


def skip(run: Execution, insn: Instruction) -> None:
    run._cpu.complete(len(insn.code))


def refuse(vector: Vector, code: int = 0) -> Act:
    def act(run: Execution, insn: Instruction) -> None:
        raise Raised(vector, code)

    return act


def flip(mask: int, size: int = 8) -> Act:
    """Bits of what the instruction has put where ModRM.rm says."""

    def change(run: Execution, insn: Instruction) -> None:
        found = operand(run._cpu, insn)
        if found is None:
            run._cpu.state.regs[insn.modrm & 7 | (insn.rex & 1) << 3] ^= mask
        else:
            run._memory.write(found.address, size, run._memory.read(found.address, size) ^ mask)

    return change


def flip_register(mask: int) -> Act:
    """Bits of what the instruction has put where ModRM.reg says."""

    def change(run: Execution, insn: Instruction) -> None:
        run._cpu.state.regs[insn.modrm >> 3 & 7 | (insn.rex & 4) << 1] ^= mask

    return change


def flip_regs(**masks: int) -> Act:
    """Bits of registers by name."""
    numbers = {"rax": 0, "rcx": 1, "rdx": 2, "rbx": 3, "rsp": 4, "rbp": 5, "rsi": 6, "rdi": 7, "r11": 11}

    def change(run: Execution, insn: Instruction) -> None:
        for name, mask in masks.items():
            run._cpu.state.regs[numbers[name]] ^= mask

    return change


def flip_pushed(mask: int) -> Act:
    """Bits of what lies on top of the stack."""

    def change(run: Execution, insn: Instruction) -> None:
        cpu = run._cpu
        address = cpu.linear(2, cpu.state.regs[4])
        run._memory.write(address, 2, run._memory.read(address, 2) ^ mask)

    return change


# ---- exceptions


def exceptions(vector: Vector, act: Callable[[Execution, int], Any]) -> How:
    """``act(run, error code)`` is done where Unicorn finds a fault; what it returns true for is delivered as well."""

    def around(original: Any, run: Execution, found: int, code: int, software: bool) -> Any:
        if found == vector and not software and not act(run, code):
            return None
        return original(run, found, code, software)

    return wrapped(Execution, "_exception", around)


def delivered(change: Callable[[Cpu, Event], Event | None]) -> How:
    """Another event is delivered, or none."""

    def around(original: Any, delivery: Delivery, event: Event, *, fault_rip: int | None = None) -> None:
        changed = change(delivery._cpu, event)
        if changed is not None:
            original(delivery, changed, fault_rip=fault_rip)

    return wrapped(Delivery, "deliver", around)


# ---- page tables


def leads(run: Any, address: int) -> list[tuple[int, int, int]]:
    """Where the entries lie that lead to a linear address, whatever is in them: address, size, value."""
    state, physical = run._cpu.state, run.slots
    found: list[tuple[int, int, int]] = []
    if run._cpu.long_mode or state.cr[4] & 1 << 5:
        table = state.cr[3] & 0x000F_FFFF_FFFF_F000 if run._cpu.long_mode else state.cr[3] & 0xFFFF_FFE0
        for shift in (39, 30, 21, 12) if run._cpu.long_mode else (30, 21, 12):
            at = table + 8 * (address >> shift & 0x1FF)
            value = physical.read(at, 8)
            found.append((at, 8, value))
            if not value & 1 or (value & 0x80 and shift < 39):
                break
            table = value & 0x000F_FFFF_FFFF_F000
    else:
        at = (state.cr[3] & 0xFFFF_F000) + (address >> 22) * 4
        value = physical.read(at, 4)
        found.append((at, 4, value))
        if value & 1 and not value & 0x80:
            last = (value & 0xFFFF_F000) + (address >> 12 & 0x3FF) * 4
            found.append((last, 4, physical.read(last, 4)))
    return found


def entries_change(run: Execution, address: int, *, on: int = 0, off: int = 0, leaf: bool = False) -> None:
    """Set and clear bits in the entries that lead somewhere, or in the last of them."""
    found = leads(run, address)
    for at, size, value in found[-1:] if leaf else found:
        run.slots.write(at, size, (value | on) & ~off & (1 << 8 * size) - 1)
    run._cpu.flush_tlb()


def forgiven(which: Callable[[Execution, int], bool], **bits: Any) -> How:
    """A page fault for which ``which(run, error code)`` holds: the entries are changed, and the access is done."""

    def act(run: Execution, code: int) -> bool:
        if not which(run, code):
            return True
        entries_change(run, int(run._cpu.state.cr[2]), **bits)
        return False

    return exceptions(Vector.PF, act)


def both(*hows: How) -> How:
    """Several at once."""

    def how() -> AbstractContextManager[Any]:
        stack = ExitStack()
        for one in hows:
            stack.enter_context(one())
        return stack

    return how
